"""A dataset of three users whose every number can be counted by hand, and its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.sequences import Sequences
from recformer_hf.items.catalog import ItemCatalog

INFO = {"name": "three shoppers", "source": "invented", "protocol": "leave-one-out", "seed": 7, "license": "cc0-1.0"}
FILES = ["README.md", "items.parquet", "sequential_dataset.json", "test.parquet", "train.parquet", "validation.parquet"]


def catalog(count: int = 6) -> ItemCatalog:
    return ItemCatalog.from_items({f"i{row}": {"title": f"item {row}", "brand": "Kraft"} for row in range(count)})


def small_dataset(**info: Any) -> SequentialDataset:
    """Three users, leave-one-out. Item 5 is nobody's, item 4 only a test target; ada's own comes twice."""
    users = ["ada", "bob", "cyd"]
    return SequentialDataset(
        catalog(),
        Sequences.from_lists(users, [[0, 1], [2, 0, 1], [3]]),
        Sequences.from_lists(users, [[0, 1], [2, 0, 1], [3]], [2, 3, 0]),
        Sequences.from_lists(users, [[0, 1, 2], [2, 0, 1, 3], [3, 0]], [1, 4, 2]),
        {**INFO, **info},
    )


def rewritten(path: Path, **columns: Any) -> None:
    """The parquet file with other columns; `None` drops one."""
    table = pq.read_table(path).to_pydict() | columns
    pq.write_table(pa.table({name: column for name, column in table.items() if column is not None}), path)
