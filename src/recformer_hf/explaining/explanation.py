"""`Explanation`: what moved the score of one item, as data, text, HTML and a plot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .effects import Effects
from .html import page_of
from .plot import figure_of
from .table import table_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Explanation(Effects):
    """What moved the score of one item for one history; see docs/explaining.md.

    The fields are those of [`Effects`]: `score` and its `parts`, the `items` of the history with their attributes and
    words, and the attributes of the explained item, `target`.
    """

    def to_html(self, full_page: bool = False) -> str:
        """HTML with words shaded, underlined and numbered by their share, so that it can be read in grey.

        Args:
            full_page: a document that can be saved and opened; by default a `<div>` to be put into one.
        """
        return page_of(self, full_page)

    def plot(self, most_items: int = 20) -> Figure:
        """A figure of the parts of the score and of what each item of the history adds.

        Args:
            most_items: how many items are drawn, those with the largest effects.

        Raises:
            ImportError: if matplotlib is not installed (`pip install recformer-hf[train]`).
        """
        return figure_of(self, most_items)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return self.to_html()

    def __str__(self) -> str:
        return table_of(self)

    def __repr__(self) -> str:
        return f"Explanation({self.label!r}, score={self.score:.4f}, {len(self.items)} items)"


__all__ = ["Explanation"]
