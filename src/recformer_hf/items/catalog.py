"""`ItemCatalog`: item ids and their text attributes, in the order of the model's item embeddings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from huggingface_hub import CommitInfo

from .arrow import (
    ATTRIBUTES,
    CHUNK_ROWS,
    ITEM_ID,
    Array,
    Table,
    arrow,
    attribute_dicts,
    attribute_names,
    check_schema,
)
from .catalog_files import CATALOG_FILE, RepoType, download_file, map_table, saved_file, upload_table, write_table
from .catalog_fingerprint import fingerprint
from .ids import ItemIds, UnknownItemError, checked_row
from .sources import FromSources


class ItemCatalog(FromSources):
    """Ordered item ids with their text attributes, kept in Arrow.

    Row `i` of a catalogue names row `i` of a model's item embeddings. An item is a dictionary of texts, its keys in
    the order in which the tokenizer reads them. Numbers are stored as `str` writes them and lists joined by spaces;
    `None` and NaN leave the key out, while an empty text stays. Ids are text; whole numbers become their digits.

    Attributes are stored as a list of (key, value) pairs per item. `datasets` and the Hub's viewer show it as
    `[{"key": "title", "value": "..."}, ...]`.

    A saved catalogue is one uncompressed Arrow IPC file, `item_catalog.arrow`. Opening it maps it into memory, and all
    processes of a machine share one copy. (Parquet would be smaller, but every process would have to decode it into
    memory of its own.) The first opening in a process reads the file once to check it, a million items in about 0.2
    seconds; later ones take milliseconds. Replace such a file, as `save_pretrained` does, instead of writing into it:
    the operating system ends a process that reads a mapped file behind its new end.

    A catalogue never changes; [`~ItemCatalog.add`] and [`~ItemCatalog.select`] return new ones. Create one with a
    `from_*` method. All of these take `on_invalid`, which says what happens to repeated ids, empty ids and items
    without text: `"raise"` raises an error, `"drop"` drops them and logs how many there were (of several items with the
    same id, the first stays).

    Args:
        table: `pyarrow.Table` with `item_id` (string) and `attributes` (list of key string, value string), checked.

    Raises:
        ValueError: if the table has other columns.

    Example:

    ```python
    >>> catalog = ItemCatalog.from_items({"B01": {"title": "Hammer", "brand": "Stanley"}, "B02": {"title": "Nails"}})
    >>> catalog[0]
    {'title': 'Hammer', 'brand': 'Stanley'}
    >>> catalog.row_of("B02"), catalog.ids[1]
    (1, 'B02')
    ```
    """

    def __init__(self, table: Table) -> None:
        check_schema(table.schema)
        super().__init__(table)
        self._mapped_file: _MappedFile | None = None

    # Reading

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, row: int) -> dict[str, str]: ...

    @overload
    def __getitem__(self, row: slice) -> list[dict[str, str]]: ...

    def __getitem__(self, row: int | slice) -> dict[str, str] | list[dict[str, str]]:
        """Attributes of one row, or of a slice of rows (much faster than one by one).

        Raises:
            IndexError: if there is no such row.
        """
        if not isinstance(row, slice):
            pairs = self._table[ATTRIBUTES][checked_row(row, len(self))].as_py()
            return {pair["key"]: pair["value"] for pair in pairs}
        start, stop, step = row.indices(len(self))
        if step != 1:
            return [self[i] for i in range(start, stop, step)]
        batches = self._table.slice(start, max(0, stop - start)).to_batches()
        return [item for batch in batches for item in attribute_dicts(batch)]

    def __iter__(self) -> Iterator[dict[str, str]]:
        """The items' attributes in order of rows, read chunk by chunk."""
        for batch in self._table.to_batches(max_chunksize=CHUNK_ROWS):
            yield from attribute_dicts(batch)

    @property
    def table(self) -> Table:
        """The `pyarrow.Table` underneath: `item_id` string, `attributes` list of (key, value)."""
        return self._table

    @cached_property
    def ids(self) -> ItemIds:
        """The ids in order of rows: a read-only sequence of `str` over the Arrow column."""
        return ItemIds(self._table[ITEM_ID])

    @cached_property
    def attribute_names(self) -> list[str]:
        """Every key that any item has, in order of first appearance."""
        return attribute_names(self._table)

    def id_of(self, row: int) -> str:
        """Id of a row (negative rows count from the end).

        Raises:
            IndexError: if there is no such row.
        """
        return self.ids[row]

    def __contains__(self, item_id: object) -> bool:
        """Whether the catalogue has an item with this id."""
        return item_id in self.ids

    def row_of(self, item_id: str | int) -> int:
        """Row of an id.

        Raises:
            UnknownItemError: a `KeyError` that shows the closest ids.
        """
        return self.ids.row_of(item_id)

    def rows_of(self, item_ids: Iterable[object] | Array, *, unknown: Literal["raise", "mark"] = "raise") -> np.ndarray:
        """Rows of many ids at once.

        Args:
            item_ids: list, numpy array, Arrow array (the fastest) or any other sequence of ids.
            unknown: `"raise"`, or `"mark"` to give -1 to ids that the catalogue does not have.

        Returns:
            int32 `[len(item_ids)]`.

        Raises:
            UnknownItemError: if `unknown="raise"` and ids are unknown. The message counts them.
        """
        return self.ids.rows_of(item_ids, unknown)

    # Comparing and changing

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that depend on ids, texts and their order, and on nothing else.

        Computed on first use and never stored, so that an edited file cannot keep the old one.
        """
        return fingerprint(self._table)

    def __eq__(self, other: object) -> bool:
        """Whether both have the same ids, keys and texts in the same order."""
        return isinstance(other, ItemCatalog) and bool(self._table.equals(other._table))

    __hash__ = None  # type: ignore[assignment]

    def add(
        self, items: ItemCatalog | Mapping[Any, Mapping[str, object]] | Iterable[Mapping[str, object]]
    ) -> ItemCatalog:
        """A new catalogue with more items appended. Present items keep their rows.

        Args:
            items: another catalogue (created by any `from_*`), a mapping of id to attributes, or rows with an
                `item_id`.

        Raises:
            ValueError: if the catalogue already has one of the ids, or the new items are invalid.
        """
        more = as_catalog(items)
        shared = np.flatnonzero(self.rows_of(more.table[ITEM_ID], unknown="mark") >= 0)
        if shared.size:
            raise ValueError(
                f"{shared.size:,} of {len(more):,} new ids are in the catalogue already, the first: "
                f"{[more.id_of(row) for row in shared[:5].tolist()]}. Remove them: an item's row never changes."
            )
        return ItemCatalog(arrow().concat_tables([self._table, more._table]))

    def select(self, rows: Sequence[int] | np.ndarray) -> ItemCatalog:
        """A new catalogue of these rows, in this order.

        Args:
            rows: int sequence or array, each in [0, items) and at most once.

        Raises:
            IndexError: if there is no such row.
            TypeError: if the rows are not whole numbers.
            ValueError: if a row occurs twice.
        """
        given = np.asarray(rows).reshape(-1)
        if given.size and given.dtype.kind not in "iu":
            raise TypeError(
                f"Rows are whole numbers, got {given.dtype}, the first {given[0]!r}. The rows of a mask: "
                "np.flatnonzero(mask); of ids: catalog.rows_of(ids)."
            )
        wanted = given.astype(np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"Rows {wanted.min()} to {wanted.max()} requested of a catalogue of {len(self):,} items.")
        mask = np.zeros(len(self), dtype=bool)
        mask[wanted] = True
        if mask.sum() != wanted.size:
            raise ValueError(f"{wanted.size - mask.sum():,} of {wanted.size:,} rows occur twice; an item has one row.")
        # filter works chunk by chunk, take would gather all text in one array. It cannot reorder, though.
        if (np.diff(wanted) > 0).all():
            return ItemCatalog(self._table.filter(arrow().array(mask)))
        return ItemCatalog(self._table.take(arrow().array(wanted)))

    # Disk and Hub

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Writes `item_catalog.arrow` into a folder (a model's, or one of its own), whole or not at all.

        Returns:
            The file's path.

        Raises:
            NotADirectoryError: if `folder` is a file.
        """
        path = Path(folder) / CATALOG_FILE
        if path.parent.exists() and not path.parent.is_dir():
            raise NotADirectoryError(f"{path.parent} is a file; name a folder to save the catalogue in.")
        self.write_file(path)
        return path

    def write_file(self, path: str | os.PathLike[str]) -> None:
        """Writes the catalogue's Arrow file under any name; [`~ItemCatalog.open_file`] opens it."""
        write_table(self._table, path)

    @classmethod
    def open_file(cls, path: str | os.PathLike[str], *, checked_before: bool = False) -> ItemCatalog:
        """Maps a file that [`~ItemCatalog.write_file`] wrote into memory, and checks it (see the class).

        Args:
            path: the file.
            checked_before: whether another process that is trusted has checked the file.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is not a catalogue's, or is damaged.
        """
        # The path is made absolute because a worker may have another working directory. The status is read before the
        # file is mapped: if the file is replaced in between, a worker gets an error rather than the other file.
        try:
            path = Path(path).resolve()
            status = path.stat()
        except (OSError, RuntimeError) as error:  # links that lead to each other
            raise FileNotFoundError(f"No file {os.fspath(path)} ({error}).") from error
        catalog = cls(map_table(path, checked_before=checked_before))
        catalog._mapped_file = _MappedFile(str(path), status.st_size, status.st_mtime_ns)
        return catalog

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | os.PathLike[str],
        *,
        subfolder: str = "",
        repo_type: RepoType = "model",
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> ItemCatalog:
        """Opens a saved catalogue, memory-mapped.

        Args:
            name_or_folder: a folder that holds `item_catalog.arrow`, or a repository on the Hub.
            subfolder: folder inside it.
            repo_type: `"model"` (beside a model, or alone), or `"dataset"`.
            revision, token, cache_dir, force_download, local_files_only: as in `huggingface_hub.hf_hub_download`.

        Raises:
            FileNotFoundError: if there is no such file, folder or repository.
            ValueError: if the file is not a catalogue's, or is damaged.
        """
        if os.path.isdir(name_or_folder):
            return cls.open_file(saved_file(name_or_folder, subfolder))
        repo_id = os.fspath(name_or_folder)
        path = download_file(
            repo_id, subfolder, repo_type, revision, token, cache_dir, force_download, local_files_only
        )
        return cls.open_file(path)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        repo_type: RepoType = "model",
        private: bool | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        commit_message: str = "Upload item catalog",
        create_pr: bool = False,
    ) -> CommitInfo:
        """Uploads `item_catalog.arrow` to a repository on the Hub, which is created where needed. Its other files stay.

        Args:
            repo_id: `"name"` or `"organisation/name"`.
            repo_type, private, revision, token, commit_message, create_pr: as in `huggingface_hub.HfApi`.
        """
        return upload_table(self._table, repo_id, repo_type, private, revision, token, commit_message, create_pr)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles a memory-mapped catalogue as its path, any other with all of its text."""
        if self._mapped_file is not None:
            return _reopen, tuple(self._mapped_file)
        return ItemCatalog, (self._table,)

    def __repr__(self) -> str:
        names = self.attribute_names
        return f"ItemCatalog({len(self):,} items; {', '.join(names[:10])}{', ...' if len(names) > 10 else ''})"


def as_catalog(
    items: ItemCatalog | Mapping[Any, Mapping[str, object]] | Iterable[Mapping[str, object]],
) -> ItemCatalog:
    """The catalogue of items in any form that holds their ids.

    Args:
        items: a catalogue, a mapping of id to attributes, rows with an `item_id`, or a table of pandas, polars, pyarrow
            or `datasets` with such a column.

    Raises:
        TypeError, ValueError: as in [`~ItemCatalog.from_rows`].
    """
    if isinstance(items, ItemCatalog):
        return items
    return ItemCatalog.from_items(items) if isinstance(items, Mapping) else ItemCatalog.from_rows(items)


class _MappedFile(NamedTuple):
    path: str
    size: int
    modified: int


def _reopen(path: str, size: int, modified: int) -> ItemCatalog:
    catalog = ItemCatalog.open_file(path, checked_before=True)
    # A model's rows would silently get the texts of another catalogue.
    if catalog._mapped_file != (path, size, modified):
        raise RuntimeError(f"{path} was overwritten while this catalogue was in use; load it again.")
    return catalog


__all__ = ["CATALOG_FILE", "ItemCatalog", "UnknownItemError", "as_catalog"]
