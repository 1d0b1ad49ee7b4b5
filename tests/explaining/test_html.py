"""HTML of an explanation: whole, escaped, and legible without colours."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.explaining.effects import AttributeEffect, Effects, ItemEffect, Match, ScorePart, WordEffect
from recformer_hf.explaining.html import page_of
from tests.support.explanations import by_hand

VOID = {"meta"}


class Checker(HTMLParser):
    """Counts tags, and raises an error for one that is closed out of order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: dict[str, int] = {}
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1
        assert {name for name, _ in attrs} <= {"class", "style", "charset", "name", "content", "lang"}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data


def test_by_hand():
    page = page_of(by_hand(), full_page=False)
    found = Checker(page)
    assert page.startswith("<div class='rf-why'>")
    for text in ("Blue pan", "k7", "3.0000", "+2.0000", "-0.2500", "text similarity", "cooccurrence", "not read"):
        assert text in found.text
    # The newest item first.
    assert found.text.index("1. Pan") < found.text.index("0. Blue wok")
    # "Blue" raises the score by a quarter of all words, "wok" lowers it by half: dashed and bold, darkest shade.
    assert "<mark class='top' style='background:rgb(170,170,170)'>Blue</mark><sub>25</sub>" in page
    assert "<mark class='top minus' style='background:rgb(170,170,170)'>wok</mark><sub>50</sub>" in page
    assert "class='bar minus'" in page


def test_a_page_of_its_own():
    page = page_of(by_hand(), full_page=True)
    Checker(page)
    assert page.startswith("<!doctype html>")
    assert "<title>Why Blue pan?</title>" in page
    assert "<meta charset='utf-8'>" in page


def test_words_that_hardly_matter_are_plain():
    attribute = AttributeEffect("t", "a b", "all", 1.0, (WordEffect("a", False, 0, 1, 1e-3, 0.01),))
    page = page_of(replace(by_hand(), items=(ItemEffect(0, None, "all", 1.0, {}, (attribute,)),)), False)
    assert "<sub>" not in page.split("</style>")[1]
    assert "a b" in page


def test_no_words_no_legend_of_words():
    attribute = AttributeEffect("t", "a b", "all", 1.0)
    page = page_of(replace(by_hand(), items=(ItemEffect(0, None, "all", 1.0, {}, (attribute,)),)), False)
    assert "<mark" not in page.split("</style>")[1]


def test_shades_have_a_contrast_of_seven_to_one():
    """Between the text and the darkest shade, by the formula of WCAG."""

    def luminance(grey: int) -> float:
        share = grey / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    page = page_of(by_hand(), False)
    shades = [int(grey) for grey in re.findall(r"background:rgb\((\d+),", page)]
    assert shades
    assert all((luminance(grey) + 0.05) / (luminance(0x11) + 0.05) > 7 for grey in shades)


EVIL = [
    "<script>alert(1)</script>",
    "</div></style>",
    "\"' onmouseover='alert(1)",
    "&lt;b&gt; &amp;",
    "<mark class='x'>",
]
texts = st.one_of(st.sampled_from(EVIL), st.text(min_size=1, max_size=12))


@settings(max_examples=40, deadline=None)
@given(texts, texts, texts, texts)
@pytest.mark.parametrize("full_page", [False, True])
def test_every_text_is_escaped(full_page, first, second, third, fourth):
    """Wherever a text of a shop comes in, it comes out as text: no tag more, and the same characters."""

    def effects(*texts: str) -> Effects:
        key, value, item_id, word = texts
        words = (WordEffect(value, False, 0, len(value), 0.5, 0.5), WordEffect(key, True, 0, len(key), -0.5, 0.5))
        attribute = AttributeEffect(key, value, "all", 1.0, words)
        item = ItemEffect(0, item_id, "none", 1.0, {"text": 1.0}, (attribute,))
        parts = (ScorePart(key, 1.0), ScorePart("memory", 0.0, parts=(ScorePart(value, 0.0, (0.0,)),)))
        return Effects(item_id, 1.0, parts, (item,), (attribute,), (Match(key, word, (0,)),), notes=(value,))

    plain = Checker(page_of(effects("key", "value", "id", "word"), full_page))
    found = Checker(page_of(effects(first, second, third, fourth), full_page))
    assert found.seen == plain.seen
    for text in (first, second, third, fourth):
        assert text.replace("\r\n", "\n").replace("\r", "\n") in found.text.replace("\r\n", "\n").replace("\r", "\n")
