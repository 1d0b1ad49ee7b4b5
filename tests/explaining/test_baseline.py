"""Explanations of neural baselines: items alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from recformer_hf.explaining import explain, explain_top
from recformer_hf.explaining.baseline import explain_baseline, is_baseline
from tests.support.explanations import recommender
from tests.support.neural_baselines import with_items

model_of = lru_cache(maxsize=None)(with_items)


@pytest.mark.parametrize("name", ["sasrec", "gru4rec", "zesrec"])
def test_leaves_out_each_item(name):
    model = model_of(name)
    ids, rows = list(model.catalog.ids), np.array([3, 1, 4, 1])
    history = [ids[3], ids[1], model.catalog[4], ids[1]]
    found = explain(model, None, history, ids[7])
    scores = model.scores([rows])[0]
    assert found.score == pytest.approx(float(scores[7]), abs=1e-6)
    assert [(part.name, part.value) for part in found.parts] == [("model", found.score)]
    for place, item in enumerate(found.items):
        without = model.scores([np.delete(rows, place)])[0, 7]
        assert item.effect == pytest.approx(float(scores[7] - without), abs=1e-5)
        assert item.effect_parts == {"model": item.effect}
        assert item.item_id == ids[rows[place]]
        assert item.attributes
        assert all(each.effect is None for each in item.attributes)
    assert not found.words
    assert "by their ids alone" in found.notes[0]


def test_what_is_recommended():
    model = model_of("sasrec")
    ids = list(model.catalog.ids)
    best = model.recommend([ids[:3]], None, 3)
    found = explain_top(model, None, ids[:3], 3)
    assert [each.item_id for each in found] == best.item_ids[0]
    assert [each.score for each in found] == pytest.approx(best.scores[0].tolist(), abs=1e-5)
    assert explain(model, None, ids[:3], candidates=[ids[5]]).item_id == ids[5]


def test_one_item_and_items_that_are_not_read():
    model = model_of("sasrec")
    ids = list(model.catalog.ids)
    (one,) = explain_baseline(model, ids[:1], ids[4], 1, {})
    assert one.items[0].effect == one.score
    assert "whole score" in one.notes[-1]
    (long,) = explain_baseline(model, ids[:8], ids[9], 1, {})
    assert [item.read for item in long.items] == ["none"] * 2 + ["all"] * 6  # max_length is 6
    assert long.items[0].effect == pytest.approx(0, abs=1e-6)


def test_items_outside_the_catalogue():
    model = model_of("sasrec")
    ids = list(model.catalog.ids)
    with pytest.raises(ValueError, match="Item 1 of the history is not in the catalogue: a baseline knows its items"):
        explain(model, None, [ids[0], {"title": "new"}], ids[1])
    with pytest.raises(ValueError, match="The item is not in the catalogue"):
        explain(model, None, ids[:2], {"title": "new"})


def test_what_is_a_baseline():
    assert is_baseline(model_of("gru4rec"))
    assert not is_baseline(recommender("paper"))
    assert not is_baseline(object())
