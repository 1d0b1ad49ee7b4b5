"""The `from_*` methods of an `ItemCatalog`: every source that a catalogue is created from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from transformers.utils import logging

from .arrow import ITEM_ID, Dataset, OnInvalid, PandasFrame, PolarsFrame, RecordBatch, Table, arrow, checked, schema
from .batches import batches_from_pairs, batches_from_table, pairs_from_rows
from .csv_files import csv_table
from .frames import FrameKind, arrow_table, dataset_tables, frame_kind, only_split, pandas_table, polars_table
from .source_files import JsonLines, json_content, named_errors, parquet_table
from .source_shapes import refuse_no_rows, refuse_row_numbers_as_ids, refuse_transposed, refuse_transposed_file
from .text import shown

if TYPE_CHECKING:
    from typing import Unpack  # Python 3.11

Catalog = TypeVar("Catalog", bound="FromSources")


class SourceOptions(TypedDict, total=False):
    """The options of [`~ItemCatalog.from_rows`] and [`~ItemCatalog.from_arrow`]."""

    id_column: str
    attributes: Sequence[str] | None
    on_invalid: OnInvalid


class FromSources:
    """Base class of `ItemCatalog`, which documents `on_invalid`.

    Args:
        table: `pyarrow.Table` with a catalogue's columns, checked.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    @classmethod
    def from_items(
        cls: type[Catalog],
        items: Mapping[Any, Mapping[str, object]],
        *,
        attributes: Sequence[str] | None = None,
        on_invalid: OnInvalid = "raise",
    ) -> Catalog:
        """A catalogue from a mapping of item id to attributes.

        Args:
            items: `{id: {key: value, ...}, ...}`, in the catalogue's order.
            attributes: keys to keep, in this order for every item. `None` keeps all in the item's own order.
            on_invalid: `"raise"` or `"drop"`, see the class.

        Raises:
            ValueError: if items are invalid. The message counts them and shows the first few.
            TypeError: if an id, key or value cannot become text. The message names the item.
        """
        if frame_kind(items) is not None:
            return cls._from_frame(items, attributes=attributes, on_invalid=on_invalid)
        if not isinstance(items, Mapping):
            raise TypeError(f"from_items takes a mapping of id to attributes, got {shown(items)}. Rows: from_rows.")
        refuse_transposed(items)
        return cls._from_batches(batches_from_pairs(items.items(), attributes), on_invalid, len(items))

    @classmethod
    def from_rows(
        cls: type[Catalog],
        rows: Iterable[Mapping[str, object]],
        *,
        id_column: str = ITEM_ID,
        attributes: Sequence[str] | None = None,
        on_invalid: OnInvalid = "raise",
    ) -> Catalog:
        """A catalogue from rows that hold the id, under `id_column`, and the attributes. The rows are read once.

        Other arguments and errors as in [`~ItemCatalog.from_items`].
        """
        if frame_kind(rows) is not None:
            return cls._from_frame(rows, id_column=id_column, attributes=attributes, on_invalid=on_invalid)
        refuse_no_rows(rows)
        pairs = pairs_from_rows(rows, id_column, attributes)
        total = len(rows) if isinstance(rows, Sequence) else None
        return cls._from_batches(batches_from_pairs(pairs, attributes, "Row {}".format), on_invalid, total)

    @classmethod
    def from_arrow(
        cls: type[Catalog],
        table: Table,
        *,
        id_column: str = ITEM_ID,
        attributes: Sequence[str] | None = None,
        on_invalid: OnInvalid = "raise",
    ) -> Catalog:
        """A catalogue from a `pyarrow.Table` with a column for the id and one per attribute. Missing values are left
        out.

        A table with a catalogue's own two columns (`catalog.table`, `load_dataset(folder, "items")`) gives the same
        catalogue again.

        Args:
            table: `pyarrow.Table`, `RecordBatch`, `RecordBatchReader`, a duckdb relation, or any other object that
                streams Arrow.
            id_column: column of the ids: text, or whole numbers (also as floats).
            attributes: columns to take, in this order for every item. `None` takes all but the id's, and but an
                index without a name that pandas wrote into a file.
            on_invalid: `"raise"` or `"drop"`, see the class.

        Raises:
            ValueError: if the table lacks a column or has one twice, or items are invalid.
            TypeError: if a column's values cannot become text. The message names the column and the row.
        """
        if frame_kind(table) not in ("arrow", None):
            return cls._from_frame(table, id_column=id_column, attributes=attributes, on_invalid=on_invalid)
        table = arrow_table(table)
        return cls._from_batches(batches_from_table(table, id_column, attributes), on_invalid, len(table))

    @classmethod
    def from_dataset(
        cls: type[Catalog],
        dataset: Dataset,
        *,
        id_column: str = ITEM_ID,
        attributes: Sequence[str] | None = None,
        on_invalid: OnInvalid = "raise",
    ) -> Catalog:
        """A catalogue from a `datasets.Dataset`, a stream of one, or a `DatasetDict` of one split.

        Other arguments as in [`~ItemCatalog.from_arrow`]. A `ClassLabel` is its name.

        Raises:
            ValueError: if there are several splits, or as in [`~ItemCatalog.from_arrow`].
            TypeError: if a column holds images or other media, or as in [`~ItemCatalog.from_arrow`].
        """
        dataset = only_split(dataset)
        if dataset.features is None:  # a stream after map() does not know its columns
            return cls.from_rows(iter(dataset), id_column=id_column, attributes=attributes, on_invalid=on_invalid)
        tables = list(dataset_tables(dataset, id_column, attributes))
        if not tables:
            return cls._from_batches(iter(()), on_invalid, 0)
        table = arrow().concat_tables(tables)
        return cls.from_arrow(table, id_column=id_column, attributes=attributes, on_invalid=on_invalid)

    @classmethod
    def from_polars(
        cls: type[Catalog],
        frame: PolarsFrame,
        *,
        id_column: str = ITEM_ID,
        attributes: Sequence[str] | None = None,
        on_invalid: OnInvalid = "raise",
    ) -> Catalog:
        """A catalogue from a polars frame, lazy or not; arguments as in [`~ItemCatalog.from_arrow`]."""
        _expect(frame, "polars")
        table = polars_table(frame, id_column, attributes)
        return cls.from_arrow(table, id_column=id_column, attributes=attributes, on_invalid=on_invalid)

    @classmethod
    def from_pandas(
        cls: type[Catalog],
        frame: PandasFrame,
        *,
        id_column: str = ITEM_ID,
        attributes: Sequence[str] | None = None,
        on_invalid: OnInvalid = "raise",
    ) -> Catalog:
        """A catalogue from a pandas frame whose `id_column` is a column or the index.

        Arguments as in [`~ItemCatalog.from_arrow`]. Columns of Python objects are taken value by value. Levels of the
        index that have a name are columns like any other, behind those of the frame; a `RangeIndex` only if
        `attributes` or `id_column` names it.
        """
        _expect(frame, "pandas")
        table = pandas_table(frame, id_column, attributes)
        return cls.from_arrow(table, id_column=id_column, attributes=attributes, on_invalid=on_invalid)

    @classmethod
    def _from_frame(cls: type[Catalog], frame: Any, **options: Any) -> Catalog:
        """The catalogue of a table that was passed to the method of another kind of source."""
        kind = frame_kind(frame)
        if kind == "pandas":
            return cls.from_pandas(frame, **options)
        if kind == "polars":
            return cls.from_polars(frame, **options)
        return cls.from_dataset(frame, **options) if kind == "dataset" else cls.from_arrow(frame, **options)

    @classmethod
    def from_json(
        cls: type[Catalog],
        path: str | os.PathLike[str],
        *,
        id_column: str = ITEM_ID,
        attributes: Sequence[str] | None = None,
        on_invalid: OnInvalid = "raise",
        encoding: str | None = None,
    ) -> Catalog:
        """A catalogue from a JSON file: an object of id to attributes, or a list of rows.

        Args:
            path: the file, plain or compressed (gzip, bzip2, xz, zstd, zip).
            encoding: the file's encoding. `None`: UTF-8, or what a byte-order mark says.
            id_column, attributes, on_invalid: as in [`~ItemCatalog.from_rows`]; `id_column` applies to rows only.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError, TypeError: if the file does not hold such JSON. The message names the file.
        """
        with named_errors(path):
            content = json_content(path, encoding)
            if isinstance(content, dict):
                refuse_transposed_file(content, id_column)
                refuse_row_numbers_as_ids(content, id_column)
                return cls.from_items(content, attributes=attributes, on_invalid=on_invalid)
            if content and isinstance(content[0], tuple):  # an object that has an id twice
                return cls._from_batches(batches_from_pairs(content, attributes), on_invalid, len(content))
            return cls.from_rows(content, id_column=id_column, attributes=attributes, on_invalid=on_invalid)

    @classmethod
    def from_jsonl(
        cls: type[Catalog],
        path: str | os.PathLike[str],
        *,
        id_column: str = ITEM_ID,
        attributes: Sequence[str] | None = None,
        on_invalid: OnInvalid = "raise",
        encoding: str | None = None,
    ) -> Catalog:
        """A catalogue from JSON lines, one row per line; arguments as in [`~ItemCatalog.from_json`].

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError, TypeError: if a line is not JSON, or no item. The message names file and line.
        """
        lines = JsonLines(path, encoding)
        pairs = pairs_from_rows(lines, id_column, attributes, lines.place)
        with named_errors(path):
            return cls._from_batches(batches_from_pairs(pairs, attributes, lines.place), on_invalid, None)

    @classmethod
    def from_csv(
        cls: type[Catalog],
        path: str | os.PathLike[str],
        *,
        delimiter: str = ",",
        encoding: str | None = None,
        **options: Unpack[SourceOptions],
    ) -> Catalog:
        """A catalogue from a CSV file with a header line. Every cell is text without white space around it, an empty
        one is missing. The index that pandas writes as a first column without a name is no attribute.

        Args:
            path: the file, plain or compressed (gzip, bzip2, xz, zstd, zip).
            delimiter: `"\\t"` for TSV, in which a quote counts only if it encloses a whole cell.
            encoding: the file's encoding. `None`: UTF-8, or what a byte-order mark says.
            **options: as in [`~ItemCatalog.from_arrow`].

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file cannot be read as such. The message names file, line and column.
        """
        with named_errors(path):
            return cls.from_arrow(csv_table(path, delimiter, encoding), **options)

    @classmethod
    def from_parquet(cls: type[Catalog], path: str | os.PathLike[str], **options: Unpack[SourceOptions]) -> Catalog:
        """A catalogue from a parquet file; options as in [`~ItemCatalog.from_arrow`].

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError, TypeError: if the file is not parquet, or holds no items. The message names the file.
        """
        with named_errors(path):
            return cls.from_arrow(parquet_table(path), **options)

    @classmethod
    def _from_batches(
        cls: type[Catalog], batches: Iterator[RecordBatch], on_invalid: OnInvalid, total: int | None
    ) -> Catalog:
        collected = []
        # A catalogue that is read in three seconds needs no progress bar.
        with logging.tqdm(total=total, desc="Items", unit=" items", delay=3) as progress:
            for batch in batches:
                collected.append(batch)
                progress.update(len(batch))
        return cls(checked(arrow().Table.from_batches(collected, schema=schema()), on_invalid))


def _expect(frame: object, kind: FrameKind) -> None:
    if frame_kind(frame) != kind:
        raise TypeError(
            f"from_{kind} takes a DataFrame of {kind}, got {type(frame).__module__.partition('.')[0]}'s "
            f"{type(frame).__name__}. Others: from_arrow, from_dataset, from_pandas, from_polars, from_rows."
        )
