"""All readers with mutated files, each of which a number makes again.

python -m tests.support.reader_fuzzing 0 10000        # files 0 to 9,999 in two processes; a table of the outcomes
python -m tests.support.reader_fuzzing 4711 4712      # one file again
"""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import os
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

from transformers.utils import logging

from recformer_hf.items.catalog import ItemCatalog
from tests.support import mutated_files as made
from tests.support import plain_reading as plain
from tests.support.fuzzed_replication import ReplicationCheck, replication_example
from tests.support.fuzzed_sources import (
    AMAZON,
    amazon_example,
    movielens_example,
    options_example,
    reading,
    table_bytes,
    table_example,
    table_reading,
)
from tests.support.plain_reading import Items, PlainFile, PlainRow, Refused, as_text, has_repeated_keys
from tests.support.reader_checks import MOST_SECONDS, CatalogCheck, Example, WrongError, run

# Catalogues


def catalog_example(rng: Random, method: str) -> Example:
    """A file for one of the catalogue's `from_*` methods."""
    rows = made.changed_values(rng, made.item_rows(rng))
    ending = {"from_csv": "csv", "from_jsonl": "jsonl", "from_parquet": "parquet", "from_json": "json"}[method]
    name = f"items.{ending}"
    items = Items(strip=ending == "csv", refuse_repeated_keys=True)
    data = table_bytes(rng, ending, rows)
    read_plain = table_reading(ending, items)
    if method == "from_json" and rng.random() < 0.5:
        mapping = {str(row.pop("item_id", place)): row for place, row in enumerate(rows)}
        data, read_plain = made.as_bytes(json.dumps(mapping, ensure_ascii=rng.random() < 0.5)), plain_mapping
    data = made.mutated(rng, data, binary=ending == "parquet")
    if ending == "json" and read_plain is not plain_mapping and data.lstrip()[:1] == b"{":
        read_plain = plain_mapping
    on_invalid = rng.choice(("raise", "drop"))
    check = CatalogCheck(name, reading(read_plain, data), on_invalid)
    return Example(
        {name: data}, lambda folder: getattr(ItemCatalog, method)(folder / name, on_invalid=on_invalid), check
    )


def plain_mapping(data: bytes) -> PlainFile:
    """An object of id to attributes."""
    data, may_refuse = plain.unpacked(data)
    try:
        content = json.loads(as_text(data))
    except (ValueError, RecursionError) as error:
        raise Refused(f"not JSON: {error}") from error
    if isinstance(content, list):
        return plain.plain_json(data, Items())
    if not isinstance(content, dict):
        raise Refused(f"a {type(content).__name__}")
    if has_repeated_keys(as_text(data)):
        may_refuse.append("a key twice")
    rows, items = [], Items(id="\1id")
    for number, (item_id, attributes) in enumerate(content.items(), start=1):
        if isinstance(attributes, dict):
            rows.append(PlainRow(number, items.outcomes({**attributes, "\1id": item_id})))
        else:
            raise Refused(f"{item_id!r} has a {type(attributes).__name__}")
        if "" in attributes:
            may_refuse.append("an attribute without a name")
    if content and all(
        list(attributes) == [str(place) for place in range(len(attributes))] for attributes in content.values()
    ):
        may_refuse.append("turned columns")
    return PlainFile(rows, may_refuse + ([] if rows else ["no items"]))


# All of them

METHODS = ("from_csv", "from_json", "from_jsonl", "from_parquet")
KINDS: dict[str, Callable[[Random], Example]] = {
    **{f"table, {ending} log": partial(table_example, log_ending=ending, items_ending="jsonl", mutate="log")
       for ending in ("csv", "tsv", "jsonl", "json", "parquet", "inter")},
    **{f"table, {ending} items": partial(table_example, log_ending="jsonl", items_ending=ending, mutate="items")
       for ending in ("csv", "tsv", "jsonl", "json", "parquet", "item")},
    "table, options": options_example,
    **{f"amazon {version}, {name}": partial(amazon_example, version=version, mutate=mutate)
       for version in AMAZON for mutate, name in (("log", "reviews"), ("items", "metadata"))},
    **{f"movielens {layout}, {name}": partial(movielens_example, layout=layout, mutate=mutate)
       for layout in ("100k", "1m", "latest") for mutate, name in (("log", "ratings"), ("items", "films"))},
    **{f"catalogue, {method}": partial(catalog_example, method=method) for method in METHODS},
    "replication": replication_example,
}  # fmt: skip


def outcome_of(name: str, rng: Random) -> str:
    """The class of the outcome of one file of a kind."""
    example = KINDS[name](rng)
    example.block_bytes = rng.choice((None, None, 100, 400))
    with tempfile.TemporaryDirectory(prefix="files-") as folder:
        if isinstance(example.check, ReplicationCheck):
            example.check.folder_name = folder
        try:
            return run(example, Path(folder))
        except WrongError as error:
            shown = "\n".join(f"{name}: {data!r}" for name, data in example.files.items())
            raise WrongError(f"{name}: {error}\n{shown}") from None


def _one(number: int) -> tuple[int, str, str, str]:
    """(number, kind, outcome, what is wrong)."""
    logging.set_verbosity_error()
    faulthandler.dump_traceback_later(6 * MOST_SECONDS, exit=True)
    names = list(KINDS)
    name = names[number % len(names)]
    try:
        return number, name, outcome_of(name, Random(number)), ""
    except WrongError as error:
        return number, name, "WRONG", str(error)
    except Exception:
        return number, name, "WRONG", "the plain reading fails\n" + traceback.format_exc()
    finally:
        faulthandler.cancel_dump_traceback_later()


def summary(outcomes: Counter[tuple[str, str]]) -> str:
    """A table: kinds in rows, classes of outcomes in columns."""
    classes = sorted({outcome for _, outcome in outcomes})
    lines = [" | ".join(["reader", "files", *classes])]
    for name in [*KINDS, "all"]:
        counts = [
            sum(n for (kind, found), n in outcomes.items() if name in (kind, "all") and found == outcome)
            for outcome in classes
        ]
        lines.append(" | ".join([name, f"{sum(counts):,}", *(f"{count:,}" for count in counts)]))
    return "\n".join(lines)


def main(first: int, last: int) -> int:
    """Read the files with these numbers; 1 if any outcome is wrong."""
    outcomes: Counter[tuple[str, str]] = Counter()
    wrong = 0
    context = multiprocessing.get_context("spawn")  # polars' threads do not survive a fork
    with context.Pool(int(os.environ.get("PROCESSES", "2")), maxtasksperchild=2000) as pool:
        for number, name, outcome, problem in pool.imap_unordered(_one, range(first, last), chunksize=8):
            outcomes[name, outcome] += 1
            if problem:
                wrong += 1
                print(f"--- {number} {problem}", flush=True)
    print(summary(outcomes))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
