"""Which item or history an error is about.

Code that reads a part of the input names the place within that part. The code that cut the input into parts knows where
each part began, and moves the place of an error that passes through it ([`renumbered`]).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Place:
    """The place of an item or of a history in what the caller passed.

    Args:
        item (`int`, *optional*): index of the item in its history or list. None: the history itself, or the only item.
        history (`int` or `"only"`, *optional*): index of the history, or `"only"` where just one was passed. None: the
            item came without a history.
    """

    item: int | None = None
    history: int | Literal["only"] | None = None

    def __str__(self) -> str:
        if self.history is None:
            return "The item" if self.item is None else f"Item {self.item}"
        history = "the history" if self.history == "only" else f"history {self.history}"
        return history.capitalize() if self.item is None else f"Item {self.item} of {history}"

    def of_item(self, index: int) -> Place:
        """The place of an item of this history. The only item stays the only one."""
        return self if self.history is None else replace(self, item=index)

    def moved(self, items: int = 0, histories: int = 0) -> Place:
        """The place if this many more items and histories come before it."""
        item = None if self.item is None else self.item + items
        history = self.history + histories if isinstance(self.history, int) else self.history
        return replace(self, item=item, history=history)


class PlacedText(str):
    """The message of an error, which begins with a place.

    Args:
        place: a [`Place`], or any text such as `"Item 'B01'"`.
        problem (`str`): the rest of the message.
    """

    place: object
    problem: str

    def __new__(cls, place: object, problem: str) -> PlacedText:
        text = super().__new__(cls, f"{place} {problem}")
        text.place, text.problem = place, problem
        return text

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)  # another process only shows it


@contextmanager
def renumbered(move: Callable[[Place], Place]) -> Iterator[None]:
    """Moves the place that an error raised in the block names.

    Args:
        move: from the place within a part of the input to the place in the whole input.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        text = error.args[0] if error.args else None
        if isinstance(text, PlacedText) and isinstance(text.place, Place):
            error.args = (PlacedText(move(text.place), text.problem), *error.args[1:])
        raise


__all__ = ["Place", "PlacedText", "renumbered"]
