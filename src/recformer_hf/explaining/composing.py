"""An `Explanation` from what was computed for a history and the items that are explained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..items.catalog import ItemCatalog
from .effects import AttributeEffect, ItemEffect, ScorePart, WordEffect
from .explanation import Explanation
from .leave_one_out import HistoryEffects, ReadHistory, TargetEffects
from .matches import matches_of
from .score_parts import MEMORY, Additions, Targets
from .word_effects import Words
from .words import ReadItem


@dataclass(frozen=True)
class Findings:
    """What was computed for a history and some explained items.

    Args:
        catalog: names the rows; None if the model has none.
        history: its texts, and what is read of them.
        known (int64 `[num_items]`): the rows that a history bias and a memory know the history's items by; -1: none.
        targets, read: the explained items.
        added: history bias and memory.
        effects: similarities without items and attributes of the history.
        target_effects: for each explained item; None if attributes were not asked for.
        history_words, target_words: for each explained item; None if words were not asked for.
    """

    catalog: ItemCatalog | None
    history: ReadHistory
    known: np.ndarray
    targets: Targets
    read: list[ReadItem]
    added: Additions
    effects: HistoryEffects
    target_effects: list[TargetEffects] | None
    history_words: list[Words] | None
    target_words: list[Words] | None


def explanation_of(findings: Findings, number: int) -> Explanation:
    """The explanation of one of the items."""
    history, row, target = findings.history, int(findings.targets.rows[number]), findings.read[number]
    parts = _parts(findings, number)
    words = None if findings.history_words is None else findings.history_words[number]
    items = []
    for place, item in enumerate(history.items):
        by_part = _effect_by_part(findings, number, place)
        effects: list[float | None] = [None] * len(item.attributes)
        if findings.target_effects is not None:
            effects = [
                float(findings.effects.attributes[place, each][number]) if attribute.num_read else 0.0
                for each, attribute in enumerate(item.attributes)
            ]
        attributes = _attributes(item, effects, None if words is None else words.of_items[place])
        item_id = _id_of(findings, history.rows[place])
        items.append(ItemEffect(place, item_id, item.extent, sum(by_part.values()), by_part, attributes))
    of_target: list[float | None] = [None] * len(target.attributes)
    if findings.target_effects is not None:
        of_target = list(findings.target_effects[number].attributes)
    target_words = None if findings.target_words is None else findings.target_words[number]
    return Explanation(
        item_id=_id_of(findings, row),
        score=sum(part.value for part in parts),
        parts=parts,
        items=tuple(items),
        target=_attributes(target, of_target, None if target_words is None else target_words.of_items[0]),
        matches=matches_of(target, history.items),
        blank_history=None if words is None else words.blank,
        blank_target=None if target_words is None else target_words.blank,
        notes=_notes(findings, number),
    )


def _parts(findings: Findings, number: int) -> tuple[ScorePart, ...]:
    """The summands of the score."""
    parts = [ScorePart(name, float(values[number])) for name, values in findings.effects.whole.items()]
    for name, gains in findings.added.gains().items():
        inner: tuple[ScorePart, ...] = ()
        if name == MEMORY and findings.added.memory is not None:
            shares = findings.added.memory.shares()[:, :, number]
            inner = tuple(
                ScorePart(part, float(places.sum()), tuple(places.tolist()))
                for part, places in zip(findings.added.memory.names, shares, strict=True)
            )
        parts.append(ScorePart(name, float(gains[0, number]), parts=inner))
    return tuple(parts)


def _effect_by_part(findings: Findings, number: int, place: int) -> dict[str, float]:
    """How much each part of the score falls without an item of the history."""
    effects = findings.effects
    found = {
        name: float(whole[number] - effects.without_item[name][place, number]) for name, whole in effects.whole.items()
    }
    for name, gains in findings.added.gains().items():
        found[name] = float(gains[0, number] - gains[1 + place, number])
    return found


def _attributes(
    item: ReadItem, effects: list[float | None], words: list[tuple[WordEffect, ...]] | None
) -> tuple[AttributeEffect, ...]:
    return tuple(
        AttributeEffect(each.key, each.value, each.extent, effect, words[number] if words is not None else ())
        for number, (each, effect) in enumerate(zip(item.attributes, effects, strict=True))
    )


def _id_of(findings: Findings, row: int) -> str | None:
    return None if row < 0 or findings.catalog is None else findings.catalog.id_of(row)


def _notes(findings: Findings, number: int) -> tuple[str, ...]:
    """What a reader would otherwise take for a mistake."""
    history, row, notes = findings.history, int(findings.targets.rows[number]), []
    unread = sum(item.extent == "none" for item in history.items)
    if unread:
        whose = "a history bias and a memory still count them" if findings.added.gains() else "they have no effect"
        notes.append(
            f"The model does not read the oldest {unread} of {len(history.items)} items (max_item_embeddings, "
            f"max_token_num); {whose}."
        )
    if len(history.items) == 1:
        notes.append("Without its only item there is no history, so that the item's effect is the whole score.")
    if row >= 0 and bool((findings.known == row).any()):
        notes.append("The item is in the history: recommend leaves it out unless exclude_history=False.")
    if row < 0 and findings.added.memory is not None:
        notes.append("The memory knows nothing of an item that is not in the catalogue.")
    stale = findings.target_effects is not None and findings.target_effects[number].changed
    if findings.effects.changed or stale:
        notes.append(
            "The text encoder gives some items other vectors now than the model has stored. Effects of attributes and "
            "words are those of texts that are encoded now."
        )
    return tuple(notes)


__all__ = ["Findings", "explanation_of"]
