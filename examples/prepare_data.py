"""From a log of interactions and a table of items to a dataset that trainers, evaluation and the Hub read.

    # Amazon reviews, raw files as published (2014, 2018 or 2023)
    python examples/prepare_data.py --source amazon --amazon_version 2018 \
        --reviews Video_Games.json.gz --metadata meta_Video_Games.json.gz --output_dir games

    # any table: CSV, TSV, parquet, JSON lines
    python examples/prepare_data.py --source table --interactions purchases.csv --items products.parquet \
        --user_column customer --item_column sku --timestamp_column bought_at --attributes name maker --output_dir shop

    # MovieLens, unzipped; the public Recformer replication's folder, splits as they are
    python examples/prepare_data.py --source movielens --folder ml-1m --output_dir movies
    python examples/prepare_data.py --source replication --folder Scientific --output_dir scientific

    # one of the paper's sets, from a folder of raw 2018 files
    python examples/prepare_data.py --recipe paper-scientific --folder amazon_2018 --output_dir scientific

    # other splits, and a tenth of the training sequences
    ... --split temporal --validation_from 2017-01-01 --test_from 2018-01-01
    ... --split cold_item --held_out_share 0.1          # writes output_dir/in_set and output_dir/cold
    ... --split users_held_out --validation_share 0.1 --test_share 0.1
    ... --low_resource_share 0.1

The output appears whole or not at all. `--push_to_hub name` uploads it as a dataset repository as well.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from transformers import HfArgumentParser

from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.preparation import PreparedInteractions, prepare
from recformer_hf.data.readers.amazon import read_amazon
from recformer_hf.data.readers.source import MAX_DAMAGED, DataError, Source
from recformer_hf.data.readers.movielens import read_movielens
from recformer_hf.data.readers.replication import read_replication
from recformer_hf.data.readers.table import read_table
from recformer_hf.data.recipes import build, get_recipe, summary_table
from recformer_hf.data.splits import cold_item, leave_one_out, low_resource, temporal, users_held_out
from recformer_hf.storage.atomic import atomic_folder


@dataclass
class SourceArguments:
    """What to read."""

    source: Literal["amazon", "movielens", "table", "replication"] | None = field(
        default=None, metadata={"help": "The layout of the files."}
    )
    recipe: str | None = field(
        default=None, metadata={"help": "One of the paper's sets instead: paper-pretraining, paper-scientific, ..."}
    )
    folder: str | None = field(
        default=None, metadata={"help": "Folder of movielens, replication, or of a recipe's raw files."}
    )
    reviews: list[str] | None = field(default=None, metadata={"help": "amazon: review file or files."})
    metadata: list[str] | None = field(default=None, metadata={"help": "amazon: metadata file or files."})
    amazon_version: Literal["2014", "2018", "2023"] = field(
        default="2018", metadata={"help": "amazon: whose layout the files have."}
    )
    interactions: str | None = field(default=None, metadata={"help": "table: the interactions."})
    items: str | None = field(default=None, metadata={"help": "table: the items."})
    user_column: str = field(default="user_id", metadata={"help": "table: column of users' ids."})
    item_column: str = field(default="item_id", metadata={"help": "table: column of items' ids."})
    items_id_column: str | None = field(
        default=None, metadata={"help": "table: the id's column in the items' file, if it has another name there."}
    )
    timestamp_column: str = field(
        default="timestamp", metadata={"help": "table: column of times: numbers, dates or datetimes."}
    )
    timestamp_unit: Literal["s", "ms", "us", "ns"] = field(
        default="s", metadata={"help": "table: unit of numeric times."}
    )
    attributes: list[str] | None = field(
        default=None, metadata={"help": "amazon, table: attributes that make up an item's text, in order."}
    )
    min_rating: float | None = field(default=None, metadata={"help": "movielens: leave out ratings below it."})
    max_damaged: float = field(
        default=MAX_DAMAGED, metadata={"help": "Share of a file's lines that may be damaged before it is refused."}
    )


@dataclass
class PreparationArguments:
    """What to keep, and in which order."""

    min_user_interactions: int = field(default=5, metadata={"help": "k-core: interactions that a user needs."})
    min_item_interactions: int = field(default=5, metadata={"help": "k-core: interactions that an item needs."})
    ties: Literal["random", "item_id", "file"] = field(
        default="random", metadata={"help": "Order of a user's interactions at the same time."}
    )
    max_history: int | None = field(
        default=None, metadata={"help": "Keep only the newest so many interactions of a user."}
    )
    unknown_items: Literal["drop", "error"] = field(
        default="drop", metadata={"help": "Interactions of items without metadata."}
    )
    items_without_text: Literal["drop", "error"] = field(
        default="drop", metadata={"help": "Interactions of items without any text."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of every draw."})


@dataclass
class SplitArguments:
    """How to split, and where to put it."""

    split: Literal["leave_one_out", "temporal", "cold_item", "users_held_out"] = field(
        default="leave_one_out", metadata={"help": "The split."}
    )
    short_users: Literal["train", "drop"] = field(
        default="train", metadata={"help": "leave_one_out: users with fewer than three interactions."}
    )
    validation_from: str | None = field(
        default=None,
        metadata={"help": "temporal: first day of validation; 80 percent of the interactions if left out."},
    )
    test_from: str | None = field(
        default=None, metadata={"help": "temporal: first day of test; 90 percent of the interactions if left out."}
    )
    temporal_targets: Literal["first", "all"] = field(
        default="first", metadata={"help": "temporal: a user's first target of a period, or all."}
    )
    held_out_share: float = field(
        default=0.0, metadata={"help": "cold_item: share of the items to keep from training."}
    )
    validation_share: float = field(
        default=0.1, metadata={"help": "users_held_out: share of the users for validation."}
    )
    test_share: float = field(default=0.1, metadata={"help": "users_held_out: share of the users for test."})
    low_resource_share: float | None = field(
        default=None, metadata={"help": "Keep this share of the training sequences (any split)."}
    )
    name: str | None = field(default=None, metadata={"help": "Name of the dataset, for its card."})
    output_dir: str | None = field(default=None, metadata={"help": "Folder to write."})
    overwrite: bool = field(default=False, metadata={"help": "Replace a dataset that is there."})
    push_to_hub: str | None = field(default=None, metadata={"help": "Hub repository to upload to, as a dataset."})
    private: bool = field(default=False, metadata={"help": "Make the Hub repository private."})


def needed(arguments: Any, *names: str) -> list[Any]:
    """The arguments of these names, all of them given."""
    missing = [f"--{name}" for name in names if getattr(arguments, name) is None]
    if missing:
        raise DataError(f"--source {arguments.source} needs {' and '.join(missing)}.")
    return [getattr(arguments, name) for name in names]


def read(arguments: SourceArguments) -> Source:
    if arguments.source == "amazon":
        reviews, metadata = needed(arguments, "reviews", "metadata")
        chosen = {} if arguments.attributes is None else {"attributes": arguments.attributes}
        return read_amazon(reviews, metadata, arguments.amazon_version, max_damaged=arguments.max_damaged, **chosen)
    if arguments.source == "movielens":
        (folder,) = needed(arguments, "folder")
        return read_movielens(folder, min_rating=arguments.min_rating, max_damaged=arguments.max_damaged)
    interactions, items = needed(arguments, "interactions", "items")
    return read_table(
        interactions,
        items,
        user_column=arguments.user_column,
        item_column=arguments.item_column,
        timestamp_column=arguments.timestamp_column,
        timestamp_unit=arguments.timestamp_unit,
        items_id_column=arguments.items_id_column,
        attributes=arguments.attributes,
        max_damaged=arguments.max_damaged,
    )


def split(prepared: PreparedInteractions, arguments: SplitArguments, seed: int) -> dict[str, SequentialDataset]:
    """Sub-folder ("" for none) -> dataset."""
    if arguments.split == "temporal":
        dates = arguments.validation_from, arguments.test_from
        return {"": temporal(prepared, *dates, targets=arguments.temporal_targets)}
    if arguments.split == "cold_item":
        return cold_item(prepared, held_out_share=arguments.held_out_share, seed=seed)._asdict()
    if arguments.split == "users_held_out":
        shares = {"validation_share": arguments.validation_share, "test_share": arguments.test_share}
        return {"": users_held_out(prepared, **shares, seed=seed)}
    return {"": leave_one_out(prepared, short_users=arguments.short_users)}


# Options that mean something to one source or split only.
SOURCE_OPTIONS = {
    "amazon": ["reviews", "metadata", "amazon_version", "attributes", "max_damaged"],
    "movielens": ["folder", "min_rating", "max_damaged"],
    "table": [
        *("interactions", "items", "user_column", "item_column", "items_id_column", "timestamp_column"),
        *("timestamp_unit", "attributes", "max_damaged"),
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


def refuse_without_effect(arguments: Any, options: dict[str, list[str]], chosen: str, what: str) -> None:
    """An option that would do nothing is an error: nobody should find out from the numbers."""
    defaults = type(arguments)()
    names = dict.fromkeys(name for names in options.values() for name in names if name not in options[chosen])
    changed = [f"--{name}" for name in names if getattr(arguments, name) != getattr(defaults, name)]
    if changed:
        raise DataError(f"{', '.join(changed)} would have no effect with {what}.")


def check_options(source: SourceArguments, preparation: PreparationArguments, output: SplitArguments) -> None:
    if (source.source is None) == (source.recipe is None):
        raise DataError("Give --source (amazon, movielens, table or replication) or --recipe, one of the two.")
    kind = source.source or "recipe"
    what = f"--source {kind}" if source.source else f"--recipe {source.recipe}"
    refuse_without_effect(source, SOURCE_OPTIONS, kind, what)
    if kind not in ("recipe", "replication"):
        refuse_without_effect(output, SPLIT_OPTIONS, output.split, f"--split {output.split}")
        return
    reason = "cores, filters and split are the paper's" if kind == "recipe" else "the folder is taken as it is"
    refuse_without_effect(output, {**SPLIT_OPTIONS, "split": ["split"]}, "fixed", f"{what}: {reason}")
    used = ["seed", "ties"] if kind == "recipe" else ["seed"]
    refuse_without_effect(preparation, {"all": list(vars(preparation)), "used": used}, "used", f"{what}: {reason}")


def make(
    source: SourceArguments, preparation: PreparationArguments, output: SplitArguments
) -> dict[str, SequentialDataset]:
    if source.recipe is not None:
        recipe = get_recipe(source.recipe)
        if source.folder is None:
            raise DataError(f"--recipe {recipe.name} needs --folder, where the raw files lie.")
        rules = {"ties": preparation.ties, "seed": preparation.seed, "max_damaged": source.max_damaged}
        datasets = {"": build(recipe, source.folder, **rules)}
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
    """Before an hour of reading, not after it."""
    if output.output_dir is None and output.push_to_hub is None:
        raise DataError("Give --output_dir, --push_to_hub, or both: the dataset has to go somewhere.")
    folder = Path(output.output_dir) if output.output_dir is not None else None
    if folder is not None and folder.exists() and not output.overwrite and (folder.is_file() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty. Name another --output_dir, or replace it with --overwrite.")


def save(datasets: dict[str, SequentialDataset], output: SplitArguments) -> None:
    if output.output_dir is not None:
        if set(datasets) == {""}:
            datasets[""].save_to_disk(output.output_dir, overwrite=output.overwrite)
        else:  # both or neither
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
        statistics = dataset.statistics
        print(f"\n{part}\n" if part else "")
        print(summary_table(dataset, paper))
        rows = ", ".join(f"{name} {counts['rows']:,}" for name, counts in statistics["splits"].items())
        print(f"\nrows: {rows}\nprotocol: {dataset.info.get('protocol', '')}")
        for name, text in (
            ("share_test_targets_not_in_training", "test targets not in training"),
            ("share_tests_repeating_history", "tests that repeat a history item"),
            ("share_tied_timestamps", "tied timestamps"),
        ):
            if statistics[name] is not None:
                print(f"{text}: {statistics[name]:.2%}")
        left_out = {
            name: number for name, number in dataset.info.get("preparation", {}).items() if name.endswith("_dropped")
        }
        damaged = sum(file["damaged_lines"] for file in dataset.info.get("read", {}).get("files", []))
        counted = {"damaged_lines_dropped": damaged, **left_out}
        lines = [
            f"{name.removesuffix('_dropped').replace('_', ' ')} {number:,}"
            for name, number in counted.items()
            if number
        ]
        if lines:
            print(f"left out: {', '.join(lines)}")
    places = [place for place in (output.output_dir, output.push_to_hub) if place is not None]
    print(f"\nwritten to {' and '.join(places)}")


def main(arguments: list[str] | None = None) -> None:
    parser = HfArgumentParser(
        [SourceArguments, PreparationArguments, SplitArguments], description=__doc__.split("\n", 1)[0]
    )
    source, preparation, output = parser.parse_args_into_dataclasses(arguments)
    try:
        check_options(source, preparation, output)
        check_output(output)
        datasets = make(source, preparation, output)
        save(datasets, output)
    except (ValueError, OSError) as error:  # the data, or the disk: what is wrong, not where in the code
        sys.exit(f"prepare_data.py: {' '.join(str(error).split())}")
    report(datasets, source, output)


if __name__ == "__main__":
    main()
