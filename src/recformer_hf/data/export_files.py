"""Writes a dataset in the layouts of other libraries: CSV, RecBole's atomic files, and UniSRec's benchmark files.

A dataset has no times any more, only the order of each user's interactions. Where a layout has a column of times, it
gets the position within the user's interactions, which sorts them in the same way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from ..items.catalog import ItemCatalog
from ..storage.atomic import atomic_folder
from .arrays import offsets_from_lengths, slice_indices
from .sequences import Sequences, whole_number
from .whole_log import whole_log

if TYPE_CHECKING:
    from .dataset import SequentialDataset

UNISREC_HEADER = "user_id:token\titem_id_list:token_seq\titem_id:token"
UNISREC_SPLITS = {"train": "train", "validation": "valid", "test": "test"}
_UNISREC_ROWS = 1 << 16
"""Sequences that are written at once."""


def export_csv(dataset: SequentialDataset, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write `interactions.csv` and `items.csv`, which `read_table` and every other library read.

    `interactions.csv` has `user_id`, `item_id`, `timestamp` (the position within the user's interactions, from 0) and
    `split`: "train" for items of the training sequence, "validation" and "test" for targets, "history" for all others.
    `items.csv` has `item_id` and a column for each attribute.

    Args:
        dataset: the dataset. Leave-one-out is made again by reading the two files, `prepare` without a k-core, and
            `leave_one_out`.
        folder: a new or empty folder, which appears completely or not at all.
        overwrite: replace an earlier export.

    Returns:
        the folder.

    Raises:
        ValueError: if the splits are not from one log (see `whole_log`), or an attribute is called "item_id".
        FileExistsError: if the folder holds files, and `overwrite` is False or they are not an earlier export.
    """
    log = whole_log(dataset.splits, dataset.catalog)
    table = pa.table(
        {
            "user_id": log.user_ids.take(pa.array(log.users)),
            "item_id": _ids(dataset.catalog).take(pa.array(log.items)),
            "timestamp": log.positions,
            "split": pa.array(log.names).take(pa.array(log.labels)),
        }
    )
    files = {"interactions.csv": table, "items.csv": item_columns(dataset.catalog)}
    with atomic_folder(folder, overwrite=overwrite, replaceable=set(files)) as temporary:
        for name, content in files.items():
            pa_csv.write_csv(content, temporary / name, pa_csv.WriteOptions(quoting_style="needed"))
    return Path(folder)


def export_recbole(
    dataset: SequentialDataset, folder: str | os.PathLike[str], *, name: str | None = None, overwrite: bool = False
) -> Path:
    """Write RecBole's atomic files: `<name>.inter` and `<name>.item`.

    RecBole splits by itself; `eval_args: {split: {LS: valid_and_test}, order: TO}` is leave-one-out. The columns are
    `user_id:token`, `item_id:token`, `timestamp:float` (the position within the user's interactions), and of an item
    `item_id:token` and a `token_seq` for each attribute. The files have no quoting: white space in texts becomes single
    spaces, and the quotation marks of a text that begins with one become apostrophes, because RecBole would otherwise
    read on to the next quotation mark.

    Args:
        dataset: the dataset.
        folder: a new or empty folder; RecBole wants it to be called as the dataset.
        name: the dataset's name; by default the folder's.
        overwrite: replace an earlier export of this name.

    Returns:
        the folder.

    Raises:
        ValueError: as `export_csv`; or if an id has a tab or line break, or an attribute's name a tab, line break or
            colon.
        FileExistsError: as `export_csv`.
    """
    log = whole_log(dataset.splits, dataset.catalog)
    name = _name(name, folder)
    items = item_columns(dataset.catalog)
    users, item_ids = _plain_ids(log.user_ids, "user"), _plain_ids(items["item_id"].combine_chunks(), "item")
    for key in items.column_names:
        if any(character in key for character in "\t\r\n:"):
            reason = "has a tab, line break or colon in its name, which ends a field of RecBole's files"
            raise ValueError(f"The attribute {key!r} {reason}. Rename it.")
    texts = [_one_line(items[key].combine_chunks()) for key in items.column_names[1:]]
    types = ["item_id:token", *(f"{key}:token_seq" for key in items.column_names[1:])]
    files = (f"{name}.inter", f"{name}.item")
    with atomic_folder(folder, overwrite=overwrite, replaceable=files) as temporary:
        columns = users.take(pa.array(log.users)), item_ids.take(pa.array(log.items)), pa.array(log.positions)
        _write_lines(temporary / files[0], "user_id:token\titem_id:token\ttimestamp:float", [columns])
        _write_lines(temporary / files[1], "\t".join(types), [(item_ids, *texts)])
    return Path(folder)


