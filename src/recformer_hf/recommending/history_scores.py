"""The items of histories as rows of the catalogue, and searches in which these items have scores of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..heads.history_items import HistoryItems, padded
from ..items.catalog import ItemCatalog
from .histories import rows_of_equal_text
from .protocols import RecommendingModel
from .search import ordered
from .vectors import EncodedHistories


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


def search_biased(
    model: RecommendingModel,
    vectors: Tensor,
    items: HistoryItems,
    top_k: int,
    candidates: np.ndarray | None,
    excluded: np.ndarray | None,
) -> tuple[Tensor, Tensor]:
    """The items with the highest scores, if those of the history have a bias ([`biased`]).

    The other items are searched for as if the history were excluded. Its items are scored by themselves and take their
    places among them, so the result is exact where the search is.

    Args:
        model: with a history bias.
        vectors (`Tensor`, float32 `[num_histories, vector_size]`): the histories' vectors.
        items: the items of each history.
        top_k: how many to find.
        candidates, excluded (int64, ascending, *optional*): rows to choose from, and rows to leave out.

    Returns:
        scores, float32 `[num_histories, top_k]`, highest first, and rows, on the CPU.
    """
    head, index = model.scoring_head, model.index
    assert head.history_bias is not None
    bias = head.history_bias.detach().double().cpu()
    gains = bias[items.ages.clamp_max(len(bias) - 1)].numpy()
    pairs, places = np.unique(torch.stack([items.queries, items.rows]).numpy(), axis=1, return_inverse=True)
    gains = np.bincount(places.reshape(-1), gains, minlength=pairs.shape[1])
    kept = np.ones(len(gains), dtype=bool)
    if candidates is not None:
        kept &= np.isin(pairs[1], candidates)
    if excluded is not None:
        kept &= ~np.isin(pairs[1], excluded)
    (queries, rows), gains = pairs[:, kept], gains[kept]

    own = np.split(rows, np.searchsorted(queries, np.arange(1, len(vectors))))
    left_out = pairs_of_rows(own, excluded, len(vectors))
    pool = None if candidates is None else torch.from_numpy(candidates)
    others = index.search(vectors, top_k, pool, (torch.from_numpy(left_out[0]), torch.from_numpy(left_out[1])))
    temperature, seen = head.temperature_now, padded(own).to(others[1].device)
    scores = model.exact_index.cosines(vectors, seen) / temperature
    histories, columns = (seen >= 0).nonzero(as_tuple=True)
    scores[histories, columns] += torch.from_numpy(gains).to(scores)
    scores = torch.cat([others[0] / temperature, scores], 1)
    best, found = ordered(scores, torch.cat([others[1], seen], 1), top_k)
    return best.cpu(), found.cpu()


def pairs_of_rows(
    rows_of: Sequence[Sequence[int] | np.ndarray], everywhere: np.ndarray | None, num_histories: int
) -> tuple[np.ndarray, np.ndarray]:
    """(history, row) pairs, each once, int64 `[num_pairs]` each.

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


__all__ = ["items_seen", "pairs_of_rows", "rows_seen", "search_biased"]
