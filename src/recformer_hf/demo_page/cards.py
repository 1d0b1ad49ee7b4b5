"""The HTML of the page's lists. Every text in it is escaped, and a button says in `data-act` and `data-item` what it
does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from ..explaining import effects
from .session import INVENTED, MOST_HISTORY, TOP_K, Scored, Shop, Visit

MOST_SHOWN = 140
"""Characters of an item's attributes below its name."""


def found_items(shop: Shop, words: str) -> str:
    """What a search has found."""
    found = shop.search(words)
    if not found:
        return _note("No item has all of these words.")
    rows = [_row(shop.item(item_id), [_button("add", item_id, "Add", shop.item(item_id))]) for item_id in found]
    return _list(rows, "Found items")


def chosen_items(shop: Shop, visit: Visit) -> str:
    """The history, newest item first."""
    if not visit.history:
        return _note("Empty. Add items from the search, or take an example.")
    rows = []
    for place in reversed(range(len(visit.history))):
        attributes = _attributes(shop, visit.history[place])
        rows.append(_row(attributes, [_button("remove", str(place), "Remove", attributes)]))
    full = _note(f"A history on this page has at most {MOST_HISTORY} items.") if len(rows) >= MOST_HISTORY else ""
    return _list(rows, "History, newest item first", len(rows)) + full


def recommended_items(shop: Shop, visit: Visit) -> str:
    """The best items with their scores, one of them opened."""
    if not visit.history:
        return _note(f"The {TOP_K} best items for the history appear here.")
    found = shop.recommended(visit)
    if not found:
        return _note("All items are in the history. Keep the items of the history to see them here.")
    rows = [_scored(shop, visit, each, ("why", "similar", "add")) for each in found]
    return _list(rows, "Recommended items, best first")


def invented_item(shop: Shop, visit: Visit) -> str:
    """Where the invented item would stand, between its neighbours."""
    if visit.invented is None:
        return _note("Fill in what you know of an item that does not exist. Nothing is saved.")
    placed = shop.placed(visit)
    if placed is None:
        return _note("The place depends on the history: add an item to it first.")
    own = _row(visit.invented, _actions(visit.invented, INVENTED, visit, ("why", "similar", "add")), placed.score,
               _opened(shop, visit, INVENTED), "rf-own")  # fmt: skip
    rows = [_scored(shop, visit, each) for each in placed.above]
    rows += [own, *(_scored(shop, visit, each) for each in placed.below)]
    start = placed.place - len(placed.above)
    head = f"<p class='rf-place'>Place <b>{placed.place:,}</b> of {placed.total:,}</p>"
    return head + _list(rows, "The invented item and its neighbours", start=start)


def name_of(attributes: Mapping[str, str]) -> str:
    """What a person calls an item, as an explanation does."""
    return effects.name_of(attributes.items()) or "(no text)"


def _scored(shop: Shop, visit: Visit, each: Scored, acts: Sequence[str] = ()) -> str:
    attributes = shop.item(each.item_id)
    opened = _opened(shop, visit, each.item_id) if acts else ""
    return _row(attributes, _actions(attributes, each.item_id, visit, acts), each.score, opened)


def _actions(attributes: Mapping[str, str], item: str, visit: Visit, acts: Sequence[str]) -> list[str]:
    labels = {"why": "Why?", "similar": "Similar", "add": "Add"}
    return [_button(act, item, labels[act], attributes, visit.opened == (act, item)) for act in acts]


def _opened(shop: Shop, visit: Visit, item: str) -> str:
    """What an opened item shows: its explanation, or the items that are similar."""
    if visit.opened is None or visit.opened[1] != item:
        return ""
    if visit.opened[0] == "why":
        return shop.explained(visit, item).to_html()
    asked = visit.invented if item == INVENTED else item
    assert asked is not None
    near = [(shop.item(each.item_id), each) for each in shop.similar(asked)]
    if not near:
        return _note("There is no other item.")
    rows = [_row(item, [_button("add", each.item_id, "Add", item)], each.score) for item, each in near]
    return "<div class='rf-near'>Most similar texts, with their cosine</div>" + _list(rows, "Similar items")


def _attributes(shop: Shop, entry: str | Mapping[str, str]) -> Mapping[str, str]:
    return shop.item(entry) if isinstance(entry, str) else entry


def _list(rows: Sequence[str], label: str, counts_down: int = 0, start: int = 1) -> str:
    order = f" reversed start='{counts_down}'" if counts_down else f" start='{start}'"
    return f"<ol class='rf-list' aria-label='{escape(label)}'{order}>{''.join(rows)}</ol>"


def _row(
    attributes: Mapping[str, str],
    buttons: Sequence[str],
    score: float | None = None,
    opened: str = "",
    kind: str = "",
) -> str:
    name = name_of(attributes)
    more = " · ".join(" ".join(value.split()) for value in attributes.values() if value.strip() and value != name)
    more = more if len(more) <= MOST_SHOWN else more[: MOST_SHOWN - 1] + "…"
    figure = "" if score is None else f"<span class='rf-score'>{score:.3f}</span>"
    below = f"<div class='rf-open'>{opened}</div>" if opened else ""
    return (
        f"<li class='{kind}'><div class='rf-row'><span class='rf-text'><b>{escape(name)}</b>"
        f"<span class='rf-more'>{escape(more)}</span></span>{figure}<span class='rf-acts'>{''.join(buttons)}</span>"
        f"</div>{below}</li>"
    )


def _button(act: str, item: str, label: str, attributes: Mapping[str, str], pressed: bool = False) -> str:
    aria = f" aria-expanded='{str(pressed).lower()}'" if act in ("why", "similar") else ""
    return (
        f"<button type='button' data-act='{act}' data-item='{escape(item)}'{aria} "
        f"aria-label='{escape(label)}: {escape(name_of(attributes))}'>{label}</button>"
    )


def _note(text: str) -> str:
    return f"<p class='rf-note'>{escape(text)}</p>"


__all__ = ["chosen_items", "found_items", "invented_item", "name_of", "recommended_items"]
