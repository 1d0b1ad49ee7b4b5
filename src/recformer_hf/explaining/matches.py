"""The words that an item has in common with the items of a history."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .effects import Match
from .words import ReadItem

_WORD = re.compile(r"\w\w+")


def matches_of(target: ReadItem, history: Sequence[ReadItem]) -> tuple[Match, ...]:
    """The words of an item's values that also stand in values of the history, each once.

    Only attributes that the model reads count. Words of one character do not: they hardly ever tell anything.

    Args:
        target: the item.
        history: oldest first.
    """
    places: dict[str, list[int]] = {}
    for place, item in enumerate(history):
        for word in {word.casefold() for _, value in _values(item) for word in _WORD.findall(value)}:
            places.setdefault(word, []).append(place)
    found: dict[str, Match] = {}
    for key, value in _values(target):
        for word in _WORD.findall(value):
            folded = word.casefold()
            if folded in places:
                found.setdefault(folded, Match(key, word, tuple(places[folded])))
    return tuple(found.values())


def _values(item: ReadItem) -> list[tuple[str, str]]:
    return [(each.key, each.value) for each in item.attributes if each.extent != "none"]


__all__ = ["matches_of"]
