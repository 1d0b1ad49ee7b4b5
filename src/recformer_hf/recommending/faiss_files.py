"""The files of a saved faiss index: checked whole before faiss reads them.

faiss trusts what it reads: numbers of neighbours that point outside of the file are followed into other memory, and
inverted lists may name another file. So the layout of each kind is read here first, and every number that faiss will
follow is compared with the number of items. A kind has one layout; whatever differs is not an index of this package.
"""

from __future__ import annotations

import os
import zlib
from typing import Any

import numpy as np

FOURCC = {"flat": b"IxFI", "hnsw": b"IHNf", "ivfpq": b"IwPQ"}
"""The first four bytes of the file of each kind."""


MOST_EFFORT = 1 << 20
"""The highest setting of an index that is read: faiss takes memory for as many items."""


def file_checksum(path: str | os.PathLike[str]) -> int:
    """CRC-32 of a file."""
    value = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return value


def check_index_file(path: str | os.PathLike[str], kind: str, num_items: int, width: int) -> None:
    """Checks that a file holds an index of this kind over rows 0 to `num_items - 1`, each once.

    Args:
        path: the file that `faiss.write_index` wrote.
        kind: `"flat"`, `"hnsw"` or `"ivfpq"`.
        num_items, width: shape of the item vectors.

    Raises:
        ValueError: if it does not; the message says what differs.
    """
    layout = _Layout(path)
    try:
        {"flat": _flat, "hnsw": _hnsw, "ivfpq": _ivfpq}[kind](layout, num_items, width)
        layout.expect("bytes at the end", len(layout.data) - layout.place, 0)
    except _Difference as error:
        raise ValueError(f"{path} is not an {kind} index of {num_items:,} items of width {width}: {error}.") from None


class _Difference(Exception):
    pass


