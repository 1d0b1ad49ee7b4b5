"""Reads parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pa_parquet

from ..polars_engine import pl
from .arrow_tables import Row, interactions_of, items_of, rows_of
from .files import open_parquet
from .required import Required
from .source import DamagedFileError, FileReport


@dataclass(frozen=True)
class ParquetTable:
    """A parquet file as an `ArrowTable`."""

    path: Path
    file: pa_parquet.ParquetFile

    @classmethod
    def open(cls, path: Path) -> ParquetTable:
        """Open an existing file.

        Raises:
            DamagedFileError: if it is not a parquet file.
        """
        return cls(path, open_parquet(path))

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def schema(self) -> pa.Schema:
        return self.file.schema_arrow

    def batches(self, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        """These columns in order, in batches of at most so many rows."""
        num_rows = 0
        try:
            for batch in self.file.iter_batches(batch_size=rows, columns=columns):
                num_rows += batch.num_rows
                # A column "a" also selects one called "a.b".
                yield batch.select(columns)
            # A column chunk that is shorter than it says ends the file without an error.
            if num_rows != self.file.metadata.num_rows:
                raise ValueError(f"{num_rows:,} rows instead of {self.file.metadata.num_rows:,}")
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DamagedFileError(
                f"{self.path} cannot be read to its end ({error}). Write or download it again."
            ) from error


def read_parquet_interactions(
    path: Path, columns: Sequence[str], required: Required, report: FileReport, *, check_times: bool = True
) -> Iterator[pl.DataFrame]:
    """Some columns of a parquet file, see `interactions_of`.

    Raises:
        DamagedFileError: if the file is not a parquet file.
    """
    return interactions_of(ParquetTable.open(path), columns, required, report, check_times=check_times)


def read_parquet_rows(
    path: Path,
    keys: Sequence[str],
    needed: Sequence[str],
    convert: Callable[[dict[str, object]], Row],
    report: FileReport,
) -> Iterator[list[Row]]:
    """Rows of a parquet file, see `rows_of`.

    Raises:
        DamagedFileError: if the file is not a parquet file.
    """
    return rows_of(ParquetTable.open(path), keys, needed, convert, report)


def read_parquet_items(
    path: Path, id_column: str, attributes: Sequence[str] | None, report: FileReport
) -> tuple[pl.DataFrame, list[str]]:
    """A table of items as text, see `items_of`.

    Raises:
        DamagedFileError: if the file is not a parquet file.
    """
    return items_of(ParquetTable.open(path), id_column, attributes, report)
