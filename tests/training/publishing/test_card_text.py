"""Text of others as Markdown: it stays text."""

from __future__ import annotations

import pytest

from recformer_hf.training.publishing.card_text import (
    item_text,
    metric_title,
    number,
    percent,
    plain,
    setting,
    table,
)


def test_other_peoples_text_stays_text():
    assert plain("a|b *c* <script>\n# [x](y) ~ $m$ & `d`") == (
        "a\\|b \\*c\\* &lt;script> \\# \\[x\\](y) \\~ \\$m\\$ &amp; \\`d\\`"
    )
    assert plain("word " * 100, 20) == "word word word word…"


def test_an_item_is_its_title_or_its_first_attribute():
    assert item_text({"brand": "Velwick", "title": "Plate"}) == "Plate (Velwick)"
    assert item_text({"name": "Plate", "brand": "Velwick"}) == "Plate (Velwick)"
    assert item_text({"name": "Plate"}) == "Plate"


def test_a_path_of_the_machine_is_its_last_part():
    assert setting("/home/me/ds_config.json") == "`ds_config.json`"
    assert setting([10, 50]) == "`[10, 50]`"


def test_table():
    assert table(["a", "b"], [[1, 2]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


@pytest.mark.parametrize(
    ("name", "title"),
    [("ndcg@10", "NDCG@10"), ("recall@50", "Recall@50"), ("mlm_loss", "MLM loss"), ("mrr", "MRR"), ("auc", "AUC")],
)
def test_metrics_have_their_usual_names(name, title):
    assert metric_title(name) == title


def test_numbers():
    assert (number(0.123456), number(1), number(None)) == ("0.1235", "1.0000", "–")
    assert (percent(0.1234), percent(1.0)) == ("12.3 %", "100.0 %")