class _Layout:
    """Reads a file from its beginning to its end."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.data = np.memmap(path, np.uint8, "r") if os.path.getsize(path) else np.zeros(0, np.uint8)
        self.place = 0

    def array(self, dtype: str, count: int) -> np.ndarray:
        length = np.dtype(dtype).itemsize * count
        if not 0 <= length <= len(self.data) - self.place:
            raise _Difference(f"it ends before {count:,} numbers at byte {self.place:,}")
        found = np.frombuffer(self.data, dtype, count, self.place)
        self.place += length
        return found

    def number(self, dtype: str) -> int:
        return int(self.array(dtype, 1)[0])

    def counted(self, dtype: str, name: str, expected: int | None = None) -> np.ndarray:
        """An array whose length stands before it."""
        count = self.number("<u8")
        if expected is not None:
            self.expect(f"the number of {name}", count, expected)
        return self.array(dtype, count)

    def expect(self, name: str, found: Any, expected: Any) -> None:
        if found != expected:
            raise _Difference(f"{name} is {found}, expected {expected}")

    def require(self, holds: Any, problem: str) -> None:
        if not bool(holds):
            raise _Difference(problem)

    def finite(self, numbers: np.ndarray) -> None:
        """Not-a-number compares with nothing: faiss may search a graph of such distances without end."""
        self.require(np.isfinite(numbers).all(), "it has NaN or infinite numbers")

    def header(self, fourcc: bytes, num_items: int, width: int) -> None:
        self.expect("its type", self.array("S4", 1)[0], fourcc)
        self.expect("the width", self.number("<i4"), width)
        self.expect("the number of vectors", self.number("<i8"), num_items)
        self.array("<i8", 2)  # unused
        self.expect("whether it is trained", self.number("u1"), 1)
        self.expect("the metric (inner product)", self.number("<i4"), 0)


def _flat(layout: _Layout, num_items: int, width: int) -> None:
    layout.header(FOURCC["flat"], num_items, width)
    layout.finite(layout.counted("<f4", "components", num_items * width))


def _hnsw(layout: _Layout, num_items: int, width: int) -> None:
    layout.header(FOURCC["hnsw"], num_items, width)
    layout.counted("<f8", "levels' probabilities")
    ends = layout.counted("<i4", "levels").astype(np.int64)  # where each level's neighbours end among a vector's
    levels = layout.counted("<i4", "vectors' levels", num_items).astype(np.int64)
    starts = layout.counted("<u8", "vectors' neighbours", num_items + 1).astype(np.int64)
    neighbours = layout.counted("<i4", "neighbours")
    entry, highest = layout.number("<i4"), layout.number("<i4")
    efforts = layout.array("<i4", 2)  # of building and of search
    layout.number("<i4")  # unused
    layout.require(((efforts >= 1) & (efforts <= MOST_EFFORT)).all(), "an effort is out of range")
    layout.require(len(ends) and ends[0] == 0 and (np.diff(ends) >= 0).all(), "its levels are out of order")
    layout.require(((levels >= 1) & (levels < len(ends))).all(), "a vector is on a level that does not exist")
    layout.require(starts[0] == 0 and starts[-1] == len(neighbours), "its neighbours are not those of its vectors")
    layout.require((np.diff(starts) == ends[levels]).all(), "a vector has more or fewer neighbours than its level")
    layout.require(((neighbours >= -1) & (neighbours < num_items)).all(), "a neighbour is a row that does not exist")
    layout.require(0 <= entry < num_items, "the entry is a row that does not exist")
    layout.expect("the highest level", highest, int(levels[entry]) - 1)
    layout.expect("the highest level", highest, int(levels.max()) - 1)
    for level in range(1, highest + 1):
        mine = starts[np.flatnonzero(levels > level)]
        found = neighbours[mine[:, None] + np.arange(ends[level], ends[level + 1])]
        layout.require((levels[found[found >= 0]] > level).all(), "a neighbour is on a lower level")
    _flat(layout, num_items, width)


def _ivfpq(layout: _Layout, num_items: int, width: int) -> None:
    layout.header(FOURCC["ivfpq"], num_items, width)
    lists, probes = layout.number("<u8"), layout.number("<u8")
    layout.require(1 <= lists <= num_items and 1 <= probes <= lists, "it has too many lists or probes")
    _flat(layout, lists, width)
    layout.expect("the kind of its direct map", layout.number("u1"), 0)
    layout.counted("<i8", "entries of its direct map", 0)
    layout.number("u1")  # whether codes are of residuals
    code_size = layout.number("<u8")
    layout.expect("the width of its codes", layout.number("<u8"), width)
    subvectors, bits = layout.number("<u8"), layout.number("<u8")
    layout.require(1 <= bits <= 24 and 1 <= subvectors <= width and width % subvectors == 0, "its codes have no size")
    layout.expect("the bytes of a code", code_size, (subvectors * bits + 7) // 8)
    layout.finite(layout.counted("<f4", "centroids", width * 2**bits))
    layout.expect("the type of its lists", layout.array("S4", 1)[0], b"ilar")  # other types may name files
    layout.expect("the number of lists", layout.number("<u8"), lists)
    layout.expect("the bytes of a code in the lists", layout.number("<u8"), code_size)
    sizes = _sizes(layout, lists)
    layout.expect("the items of all lists", int(sizes.sum()), num_items)
    seen = np.zeros(num_items, bool)
    for size in sizes.tolist():
        layout.array("u1", size * code_size)
        rows = layout.array("<i8", size)
        layout.require(((rows >= 0) & (rows < num_items)).all(), "a list has a row that does not exist")
        seen[rows] = True
    layout.require(seen.all(), "its lists repeat some rows and lack others")


def _sizes(layout: _Layout, lists: int) -> np.ndarray:
    """The number of items in each inverted list."""
    kind = layout.array("S4", 1)[0]
    if kind == b"full":
        sizes = layout.counted("<u8", "sizes of lists", lists)
    else:  # only the lists that have items
        layout.expect("the form of its lists", kind, b"sprs")
        pairs = layout.counted("<u8", "sizes of lists").reshape(-1, 2)
        layout.require((pairs[:, 0] < lists).all(), "it has sizes of lists that do not exist")
        layout.require((np.diff(pairs[:, 0].astype(np.int64)) > 0).all(), "its lists are out of order")
        sizes = pairs[:, 1]
    layout.require((sizes < 2**40).all(), "its lists are too large")
    return sizes.astype(np.int64)


__all__ = ["FOURCC", "MOST_EFFORT", "check_index_file", "file_checksum"]
