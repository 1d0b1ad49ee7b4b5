"""Places of items and histories in errors."""

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
        (Place(3, 5), "Item 3 of history 5"),
        (Place(3, "only"), "Item 3 of the history"),
        (Place(history=5), "History 5"),
        (Place(history="only"), "The history"),
    ],
)
def test_reads_as_a_person_would_say_it(place, text):
    assert str(place) == text


def test_an_item_of_a_history():
    assert Place(history=2).of_item(4) == Place(4, 2)
    assert Place(history="only").of_item(4) == Place(4, "only")
    assert Place().of_item(0) == Place()  # an item without a history stays "the item"


@pytest.mark.parametrize("kind", [TypeError, ValueError, KeyError])
def test_the_whole_adds_what_came_before_the_part(kind):
    with (
        pytest.raises(kind) as caught,
        renumbered(partial(Place.moved, histories=1024)),
        renumbered(partial(Place.moved, items=50)),
    ):
        raise kind(PlacedText(Place(1, 2), "is empty."))
    assert caught.value.args == ("Item 51 of history 1026 is empty.",)


@pytest.mark.parametrize(
    "error", [ValueError("plain"), ValueError(), ValueError(PlacedText("Item 'B01'", "is empty.")), OSError(2, "no")]
)
def test_other_errors_pass_as_they_are(error):
    before = error.args
    with pytest.raises(type(error)) as caught, renumbered(partial(Place.moved, items=1)):
        raise error
    assert caught.value is error
    assert error.args == before


def test_another_process_gets_the_text():
    error = pickle.loads(pickle.dumps(ValueError(PlacedText(Place(1), "is empty."))))
    assert str(error) == "Item 1 is empty."
