"""Which items each user's target is ranked among: lists that the caller gives, and histories that are excluded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..data.arrays import slice_indices

if TYPE_CHECKING:
    from ..data.sequences import Sequences

CandidateLists: TypeAlias = np.ndarray | Tensor | Sequence[int] | Sequence[Sequence[int]]
"""Catalogue rows: int `[n]` for all users alike, int `[num_users, n]` padded with -1, or one list for each user."""


def padded_candidates(candidates: CandidateLists | None, num_users: int) -> np.ndarray | None:
    """Candidate lists as one array, int64 `[1, n]` or `[num_users, n]`, padded with -1.

    Raises:
        ValueError: if they have another shape, or are not rows of a catalogue.
    """
    if candidates is None:
        return None
    if isinstance(candidates, Tensor):
        candidates = candidates.cpu().numpy()
    if isinstance(candidates, (str, bytes, Mapping)) or not hasattr(candidates, "__getitem__"):
        raise TypeError(f"candidates are a {type(candidates).__name__}; expected lists or arrays of catalogue rows.")
    # numpy makes no array of lists that have different lengths, so they are padded first.
    if not isinstance(candidates, np.ndarray) and len(candidates) and np.ndim(candidates[0]) == 1:
        lists = [np.asarray(items) for items in candidates]
        lists = [items if items.size else items.astype(np.int64) for items in lists]  # numpy's default is float
        width = max(len(items) for items in lists)
        candidates = np.stack([np.pad(items, (0, width - len(items)), constant_values=-1) for items in lists])
    array = np.asarray(candidates)
    if array.ndim == 1:
        array = array[None]
    elif array.ndim != 2 or len(array) != num_users:
        raise ValueError(f"candidates have the shape {list(array.shape)}; expected [n] or [{num_users} users, n].")
    if array.dtype.kind not in "iu" or array.size == 0:
        found = f"are {array.dtype}" if array.size else "are empty"
        raise ValueError(f"candidates {found}; expected catalogue rows, such as catalog.rows_of(ids).")
    if array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"candidates hold {array.max()}, which is no row of a catalogue.")
    if array.min() < -1:
        raise ValueError(f"candidates hold {array.min()}; expected catalogue rows of at least 0, padded with -1.")
    return array.astype(np.int64)


def candidates_of(users: np.ndarray, candidates: np.ndarray | None) -> Tensor | None:
    """The [`padded_candidates`] of some users, int64 `[batch, n]`."""
    if candidates is None:
        return None
    if len(candidates) == 1:
        return torch.from_numpy(candidates).expand(len(users), -1)  # all rows share the memory of one
    return torch.from_numpy(candidates[users])


def history_pairs(split: Sequences, users: np.ndarray) -> tuple[Tensor, Tensor]:
    """The items in the histories of some users, as pairs: positions in `users` and items, int64 `[total]` each."""
    lengths = split.lengths[users]
    items = split.items[slice_indices(split.offsets[users], lengths)].astype(np.int64)
    return torch.from_numpy(np.repeat(np.arange(len(users)), lengths)), torch.from_numpy(items)


__all__ = ["CandidateLists", "candidates_of", "history_pairs", "padded_candidates"]
