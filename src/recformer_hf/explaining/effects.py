"""What an explanation consists of: parts of a score, and the effects of items, attributes and words on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Extent = Literal["all", "part", "none"]
"""How much of a text the model reads within its limits on items, attributes and tokens."""


@dataclass(frozen=True)
class ScorePart:
    """A summand of a score.

    Args:
        name: `"text"`, `"residual"`, `"history_bias"` or `"memory"`; inside the memory, the name of one of its parts;
            `"model"` for a baseline, whose score has no parts.
        value: in the units of the score; the parts of a score sum up to it.
        places (`[num_items]`): of a part of the memory, what each item of the history adds; they sum up to `value`.
        parts: those of the memory; they sum up to `value`.
    """

    name: str
    value: float
    places: tuple[float, ...] = ()
    parts: tuple[ScorePart, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {"name": self.name, "value": self.value}
        if self.places:
            found["places"] = list(self.places)
        if self.parts:
            found["parts"] = [part.to_dict() for part in self.parts]
        return found


@dataclass(frozen=True)
class WordEffect:
    """A word, and an estimate of what it adds to the score.

    Args:
        text: the word.
        in_key: whether it stands in the attribute's key, not in its value.
        start, end: its characters in the key or the value, `text[start:end]`.
        estimate: gradient times input of its embeddings, averaged on the way from no words to all of them (integrated
            gradients), in the units of the score. The estimates of all words of a history and
            [`Effects.blank_history`] sum up to the similarity of the texts.
        share: of the estimates of all words that are listed together, without their signs, in [0, 1]: the shares of
            the words of a history sum up to 1, and so do those of the words of the recommended item.
    """

    text: str
    in_key: bool
    start: int
    end: int
    estimate: float
    share: float

    def to_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


@dataclass(frozen=True)
class AttributeEffect:
    """An attribute of an item, and what it adds to the score.

    Args:
        key, value: its texts.
        read: how much of it the model reads.
        effect: how much the score falls if the item's text is encoded without this attribute; None if that was not
            asked for.
        words: those that the model reads; empty if they were not asked for.
    """

    key: str
    value: str
    read: Extent
    effect: float | None = None
    words: tuple[WordEffect, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        words = [word.to_dict() for word in self.words]
        return {"key": self.key, "value": self.value, "read": self.read, "effect": self.effect, "words": words}


@dataclass(frozen=True)
class ItemEffect:
    """An item of the history, and what it adds to the score.

    Args:
        place: in the history as it was passed, from 0, oldest first.
        item_id: None for an item that was given by its attributes.
        read: how much of its text the model reads; a memory and a history bias count it even if that is `"none"`.
        effect: how much the score falls without the item. For the only item of a history, the whole score.
        effect_parts: by the name of each part of the score, how much of the effect is in it; they sum up to it.
        attributes: in the order of the item.
    """

    place: int
    item_id: str | None
    read: Extent
    effect: float
    effect_parts: Mapping[str, float]
    attributes: tuple[AttributeEffect, ...] = ()

    @property
    def label(self) -> str:
        return label_of(self.item_id, self.attributes)

    def to_dict(self) -> dict[str, Any]:
        return {
            "place": self.place,
            "item_id": self.item_id,
            "read": self.read,
            "effect": self.effect,
            "effect_parts": dict(self.effect_parts),
            "attributes": [attribute.to_dict() for attribute in self.attributes],
        }


@dataclass(frozen=True)
class Match:
    """A word of the recommended item that also stands in the history.

    Args:
        key: the attribute of the recommended item in which it stands.
        word: as it stands there.
        places: of the items of the history that have it, in upper or lower case.
    """

    key: str
    word: str
    places: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"key": self.key, "word": self.word, "places": list(self.places)}


@dataclass(frozen=True)
class Effects:
    """What moved the score of one item for one history, as data.

    Args:
        item_id: of the explained item; None if it was given by its attributes and is not in the catalogue.
        score: what `recommend` gives the item.
        parts: sum up to the score.
        items: the history, oldest first, each item with its attributes and these with their words.
        target: the attributes of the explained item, with their effects and words.
        matches: the words that it has in common with the history.
        blank_history: what the text and the residual of the explained item would add to the score if the history had no
            words (if its word embeddings were zeros). With the estimates of its words it sums up to what they add. None
            if words were not asked for.
        blank_target: the same for the words of the explained item.
        notes: what a reader has to know, such as items that the model does not read.
    """

    item_id: str | None
    score: float
    parts: tuple[ScorePart, ...]
    items: tuple[ItemEffect, ...]
    target: tuple[AttributeEffect, ...]
    matches: tuple[Match, ...] = ()
    blank_history: float | None = None
    blank_target: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The name of the explained item."""
        return label_of(self.item_id, self.target)

    @property
    def attributes(self) -> tuple[AttributeEffect, ...]:
        """The attributes of all items of the history, oldest item first."""
        return tuple(attribute for item in self.items for attribute in item.attributes)

    @property
    def words(self) -> tuple[WordEffect, ...]:
        """The words of the history that the model reads, oldest item first."""
        return tuple(word for attribute in self.attributes for word in attribute.words)

    @property
    def most_important(self) -> ItemEffect:
        """The item without which the score falls most; of equal ones the newest."""
        return max(self.items, key=lambda item: (item.effect, item.place))

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it; docs/explaining.md has an example."""
        return {
            "item_id": self.item_id,
            "score": self.score,
            "parts": [part.to_dict() for part in self.parts],
            "items": [item.to_dict() for item in self.items],
            "target": [attribute.to_dict() for attribute in self.target],
            "matches": [match.to_dict() for match in self.matches],
            "blank_history": self.blank_history,
            "blank_target": self.blank_target,
            "notes": list(self.notes),
        }


def label_of(item_id: str | None, attributes: Sequence[AttributeEffect]) -> str:
    """What a person calls an item: [`name_of`] its attributes, else its id."""
    return name_of((each.key, each.value) for each in attributes) or item_id or "item"


def name_of(attributes: Iterable[tuple[str, str]]) -> str:
    """An item's title or name, else its first attribute; empty if there is no text."""
    texts = [(key, value) for key, value in attributes if value.strip()]
    named = [value for key, value in texts if key.casefold() in ("title", "name")]
    return next(iter([*named, *(value for _, value in texts)]), "")


__all__ = ["AttributeEffect", "Effects", "Extent", "ItemEffect", "Match", "ScorePart", "WordEffect", "name_of"]
