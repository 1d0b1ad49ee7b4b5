"""Text neighbours: for every item the items with the most similar text, by TF-IDF or by vectors of an encoder."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from .sparse_rows import SparseRows, offsets_of
from .text_index import TextIndex

COSINES_AT_ONCE = 1 << 24
"""Cosines that are in memory together, 4 bytes each."""


def text_neighbours(
    texts: TextIndex | Tensor | np.ndarray,
    rows: np.ndarray | None = None,
    *,
    top_k: int = 100,
    temperature: float = 0.1,
) -> SparseRows:
    """Each item's nearest other items, weighed by a softmax of their cosines over the temperature.

    `value[i, j] = exp((cos(i, j) - 1) / temperature) / (sum of the same over the top_k nearest j)`. An item is never
    its own neighbour. With TF-IDF only neighbours that share a word are stored; if an item has fewer than `top_k` of
    these, others take part in the sum with a cosine of 0. So a weak similarity stays a small value.

    Args:
        texts: TF-IDF vectors, or float `[num_items, width]` vectors of an encoder, of any length. Those of a GPU are
            compared there. An item without words, or with a vector of zeros, has no neighbours.
        rows (int `[n]`): the items whose neighbours are wanted; all, if None.
        top_k: how many neighbours an item has, at least 1.
        temperature: above 0; the lower, the more the nearest neighbour has of the sum.

    Returns:
        `[num_items or n, num_items]`.

    Raises:
        ValueError: for a `top_k` or a temperature outside these ranges, or vectors that are not a finite matrix.
        IndexError: for a row that is no item.
    """
    if top_k < 1:
        raise ValueError(f"top_k is {top_k}; expected at least 1.")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; expected more than 0.")
    index = texts if isinstance(texts, TextIndex) else unit_vectors(texts)
    num_items = len(index.offsets) - 1 if isinstance(index, TextIndex) else len(index)
    wanted = np.arange(num_items) if rows is None else np.asarray(rows, np.int64)
    if len(wanted) and (wanted.min() < 0 or wanted.max() >= num_items):
        raise IndexError(f"Neighbours of the items {wanted.min()} to {wanted.max()}; there are {num_items:,} items.")
    top_k = min(top_k, num_items - 1)
    if top_k < 1:
        return SparseRows.empty(len(wanted), num_items)
    blocks = _word_cosines(index, wanted) if isinstance(index, TextIndex) else _vector_cosines(index, wanted)
    return SparseRows.joined((_nearest(*block, top_k, temperature) for block in blocks), num_items)


def updated_neighbours(
    neighbours: SparseRows,
    texts: TextIndex | Tensor | np.ndarray,
    rows: np.ndarray,
    *,
    top_k: int = 100,
    temperature: float = 0.1,
) -> SparseRows:
    """The neighbours after the texts of some items changed, or items were added, without comparing all with all.

    The rows of these items are found anew, and those of the items that are near to them, or had them as neighbours. All
    other rows stay.

    Args:
        neighbours: `[num_items, num_items]` before; added items are empty in it ([`SparseRows.extended`]).
        texts: of all items, after the change.
        rows (int `[n]`): the items that changed or are new, each at most once.
        top_k, temperature: those of `neighbours`.

    Raises:
        ValueError: if there are texts of more or fewer items.
    """
    rows = np.asarray(rows, np.int64)
    own = text_neighbours(texts, rows, top_k=top_k, temperature=temperature)
    if own.num_columns != len(neighbours):
        raise ValueError(f"{own.num_columns:,} texts or vectors for {len(neighbours):,} items; expected as many.")
    owners = np.repeat(np.arange(len(neighbours)), np.diff(neighbours.offsets))
    pointing = owners[np.isin(neighbours.columns, rows)]
    near = np.setdiff1d(np.concatenate([own.columns, pointing]), rows)
    found = text_neighbours(texts, near, top_k=top_k, temperature=temperature)
    return neighbours.replaced(np.concatenate([rows, near]), SparseRows.joined([own, found], len(neighbours)))


def whitened(vectors: Tensor | np.ndarray, power: float = 0.25) -> Tensor:
    """Vectors whose directions vary less unequally; vectors of a text encoder have a few directions that all share.

    `(x - mean) U diag((eigenvalue + eps) ** -power) U^T` of the covariance `U diag(eigenvalue) U^T`, where eps is a
    hundredth of the mean eigenvalue.

    Args:
        vectors: float `[num_items, width]`.
        power: 0 only centres the vectors, 0.5 makes all directions vary equally.

    Returns:
        float32 `[num_items, width]`, of unit length.

    Raises:
        ValueError: if the vectors are not a finite matrix.
    """
    matrix = _checked(vectors)
    if len(matrix) == 0:
        return matrix
    centred = matrix.double() - matrix.double().mean(0)
    eigenvalues, directions = torch.linalg.eigh(centred.T @ centred / len(centred))
    scales = (eigenvalues.clamp_min(0) + 0.01 * eigenvalues.mean().clamp_min(1e-12)) ** -power
    return unit_vectors((centred @ (directions * scales) @ directions.T).float())


def unit_vectors(vectors: Tensor | np.ndarray) -> Tensor:
    """float32 vectors of unit length; a vector of zeros stays one.

    Raises:
        ValueError: if they are not a finite matrix.
    """
    return normalize(_checked(vectors), dim=1)


def _checked(vectors: Tensor | np.ndarray) -> Tensor:
    matrix = vectors.detach() if isinstance(vectors, Tensor) else torch.from_numpy(np.array(vectors, np.float32))
    if matrix.ndim != 2 or not bool(matrix.isfinite().all()):
        raise ValueError(f"vectors must be [num_items, width] and finite, got the shape {list(matrix.shape)}.")
    return matrix.float()


def _vector_cosines(vectors: Tensor, rows: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Blocks of rows with their cosines, `[block, num_items]`; -inf where there is no neighbour."""
    known = vectors.any(1)
    for block in _blocks(rows, len(vectors)):
        places = torch.from_numpy(block).to(vectors.device)
        cosines = (vectors[places] @ vectors.T).masked_fill_(~known, -torch.inf)
        cosines[~known[places]] = -torch.inf
        yield block, cosines


