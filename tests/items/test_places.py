"""How an error names the item or history that it is about."""

from __future__ import annotations

import pickle
from functools import partial

import pytest

from recformer_hf.items.places import Place, PlacedText, renumbered


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place(), "The item"),
        (Place(3), "Item 3"),
        (Place(history="only"), "The history"),
        (Place(2, "only"), "Item 2 of the history"),
        (Place(history=4), "History 4"),
        (Place(0, 4), "Item 0 of history 4"),
        (Place(1).moved(items=16), "Item 17"),
        (Place(1, 2).moved(histories=3), "Item 1 of history 5"),
        (Place(1, "only").moved(histories=3), "Item 1 of the history"),
        (Place().moved(items=3), "The item"),
        (Place(history=1).of_item(2), "Item 2 of history 1"),
        (Place().of_item(0), "The item"),
    ],
)
def test_names(place, text):
    assert str(place) == text


def test_the_place_moves_with_every_block_that_an_error_leaves():
    with (
        pytest.raises(ValueError, match=r"^Item 2 of history 7 is empty\.$"),
        renumbered(partial(Place.moved, histories=6)),
        renumbered(lambda place: Place(place.item, history=1)),
        renumbered(partial(Place.moved, items=2)),
    ):
        raise ValueError(PlacedText(Place(0), "is empty."))


def test_an_error_without_a_place_passes():
    with pytest.raises(ValueError, match=r"^no place$"), renumbered(partial(Place.moved, items=2)):
        raise ValueError("no place")
    with pytest.raises(OSError, match=r"^Item 1 x$"), renumbered(partial(Place.moved, items=2)):
        raise OSError(PlacedText(Place(1), "x"))


def test_the_message_of_an_error_reaches_another_process():
    assert pickle.loads(pickle.dumps(ValueError(PlacedText(Place(1), "is empty.")))).args == ("Item 1 is empty.",)
