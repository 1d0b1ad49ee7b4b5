"""An explanation as HTML that needs no script, no network and no colour.

Words are shaded by their share. So that grey print and people who do not tell colours apart lose nothing, a word that
matters is also underlined (solid if it raises the score, dashed if it lowers it) and has its share beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .effects import AttributeEffect, Effects, ItemEffect, WordEffect
from .table import NAMES

_FEWEST_PERCENT = 2
"""Words of a smaller share have no number, which would only distract."""

_STYLE = """
.rf-why { font: 15px/1.5 system-ui, sans-serif; color: #111; background: #fff; padding: 1em; max-width: 60em; }
.rf-why h3 { font-size: 1.15em; margin: 0 0 .2em; }
.rf-why h4 { font-size: 1em; margin: 1.2em 0 .3em; }
.rf-why table { border-collapse: collapse; width: 100%; }
.rf-why td { padding: .25em .5em .25em 0; vertical-align: top; border: 0; border-top: 1px solid #ddd; color: #111; }
.rf-why td.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; width: 5em; }
.rf-why td.b { width: 7em; padding-top: .55em; }
.rf-why .bar { display: block; height: .7em; background: #555; border: 1px solid #333; box-sizing: border-box; }
.rf-why .bar.minus { background: repeating-linear-gradient(45deg, #fff 0 3px, #555 3px 5px); }
.rf-why .inner td { border-top: 0; padding-top: 0; color: #333; }
.rf-why .inner td:first-child { padding-left: 1.2em; }
.rf-why .inner td.b { padding-top: .3em; }
.rf-why .k { color: #555; }
.rf-why .id, .rf-why .note, .rf-why .legend { color: #555; font-size: .87em; }
.rf-why .unread { color: #777; font-style: italic; }
.rf-why mark { color: #111; background: #ddd; padding: 0 .1em; border-radius: .15em; text-decoration: underline; }
.rf-why mark.minus { text-decoration-style: dashed; }
.rf-why mark.top { font-weight: 700; text-decoration-thickness: 2px; }
.rf-why sub { font-size: .68em; color: #333; font-weight: 400; }
"""


def page_of(effects: Effects, full_page: bool) -> str:
    """All of an explanation; see `Explanation.to_html`."""
    parts = [
        f"<h3>{escape(effects.label)}{_id(effects.item_id)}</h3>",
        f"<div>Score <b>{effects.score:.4f}</b>, the sum of:</div>",
        _table_of_parts(effects),
        "<h4>The history, newest item first</h4>",
        "<div class='legend'>Numbers: how much the score falls without the item or attribute."
        + (_LEGEND if effects.words else "")
        + "</div>",
        _table_of_items(effects),
    ]
    if effects.target:
        parts += [
            "<h4>The explained item</h4>",
            f"<table>{_rows_of_attributes(effects.target, _largest(effects))}</table>",
        ]
    if effects.matches:
        words = ", ".join(f"<b>{escape(match.word)}</b> ({_places(match.places)})" for match in effects.matches)
        parts += [f"<h4>Words in common with items of the history</h4><div>{words}</div>"]
    parts += [f"<p class='note'>{escape(note)}</p>" for note in effects.notes]
    body = f"<div class='rf-why'><style>{_STYLE}</style>{''.join(parts)}</div>"
    if not full_page:
        return body
    title = escape(f"Why {effects.label}?")
    head = "<meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
    return f"<!doctype html><html lang='en'><head>{head}<title>{title}</title></head><body>{body}</body></html>"


_LEGEND = (
    " Words: the darker, the more they matter; <mark>solid</mark> raises the score, <mark class='minus'>dashed</mark> "
    "lowers it; the small number is the word's share in percent."
)


def _table_of_parts(effects: Effects) -> str:
    largest = max([abs(part.value) for part in effects.parts], default=0.0)
    rows = []
    for part in effects.parts:
        rows.append(_row(escape(NAMES.get(part.name, part.name)), part.value, largest))
        rows += [_row(escape(inner.name), inner.value, largest, "inner") for inner in part.parts]
    return f"<table>{''.join(rows)}</table>"


def _table_of_items(effects: Effects) -> str:
    largest = _largest(effects)
    return f"<table>{''.join(_rows_of_item(item, largest) for item in reversed(effects.items))}</table>"


def _rows_of_item(item: ItemEffect, largest: float) -> str:
    label = f"<b>{item.place}. {escape(item.label)}</b>{_id(item.item_id)}"
    label += {"none": " <span class='unread'>not read</span>", "part": " <span class='unread'>read in part</span>"}.get(
        item.read, ""
    )
    return _row(label, item.effect, largest) + _rows_of_attributes(item.attributes, largest)


def _rows_of_attributes(attributes: Sequence[AttributeEffect], largest: float) -> str:
    rows = []
    for attribute in attributes:
        key = _marked(attribute.key, [word for word in attribute.words if word.in_key])
        value = _marked(attribute.value, [word for word in attribute.words if not word.in_key])
        unread = " <span class='unread'>not read</span>" if attribute.read == "none" else ""
        rows.append(_row(f"<span class='k'>{key}:</span> {value}{unread}", attribute.effect, largest, "inner"))
    return "".join(rows)


def _row(label: str, value: float | None, largest: float, kind: str = "") -> str:
    number = bar = ""
    if value is not None:
        number = f"{value:+.4f}"
        width = round(100 * abs(value) / largest) if largest else 0
        minus = " minus" if value < 0 else ""
        bar = f"<span class='bar{minus}' style='width:{width}%'></span>" if width else ""
    return f"<tr class='{kind}'><td>{label}</td><td class='n'>{number}</td><td class='b'>{bar}</td></tr>"


def _marked(text: str, words: Sequence[WordEffect]) -> str:
    """A text with its words shaded; what stands between them stays as it is."""
    found, done = [], 0
    for word in words:
        found.append(escape(text[done : word.start]))
        found.append(_mark(word))
        done = word.end
    return "".join(found) + escape(text[done:])


def _mark(word: WordEffect) -> str:
    percent, text = round(100 * word.share), escape(word.text)
    if percent < _FEWEST_PERCENT:
        return text
    # Dark text on the darkest shade still has a contrast of more than 7 to 1.
    grey = 245 - round(min(1.0, word.share / 0.25) * 75)
    kinds = " ".join(["top"] * (word.share >= 0.1) + ["minus"] * (word.estimate < 0))
    return f"<mark class='{kinds}' style='background:rgb({grey},{grey},{grey})'>{text}</mark><sub>{percent}</sub>"


def _largest(effects: Effects) -> float:
    """The largest effect, which has the longest bar."""
    found = [item.effect for item in effects.items]
    found += [each.effect for each in (*effects.attributes, *effects.target) if each.effect is not None]
    return max(map(abs, found), default=0.0)


def _id(item_id: str | None) -> str:
    return "" if item_id is None else f" <span class='id'>{escape(item_id)}</span>"


def _places(places: Sequence[int]) -> str:
    return ", ".join(str(place) for place in places)


__all__ = ["page_of"]
