"""Tables of other libraries (pandas, polars, `datasets`, duckdb) as Arrow tables with a catalogue's names and texts.

None of these libraries is imported here: whoever passes a table has imported its library.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from .arrow import CHUNK_ROWS, Array, Dataset, PandasFrame, PolarsFrame, Table, arrow
from .batches import column_choice
from .columns import texts_of
from .ids import strings, texts_of_ids

FrameKind = Literal["pandas", "polars", "arrow", "dataset"]

_KINDS: dict[tuple[str, str], FrameKind] = {
    ("pandas", "DataFrame"): "pandas",
    ("polars", "DataFrame"): "polars",
    ("polars", "LazyFrame"): "polars",
    ("datasets", "Dataset"): "dataset",
    ("datasets", "DatasetDict"): "dataset",
    ("datasets", "IterableDataset"): "dataset",
    ("datasets", "IterableDatasetDict"): "dataset",
    ("pyarrow", "Table"): "arrow",
    ("pyarrow", "RecordBatch"): "arrow",
    ("pyarrow", "RecordBatchReader"): "arrow",
}


def frame_kind(source: object) -> FrameKind | None:
    """Which `from_*` method reads this table; None if it is no table."""
    for base in type(source).__mro__:
        kind = _KINDS.get((base.__module__.partition(".")[0], base.__name__))
        if kind is not None:
            return kind
        if base.__name__ == "Series":  # one column
            return None
    # The interface of Arrow for all other libraries: duckdb's relations, ibis, ...
    streams = any(hasattr(source, name) for name in ("__arrow_c_stream__", "to_arrow_table", "fetch_arrow_table"))
    return "arrow" if streams and not isinstance(source, type) else None


def arrow_table(source: object) -> Table:
    """A `pyarrow.Table` of a table, record batch, reader, duckdb relation, or of anything else that streams Arrow.

    Raises:
        TypeError: if it is none of these.
    """
    pa = arrow()
    if isinstance(source, pa.Table):
        return source
    if isinstance(source, pa.RecordBatch):
        return pa.Table.from_batches([source])
    if isinstance(source, pa.RecordBatchReader):
        return source.read_all()
    for method in ("to_arrow_table", "fetch_arrow_table"):
        if hasattr(source, method):
            return arrow_table(getattr(source, method)())
    try:
        return pa.RecordBatchReader.from_stream(source).read_all()
    except (pa.ArrowException, TypeError) as error:
        raise TypeError(
            f"from_arrow takes a pyarrow.Table, RecordBatch or RecordBatchReader, got a {type(source).__name__}. "
            "Rows are read by from_rows, a mapping of id to attributes by from_items."
        ) from error


def pandas_table(frame: PandasFrame, id_column: str, attributes: Sequence[str] | None) -> Table:
    """The wanted columns of a pandas frame, those of Python objects as text, value by value.

    Raises:
        TypeError: if a value cannot become text.
        ValueError: if the frame lacks a column, or has one twice.
    """
    columns, counting = pandas_series(frame)
    left_out = set() if attributes is not None else counting - {id_column}
    chosen = column_choice([name for name, _ in columns if name not in left_out], id_column, attributes)
    series = dict(reversed(columns))
    arrays = {name: _pandas_column(series[name], name) for name in chosen if name != id_column}
    return arrow().table({id_column: _pandas_column(series[id_column], id_column, is_id=True), **arrays})


def pandas_series(frame: PandasFrame) -> tuple[list[tuple[str, Any]], set[str]]:
    """The columns of a pandas frame, and which of them only count its rows.

    A level of the index with a name is a column like any other, as in a parquet file of the frame, and stands behind
    the others; a column of the same name comes before it. A `RangeIndex` with a name, which parquet files do not hold
    as a column, only counts the rows: whoever reads all columns leaves it out.

    Returns:
        ((name, `pandas.Series`) of every column, in order; the names of columns that only count).

    Raises:
        TypeError: if a column's name is neither text nor a whole number.
    """
    columns = [(_column_name(name), frame.iloc[:, place]) for place, name in enumerate(frame.columns)]
    names = {name for name, _ in columns}
    counting = set()
    for level, label in enumerate(frame.index.names):
        if label is None or _column_name(label) in names:
            continue
        values = frame.index.get_level_values(level)
        columns.append((_column_name(label), values.to_series(index=range(len(values)))))
        if type(frame.index).__name__ == "RangeIndex":
            counting.add(_column_name(label))
    return columns, counting


def _column_name(name: object) -> str:
    if isinstance(name, (str, int)):
        return str(name)
    raise TypeError(f"A column of the frame is called {name!r}, a {type(name).__name__}. Rename it to a text.")


def _pandas_column(series: Any, name: str, is_id: bool = False) -> Array:
    pa = arrow()
    # Arrow would give Python objects of mixed types one type, such as floats for 1 and 2.5.
    if series.dtype != object:
        try:
            return pa.Array.from_pandas(series)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):  # such as a category of mixed types
            pass
    return _by_value(list(series), name, str(series.dtype), is_id)


def _by_value(values: Sequence[object], name: str, kind: str, is_id: bool) -> Array:
    if not is_id:
        return texts_of(values, f"The column {name!r} ({kind})")
    try:
        return texts_of_ids(values)
    except TypeError as error:
        raise TypeError(f"The column {name!r} ({kind}): {error}") from None


def polars_table(frame: PolarsFrame, id_column: str, attributes: Sequence[str] | None) -> Table:
    """The wanted columns of a polars frame, lazy or not.

    Raises:
        TypeError: if a value cannot become text.
        ValueError: if the frame lacks a column.
    """
    names = frame.collect_schema().names()
    chosen = dict.fromkeys([id_column, *column_choice(names, id_column, attributes)])
    frame = frame.select(list(chosen))
    frame = frame.collect() if hasattr(frame, "collect") else frame
    return arrow().table({name: _polars_column(frame[name], name, name == id_column) for name in chosen})


def _polars_column(series: Any, name: str, is_id: bool) -> Array:
    values = polars_values(series)
    return _by_value(values, name, str(series.dtype), is_id) if isinstance(values, list) else values


def polars_values(series: Any) -> Array | list[Any]:
    """A column of polars as an Arrow array, or as Python values if Arrow has no type for it."""
    # Python objects and whole numbers of 128 bits have none; lists may hold them.
    has_type = not any(kind in str(series.dtype) for kind in ("Object", "Int128"))
    return series.to_arrow() if has_type else series.to_list()


def only_split(dataset: Dataset) -> Dataset:
    """The dataset, or the only one of a dictionary of splits.

    Raises:
        TypeError: if it is neither.
        ValueError: if there are several splits.
    """
    if frame_kind(dataset) == "dataset" and isinstance(dataset, Mapping):
        if len(dataset) != 1:
            raise ValueError(
                f"A catalogue is created from one split, got {len(dataset)}: {list(dataset)}. "
                "Pass one: ItemCatalog.from_dataset(dataset['name of the split'])."
            )
        (dataset,) = dataset.values()
    if frame_kind(dataset) != "dataset":
        raise TypeError(
            f"from_dataset takes a datasets.Dataset, got a {type(dataset).__name__}. Frames are read by from_pandas "
            "and from_polars, tables by from_arrow, rows by from_rows."
        )
    return dataset


def dataset_tables(dataset: Dataset, id_column: str, attributes: Sequence[str] | None) -> Iterator[Table]:
    """Arrow tables of a dataset's wanted columns; a `ClassLabel` is its name.

    Args:
        dataset: `datasets.Dataset`, or a stream (`IterableDataset`) whose features are known.

    Raises:
        TypeError: if a column holds images or other media.
        ValueError: if the dataset lacks a column.
    """
    features = dataset.features
    chosen = list(dict.fromkeys([id_column, *column_choice(list(features), id_column, attributes)]))
    for name in chosen:
        _refuse_media(features[name], name)
    # with_format is needed because the rows of dataset.data ignore select(), filter() and shuffle().
    formatted = dataset.select_columns(chosen).with_format("arrow")
    for table in formatted.iter(CHUNK_ROWS):
        yield arrow().table({name: _named(table[name].combine_chunks(), features[name], name) for name in chosen})


def _inner(feature: Any) -> list[Any]:
    """The features inside a feature: of a list, a struct, or none."""
    if isinstance(feature, dict):
        return list(feature.values())
    if isinstance(feature, (list, tuple)):
        return list(feature)
    return [feature.feature] if hasattr(feature, "feature") else []


def _refuse_media(feature: Any, name: str) -> None:
    kind = type(feature).__name__
    if not isinstance(feature, dict) and hasattr(feature, "decode_example") and kind != "Json":
        raise TypeError(
            f"The column {name!r} has the feature {kind}, which is no text. Leave it out with attributes=[...]."
        )
    for inner in _inner(feature):
        _refuse_media(inner, name)


def _has_labels(feature: Any) -> bool:
    return hasattr(feature, "int2str") or any(_has_labels(inner) for inner in _inner(feature))


def _named(column: Array, feature: Any, name: str) -> Array:
    """The column with names instead of the numbers of its labels; missing lists are empty."""
    pa = arrow()
    if not _has_labels(feature):
        return column
    if hasattr(feature, "int2str"):
        return _label_names(column, feature.names, name)
    if isinstance(feature, dict):
        fields = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
        inner = [_named(field, feature[key], name) for key, field in fields.items()]
        return pa.StructArray.from_arrays(inner, names=list(fields))
    counts = arrow("pyarrow.compute").list_value_length(column).fill_null(0).to_pylist()
    offsets = [0]
    for count in counts:
        offsets.append(offsets[-1] + count)
    return pa.LargeListArray.from_arrays(
        pa.array(offsets, pa.int64()), _named(column.flatten(), _inner(feature)[0], name)
    )


def _label_names(codes: Array, names: Sequence[str], column: str) -> Array:
    texts: list[str | None] = []
    for code in codes.to_pylist():
        if code is not None and code >= len(names):
            raise ValueError(f"The column {column!r} has the label {code}; its ClassLabel has {len(names)} names.")
        texts.append(None if code is None or code < 0 else names[code])  # -1 stands for no label
    return strings(texts)


__all__ = [
    "FrameKind",
    "arrow_table",
    "dataset_tables",
    "frame_kind",
    "only_split",
    "pandas_series",
    "pandas_table",
    "polars_table",
]
