"""Effects of items and attributes, against what the model says of what is left."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recformer_hf.explaining.leave_one_out import ReadHistory, history_effects, target_effects, tolerance
from recformer_hf.explaining.score_parts import Targets, residuals_of, similarities
from recformer_hf.explaining.words import read_alone, read_in_history, read_items
from tests.support.explanations import recommender, tokenizer
from tests.support.shops import CATALOG

ROWS = [7, 2, 9]
TEXTS = [CATALOG[row] for row in ROWS]


def targets_of(model, rows: list[int]) -> Targets:
    return Targets(np.array(rows), model.item_vectors.detach()[rows], residuals_of(model, rows))


def history_of(model, rows: list[int] = ROWS, window: int = 50) -> ReadHistory:
    texts = [CATALOG[row] for row in rows]
    items = read_items(texts, tokenizer(), window)
    if model.config.sequence_head == "two_level":
        read_alone(items[-window:], 128)
    else:
        read_in_history(items, window, 128)
    ids = [CATALOG.id_of(row) for row in rows]
    return ReadHistory(texts, rows, items, model.encode_histories([ids], tokenizer()), window)


def total(model, vector: torch.Tensor, targets: Targets) -> np.ndarray:
    return sum(similarities(model, vector, targets).values())[0].numpy()


@torch.no_grad()
def test_items(model):
    targets, ids = targets_of(model, [4, 30]), [CATALOG.id_of(row) for row in ROWS]
    found = history_effects(model, tokenizer(), history_of(model), targets, False, 8192)
    assert found.attributes == {}
    assert not found.changed
    np.testing.assert_allclose(
        sum(found.whole.values()), total(model, model.encode_histories([ids], tokenizer()), targets), atol=1e-5
    )
    for place in range(3):
        vector = model.encode_histories([ids[:place] + ids[place + 1 :]], tokenizer())
        without = sum(values[place] for values in found.without_item.values())
        np.testing.assert_allclose(without, total(model, vector, targets), atol=1e-5)


@torch.no_grad()
def test_attributes(model):
    """A flat model reads the item without it; a two-level head a vector of the item without it."""
    targets = targets_of(model, [4, 30])
    found = history_effects(model, tokenizer(), history_of(model), targets, True, 300)
    assert set(found.attributes) == {(p, n) for p, text in enumerate(TEXTS) for n in range(min(3, len(text)))}
    assert not found.changed
    whole = sum(found.whole.values())
    for (place, number), effect in found.attributes.items():
        key = list(TEXTS[place])[number]
        left = {name: value for name, value in TEXTS[place].items() if name != key}
        if model.config.sequence_head == "flat":
            vector = model.encode_histories([[*TEXTS[:place], left, *TEXTS[place + 1 :]]], tokenizer())
        else:
            items = model.item_vectors[ROWS].clone()
            encoded = model.encode_items([left], tokenizer())
            items[place] = model.scoring_head.item_vectors(encoded, residuals_of(model, [ROWS[place]]))[0]
            vector = model.scoring_head.history_transformer(items[None])[:, -1]
        np.testing.assert_allclose(effect, whole - total(model, vector, targets), atol=2e-5)


def test_the_only_item_and_attribute(model):
    """Nothing is left, so all of the similarity goes."""
    targets = targets_of(model, [4])
    history = history_of(model, [7])
    history = history._replace(
        texts=[{"title": "mug"}], rows=[-1], items=read_items([{"title": "mug"}], tokenizer()),
        vector=model.encode_histories([[{"title": "mug"}]], tokenizer()),
    )  # fmt: skip
    read_in_history(history.items, 50, 128)
    with torch.no_grad():
        found = history_effects(model, tokenizer(), history, targets, True, 8192)
    assert all(not values.any() for values in found.without_item.values())
    assert found.attributes[0, 0] == pytest.approx(sum(found.whole.values()), abs=1e-5)


@torch.no_grad()
def test_items_that_are_not_read_change_nothing_and_the_others_bring_one_in():
    model = recommender("paper")
    rows = [7, 2, 9, 11]
    texts, window = [CATALOG[row] for row in rows], model.config.max_item_embeddings - 1
    model.config.max_item_embeddings = 3  # reads two items
    try:
        history = history_of(model, rows, 2)
        found = history_effects(model, tokenizer(), history, targets_of(model, [4]), True, 8192)
        assert {place for place, _ in found.attributes} == {2, 3}
        expected = total(model, model.encode_histories([[texts[1], texts[3]]], tokenizer()), targets_of(model, [4]))
    finally:
        model.config.max_item_embeddings = window + 1
    without = found.without_item["text"]
    assert without[0] == without[1] == found.whole["text"]
    np.testing.assert_allclose(without[2], expected, atol=1e-5)


@torch.no_grad()
def test_attributes_of_the_explained_item(model):
    history, target = model.encode_histories([["kitchen-0002"]], tokenizer()), targets_of(model, [4])
    (item,) = read_items([CATALOG[4]], tokenizer())
    read_alone([item], 128)
    found = target_effects(model, tokenizer(), item, target, history, 8192)
    assert not found.changed
    whole, residuals = total(model, history, target), residuals_of(model, [4])
    for number, key in enumerate(CATALOG[4]):
        left = {name: value for name, value in CATALOG[4].items() if name != key}
        vectors = model.scoring_head.item_vectors(model.encode_items([left], tokenizer()), residuals)
        expected = whole - total(model, history, Targets(target.rows, vectors, residuals))
        assert found.attributes[number] == pytest.approx(expected[0], abs=2e-5)


@torch.no_grad()
def test_vectors_that_are_not_those_of_the_texts(model):
    """As after a stage of training in which the encoder is trained and the items are not."""
    (item,) = read_items([CATALOG[4]], tokenizer())
    read_alone([item], 128)
    target = targets_of(model, [5])._replace(rows=np.array([4]))
    history = model.encode_histories([["kitchen-0002"]], tokenizer())
    assert target_effects(model, tokenizer(), item, target, history, 8192).changed
    if model.config.sequence_head == "two_level":
        read = history_of(model)
        wrong = read._replace(texts=[*TEXTS[:2], TEXTS[1]])
        assert history_effects(model, tokenizer(), wrong, targets_of(model, [4]), True, 8192).changed


def test_tolerance_is_relative_to_large_scores():
    assert tolerance(np.array([0.5, -0.1])) == 1e-3
    assert tolerance(np.array([3.0, -40.0])) == 0.04