def _word_cosines(index: TextIndex, rows: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
    """The same for TF-IDF vectors.

    A block is laid out with a row for each word and a column for each of its items. The sum of the rows of an item's
    words, times their weights, is then its cosine with the whole block. Frequent words are in most texts, and so this
    is several times faster than a walk through the items of each word.
    """
    num_items, num_words = len(index.offsets) - 1, len(index.word_offsets) - 1
    words, offsets = torch.from_numpy(index.words.astype(np.int64)), torch.from_numpy(index.offsets[:-1])
    weights = torch.from_numpy(index.weights)
    for block in _blocks(rows, max(num_items, num_words)):
        layout = torch.zeros(num_words, len(block))
        for place, item in enumerate(block.tolist()):
            own = slice(int(index.offsets[item]), int(index.offsets[item + 1]))
            layout[words[own], place] = weights[own]
        cosines = embedding_bag(words, layout, offsets, mode="sum", per_sample_weights=weights).T.contiguous()
        # A cosine of 0 is that of texts without a common word.
        yield block, cosines.masked_fill_(cosines <= 0, -torch.inf)


def _blocks(rows: np.ndarray, width: int) -> Iterator[np.ndarray]:
    size = min(512, max(16, COSINES_AT_ONCE // max(1, width)))
    for first in range(0, len(rows), size):
        yield rows[first : first + size]


def _nearest(rows: np.ndarray, cosines: Tensor, top_k: int, temperature: float) -> SparseRows:
    """The neighbours of a block of items; changes `cosines`."""
    num_items = cosines.shape[1]
    cosines[torch.arange(len(rows)), torch.from_numpy(rows).to(cosines.device)] = -torch.inf
    best = cosines.topk(top_k, dim=1, sorted=False)
    found = best.values > -torch.inf
    # What is missing counts as a cosine of 0, see `text_neighbours`.
    weights = torch.softmax(best.values.masked_fill(~found, 0.0) / temperature, 1)
    columns, order = best.indices.sort(1)
    weights, found = weights.gather(1, order).cpu(), found.gather(1, order).cpu()
    offsets = offsets_of(found.sum(1).numpy())
    return SparseRows(offsets, columns.cpu()[found].int().numpy(), weights[found].numpy(), num_items)


__all__ = ["text_neighbours", "unit_vectors", "updated_neighbours", "whitened"]
