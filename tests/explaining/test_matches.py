"""Words in common with a history."""

from __future__ import annotations

from recformer_hf.explaining.effects import Match
from recformer_hf.explaining.matches import matches_of
from recformer_hf.explaining.words import ReadItem, read_alone, read_items
from tests.support.explanations import tokenizer


def read(*items: dict[str, str]) -> list[ReadItem]:
    found = read_items(items, tokenizer())
    read_alone(found, 128)
    return found


def test_by_hand():
    (target,) = read({"title": "Blue-Wok XL, wok a 7 STRASSE", "brand": "Acme"})
    history = read({"title": "a wok"}, {"title": "straße", "brand": "xl"}, {"title": "WOK", "wok": "acme title"})
    assert matches_of(target, history) == (
        Match("title", "Wok", (0, 2)),
        Match("title", "XL", (1,)),
        Match("title", "STRASSE", (1,)),  # by case folding
        Match("brand", "Acme", (2,)),
    )


def test_attributes_that_are_not_read_do_not_count():
    fourth = {"a": "one", "b": "two", "c": "three", "d": "wok"}  # the model reads three
    (target,) = read({"title": "wok"})
    assert matches_of(target, read(fourth)) == ()
    assert matches_of(read(fourth)[0], read({"title": "wok"})) == ()
    assert matches_of(target, read_items([{"title": "wok"}], tokenizer())) == ()
