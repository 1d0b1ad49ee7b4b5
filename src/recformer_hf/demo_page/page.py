"""The page: Gradio's components around the lists of `cards.py` and the visits of `session.py`."""

from __future__ import annotations

import random
from typing import Any

import gradio as gr

from .cards import chosen_items, found_items, invented_item, recommended_items
from .look import SCRIPT, STYLE
from .session import MOST_CHARACTERS, Shop, Visit

LEFT_OUT, KEPT = "Leave out", "Keep"
HELP = (
    "Click a history together, oldest item first, and see what the model recommends next. *Why?* says how much each "
    "item, attribute and word of the history moved the score; *Similar* lists the closest texts."
)
FULL_QUEUE = 64
"""Clicks that may wait; further ones are told that the page is busy."""


def blocks_of(shop: Shop, title: str) -> gr.Blocks:
    """The page of a recommender.

    Args:
        shop: what it shows.
        title: its heading, as plain text.
    """
    # No call home: the page has to work without a network.
    page = gr.Blocks(title=title, analytics_enabled=False)
    with page:
        visit = gr.State(Visit())
        gr.HTML(f"<style>{STYLE}</style>", padding=False)
        gr.Markdown(f"# {_as_markdown(title)}\n{len(shop.catalog):,} items. {HELP}")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                query, found = _search(shop)
                gr.Markdown("## History")
                chosen = _list(chosen_items(shop, Visit()), "history")
                with gr.Row():
                    example = gr.Button("Take an example", size="md", min_width=120, elem_id="example")
                    clear = gr.Button("Clear", size="md", min_width=80, elem_id="clear")
            with gr.Column(scale=3, min_width=300):
                gr.Markdown("## Recommended")
                keep = gr.Radio([LEFT_OUT, KEPT], value=LEFT_OUT, label="Items of the history", elem_id="keep")
                best = _list(recommended_items(shop, Visit()), "recommended")
                gr.Markdown("## Invent an item")
                texts = _fields(shop)
                ask = gr.Button("Where would it rank?", variant="primary", elem_id="invent")
                invented = _list(invented_item(shop, Visit()), "invented")
        _wire(shop, visit, query, found, [chosen, best, invented], example, clear, keep, texts, ask)
    page.queue(max_size=FULL_QUEUE, api_open=False)
    return page


def _search(shop: Shop) -> tuple[gr.Textbox, gr.HTML]:
    gr.Markdown("## Find items")
    query = gr.Textbox(
        placeholder="Words of a title, brand, category, ...", label="Search", max_length=MOST_CHARACTERS,
        elem_id="search", max_lines=1,
    )  # fmt: skip
    return query, _list(found_items(shop, ""), "found")


def _fields(shop: Shop) -> list[gr.Textbox]:
    with gr.Row():
        return [
            gr.Textbox(label=key, max_length=MOST_CHARACTERS, min_width=200, max_lines=1, elem_id=f"field-{number}")
            for number, key in enumerate(shop.fields)
        ]


def _list(value: str, name: str) -> gr.HTML:
    return gr.HTML(value, js_on_load=SCRIPT, elem_id=name, apply_default_css=False)


def _wire(
    shop: Shop,
    visit: gr.State,
    query: gr.Textbox,
    found: gr.HTML,
    lists: list[gr.HTML],
    example: gr.Button,
    clear: gr.Button,
    keep: gr.Radio,
    texts: list[gr.Textbox],
    ask: gr.Button,
) -> None:
    """What happens on each event. A click of one visitor runs after the other, so that the model has the cores."""

    def shown(now: Visit) -> list[Any]:
        return [now, chosen_items(shop, now), recommended_items(shop, now), invented_item(shop, now)]

    def act(now: Visit, event: gr.EventData) -> list[Any]:
        sent = event._data if isinstance(event._data, dict) else {}
        return shown(shop.act(now, str(sent.get("act")), str(sent.get("item"))))

    def take_example(now: Visit) -> list[Any]:
        return shown(shop.example(now, random.getrandbits(32)))

    def empty(now: Visit) -> list[Any]:
        return shown(Visit(keep_history=now.keep_history, invented=now.invented))

    def switch(now: Visit, choice: str) -> list[Any]:
        return shown(Visit(now.history, choice == KEPT, None, now.invented))

    def invent(now: Visit, *values: str) -> list[Any]:
        return shown(shop.invent(now, dict(zip(shop.fields, values, strict=True))))

    def search(words: str) -> str:
        return found_items(shop, words or "")

    outputs = [visit, *lists]
    shared: dict[str, Any] = {
        "concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private", "show_progress": "minimal",
    }  # fmt: skip
    for component in (found, *lists):
        component.act(act, visit, outputs, **shared)
    example.click(take_example, visit, outputs, **shared)
    clear.click(empty, visit, outputs, **shared)
    keep.input(switch, [visit, keep], outputs, **shared)
    ask.click(invent, [visit, *texts], outputs, **shared)
    for text in texts:
        text.submit(invent, [visit, *texts], outputs, **shared)
    query.input(search, query, found, trigger_mode="always_last", api_visibility="private", show_progress="hidden")


def _as_markdown(text: str) -> str:
    """Plain text as Markdown that shows it as it is."""
    escaped = "".join(f"\\{letter}" if letter in r"\`*_{}[]()#+-.!|<>&~$" else letter for letter in text)
    return " ".join(escaped.split())


__all__ = ["blocks_of"]
