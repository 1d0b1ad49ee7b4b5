"""What items of a history add to the score of a neural baseline, which knows nothing but their ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..items.catalog import ItemCatalog
from ..items.places import Place, PlacedText
from ..items.text import item_attributes
from ..recommending.histories import EVERY_ATTRIBUTE, HistoryResolver, rows_of_equal_text
from ..recommending.recommend import needed
from .effects import AttributeEffect, ItemEffect, ScorePart
from .explanation import Explanation

MODEL = "model"
"""The only part of such a score."""


def is_baseline(model: Any) -> bool:
    """Whether a model scores a catalogue for rows of it, and can name them."""
    return not hasattr(model, "recformer") and all(hasattr(model, name) for name in ("scores", "recommend", "catalog"))


def explain_baseline(
    model: Any, history: Sequence[Any], item: Any, top_k: int, request: Mapping[str, Any]
) -> list[Explanation]:
    """Leaves out each item of a history, and scores what is left.

    Args:
        model: a neural baseline.
        history: ids of its catalogue, or dictionaries with the attributes of its items, oldest first.
        item: whose score is explained; None: the `top_k` items that the model recommends.
        top_k: how many.
        request: `exclude_history`, `candidates` and `exclude`, of `recommend`.

    Raises:
        ValueError: for an item that is not in the catalogue.
    """
    catalog = needed(model.catalog, "explanations")
    resolver = HistoryResolver(catalog)
    entries = [resolver.item(entry, Place(number, "only")) for number, entry in enumerate(history)]
    rows = [_row(catalog, *entry, Place(number, "only")) for number, entry in enumerate(entries)]
    if item is None:
        targets = model.recommend([history], None, top_k, **request).rows[0].tolist()
    else:
        targets = [_row(catalog, *resolver.item(item, Place()), Place())]
    whole = np.array(rows, np.int64)
    left = [np.delete(whole, place) for place in range(len(rows)) if len(rows) > 1]
    scores = model.scores([whole, *left])[:, targets].double().cpu().numpy()
    without = scores[1:] if left else np.zeros((1, len(targets)))
    effects = scores[:1] - without
    return [
        _explanation(catalog, rows, target, scores[0, number], effects[:, number], model.config.max_length)
        for number, target in enumerate(targets)
    ]


def _row(catalog: ItemCatalog, attributes: Mapping[str, str], row: int, place: Place) -> int:
    """The row of an item, or of the first with exactly its attributes."""
    if row >= 0:
        return row
    same = rows_of_equal_text(catalog, [attributes])[0]
    if not same:
        problem = "is not in the catalogue: a baseline knows its items alone. Leave it out, or use a Recformer."
        raise ValueError(PlacedText(place, problem))
    return same[0]


def _explanation(
    catalog: ItemCatalog, rows: Sequence[int], target: int, score: float, effects: np.ndarray, most_items: int
) -> Explanation:
    notes = ["The model knows items by their ids alone, so that attributes and words have no effects."]
    if len(rows) == 1:
        notes.append("Without its only item there is no history, so that the item's effect is the whole score.")
    items = tuple(
        ItemEffect(
            place, catalog.id_of(row), "all" if place >= len(rows) - most_items else "none", float(effect),
            {MODEL: float(effect)}, _attributes(catalog, row),
        )
        for place, (row, effect) in enumerate(zip(rows, effects, strict=True))
    )  # fmt: skip
    parts = (ScorePart(MODEL, float(score)),)
    return Explanation(
        catalog.id_of(target), float(score), parts, items, _attributes(catalog, target), notes=tuple(notes)
    )


def _attributes(catalog: ItemCatalog, row: int) -> tuple[AttributeEffect, ...]:
    pairs = item_attributes(catalog[row], EVERY_ATTRIBUTE)
    return tuple(AttributeEffect(key, value, "none") for key, value in pairs)


__all__ = ["explain_baseline", "is_baseline"]
