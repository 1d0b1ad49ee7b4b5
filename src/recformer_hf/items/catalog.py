"""`ItemCatalog`: item ids and their text attributes, in the order of the model's item embeddings."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from huggingface_hub import CommitInfo, HfApi, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError
from transformers.utils import logging

from ..storage.atomic import atomic_file
from .arrow import (
    ATTRIBUTES,
    CHUNK_ROWS,
    ITEM_ID,
    OnInvalid,
    RecordBatch,
    Table,
    arrow,
    attribute_dicts,
    checked,
    describe,
    fingerprint,
    schema,
)
from .ids import ItemIds, UnknownItemError, checked_row
from .sources import (
    batches_from_pairs,
    batches_from_table,
    csv_table,
    json_content,
    json_lines,
    pairs_from_rows,
    parquet_table,
)

CATALOG_FILE = "item_catalog.arrow"
"""Name of a saved catalogue, beside a model's files or alone."""


class ItemCatalog:
    """Ordered item ids with their text attributes, kept in Arrow.

    Row `i` of a catalogue names row `i` of a model's item embeddings. An item is a dictionary of texts, its keys in
    the order that the tokenizer reads them; numbers are stored as `str` gives them, lists joined by spaces, and `None`
    or NaN leaves the key out (an empty text stays as it is). Ids are text; whole numbers are taken as their digits.

    Attributes are stored as a list of (key, value) pairs an item rather than one column a key: that keeps every item's
    own order of keys, tells a missing key from an empty value, and holds catalogues of many kinds of items without
    thousands of empty columns. `datasets` and the Hub's viewer show it as `[{"key": "title", "value": "..."}, ...]`.

    A saved catalogue is one uncompressed Arrow IPC file, `item_catalog.arrow`: opening it maps it into memory without
    reading it, so that a million items open in milliseconds and all processes of a machine share one copy. (Parquet
    would be smaller, but every process would have to decode it into memory of its own.)

    A catalogue never changes; [`~ItemCatalog.add`] and [`~ItemCatalog.select`] give new ones. Make one with a `from_*`
    method. All of them take `on_invalid`: repeated ids, empty ids and items without any text raise (`"raise"`), or are
    left out and counted in a log line (`"drop"`; of a repeated id the first stays).

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
        if table.schema != schema():
            raise ValueError(
                f"Not a catalogue's table: its columns are {describe(table.schema)}; expected {describe(schema())}. "
                "Use ItemCatalog.from_arrow or another from_* method."
            )
        self._table = table
        self._mapped_file: tuple[str, int, int] | None = None

    # Making one

    @classmethod
    def from_items(
        cls,
        items: Mapping[Any, Mapping[str, Any]],
        *,
        attributes: Sequence[str] | None = None,
        on_invalid: OnInvalid = "raise",
    ) -> ItemCatalog:
        """A catalogue from a mapping of item id to attributes.

        Args:
            items: `{id: {key: value, ...}, ...}`, in the catalogue's order.
            attributes: keys to keep, in this order for every item; `None` keeps each item's own.
            on_invalid: `"raise"` or `"drop"`, see the class.

        Raises:
            ValueError: for invalid items, counting them and showing the first few.
            TypeError: for an id, key or value that cannot be text, naming the item.
        """
        return cls._from_batches(batches_from_pairs(items.items(), attributes), on_invalid, len(items))

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[Mapping[str, Any]],
        *,
        id_column: str = ITEM_ID,
        attributes: Sequence[str] | None = None,
        on_invalid: OnInvalid = "raise",
    ) -> ItemCatalog:
        """A catalogue from rows that hold the id under `id_column` beside the attributes; read once, in chunks.

        The other arguments, and what is raised, are those of [`~ItemCatalog.from_items`].
        """
        total = len(rows) if isinstance(rows, Sequence) else None
        return cls._from_batches(batches_from_pairs(pairs_from_rows(rows, id_column), attributes), on_invalid, total)

    @classmethod
    def from_arrow(
        cls,
        table: Table,
        *,
        id_column: str = ITEM_ID,
        attributes: Sequence[str] | None = None,
        on_invalid: OnInvalid = "raise",
    ) -> ItemCatalog:
        """A catalogue from a `pyarrow.Table`: a column for the id, one an attribute, missing values left out.

        A table with a catalogue's own two columns (`catalog.table`, `load_dataset(folder, "items")`) gives that
        catalogue back.

        Args:
            table: `pyarrow.Table`.
            id_column: column of the ids, text or whole numbers.
            attributes: columns to take, in this order for every item; `None` takes all but the id's.
            on_invalid: `"raise"` or `"drop"`, see the class.

        Raises:
            ValueError: for columns that are not there, or invalid items (counted, the first few shown).
            TypeError: for a column whose values cannot be text.
        """
        return cls._from_batches(batches_from_table(table, id_column, attributes), on_invalid, len(table))

    @classmethod
    def from_dataset(cls, dataset: Any, **kwargs: Any) -> ItemCatalog:
        """A catalogue from a `datasets.Dataset`; `kwargs` as in [`~ItemCatalog.from_arrow`]."""
        return cls.from_arrow(dataset.with_format("arrow")[:], **kwargs)

    @classmethod
    def from_polars(cls, frame: Any, **kwargs: Any) -> ItemCatalog:
        """A catalogue from a polars frame, lazy or not; `kwargs` as in [`~ItemCatalog.from_arrow`]."""
        return cls.from_arrow((frame.collect() if hasattr(frame, "collect") else frame).to_arrow(), **kwargs)

    @classmethod
    def from_pandas(
        cls, frame: Any, *, id_column: str = ITEM_ID, attributes: Sequence[str] | None = None, **kwargs: Any
    ) -> ItemCatalog:
        """A catalogue from a pandas frame, the id a column or the index of that name.

        Arguments as in [`~ItemCatalog.from_arrow`]. Columns of mixed types are taken value by value.
        """
        pa = arrow()
        if id_column not in frame.columns and id_column in frame.index.names:
            frame = frame.reset_index(id_column)
        try:
            table = pa.Table.from_pandas(frame, preserve_index=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            rows = (dict(zip(frame.columns, row, strict=True)) for row in frame.itertuples(index=False, name=None))
            return cls.from_rows(rows, id_column=id_column, attributes=attributes, **kwargs)
        return cls.from_arrow(table, id_column=id_column, attributes=attributes, **kwargs)

    @classmethod
    def from_json(cls, path: str | os.PathLike[str], *, id_column: str = ITEM_ID, **kwargs: Any) -> ItemCatalog:
        """A catalogue from a JSON file (`.gz` too): an object of id to attributes, or a list of rows.

        Arguments as in [`~ItemCatalog.from_rows`]; `id_column` is for rows.

        Raises:
            ValueError: if the file is no such JSON.
        """
        content = json_content(path)
        if isinstance(content, dict):
            return cls.from_items(content, **kwargs)
        return cls.from_rows(content, id_column=id_column, **kwargs)

    @classmethod
    def from_jsonl(cls, path: str | os.PathLike[str], **kwargs: Any) -> ItemCatalog:
        """A catalogue from JSON lines (`.gz` too), a row a line; `kwargs` as in [`~ItemCatalog.from_rows`].

        Raises:
            ValueError: if a line is no JSON, with its number.
        """
        return cls.from_rows(json_lines(path), **kwargs)

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str], *, delimiter: str = ",", **kwargs: Any) -> ItemCatalog:
        """A catalogue from a CSV file with a header line (`.gz` too): every cell as text, an empty one missing.

        Args:
            path: the file.
            delimiter: `"\\t"` for TSV.
            kwargs: as in [`~ItemCatalog.from_arrow`].

        Raises:
            ValueError: if the file cannot be read so.
        """
        return cls.from_arrow(csv_table(path, delimiter), **kwargs)

    @classmethod
    def from_parquet(cls, path: str | os.PathLike[str], **kwargs: Any) -> ItemCatalog:
        """A catalogue from a parquet file; `kwargs` as in [`~ItemCatalog.from_arrow`].

        Raises:
            ValueError: if the file is no parquet.
        """
        return cls.from_arrow(parquet_table(path), **kwargs)

    @classmethod
    def _from_batches(cls, batches: Iterator[RecordBatch], on_invalid: OnInvalid, total: int | None) -> ItemCatalog:
        collected = []
        with logging.tqdm(total=total, desc="Items", unit=" items", delay=3) as progress:
            for batch in batches:
                collected.append(batch)
                progress.update(len(batch))
        return cls(checked(arrow().Table.from_batches(collected, schema=schema()), on_invalid))

    # Reading it

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
        unique = arrow("pyarrow.compute").unique
        keys = (unique(batch.column(1).flatten().field("key")).to_pylist() for batch in self._table.to_batches())
        return list(dict.fromkeys(key for names in keys for key in names))

    def id_of(self, row: int) -> str:
        """Id of a row (negative ones count from the end).

        Raises:
            IndexError: if there is no such row.
        """
        return self.ids[row]

    def __contains__(self, item_id: object) -> bool:
        """Whether an item of this id is in the catalogue."""
        return item_id in self.ids

    def row_of(self, item_id: str | int) -> int:
        """Row of an id.

        Raises:
            UnknownItemError: a `KeyError` that shows the closest ids.
        """
        return self.ids.row_of(item_id)

    def rows_of(self, item_ids: Any, *, unknown: Literal["raise", "mark"] = "raise") -> np.ndarray:
        """Rows of many ids at once.

        Args:
            item_ids: list, numpy array, Arrow array (the fastest) or any other sequence of ids.
            unknown: `"raise"`, or `"mark"` to give -1 for ids that are not in the catalogue.

        Returns:
            int32 `[len(item_ids)]`.

        Raises:
            UnknownItemError: if `unknown="raise"` and some are not in the catalogue; they are counted.
        """
        return self.ids.rows_of(item_ids, unknown)

    # Comparing and changing it

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that depend on ids, texts and their order, and on nothing else.

        Computed on first use, never read from a file, so that an edited file cannot carry an old one.
        """
        return fingerprint(self._table)

    def __eq__(self, other: object) -> bool:
        """Same ids, keys and texts in the same order."""
        return isinstance(other, ItemCatalog) and self._table.equals(other._table)

    __hash__ = None  # type: ignore[assignment]

    def add(self, items: ItemCatalog | Mapping[Any, Mapping[str, Any]]) -> ItemCatalog:
        """A new catalogue with more items behind the present ones, whose rows stay.

        Args:
            items: another catalogue (any `from_*` makes one), or a mapping of id to attributes.

        Raises:
            ValueError: if an id is in the catalogue already, or the new items are invalid.
        """
        more = items if isinstance(items, ItemCatalog) else ItemCatalog.from_items(items)
        shared = np.flatnonzero(self.rows_of(more.table[ITEM_ID], unknown="mark") >= 0)
        if shared.size:
            raise ValueError(
                f"{shared.size:,} of {len(more):,} new ids are in the catalogue already, the first: "
                f"{[more.id_of(row) for row in shared[:5].tolist()]}. Leave them out: an item's row never changes."
            )
        return ItemCatalog(arrow().concat_tables([self._table, more._table]))

    def select(self, rows: Any) -> ItemCatalog:
        """A new catalogue of these rows, in this order.

        Args:
            rows: int sequence or array, each in [0, items) and at most once.

        Raises:
            IndexError: for a row that is not there.
            ValueError: for a row that comes twice.
        """
        wanted = np.asarray(rows, dtype=np.int64).reshape(-1)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"Rows {wanted.min()} to {wanted.max()} asked of a catalogue of {len(self):,} items.")
        mask = np.zeros(len(self), dtype=bool)
        mask[wanted] = True
        if mask.sum() != wanted.size:
            raise ValueError(f"{wanted.size - mask.sum():,} of {wanted.size:,} rows come twice; an item has one row.")
        if (np.diff(wanted) > 0).all():  # goes chunk by chunk, where take gathers all text in one array
            return ItemCatalog(self._table.filter(arrow().array(mask)))
        return ItemCatalog(self._table.take(arrow().array(wanted)))

    # Disk and Hub

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write `item_catalog.arrow` into a folder (a model's, or one of its own), whole or not at all.

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
        """Write the catalogue's Arrow file under any name; [`~ItemCatalog.open_file`] opens it."""
        pa = arrow()
        with (
            atomic_file(path) as temporary,
            pa.OSFile(os.fspath(temporary), "wb") as sink,
            pa.ipc.new_file(sink, schema()) as writer,
        ):
            writer.write_table(self._table, max_chunksize=CHUNK_ROWS)

    @classmethod
    def open_file(cls, path: str | os.PathLike[str]) -> ItemCatalog:
        """Map a file of [`~ItemCatalog.write_file`] into memory.

        Raises:
            ValueError: if the file is not a catalogue's, or is damaged.
        """
        pa = arrow()
        path = Path(path).resolve()
        status = path.stat()
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            table.validate()
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{path} is not a whole Arrow file ({error}). Save or download it again.") from error
        catalog = cls(table)
        catalog._mapped_file = (str(path), status.st_size, status.st_mtime_ns)
        return catalog

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | os.PathLike[str],
        *,
        subfolder: str = "",
        repo_type: Literal["model", "dataset"] = "model",
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> ItemCatalog:
        """Open a saved catalogue, memory-mapped.

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
            path = Path(name_or_folder, subfolder, CATALOG_FILE)
            if not path.is_file():
                raise FileNotFoundError(
                    f"No {CATALOG_FILE} in {path.parent}. catalog.save_pretrained(folder) writes it."
                )
            return cls.open_file(path)
        try:
            downloaded: str = hf_hub_download(
                os.fspath(name_or_folder),
                CATALOG_FILE,
                subfolder=subfolder or None,
                repo_type=repo_type,
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
            )
        except (EntryNotFoundError, RepositoryNotFoundError, HFValidationError) as error:
            raise FileNotFoundError(
                f"{os.fspath(name_or_folder)!r} is neither a folder here nor a {repo_type} repository in reach that "
                f"has {'/'.join(filter(None, [subfolder, CATALOG_FILE]))}: {error}"
            ) from error
        catalog = cls.open_file(downloaded)
        catalog._table.validate(full=True)  # a stranger's offsets must not point outside of the file
        return catalog

    def push_to_hub(
        self,
        repo_id: str,
        *,
        repo_type: Literal["model", "dataset"] = "model",
        private: bool | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        commit_message: str = "Upload item catalog",
        create_pr: bool = False,
    ) -> CommitInfo:
        """Upload `item_catalog.arrow` to a repository on the Hub, made if it is not there; other files stay.

        Args:
            repo_id: `"name"` or `"organisation/name"`.
            repo_type, private, revision, token, commit_message, create_pr: as in `huggingface_hub.HfApi`.
        """
        api = HfApi(token=token)
        repo_id = api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True).repo_id
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                repo_type=repo_type,
                revision=revision,
                commit_message=commit_message,
                create_pr=create_pr,
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """A memory-mapped catalogue travels to a worker as its path; any other with all its text."""
        if self._mapped_file is not None:
            return _reopen, self._mapped_file
        return ItemCatalog, (self._table,)

    def __repr__(self) -> str:
        names = self.attribute_names
        return f"ItemCatalog({len(self):,} items; {', '.join(names[:10])}{', ...' if len(names) > 10 else ''})"


def _reopen(path: str, size: int, modified: int) -> ItemCatalog:
    catalog = ItemCatalog.open_file(path)
    if catalog._mapped_file != (path, size, modified):
        raise RuntimeError(f"{path} was written anew while this catalogue was in use; load it again.")
    return catalog


__all__ = ["CATALOG_FILE", "ItemCatalog", "UnknownItemError"]
