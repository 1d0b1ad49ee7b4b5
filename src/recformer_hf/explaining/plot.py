"""An explanation as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .effects import Effects
from .table import NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABEL_WIDTH = 34


def figure_of(effects: Effects, most_items: int = 20) -> Figure:
    """The parts of the score above, and the effects of the history's items below; see `Explanation.plot`."""
    if isinstance(most_items, bool) or not isinstance(most_items, int) or most_items < 1:
        raise ValueError(f"most_items must be a whole number of at least 1, got {most_items!r}.")
    try:
        from matplotlib.figure import Figure  # not pyplot, which would take over a notebook's state
    except ImportError as error:
        raise ImportError(
            "Plots need matplotlib, which is not installed: pip install recformer-hf[train]. to_html() needs nothing."
        ) from error
    chosen = sorted(effects.items, key=lambda item: -abs(item.effect))[:most_items]
    items = sorted(chosen, key=lambda item: -item.place)
    parts = [(NAMES.get(part.name, part.name), part.value) for part in effects.parts]
    heights = [len(parts), len(items)]
    figure = Figure(figsize=(8, 1.9 + 0.36 * sum(heights)), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[count + 1 for count in heights])
    # "$" would begin a formula.
    _bars(above, parts, f"{_short(effects.label)}: score {effects.score:.3f}")
    left_out = len(effects.items) - len(items)
    title = "Without an item of the history, the score falls by" + (f" ({left_out} more items)" if left_out else "")
    _bars(below, [(f"{item.place}. {_short(item.label)}", item.effect) for item in items], title)
    return figure


def _bars(axes: Axes, values: list[tuple[str, float]], title: str) -> None:
    """Horizontal bars from the top down, each with its number; those below 0 are hatched, for print in grey."""
    places = range(len(values))
    numbers = [value for _, value in values]
    bars = axes.barh(places, numbers, color="#5b7fa6", edgecolor="#222222", height=0.65)
    for bar, number in zip(bars, numbers, strict=True):
        if number < 0:
            bar.set(hatch="////", facecolor="#ffffff")
    axes.bar_label(bars, [f"{number:+.3f}" for number in numbers], padding=3)
    axes.set_yticks(places, [label.replace("$", r"\$") for label, _ in values])
    axes.invert_yaxis()
    axes.margins(x=0.18)
    axes.axvline(0, color="#222222", linewidth=0.8)
    axes.set_title(title.replace("$", r"\$"), loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LABEL_WIDTH else text[: _LABEL_WIDTH - 1] + "…"


__all__ = ["figure_of"]
