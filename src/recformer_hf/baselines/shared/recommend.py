"""Recommending with a neural baseline: the items with the highest scores for histories of ids."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ...items.catalog import ItemCatalog
from ...items.places import Place, PlacedText, renumbered
from ...recommending.histories import HistoryResolver, as_batch, rows_of_equal_text
from ...recommending.recommend import Recommendations, check_request, check_return_tensors, needed, rows_of_ids
from ...recommending.vectors import as_asked, the_only_history

AT_ONCE = 256
"""Histories that are scored together."""


class ScoringModel(Protocol):
    """A [`BaselineModel`]."""

    @property
    def catalog(self) -> ItemCatalog | None: ...

    def scores(self, histories: Sequence[np.ndarray]) -> Tensor: ...


def recommend(
    model: ScoringModel,
    histories: Sequence[Any],
    top_k: int,
    *,
    exclude_history: bool,
    candidates: Sequence[Any] | None,
    exclude: Sequence[Any] | None,
    number_from: int | None,
    return_tensors: str,
) -> Recommendations:
    """See [`BaselineModel.recommend`]."""
    request: Any = model
    check_request(request, top_k)
    check_return_tensors(return_tensors)
    catalog = needed(model.catalog)
    histories = as_batch(histories)
    allowed = np.zeros(len(catalog), bool)
    allowed[slice(None) if candidates is None else rows_of_ids(catalog, candidates, "Candidate")] = True
    if exclude is not None:
        allowed[rows_of_ids(catalog, exclude, "Excluded item")] = False
    first = None if number_from is None and len(histories) == 1 else number_from or 0
    scores, rows = [torch.zeros(0, top_k)], [torch.zeros(0, top_k, dtype=torch.int64)]
    with renumbered(the_only_history if first is None else partial(Place.moved, histories=first)):
        known = _rows_of(catalog, histories)
        for start in range(0, len(known), AT_ONCE):
            block = known[start : start + AT_ONCE]
            found = model.scores(block).cpu()
            found[:, torch.from_numpy(~allowed)] = -torch.inf
            for number, history in enumerate(block):
                if exclude_history:
                    found[number, torch.from_numpy(history)] = -torch.inf
                left = int(torch.isfinite(found[number]).sum())
                if left < top_k:
                    problem = (
                        f"leaves {left} of {len(catalog)} items to recommend, but top_k is {top_k}. Ask for at most "
                        f"{left}, or exclude less (exclude_history=False, exclude, candidates)."
                    )
                    raise ValueError(PlacedText(Place(history=start + number), problem))
            best = found.sort(dim=1, descending=True, stable=True)  # of equal scores, the lower row comes first
            scores.append(best.values[:, :top_k])
            rows.append(best.indices[:, :top_k])
    return Recommendations(
        as_asked(torch.cat(scores), return_tensors), as_asked(torch.cat(rows), return_tensors), catalog
    )


def _rows_of(catalog: ItemCatalog, histories: Sequence[Any]) -> list[np.ndarray]:
    """The rows of each history. A dictionary without a known id is the first item with exactly its attributes.

    Raises:
        ValueError: if there is no such item.
    """
    texts, rows = HistoryResolver(catalog, read_texts=False).resolve(histories)
    unknown = [(h, i) for h, history in enumerate(rows) for i, row in enumerate(history) if row < 0]
    for (h, i), found in zip(unknown, rows_of_equal_text(catalog, [texts[h][i] for h, i in unknown]), strict=True):
        if not found:
            problem = "is not in the catalogue: a baseline knows its items alone. Leave it out, or use a Recformer."
            raise ValueError(PlacedText(Place(item=i, history=h), problem))
        rows[h][i] = found[0]
    return [np.array(history, np.int64) for history in rows]


__all__ = ["recommend"]