def export_unisrec(
    dataset: SequentialDataset,
    folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    max_history: int = 50,
    overwrite: bool = False,
) -> Path:
    """Write UniSRec's layout, which keeps the splits: RecBole's `benchmark_filename: [train, valid, test]`.

    The files are `<name>.train.inter`, `.valid.inter` and `.test.inter` (numbers of the user, the history and the
    target; a training sequence of n items gives n - 1 rows, from its last item as the target to its second), `.text`
    (id and text of each item), `.item2index` and `.user2index`. Item numbers are catalogue rows.

    Args:
        dataset: the dataset; any split.
        folder: a new or empty folder.
        name: the dataset's name; by default the folder's.
        max_history: most items of a history, the newest (50 in UniSRec).
        overwrite: replace an earlier export of this name.

    Returns:
        the folder.

    Raises:
        ValueError: if an id has a tab or line break, or `max_history` is below 1.
        FileExistsError: as `export_csv`.
    """
    if whole_number(max_history, "max_history") < 1:
        raise ValueError(f"max_history is {max_history}; expected at least 1.")
    name = _name(name, folder)
    item_ids = _plain_ids(_ids(dataset.catalog), "item")
    ids = pa.chunked_array([split.user_ids.cast(pa.large_string()) for split in dataset.splits.values()])
    users = _plain_ids(pc.unique(ids), "user")
    endings = [f".{ending}.inter" for ending in UNISREC_SPLITS.values()]
    replaceable = {f"{name}{ending}" for ending in (*endings, ".text", ".item2index", ".user2index")}
    with atomic_folder(folder, overwrite=overwrite, replaceable=replaceable) as temporary:
        for split_name, split in dataset.splits.items():
            numbers = pc.index_in(split.user_ids.cast(pa.large_string()), value_set=users).to_numpy()
            blocks = _unisrec_blocks(split, numbers, max_history)
            _write_lines(temporary / f"{name}.{UNISREC_SPLITS[split_name]}.inter", UNISREC_HEADER, blocks)
        texts = pa.array([" ".join(item.values()) for item in dataset.catalog], pa.large_string())
        _write_lines(temporary / f"{name}.text", "item_id:token\ttext:token_seq", [(item_ids, _one_line(texts))])
        for ending, values in ((".item2index", item_ids), (".user2index", users)):
            _write_lines(temporary / f"{name}{ending}", None, [(values, pa.array(np.arange(len(values))))])
    return Path(folder)


def item_columns(catalog: ItemCatalog) -> pa.Table:
    """A catalogue as a table of `item_id` and a column for each attribute, null where an item lacks it.

    Raises:
        ValueError: if an attribute is called "item_id".
    """
    names = catalog.attribute_names
    if "item_id" in names:
        raise ValueError('An attribute is called "item_id", as the column of the ids. Rename it before the export.')
    columns: dict[str, list[str | None]] = {name: [] for name in names}
    for item in catalog:
        for name, values in columns.items():
            values.append(item.get(name))
    texts = {name: pa.array(values, pa.large_string()) for name, values in columns.items()}
    return pa.table({"item_id": _ids(catalog), **texts})


def _ids(catalog: ItemCatalog) -> pa.Array:
    return pa.array(catalog.ids, pa.large_string())


def _name(name: str | None, folder: str | os.PathLike[str]) -> str:
    found = Path(folder).resolve().name if name is None else name
    if not found or Path(found).name != found:
        raise ValueError(f"name is {found!r}; expected the beginning of a file's name, without a folder.")
    return found


def _plain_ids(ids: pa.Array, kind: str) -> pa.Array:
    broken = pc.match_substring_regex(ids, r"[\t\r\n]")
    if pc.any(broken).as_py():
        first = ids.filter(broken)[0].as_py()
        raise ValueError(
            f"The {kind} id {first!r} has a tab or line break, which ends a field of these files. Rename it."
        )
    return ids


def _one_line(texts: pa.Array) -> pa.Array:
    """The texts without tabs and line breaks, and without a quotation mark at the beginning; empty where missing."""
    texts = pc.utf8_trim_whitespace(pc.replace_substring_regex(texts.fill_null(""), r"\s+", " "))
    quoted = pc.starts_with(texts, '"')
    return pc.if_else(quoted, pc.replace_substring(texts, '"', "'"), texts)


def _unisrec_blocks(split: Sequences, users: np.ndarray, max_history: int) -> Iterator[tuple[pa.Array, ...]]:
    """Numbers of users, histories as text, and targets, in blocks."""
    for first in range(0, len(split), _UNISREC_ROWS):
        rows = np.arange(first, min(first + _UNISREC_ROWS, len(split)))
        begins, ends, targets = split.offsets[rows], split.offsets[rows + 1], None
        if split.targets is None:
            # Every item but the first is a target, the last one first.
            counts = ends - begins - 1
            rows = np.repeat(rows, counts)
            ends = split.offsets[rows + 1] - 1 - slice_indices(np.zeros_like(counts), counts)
            begins, targets = split.offsets[rows], split.items[ends]
        else:
            targets = split.targets[rows]
        begins = np.maximum(begins, ends - max_history)
        items = pa.array(split.items[slice_indices(begins, ends - begins)]).cast(pa.large_string())
        lists = pa.LargeListArray.from_arrays(pa.array(offsets_from_lengths(ends - begins)), items)
        yield pa.array(users[rows]), pc.binary_join(lists, pa.scalar(" ", pa.large_string())), pa.array(targets)


def _write_lines(path: Path, header: str | None, blocks: Any) -> None:
    """Write columns with tabs between them; every block is a tuple of columns of the same length."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        if header is not None:
            file.write(header + "\n")
        for columns in blocks:
            texts = [column.cast(pa.large_string()).fill_null("") for column in columns]
            lines = pc.binary_join_element_wise(*texts, pa.scalar("\t", pa.large_string()))
            for first in range(0, len(lines), 1 << 20):
                file.write("".join(f"{line}\n" for line in lines.slice(first, 1 << 20).to_pylist()))
