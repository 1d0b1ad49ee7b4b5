"""The items of histories as rows of the catalogue, and searches in which these items have scores of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..heads.history_items import PADDING, HistoryItems
from ..items.catalog import ItemCatalog
from .histories import rows_of_equal_text
from .protocols import RecommendingModel
from .search import ordered
from .vectors import EncodedHistories

Pairs = tuple[np.ndarray, np.ndarray]
"""(history, row) pairs, int64 `[num_pairs]` each."""

ROUGH_ROWS = 4096
"""Rows whose cosines with a block of histories exist at once."""

QUERY_BLOCK = 256
"""Histories that are scored together."""


def rows_seen(catalog: ItemCatalog | None, block: EncodedHistories, required: bool) -> list[list[list[int]]]:
    """For each item of each history, the rows of the catalogue that it stands for.

    An id stands for its row, a dictionary for every item with exactly these attributes: often for none.

    Args:
        catalog: where to look.
        block: the histories.
        required: whether to raise an error if there are dictionaries but no catalogue. If not, they stand for no item.

    Raises:
        ValueError: see `required`.
    """
    flat = [item for items in block.described for item in items]
    if flat and catalog is None and required:
        raise ValueError(
            "Without a catalogue the model cannot tell which of its items are in the history. Attach it: model.catalog "
            "= ItemCatalog.from_pretrained(folder), or pass exclude_history=False."
        )
    # One call for all histories, because it passes over the texts of the whole catalogue.
    found = iter([[]] * len(flat) if catalog is None or not flat else rows_of_equal_text(catalog, flat))
    return [[[row] if row >= 0 else next(found) for row in history] for history in block.rows]


def items_seen(seen: list[list[list[int]]]) -> HistoryItems:
    """The items of [`rows_seen`] with their ages; a dictionary is the first item with its attributes."""
    entries = [
        (query, rows[0], len(history) - 1 - place)
        for query, history in enumerate(seen)
        for place, rows in enumerate(history)
        if rows
    ]
    columns = torch.tensor(entries, dtype=torch.int64).view(-1, 3)
    return HistoryItems(*columns.unbind(1))


def search_scored(
    model: RecommendingModel,
    vectors: Tensor,
    items: HistoryItems,
    top_k: int,
    candidates: np.ndarray | None,
    excluded: Pairs,
) -> tuple[Tensor, Tensor]:
    """The items with the highest scores, if a history bias or a memory adds to the cosines.

    The index proposes the items with the highest cosines. The items of the history, and all that the memory points to,
    are scored besides. A memory never lowers an item below one that it does not point to, so no other item can be among
    the best, and the result is exact where the search is.

    Args:
        model: with a history bias or a memory.
        vectors (`Tensor`, float32 `[num_histories, vector_size]`): the histories' vectors.
        items: the items of each history, history after history.
        top_k: how many to find.
        candidates (int64, ascending, *optional*): rows to choose from.
        excluded: (history, row) pairs to leave out.

    Returns:
        scores, float32 `[num_histories, top_k]`, highest first, and rows, on the CPU.
    """
    found = []
    for start in range(0, len(vectors), QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, len(vectors))
        here = (items.queries >= start) & (items.queries < stop)
        block = HistoryItems(items.queries[here] - start, items.rows[here], items.ages[here])
        mine = (excluded[0] >= start) & (excluded[0] < stop)
        pairs = excluded[0][mine] - start, excluded[1][mine]
        found.append(_search_block(model, vectors[start:stop], block, top_k, candidates, pairs))
    return torch.cat([scores for scores, _ in found]), torch.cat([rows for _, rows in found])


def _search_block(
    model: RecommendingModel,
    vectors: Tensor,
    items: HistoryItems,
    top_k: int,
    candidates: np.ndarray | None,
    excluded: Pairs,
) -> tuple[Tensor, Tensor]:
    # A (history, row) pair is one number, so that sets of pairs are sorted arrays.
    width = model.config.num_items
    left_out = np.unique(excluded[0] * width + excluded[1])
    own, gains = _gains(model, items)
    hidden = left_out if model.scoring_head.history_bias is None else np.union1d(left_out, own)
    pool = None if candidates is None else torch.from_numpy(candidates)
    proposed = model.index.search(vectors, top_k, pool, _as_pairs(hidden, width))[1].cpu()
    queries, columns = (proposed >= 0).nonzero(as_tuple=True)
    chosen = np.union1d((queries * width + proposed[queries, columns]).numpy(), own)
    pointed, counts = np.zeros(0, np.int64), np.zeros(0, np.float32)
    if model.memory is not None:
        lengths = torch.bincount(items.queries, minlength=len(vectors)).tolist()
        known = model.memory.sparse_scores([rows.numpy() for rows in items.rows.split(lengths)])
        pointed = np.repeat(np.arange(len(vectors)), np.diff(known.offsets)) * width + known.columns
        counts = known.values
        # Far more items than the others, and in order already.
        chosen = np.sort(np.concatenate([pointed, chosen[~_is_among(chosen, pointed)]]), kind="stable")
    chosen = chosen[~_is_among(chosen, left_out)]
    if candidates is not None:
        chosen = chosen[_is_among(chosen % width, candidates)]

    gained, counted = _values_at(chosen, own, gains), _values_at(chosen, pointed, counts)
    if model.memory is not None:
        rough = _mixed(model, _rough_cosines(model, vectors, chosen), gained, counted)
        near = _near_the_best(model, rough, chosen, len(vectors), top_k)
        chosen, gained, counted = chosen[near], gained[near], counted[near]
    rows = _by_history(torch.from_numpy(chosen % width), chosen, len(vectors), width, PADDING)
    cosines = model.exact_index.cosines(vectors, rows.to(model.item_vectors.device)).cpu()
    scores = torch.full_like(cosines, -torch.inf)
    scores[rows >= 0] = _mixed(model, cosines[rows >= 0], gained, counted)
    return ordered(scores, rows, top_k)


def _mixed(model: RecommendingModel, cosines: Tensor, gained: Tensor, counted: Tensor) -> Tensor:
    """Scores of some items: from their cosines, the history bias of each and what the memory counted for it."""
    scores = cosines / model.scoring_head.temperature_now + gained
    return scores if model.memory is None else model.memory.mixture(scores, counted)


def _rough_cosines(model: RecommendingModel, vectors: Tensor, places: np.ndarray) -> Tensor:
    """Cosines of (history, row) numbers, float32 on the CPU, up to [`ExactIndex.rounding`].

    Histories of a block share most rows, so products of all with all are faster than one by one.
    """
    width = model.config.num_items
    wanted = np.zeros(width, dtype=bool)
    wanted[places % width] = True
    rows, number = torch.from_numpy(np.flatnonzero(wanted)), np.cumsum(wanted) - 1
    queries, columns = torch.from_numpy(places // width), torch.from_numpy(number[places % width])
    found = torch.zeros(len(places))
    for start in range(0, len(rows), ROUGH_ROWS):
        scores = model.exact_index.rough_cosines(vectors, rows[start : start + ROUGH_ROWS]).cpu()
        here = ((columns >= start) & (columns < start + ROUGH_ROWS)).nonzero()[:, 0]
        found[here] = scores[columns[here] - start, queries[here]]
    return found


def _near_the_best(
    model: RecommendingModel, rough: Tensor, places: np.ndarray, num_histories: int, top_k: int
) -> np.ndarray:
    """bool: the (history, row) numbers that may be among the best `top_k` of their history, by rough scores."""
    width = model.config.num_items
    scores = _by_history(rough, places, num_histories, width, -torch.inf)
    last = scores.topk(min(top_k, scores.shape[1]), dim=1).values[:, -1:]
    margin = 2 * model.exact_index.rounding() / model.scoring_head.temperature_now + 1e-6 * last.abs()
    near: np.ndarray = (rough >= (last - margin)[:, 0][torch.from_numpy(places // width)]).numpy()
    return near


def _by_history(values: Tensor, places: np.ndarray, num_histories: int, width: int, padding: float) -> Tensor:
    """Values of (history, row) numbers, which ascend, with a row for each history: `[num_histories, most]`, padded."""
    starts = np.searchsorted(places, np.arange(num_histories + 1) * width)
    counts = np.diff(starts)
    found = torch.full((num_histories, int(counts.max(initial=0))), padding, dtype=values.dtype)
    found[torch.from_numpy(np.arange(found.shape[1]) < counts[:, None])] = values
    return found


def _gains(model: RecommendingModel, items: HistoryItems) -> tuple[np.ndarray, np.ndarray]:
    """The (history, row) numbers of the items of histories, ascending, each once; and the history bias of each."""
    own, places = np.unique((items.queries * model.config.num_items + items.rows).numpy(), return_inverse=True)
    bias = model.scoring_head.history_bias
    if bias is None:
        return own, np.zeros(len(own), np.float32)
    each = bias.detach().cpu()[items.ages.clamp_max(len(bias) - 1)].numpy()
    return own, np.bincount(places.reshape(-1), each, minlength=len(own)).astype(np.float32)


def _values_at(places: np.ndarray, known: np.ndarray, values: np.ndarray) -> Tensor:
    """The values of some places, float32, 0 for those that are not among the known ones, which ascend."""
    found = np.zeros(len(places), np.float32)
    hit = np.flatnonzero(_is_among(places, known))
    found[hit] = values[np.searchsorted(known, places[hit])]
    return torch.from_numpy(found)


def _is_among(numbers: np.ndarray, known: np.ndarray) -> np.ndarray:
    """bool: which numbers are among the known ones, which ascend."""
    if not len(known):
        return np.zeros(len(numbers), dtype=bool)
    found: np.ndarray = known[np.searchsorted(known, numbers).clip(max=len(known) - 1)] == numbers
    return found


def _as_pairs(places: np.ndarray, width: int) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(places // width), torch.from_numpy(places % width)


def pairs_of_rows(
    rows_of: Sequence[Sequence[int] | np.ndarray], everywhere: np.ndarray | None, num_histories: int
) -> Pairs:
    """(history, row) pairs, each once.

    Args:
        rows_of: rows for each history; none at all is `[]`.
        everywhere (int64, *optional*): rows for every history.
        num_histories: how many histories there are.
    """
    histories = np.repeat(np.arange(len(rows_of)), [len(rows) for rows in rows_of]).astype(np.int64)
    rows = np.array([row for rows in rows_of for row in rows], dtype=np.int64)
    if everywhere is not None:
        histories = np.concatenate([histories, np.repeat(np.arange(num_histories), len(everywhere))])
        rows = np.concatenate([rows, np.tile(everywhere, num_histories)])
    pairs = np.unique(np.stack([histories, rows]), axis=1)
    return np.ascontiguousarray(pairs[0]), np.ascontiguousarray(pairs[1])


__all__ = ["items_seen", "pairs_of_rows", "rows_seen", "search_scored"]
