"""The words of items, the tokens of each, and how many of them a model reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from tokenizers import Tokenizer

from ..items.text import item_attributes
from ..recommending.histories import EVERY_ATTRIBUTE
from ..tokenizing.encoded_items import KEY_TYPE, VALUE_TYPE
from ..tokenizing.item_tokens import readable_part
from .effects import Extent


class WordTokenizer(Protocol):
    """A `RecformerTokenizer`."""

    max_attr_num: int
    max_attr_length: int
    max_item_embeddings: int
    max_token_num: int

    def _get_item_backend(self) -> Tokenizer: ...


@dataclass(frozen=True)
class Word:
    """A word of a key or of a value.

    Args:
        in_key: whether it is a word of the key.
        start, end: its characters.
        tokens: how many of the attribute's tokens it has; they follow those of the words before it.
    """

    in_key: bool
    start: int
    end: int
    tokens: int


@dataclass
class ReadAttribute:
    """An attribute, its tokens within the limit of an attribute, and how many of them a model reads.

    Args:
        key, value: its texts.
        ids, types: int64 `[num_tokens]` each.
        words: in order; all tokens belong to one.
        whole: whether no limit on attributes shortens it.
        num_read: how many tokens a model reads.
    """

    key: str
    value: str
    ids: np.ndarray
    types: np.ndarray
    words: list[Word]
    whole: bool
    num_read: int = field(default=0)

    @property
    def extent(self) -> Extent:
        if not self.num_read:
            return "none"
        return "all" if self.whole and self.num_read == len(self.ids) else "part"

    def text_of(self, word: Word) -> str:
        return (self.key if word.in_key else self.value)[word.start : word.end]


@dataclass
class ReadItem:
    """An item and what a model reads of it.

    Args:
        attributes: all of them, in order.
        alone: whether it is read behind a `<s>` of its own; otherwise it stands in the sequence of a history.
    """

    attributes: list[ReadAttribute]
    alone: bool = False

    @property
    def extent(self) -> Extent:
        found = {attribute.extent for attribute in self.attributes}
        return found.pop() if len(found) == 1 else "part"

    def tokens(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids and types of the tokens that are read, int64 `[num_read]`."""
        read = [(each.ids[: each.num_read], each.types[: each.num_read]) for each in self.attributes]
        ids, types = zip(*read, strict=True)
        return np.concatenate(ids), np.concatenate(types)


def read_items(items: Sequence[dict[str, str]], tokenizer: WordTokenizer, newest: int | None = None) -> list[ReadItem]:
    """Items with their tokens within the tokenizer's limits on attributes; nothing of them is read yet.

    Args:
        items: their attributes.
        tokenizer: a `RecformerTokenizer`.
        newest: how many of the last items are tokenized; the others cannot be read. By default all.
    """
    backend, limit = tokenizer._get_item_backend(), tokenizer.max_attr_length
    first = 0 if newest is None else max(0, len(items) - newest)
    found = []
    for place, item in enumerate(items):
        pairs = item_attributes(item, EVERY_ATTRIBUTE)
        num = tokenizer.max_attr_num if place >= first else 0
        nothing = np.zeros(0, np.int64)
        attributes = [_attribute(key, value, backend, limit) for key, value in pairs[:num]]
        attributes += [ReadAttribute(key, value, nothing, nothing, [], False) for key, value in pairs[num:]]
        found.append(ReadItem(attributes))
    return found


def read_in_history(items: Sequence[ReadItem], most_items: int, most_tokens: int) -> None:
    """Marks what a sequence of a history reads: the newest items, behind `<s>`.

    Args:
        items: oldest first.
        most_items, most_tokens: the limits on a sequence, `<s>` included in the tokens.
    """
    room = most_tokens - 1
    for item in reversed(items[-most_items:]):
        room = _read(item, room)


def read_alone(items: Sequence[ReadItem], most_tokens: int) -> None:
    """Marks what is read of items that each have a sequence of their own."""
    for item in items:
        item.alone = True
        _read(item, most_tokens - 1)


def _read(item: ReadItem, room: int) -> int:
    """Reads an item as far as there is room for tokens; returns how much is left."""
    for attribute in item.attributes:
        attribute.num_read = min(len(attribute.ids), room)
        room -= attribute.num_read
    return room


def _attribute(key: str, value: str, backend: Tokenizer, limit: int) -> ReadAttribute:
    """An attribute with its tokens, as [`encode_attributes`] makes them, and their places in the texts."""
    parts, words, room, whole = [], [], limit, True
    for in_key, text in ((True, key), (False, value)):
        readable = readable_part(text, limit)
        encoding = backend.encode(readable, add_special_tokens=False)
        ids = np.array(encoding.ids[:room], np.int64)
        whole = whole and len(ids) == len(encoding.ids) and readable == text
        words += _words(text, encoding.offsets[:room], in_key)
        parts.append(ids)
        room -= len(ids)
    types = np.repeat([KEY_TYPE, VALUE_TYPE], [len(ids) for ids in parts]).astype(np.int64)
    return ReadAttribute(key, value, np.concatenate(parts), types, words, whole)


def _words(text: str, spans: Sequence[tuple[int, int]], in_key: bool) -> list[Word]:
    """Groups tokens into words, by the characters that each stands for.

    Spaces separate words. Scripts without spaces have none, so there each token begins a word.
    """
    words: list[Word] = []
    waiting = 0
    for start, end in spans:
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
        if start == end:  # a space alone, or a mark without characters, stands before the word that it belongs to
            waiting += 1
        elif words and not _begins_word(text, words[-1].end, start):
            last = words[-1]
            words[-1] = Word(in_key, last.start, max(last.end, end), last.tokens + 1 + waiting)
            waiting = 0
        else:
            words.append(Word(in_key, start, end, 1 + waiting))
            waiting = 0
    if waiting:
        last = words.pop() if words else Word(in_key, 0, 0, 0)
        words.append(Word(in_key, last.start, last.end, last.tokens + waiting))
    return words


def _begins_word(text: str, last_end: int, start: int) -> bool:
    if start < last_end:  # another byte of the same character
        return False
    return any(character.isspace() for character in text[last_end:start]) or _has_no_spaces(text[start])


def _has_no_spaces(character: str) -> bool:
    """Whether the script of a character is written without spaces: Thai, Lao, Myanmar, Khmer, kana, Chinese."""
    ranges = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF))
    code = ord(character)
    return any(low <= code <= high for low, high in ranges) or 0x20000 <= code <= 0x3FFFF


__all__ = ["ReadAttribute", "ReadItem", "Word", "WordTokenizer", "read_alone", "read_in_history", "read_items"]
