"""One log and its items as tables of every kind that is read in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datasets
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa

Rows = list[dict[str, Any]]

DAY = 86_400


def log_rows(users: int = 8, steps: int = 5) -> Rows:
    """Interactions with whole numbers as ids."""
    return [
        {
            "who": 100 + user,
            "what": (user * 3 + step) % 7,
            "when": DAY * (1000 + 3 * step) + user,
            "stars": 1 + step % 5,
        }
        for user in range(users)
        for step in range(steps)
    ]


def item_rows() -> Rows:
    return [
        {"what": row, "name": f"Item {row}", "price": 1.5 * row if row != 3 else None, "tags": ["a", f"t{row}"]}
        for row in range(7)
    ]


def _pandas_with_ids_in_the_index(rows: Rows) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    return frame.set_index(["who", "what"] if "who" in frame else "what")


def _duckdb(rows: Rows) -> Any:
    table = pa.Table.from_pylist(rows)
    return duckdb.from_arrow(table)


KINDS: dict[str, Callable[[Rows], Any]] = {
    "rows": list,
    "generator": iter,
    "columns": lambda rows: {name: [row[name] for row in rows] for name in rows[0]},
    "pandas": pd.DataFrame,
    "pandas, objects": lambda rows: pd.DataFrame(rows, dtype=object),
    "pandas, ids in the index": _pandas_with_ids_in_the_index,
    "pandas, other index": lambda rows: pd.DataFrame(rows, index=pd.Index(range(5, 5 + len(rows)), name="row")),
    "polars": pl.DataFrame,
    "polars, lazy": pl.LazyFrame,
    "pyarrow": pa.Table.from_pylist,
    "pyarrow, from pandas": lambda rows: pa.Table.from_pandas(
        pd.DataFrame(rows).set_index("what"), preserve_index=True
    ),
    "pyarrow, reader": lambda rows: pa.Table.from_pylist(rows).to_reader(),
    "datasets": datasets.Dataset.from_list,
    "datasets, stream": lambda rows: datasets.Dataset.from_list(rows).to_iterable_dataset(),
    "datasets, unknown features": lambda rows: (
        datasets.Dataset.from_list(rows).to_iterable_dataset().map(lambda row: row)
    ),
    "datasets, one split": lambda rows: datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)}),
    "duckdb": _duckdb,
}
"""Name of a kind -> the rows as a table of this kind."""
