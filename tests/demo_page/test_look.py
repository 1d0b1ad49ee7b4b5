"""The look of the page: its rules are for its own classes alone, and its script sends what a button says."""

from __future__ import annotations

import re

from recformer_hf.demo_page.look import SCRIPT, STYLE


def test_the_rules_touch_nothing_else_of_the_page():
    rules = re.sub(r"@media[^{]*\{", "", STYLE)
    selectors = [one.strip() for rule in re.findall(r"([^{}]+)\{", rules) for one in rule.split(",")]
    assert selectors
    assert all(selector.startswith(".rf-") for selector in selectors)


def test_no_text_is_smaller_than_can_be_read_on_a_phone():
    assert min(int(size) for size in re.findall(r"font-size: (\d+)px", STYLE)) >= 14


def test_braces_match_and_nothing_is_fetched():
    for text in (STYLE, SCRIPT):
        assert text.count("{") == text.count("}")
        assert "url(" not in text
        assert "http" not in text
