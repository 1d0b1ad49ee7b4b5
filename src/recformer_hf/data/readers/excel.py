"""Reads Excel workbooks (.xlsx): the first sheet, whose first row has the names of the columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..polars_engine import pl
from .cells import CellError, ids_as_text, item_text
from .columns import attribute_columns, check_columns
from .header import columns_of_text, nameless_columns, nameless_error
from .required import Required
from .source import DamagedFileError, DataError, FileReport

# The row of the first values; the header is row 1.
_FIRST_ROW = 2


def read_excel_interactions(
    path: Path, columns: Sequence[str], required: Required, report: FileReport
) -> Iterator[pl.DataFrame]:
    """Some columns of a workbook's first sheet: ids as text, times as `parse_timestamps` returns them.

    Args:
        path: an existing file.
        columns: the columns to read.
        required: a row that lacks one of these values is damaged. It also says which columns hold times and ratings;
            all others hold ids.
        report: filled in while reading; rows have Excel's numbers.

    Yields:
        a frame of the undamaged rows.

    Raises:
        MissingColumnsError: if the sheet lacks a column.
        DamagedFileError: if the file is not a workbook.
        DataError: if the extra for Excel is not installed, or the sheet names a column twice.
    """
    sheet, names = _first_sheet(path)
    check_columns(path.name, names, columns, "Name the columns.")
    others = (required.timestamp, required.rating)
    ids = [name for name in dict.fromkeys(columns) if name not in others]
    found = sheet.select(list(dict.fromkeys(columns))).with_columns(ids_as_text(sheet[name]) for name in ids)
    yield _usable_rows(found, sheet, required, report)


def read_excel_items(
    path: Path, id_column: str, attributes: Sequence[str] | None, report: FileReport
) -> tuple[pl.DataFrame, list[str]]:
    """A table of items as text, from a workbook's first sheet.

    Args:
        path: an existing file.
        id_column: the column of ids. A row without an id is damaged.
        attributes: the columns of the items' text; if None, all but the id that have a name.
        report: filled in; rows have Excel's numbers.

    Returns:
        (the table, its attributes as `attribute_text` writes them, stripped, but whole numbers as their digits, because
        Excel does not tell 5 from 5.0; the names of its attributes).

    Raises:
        as `read_excel_interactions`.
    """
    sheet, names = _first_sheet(path)
    wanted = attribute_columns(columns_of_text(names), id_column, attributes)
    check_columns(path.name, names, [id_column, *wanted], "Name the columns.")
    for position in nameless_columns(names) if attributes is None else []:
        filled = sheet.to_series(position).is_not_null().arg_true()
        if len(filled):
            row = int(filled[0])
            raise nameless_error(path.name, position, row + _FIRST_ROW, str(sheet.to_series(position)[row]))
    texts = [_texts(sheet[name], path) for name in wanted if name != id_column]
    found = pl.DataFrame([ids_as_text(sheet[id_column]), *texts])
    return _usable_rows(found, sheet, Required([id_column]), report), wanted


def _first_sheet(path: Path) -> tuple[pl.DataFrame, list[str]]:
    """The first sheet with the types that its columns have throughout, and the names of its columns."""
    if find_spec("fastexcel") is None:
        raise DataError(
            f"{path.name} is an Excel workbook, which needs fastexcel. Install it with "
            "`pip install 'recformer-hf[data,excel]'`, or save the sheet as CSV."
        )
    try:
        header = _read(path, has_header=False, read_options={"n_rows": 1, "dtypes": "string"})
        sheet = _read(path, infer_schema_length=None)
    except Exception as error:  # fastexcel's errors have no base class but this
        raise DamagedFileError(f"{path} is not a readable Excel workbook ({str(error).splitlines()[0]}).") from error
    names = [str(name or "").strip() for name in header.row(0)] if header.height else []
    # The names as the sheet has them; fastexcel renames those that repeat.
    sheet.columns = [
        name if name and names.count(name) == 1 else f"\0{position}" for position, name in enumerate(names)
    ]
    return sheet, names


def _read(path: Path, **options: Any) -> pl.DataFrame:
    kept: dict[str, Any] = {"drop_empty_rows": False, "drop_empty_cols": False, "raise_if_empty": False}
    sheet: pl.DataFrame = pl.read_excel(path, engine="calamine", **kept, **options)
    return sheet


def _texts(values: pl.Series, path: Path) -> pl.Series:
    texts: list[str | None] = []
    for row, value in enumerate(values.to_list(), start=_FIRST_ROW):
        try:
            texts.append(item_text(int(value) if isinstance(value, float) and value.is_integer() else value))
        except CellError as error:
            raise DataError(f"{path.name}, row {row}, column {values.name!r}: {error}.") from error
    return pl.Series(values.name, texts, dtype=pl.String)


def _usable_rows(found: pl.DataFrame, sheet: pl.DataFrame, required: Required, report: FileReport) -> pl.DataFrame:
    blank = sheet.select(pl.all_horizontal(pl.all().is_null())).to_series()
    rows, unusable = required.check(found)
    problems, more = required.problems(found, unusable & ~blank)
    report.add_lines(int((~blank).sum()), [(row + _FIRST_ROW, problem) for row, problem in problems], more)
    return rows.filter(~unusable)
