"""Reads Excel workbooks (.xlsx): the first sheet, whose first row has the names of the columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ..polars_engine import pl
from .cells import CellError, id_text, ids_as_text, item_text, time_text
from .columns import attribute_columns, check_columns
from .header import columns_of_text, nameless_columns, nameless_error
from .required import Required
from .source import DamagedFileError, DataError, FileReport

# The row of the first values; the header is row 1.
_FIRST_ROW = 2
# What a column of text shows for its cells that are no text.
_OTHER_THAN_TEXT = r"^(true|false|-?[0-9.]+|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?)$"
_TRUTH_VALUE = "^(true|false)$"
_KINDS = ("boolean", "float", "datetime")
# Excel counts days from here, so that a time of day is a moment of the day before, and a duration one of this month.
_DAY_ZERO, _FIRST_DAY, _END_OF_DURATIONS = datetime(1899, 12, 31), datetime(1900, 1, 1), datetime(1900, 2, 1)


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
    sheet = _first_sheet(path)
    check_columns(path.name, sheet.names, columns, "Name the columns.")
    found = []
    for name in dict.fromkeys(columns):
        if name == required.timestamp:
            found.append(_times(sheet, name, required.format))
        else:
            found.append(sheet.cells[name] if name == required.rating else _ids(sheet, name))
    yield _usable_rows(pl.DataFrame(found), sheet, required, report)


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
    sheet = _first_sheet(path)
    wanted = attribute_columns(columns_of_text(sheet.names), id_column, attributes)
    check_columns(path.name, sheet.names, [id_column, *wanted], "Name the columns.")
    for position in nameless_columns(sheet.names) if attributes is None else []:
        cells = sheet.cells.to_series(position)
        filled = cells.is_not_null().arg_true()
        if len(filled):
            raise nameless_error(path.name, position, int(filled[0]) + _FIRST_ROW, str(cells[int(filled[0])]))
    texts = [_texts(sheet, name, path) for name in wanted if name != id_column]
    found = pl.DataFrame([_ids(sheet, id_column), *texts])
    return _usable_rows(found, sheet, Required([id_column]), report), wanted


class _Sheet(NamedTuple):
    """The first sheet of a workbook."""

    names: list[str]
    """The names of its columns."""
    cells: pl.DataFrame
    """The cells; a column has the type of all its cells, or is text."""
    mixed: dict[str, list[Any]]
    """The columns with cells of several types, as Python values."""

    def values(self, name: str) -> list[Any]:
        """The cells of a column as Python values."""
        return self.mixed[name] if name in self.mixed else self.cells[name].to_list()


def _first_sheet(path: Path) -> _Sheet:
    """The first sheet with the types that its columns have throughout."""
    if find_spec("fastexcel") is None:
        raise DataError(
            f"{path.name} is an Excel workbook, which needs fastexcel. Install it with "
            "`pip install 'recformer-hf[data,excel]'`, or save the sheet as CSV."
        )
    try:
        header = _read(path, has_header=False, read_options={"n_rows": 1, "dtypes": "string"})
        shown = _read(path, read_options={"dtypes": "string"})
        try:
            cells = _read(path, infer_schema_length=None)
        except Exception:  # durations beside other types
            cells = shown
        positions = [
            position
            for position, kind in enumerate(cells.dtypes)
            if (kind == pl.String or kind.is_numeric())
            and shown.to_series(position).str.contains(_OTHER_THAN_TEXT if kind == pl.String else _TRUTH_VALUE).any()
        ]
        kinds = [_read(path, read_options={"dtypes": kind}) for kind in _KINDS] if positions else []
    except Exception as error:  # fastexcel's errors have no base class but this
        raise DamagedFileError(f"{path} is not a readable Excel workbook ({str(error).splitlines()[0]}).") from error
    names = [str(name or "").strip() for name in header.row(0)] if header.height else []
    # The names as the sheet has them; fastexcel renames those that repeat.
    cells.columns = [
        name if name and names.count(name) == 1 else f"\0{position}" for position, name in enumerate(names)
    ]
    mixed = {}
    for position in positions:
        columns = [frame.to_series(position).to_list() for frame in (shown, *kinds)]
        mixed[cells.columns[position]] = [_cell(*values) for values in zip(*columns, strict=True)]
    return _Sheet(names, cells, mixed)


def _cell(shown: str | None, truth: bool | None, number: float | None, moment: datetime | None) -> object:
    """A cell as a Python value, by what it is when all cells are read as one type.

    Args:
        shown: as text.
        truth: as a truth value; a text or a date has none, a number has.
        number: as a number; a text that shows a number has one.
        moment: as a datetime; a text has none.
    """
    if truth is not None:
        return truth if shown in ("true", "false") else number
    if number is not None or moment is None:
        return shown
    return moment - _DAY_ZERO if _FIRST_DAY <= moment < _END_OF_DURATIONS else moment


def _read(path: Path, **options: Any) -> pl.DataFrame:
    kept: dict[str, Any] = {"drop_empty_rows": False, "drop_empty_cols": False, "raise_if_empty": False}
    sheet: pl.DataFrame = pl.read_excel(path, engine="calamine", **kept, **options)
    return sheet


def _texts(sheet: _Sheet, name: str, path: Path) -> pl.Series:
    texts: list[str | None] = []
    for row, value in enumerate(sheet.values(name), start=_FIRST_ROW):
        try:
            texts.append(item_text(_as_shown(value)))
        except CellError as error:
            raise DataError(f"{path.name}, row {row}, column {name!r}: {error}.") from error
    return pl.Series(name, texts, dtype=pl.String)


def _as_shown(value: object) -> object:
    """A cell as Excel shows it: whole numbers by their digits, a time of day without the day."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < 2**53 else float(value)  # the other digits are not in the file
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    return value.time() if isinstance(value, datetime) and value.replace(tzinfo=None) < _FIRST_DAY else value


def _ids(sheet: _Sheet, name: str) -> pl.Series:
    cells = sheet.cells[name]
    if name in sheet.mixed:
        return pl.Series(name, [_id(value) for value in sheet.mixed[name]], dtype=pl.String)
    return ids_as_text(cells.cast(pl.Float64), "Excel's numbers") if cells.dtype.is_numeric() else ids_as_text(cells)


def _id(value: object) -> str | None:
    try:
        return id_text(value)
    except CellError:
        return None


def _times(sheet: _Sheet, name: str, format: str | None) -> pl.Series:
    """A column of times. Beside text, which Excel did not recognise as dates, dates are written in the same way."""
    if name not in sheet.mixed:
        return sheet.cells[name]
    return pl.Series(name, [_time(value, format) for value in sheet.mixed[name]], dtype=pl.String)


def _time(value: object, format: str | None) -> str | None:
    if isinstance(value, datetime):
        return value.strftime(format) if format else str(value)
    try:
        return time_text(value)
    except CellError:
        return str(value)


def _usable_rows(found: pl.DataFrame, sheet: _Sheet, required: Required, report: FileReport) -> pl.DataFrame:
    blank = sheet.cells.select(pl.all_horizontal(pl.all().is_null())).to_series()
    rows, unusable = required.check(found)
    problems, more = required.problems(found, unusable & ~blank)
    report.add_lines(int((~blank).sum()), [(row + _FIRST_ROW, problem) for row, problem in problems], more)
    return rows.filter(~unusable)
