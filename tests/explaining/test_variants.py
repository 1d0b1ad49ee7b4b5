"""Vectors of variants of a history, against encoding each of them by itself."""

from __future__ import annotations

import torch

from recformer_hf.explaining.variants import Entry, HistoryVariants
from tests.support.explanations import recommender, tokenizer
from tests.support.shop import assert_close
from tests.support.shops import CATALOG

ROWS = [7, 2, 9]
TEXTS = [CATALOG[row] for row in ROWS]
NEW = {"title": "Blue Wok"}


def variants_of(model) -> HistoryVariants:
    found = HistoryVariants(model, tokenizer(), [Entry(CATALOG[row], row) for row in ROWS], 256)
    assert found.without(1) == 0
    assert found.replaced(2, Entry(NEW, -1, 9)) == 1
    assert found.without(0) == 2
    return found


def test_a_flat_model_reads_texts():
    for kind in ("paper", "flat"):
        model = recommender(kind)
        expected = [[TEXTS[0], TEXTS[2]], [TEXTS[0], TEXTS[1], NEW], TEXTS[1:]]
        with torch.no_grad():
            assert_close(variants_of(model).vectors(), model.encode_histories(expected, tokenizer()))


@torch.no_grad()
def test_a_two_level_head_reads_vectors_and_keeps_the_residual_of_a_changed_text():
    for kind in ("two_level", "narrow"):
        model = recommender(kind)
        found = variants_of(model).vectors()
        stored = model.item_vectors[ROWS]
        residual = None if model.item_residuals is None else model.item_residuals[9:10]
        new = model.scoring_head.item_vectors(model.encode_items([NEW], tokenizer()), residual)
        read = model.scoring_head.history_transformer
        for number, vectors in enumerate([stored[[0, 2]], torch.cat([stored[:2], new]), stored[1:]]):
            assert_close(found[number : number + 1], read(vectors[None])[:, -1])


@torch.no_grad()
def test_new_items_have_no_residual():
    model = recommender("narrow")
    found = HistoryVariants(model, tokenizer(), [Entry(NEW), Entry(TEXTS[0], 7)], 256)
    found.without(1)
    assert_close(found.vectors(), model.encode_histories([[NEW]], tokenizer()))


def test_nothing_is_left_of_one_item(model):
    found = HistoryVariants(model, tokenizer(), [Entry(TEXTS[0], 7)], 256)
    assert found.without(0) is None
    assert found.vectors().shape == (0, model.config.vector_size)
