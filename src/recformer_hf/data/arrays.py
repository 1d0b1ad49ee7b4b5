"""Ragged arrays: rows of different lengths, end to end in one flat array, and the offsets at which they begin.

Sequences, tokenized items and packed batches all have this form. Working on it without a Python loop over rows or
tokens is what makes millions of users affordable.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


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
