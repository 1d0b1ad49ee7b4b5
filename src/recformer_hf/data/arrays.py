"""Ragged arrays: rows of different lengths, end to end in one flat array, and the offsets at which they begin.

Sequences, tokenized items and packed batches all have this form. Working on it without a Python loop over rows or
tokens is what makes millions of users affordable.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def offsets_from_lengths(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """Where rows of these lengths begin and end: row i is `[offsets[i], offsets[i + 1])`.

    Args:
        lengths (int `[n]`): lengths of the rows, not negative. For a bool array, `offsets[i]` counts the true values
            before i.

    Returns:
        int64 `[n + 1]`, from 0.
    """
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(np.asarray(lengths, dtype=np.int64), out=offsets[1:])
    return offsets


def slice_indices(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Indices that take several slices of a flat array at once.

    Args:
        starts (int `[n]`): where each slice begins. Zeros give the position of every element within its row.
        lengths (int `[n]`): elements of each slice, 0 allowed.

    Returns:
        int64 `[lengths.sum()]`: `starts[0]`, `starts[0] + 1`, ..., `starts[1]`, `starts[1] + 1`, ...
    """
    ends = np.cumsum(lengths)
    indices: np.ndarray = np.arange(ends[-1] if ends.size else 0) + np.repeat(starts - ends + lengths, lengths)
    return indices


def gather(arrays: Sequence[np.ndarray], which: np.ndarray, places: np.ndarray) -> np.ndarray:
    """One element from one of several arrays for every i: `arrays[which[i]][places[i]]`.

    Args:
        arrays: one for each dataset, of any lengths.
        which (int `[n]`): number of the array. It is not read if there is only one array.
        places (int `[n]`): index into that array.

    Returns:
        `[n]`, of the smallest type that holds the elements of all arrays.
    """
    if len(arrays) == 1:
        single: np.ndarray = arrays[0][places]
        return single
    gathered = np.empty(len(places), dtype=np.result_type(*arrays))
    for number in np.unique(which):
        chosen = which == number
        gathered[chosen] = arrays[number][places[chosen]]
    return gathered


def integers(values: ArrayLike, name: str) -> np.ndarray:
    """The values as an array of whole numbers. Nothing else is cast, because a cast would give other rows silently.

    Args:
        values (`[n]`): an array, a list, or anything that numpy makes an array of.
        name: what the values are, for the message.

    Returns:
        `[n]`, of the integer type that it came with.

    Raises:
        TypeError: for decimals, truth values, missing values, text, or another number of dimensions.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise TypeError(f"{name} cannot be one array ({error}); expected integers in one dimension.") from error
    if array.ndim == 1 and array.size == 0 and array.dtype.kind in "fiuO":  # numpy makes decimals of an empty list
        return array.astype(np.int64) if array.dtype.kind not in "iu" else array
    if array.ndim == 1 and array.dtype.kind in "iu":
        return array
    hint = ""
    if array.dtype.kind == "f":
        hint = " Decimals often come from missing values; remove those, then cast the rest to integers."
    elif array.dtype.kind == "b":
        hint = " Turn a mask into rows with np.flatnonzero(mask)."
    elif array.dtype.kind in "OUST":
        hint = " Look up ids with catalog.rows_of(ids), and remove missing values."
    raise TypeError(f"{name} is {array.dtype} of shape {array.shape}; expected integers in one dimension.{hint}")


def rows_within(values: ArrayLike, size: int, name: str, whole: str) -> np.ndarray:
    """Row numbers, each in [0, size).

    Args:
        values (int `[n]`): the rows.
        size: number of rows that there are.
        name: what asks for the rows, for the message.
        whole: what has them, such as "a split of 3 users".

    Returns:
        int64 `[n]`.

    Raises:
        TypeError: if they are not integers.
        IndexError: for a row outside. Negative rows do not count from the end.
    """
    rows = integers(values, name)
    if rows.size and (rows.min() < 0 or rows.max() >= size):
        raise IndexError(
            f"{name} {rows.min()} to {rows.max()} requested from {whole}; expected rows from 0 to {size - 1}."
        )
    return rows.astype(np.int64, copy=False)
