"""An explanation as text."""

from __future__ import annotations

from dataclasses import replace

from recformer_hf.explaining.table import table_of
from tests.support.explanations import by_hand

EXPECTED = """\
Blue pan [k7]: score 3.0000

  text similarity                                +2.0000
  memory                                         +1.0000
    cooccurrence                                 +1.0000

History, newest first: how much the score falls without it
  1. Pan                                         -0.2500
      title: Pan                                 -0.2500
  0. Blue wok [k1]                               +2.0000  (read in part)
      title: Blue wok                            +1.5000
      brand: Acme                                +0.0000  (not read)

Attributes of the explained item
  title: Blue pan                                +2.0000

In common with items of the history: Blue (0), pan (1)

A note."""


def test_by_hand():
    assert table_of(by_hand()) == EXPECTED


def test_long_texts_and_line_breaks_stay_in_their_line():
    lines = table_of(by_hand("Blue wok\n" + "very " * 40 + "long")).splitlines()
    assert len(lines) == len(EXPECTED.splitlines())
    assert max(map(len, lines)) < 80
    assert "…" in table_of(by_hand("Blue wok\n" + "very " * 40))


def test_without_attributes_and_words():
    explanation = by_hand()
    items = tuple(
        replace(item, attributes=tuple(replace(each, effect=None) for each in item.attributes))
        for item in explanation.items
    )
    text = table_of(replace(explanation, items=items, matches=(), notes=()))
    assert "brand: Acme" not in text
    assert text.endswith("title: Blue pan                                +2.0000")
