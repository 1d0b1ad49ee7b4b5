"""Turns a log of interactions and a table of items into a dataset that training, evaluation and the Hub read.

    # any tables: CSV, TSV, parquet, JSON lines, Excel or RecBole's .inter and .item, compressed or not
    recformer prepare --source table --interactions purchases.csv --items products.parquet \\
        --user_column customer --item_column sku --timestamp_column bought_at --attributes name maker --output_dir shop

    # Amazon reviews, raw files as published (2014, 2018 or 2023)
    recformer prepare --source amazon --reviews Games.json.gz --metadata meta_Games.json.gz --output_dir games

    # an unzipped MovieLens folder; one of the paper's datasets, from a folder of raw 2018 files
    recformer prepare --source movielens --folder ml-1m --output_dir movies
    recformer prepare --recipe paper-scientific --folder amazon_2018 --output_dir scientific

The output folder is written completely or not at all. `--push_to_hub name` also uploads it to a dataset repository.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from ...data.dataset import SequentialDataset
from ...data.preparation import PreparedInteractions, prepare
from ...data.readers.amazon import ATTRIBUTES as AMAZON_ATTRIBUTES
from ...data.readers.amazon import read_amazon
from ...data.readers.movielens import read_movielens
from ...data.readers.replication import read_replication
from ...data.readers.source import MAX_DAMAGED, DataError, Source
from ...data.readers.table import read_table
from ...data.recipes import build, get_recipe, summary_table
from ...data.splits import cold_item, leave_one_out, low_resource, temporal, users_held_out
from ...storage.atomic import atomic_folder
from ..parser import CommandParser
from ..running import running

COMMON = (
    "source", "recipe", "folder", "interactions", "items", "user_column", "item_column", "timestamp_column", "no_times",
    "reviews", "metadata", "amazon_version", "attributes", "min_rating", "min_user_interactions",
    "min_item_interactions", "split", "output_dir", "overwrite", "push_to_hub",
)  # fmt: skip


@dataclass
class SourceArguments:
    """What to read."""

    source: Literal["amazon", "movielens", "table", "replication"] | None = field(
        default=None, metadata={"help": "Layout of the files."}
    )
    recipe: str | None = field(
        default=None,
        metadata={"help": "One of the paper's datasets, instead of --source: paper-pretraining, paper-scientific, ..."},
    )
    folder: str | None = field(
        default=None, metadata={"help": "movielens, replication, recipe: the folder of the files."}
    )
    reviews: list[str] | None = field(default=None, metadata={"help": "amazon: review file or files."})
    metadata: list[str] | None = field(default=None, metadata={"help": "amazon: metadata file or files."})
    amazon_version: Literal["2014", "2018", "2023"] = field(
        default="2018", metadata={"help": "amazon: which layout the files have."}
    )
    interactions: list[str] | None = field(
        default=None,
        metadata={"help": "table: file or files of interactions, or a pattern in quotes: 'log-*.csv'."},
    )
    items: list[str] | None = field(default=None, metadata={"help": "table: the file or files of items, or a pattern."})
    user_column: str = field(default="user_id", metadata={"help": "table: column of the users' ids."})
    item_column: str = field(default="item_id", metadata={"help": "table: column of the items' ids."})
    items_id_column: str | None = field(
        default=None, metadata={"help": "table: column of the ids in the file of items; by default --item_column."}
    )
    timestamp_column: str = field(
        default="timestamp", metadata={"help": "table: column of times, which are numbers, dates or datetimes."}
    )
    no_times: bool = field(
        default=False,
        metadata={"help": "table: there are no times; the rows are in order."},
    )
    timestamp_unit: Literal["s", "ms", "us", "ns"] = field(
        default="s", metadata={"help": "table: unit of numeric times."}
    )
    timestamp_format: str | None = field(
        default=None, metadata={"help": "table: notation of the times, as in strptime: '%%m/%%d/%%Y %%H:%%M'."}
    )
    check_times: bool = field(
        default=True, metadata={"help": "amazon, table: refuse times that look like another unit or notation."}
    )
    delimiter: str | None = field(
        default=None, metadata={"help": "table: what stands between the fields of text files: ';', '::', tab."}
    )
    encoding: str | None = field(
        default=None, metadata={"help": "table: encoding of text files, such as latin-1; by default UTF-8."}
    )
    quote: str | None = field(
        default=None, metadata={"help": "table: quoting character of text files, or none; by default the double quote."}
    )
    names: list[str] | None = field(
        default=None, metadata={"help": "table: columns of text files of interactions that have no header line."}
    )
    items_names: list[str] | None = field(
        default=None, metadata={"help": "table: columns of text files of items that have no header line."}
    )
    attributes: list[str] | None = field(
        default=None, metadata={"help": "amazon, table: attributes of an item's text, in this order."}
    )
    min_rating: float | None = field(
        default=None,
        metadata={"help": "amazon, movielens, table: skip interactions with a lower rating or none."},
    )
    rating_column: str = field(default="rating", metadata={"help": "table: column of ratings, read with --min_rating."})
    max_damaged: float = field(
        default=MAX_DAMAGED,
        metadata={"help": "Share of a file's lines, 0 to 1, that may be damaged before the file is refused."},
    )


@dataclass
class PreparationArguments:
    """Which interactions to keep, and in which order."""

    min_user_interactions: int = field(
        default=5, metadata={"help": "k-core: number of interactions that every user has at least."}
    )
    min_item_interactions: int = field(
        default=5, metadata={"help": "k-core: number of interactions that every item has at least."}
    )
    ties: Literal["random", "item_id", "file"] = field(
        default="random", metadata={"help": "Order of a user's interactions at the same time."}
    )
    max_history: int | None = field(
        default=None, metadata={"help": "Keep only this many newest interactions of a user."}
    )
    unknown_items: Literal["drop", "error"] = field(
        default="drop", metadata={"help": "What to do with interactions of items without metadata."}
    )
    items_without_text: Literal["drop", "error"] = field(
        default="drop", metadata={"help": "What to do with interactions of items without any text."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of every draw."})


@dataclass
class SplitArguments:
    """How to split, and where to write the result."""

    split: Literal["leave_one_out", "temporal", "cold_item", "users_held_out"] = field(
        default="leave_one_out", metadata={"help": "How to split."}
    )
    short_users: Literal["train", "drop"] = field(
        default="train", metadata={"help": "leave_one_out: what to do with users with fewer than three interactions."}
    )
    validation_from: str | None = field(
        default=None,
        metadata={
            "help": "temporal: first day of validation; by default 80 percent of the interactions lie before it."
        },
    )
    test_from: str | None = field(
        default=None,
        metadata={"help": "temporal: first day of test; by default 90 percent of the interactions lie before it."},
    )
    temporal_targets: Literal["first", "all"] = field(
        default="first", metadata={"help": "temporal: a user's first interaction of a period, or all of them."}
    )
    held_out_share: float = field(
        default=0.0, metadata={"help": "cold_item: share of the items to remove from training."}
    )
    validation_share: float = field(
        default=0.1, metadata={"help": "users_held_out: share of the users for validation."}
    )
    test_share: float = field(default=0.1, metadata={"help": "users_held_out: share of the users for test."})
    low_resource_share: float | None = field(
        default=None, metadata={"help": "Keep only this share of the training sequences, with any split."}
    )
    name: str | None = field(
        default=None, metadata={"help": "Name of the dataset in its card; by default that of the folder or repository."}
    )
    output_dir: str | None = field(default=None, metadata={"help": "Folder to write the dataset to."})
    overwrite: bool = field(default=False, metadata={"help": "Replace a dataset that the folder already holds."})
    push_to_hub: str | None = field(default=None, metadata={"help": "Dataset repository on the Hub to upload to."})
    private: bool = field(default=False, metadata={"help": "Create a private repository."})


def needed(arguments: SourceArguments, *names: str) -> list[Any]:
    """The values of these options, all of which the source needs."""
    missing = [f"--{name}" for name in names if getattr(arguments, name) is None]
    if missing:
        raise DataError(f"--source {arguments.source} needs {' and '.join(missing)}.")
    return [getattr(arguments, name) for name in names]


def read(arguments: SourceArguments) -> Source:
    if arguments.source == "amazon":
        reviews, metadata = needed(arguments, "reviews", "metadata")
        return read_amazon(
            reviews,
            metadata,
            arguments.amazon_version,
            attributes=arguments.attributes if arguments.attributes is not None else AMAZON_ATTRIBUTES,
            min_rating=arguments.min_rating,
            check_times=arguments.check_times,
            max_damaged=arguments.max_damaged,
        )
    if arguments.source == "movielens":
        (folder,) = needed(arguments, "folder")
        return read_movielens(folder, min_rating=arguments.min_rating, max_damaged=arguments.max_damaged)
    interactions, items = needed(arguments, "interactions", "items")
    return read_table(
        interactions,
        items,
        user_column=arguments.user_column,
        item_column=arguments.item_column,
        timestamp_column=None if arguments.no_times else arguments.timestamp_column,
        timestamp_unit=arguments.timestamp_unit,
        timestamp_format=arguments.timestamp_format,
        check_times=arguments.check_times,
        rating_column=arguments.rating_column,
        min_rating=arguments.min_rating,
        items_id_column=arguments.items_id_column,
        attributes=arguments.attributes,
        delimiter=TABS.get(arguments.delimiter or "", arguments.delimiter),
        encoding=arguments.encoding,
        quote=False if arguments.quote == "none" else arguments.quote,
        names=arguments.names,
        items_names=arguments.items_names,
        max_damaged=arguments.max_damaged,
    )


def split(prepared: PreparedInteractions, arguments: SplitArguments, seed: int) -> dict[str, SequentialDataset]:
    """The datasets of a split by sub-folder; a single dataset has the sub-folder ""."""
    if arguments.split == "temporal":
        dates = arguments.validation_from, arguments.test_from
        return {"": temporal(prepared, *dates, targets=arguments.temporal_targets)}
    if arguments.split == "cold_item":
        return cold_item(prepared, held_out_share=arguments.held_out_share, seed=seed)._asdict()
    if arguments.split == "users_held_out":
        shares = {"validation_share": arguments.validation_share, "test_share": arguments.test_share}
        return {"": users_held_out(prepared, **shares, seed=seed)}
    return {"": leave_one_out(prepared, short_users=arguments.short_users)}


# Interactions that --min_rating left out.
RATING_COUNTS = ("ratings_below_the_minimum", "ratings_missing")
# A tab is hard to type in a shell.
TABS = {"tab": "\t", "\\t": "\t"}

# Which options each source and each split reads.
SOURCE_OPTIONS = {
    "amazon": ["reviews", "metadata", "amazon_version", "attributes", "min_rating", "check_times", "max_damaged"],
    "movielens": ["folder", "min_rating", "max_damaged"],
    "table": [
        *("interactions", "items", "user_column", "item_column", "items_id_column", "timestamp_column"),
        *("no_times", "timestamp_unit", "timestamp_format", "check_times", "rating_column", "min_rating"),
        *("delimiter", "encoding", "quote", "names", "items_names", "attributes", "max_damaged"),
    ],
    "replication": ["folder"],
    "recipe": ["folder", "max_damaged"],
}
SPLIT_OPTIONS = {
    "leave_one_out": ["short_users"],
    "temporal": ["validation_from", "test_from", "temporal_targets"],
    "cold_item": ["held_out_share"],
    "users_held_out": ["validation_share", "test_share"],
    "fixed": [],
}


def refuse_without_effect(
    arguments: SourceArguments | PreparationArguments | SplitArguments,
    options: dict[str, list[str]],
    chosen: str,
    what: str,
) -> None:
    """Refuse options that would do nothing, which the user would otherwise only notice by the results."""
    defaults = type(arguments)()
    names = dict.fromkeys(name for names in options.values() for name in names if name not in options[chosen])
    changed = [f"--{name}" for name in names if getattr(arguments, name) != getattr(defaults, name)]
    if changed:
        raise DataError(f"{', '.join(changed)} would have no effect with {what}.")


def check_options(source: SourceArguments, preparation: PreparationArguments, output: SplitArguments) -> None:
    if (source.source is None) == (source.recipe is None):
        raise DataError("Give either --source (amazon, movielens, table or replication) or --recipe.")
    kind = source.source or "recipe"
    what = f"--source {kind}" if source.source else f"--recipe {source.recipe}"
    refuse_without_effect(source, SOURCE_OPTIONS, kind, what)
    check_table_options(source)
    if source.no_times and output.split == "temporal":
        raise DataError("--split temporal needs times; it cannot be used with --no_times.")
    if kind not in ("recipe", "replication"):
        refuse_without_effect(output, SPLIT_OPTIONS, output.split, f"--split {output.split}")
        return
    reason = "filters and split are the paper's" if kind == "recipe" else "the folder is read as it is"
    refuse_without_effect(output, {**SPLIT_OPTIONS, "split": ["split"]}, "fixed", f"{what}: {reason}")
    used = ["seed", "ties"] if kind == "recipe" else ["seed"]
    refuse_without_effect(preparation, {"all": list(vars(preparation)), "used": used}, "used", f"{what}: {reason}")


def check_table_options(source: SourceArguments) -> None:
    """Refuse options of a table that another of its options makes useless."""
    timed = {"all": ["timestamp_column", "timestamp_unit", "timestamp_format", "check_times"], "none": []}
    if source.no_times:
        refuse_without_effect(source, timed, "none", "--no_times")
    if source.timestamp_format is not None:
        refuse_without_effect(source, {"all": ["timestamp_unit"], "none": []}, "none", "--timestamp_format")
    if source.min_rating is None:
        refuse_without_effect(source, {"all": ["rating_column"], "none": []}, "none", "no --min_rating")


def make(
    source: SourceArguments, preparation: PreparationArguments, output: SplitArguments
) -> dict[str, SequentialDataset]:
    if source.recipe is not None:
        recipe = get_recipe(source.recipe)
        if source.folder is None:
            raise DataError(f"--recipe {recipe.name} needs --folder, the folder of the raw files.")
        dataset = build(
            recipe, source.folder, ties=preparation.ties, seed=preparation.seed, max_damaged=source.max_damaged
        )
        datasets = {"": dataset}
    elif source.source == "replication":
        (folder,) = needed(source, "folder")
        datasets = {"": read_replication(folder)}
    else:
        datasets = split(prepare(read(source), **vars(preparation)), output, preparation.seed)
    for part, dataset in datasets.items():
        if output.low_resource_share is not None:
            datasets[part] = dataset = low_resource(dataset, output.low_resource_share, seed=preparation.seed)
        name = output.name or dataset.info.get("name") or Path(output.output_dir or str(output.push_to_hub)).name
        dataset.info["name"] = f"{name} {part}".strip()
    return datasets


def check_output(output: SplitArguments) -> None:
    """Refuse an unusable output before reading, which may take an hour."""
    if output.output_dir is None and output.push_to_hub is None:
        raise DataError("Give --output_dir, --push_to_hub, or both, to say where the dataset goes.")
    folder = Path(output.output_dir) if output.output_dir is not None else None
    if folder is not None and folder.exists() and not output.overwrite and (folder.is_file() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} is not empty. Choose another --output_dir, or replace the dataset with --overwrite."
        )


def save(datasets: dict[str, SequentialDataset], output: SplitArguments) -> None:
    if output.output_dir is not None:
        if set(datasets) == {""}:
            datasets[""].save_to_disk(output.output_dir, overwrite=output.overwrite)
        else:  # one folder around all datasets, so that either all or none are written
            with atomic_folder(output.output_dir, overwrite=output.overwrite, replaceable=set(datasets)) as folder:
                for part, dataset in datasets.items():
                    dataset.save_to_disk(folder / part)
    if output.push_to_hub is not None:
        for part, dataset in datasets.items():
            repository = f"{output.push_to_hub}-{part.replace('_', '-')}" if part else output.push_to_hub
            dataset.push_to_hub(repository, private=output.private)


def report(datasets: dict[str, SequentialDataset], source: SourceArguments, output: SplitArguments) -> None:
    paper = get_recipe(source.recipe).paper if source.recipe is not None else None
    for part, dataset in datasets.items():
        print(f"\n{part}\n" if part else "")
        print(summary_table(dataset, paper))
        report_splits(dataset)
        report_removed(dataset)
    places = [place for place in (output.output_dir, output.push_to_hub) if place is not None]
    print(f"\nwritten to {' and '.join(places)}")


def report_splits(dataset: SequentialDataset) -> None:
    statistics = dataset.statistics
    rows = ", ".join(f"{name} {counts['rows']:,}" for name, counts in statistics["splits"].items())
    print(f"\nrows: {rows}\nprotocol: {dataset.info.get('protocol', '')}")
    if "order" in dataset.info:
        print(f"order of the interactions: {dataset.info['order']}")
    for name, text in (
        ("share_test_targets_not_in_training", "test targets not in training"),
        ("share_tests_repeating_history", "test targets that repeat a history item"),
        ("share_tied_timestamps", "tied timestamps"),
    ):
        if statistics[name] is not None:
            print(f"{text}: {statistics[name]:.2%}")


def report_removed(dataset: SequentialDataset) -> None:
    damaged = sum(file["damaged_lines"] for file in dataset.info.get("read", {}).get("files", []))
    read = {f"{name}_dropped": dataset.info.get("read", {}).get(name, 0) for name in RATING_COUNTS}
    counts = {"damaged_lines_dropped": damaged, **read, **dataset.info.get("preparation", {})}
    removed = [
        f"{name.removesuffix('_dropped').replace('_', ' ')} {number:,}"
        for name, number in counts.items()
        if name.endswith("_dropped") and number
    ]
    if removed:
        print(f"removed: {', '.join(removed)}")


def as_options(message: str) -> str:
    """A message of the library with its arguments written as options."""
    for argument, option in {"check_times=False": "--no_check_times", "timestamp_column=None": "--no_times"}.items():
        message = message.replace(argument, option)
    names = [option.name for part in (SourceArguments, PreparationArguments, SplitArguments) for option in fields(part)]
    return re.sub(rf"(?<![-\w])({'|'.join(names)})=(?=[\w\"'\[])", r"--\1 ", message)


def run(source: SourceArguments, preparation: PreparationArguments, output: SplitArguments) -> None:
    try:
        check_options(source, preparation, output)
        check_output(output)
        datasets = make(source, preparation, output)
        save(datasets, output)
    except (ValueError, OSError) as error:
        raise ValueError(as_options(str(error))) from error
    report(datasets, source, output)


def main(command_line: Sequence[str] | None = None, prog: str = "recformer prepare") -> None:
    with running(prog, "Nothing was written."):
        classes = [SourceArguments, PreparationArguments, SplitArguments]
        run(*CommandParser(classes, prog, __doc__, COMMON).parse(command_line))
