"""An explanation as plain text."""

from __future__ import annotations

from .effects import AttributeEffect, Effects, ItemEffect

NAMES = {
    "text": "text similarity",
    "residual": "learned of the item",
    "history_bias": "history bias",
    "memory": "memory",
    "model": "model",
}
"""What the parts of a score are called where people read them."""

_TEXT_WIDTH = 46


def table_of(effects: Effects) -> str:
    """The parts of the score, the history with the effect of each item and attribute, and the words in common."""
    lines = [f"{effects.label}{_id(effects.item_id)}: score {effects.score:.4f}", ""]
    lines += [_line(NAMES.get(part.name, part.name), part.value, 1) for part in effects.parts]
    for part in effects.parts:
        lines += [_line(inner.name, inner.value, 2) for inner in part.parts]
    lines += ["", "History, newest first: how much the score falls without it"]
    for item in reversed(effects.items):
        lines += _lines_of_item(item)
    if effects.target:
        lines += ["", "Attributes of the explained item"]
        lines += [_line_of_attribute(attribute, 1) for attribute in effects.target]
    if effects.matches:
        words = ", ".join(f"{match.word} ({_places(match.places)})" for match in effects.matches)
        lines += ["", f"In common with items of the history: {words}"]
    lines += ["", *effects.notes] if effects.notes else []
    return "\n".join(lines)


def _lines_of_item(item: ItemEffect) -> list[str]:
    unread = "" if item.read == "all" else "  (not read)" if item.read == "none" else "  (read in part)"
    label = f"{item.place}. {item.label}{_id(item.item_id)}"
    lines = [_line(label, item.effect, 1) + unread]
    return lines + [_line_of_attribute(each, 3) for each in item.attributes if each.effect is not None]


def _line_of_attribute(attribute: AttributeEffect, indent: int) -> str:
    text = f"{attribute.key}: {attribute.value}"
    return _line(text, attribute.effect, indent) + ("  (not read)" if attribute.read == "none" else "")


def _line(text: str, value: float | None, indent: int) -> str:
    width = _TEXT_WIDTH - 2 * indent
    text = " ".join(text.split())  # a line break in a title would break the table
    text = text if len(text) <= width else text[: width - 1] + "…"
    return f"{'  ' * indent}{text:<{width}}" + ("" if value is None else f" {value:>+9.4f}")


def _id(item_id: str | None) -> str:
    return "" if item_id is None else f" [{item_id}]"


def _places(places: tuple[int, ...]) -> str:
    return ", ".join(str(place) for place in places)


__all__ = ["NAMES", "table_of"]
