"""Words of a history and of the explained item."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recformer_hf.explaining.score_parts import Targets, residuals_of, similarities
from recformer_hf.explaining.word_effects import first_token, history_words, target_words
from recformer_hf.explaining.words import read_alone, read_in_history, read_items
from tests.support.explanations import recommender, tokenizer
from tests.support.shops import CATALOG

ROWS = [7, 2, 9]


def targets_of(model, rows: list[int]) -> Targets:
    return Targets(np.array(rows), model.item_vectors.detach()[rows], residuals_of(model, rows))


def flat(words) -> list:
    return [word for of_item in words.of_items for attribute in of_item for word in attribute]


def history_of(model):
    items = read_items([CATALOG[row] for row in ROWS], tokenizer())
    if model.config.sequence_head == "two_level":
        read_alone(items, 128)
    else:
        read_in_history(items, 50, 128)
    return items


def test_shares_sum_up_to_one(model):
    targets = targets_of(model, [4, 30])
    found = history_words(model, tokenizer(), history_of(model), ROWS, targets, 8192)
    assert len(found) == 2
    for words in found:
        assert [len(of_item) for of_item in words.of_items] == [len(CATALOG[row]) for row in ROWS]
        assert sum(word.share for word in flat(words)) == pytest.approx(1, abs=1e-9)
        total = sum(abs(word.estimate) for word in flat(words))
        assert total > 0
        assert [word.share for word in flat(words)] == pytest.approx([abs(w.estimate) / total for w in flat(words)])
    texts = [word.text for word in flat(found[0]) if not word.in_key]
    assert texts == [word for row in ROWS for value in CATALOG[row].values() for word in value.split()]


@torch.no_grad()
def test_estimates_sum_up_to_what_the_words_add(model):
    """Without words, the embeddings of all tokens but the special ones are zeros."""
    targets = targets_of(model, [4])
    found = history_words(model, tokenizer(), history_of(model), ROWS, targets, 8192)[0]
    table, specials = model.recformer.embeddings.word_embeddings.weight, tokenizer().all_special_ids
    whole, before = score_of(model, targets), table.clone()
    table.zero_()
    table[specials] = before[specials]
    try:
        blank = score_of(model, targets)
    finally:
        table.copy_(before)
    assert found.blank == pytest.approx(blank, abs=1e-5)
    assert sum(word.estimate for word in flat(found)) == pytest.approx(whole - blank, abs=2e-5)


def score_of(model, targets: Targets) -> float:
    """The similarity with the weights as they are now; a two-level head would look stored vectors up."""
    texts = [CATALOG[row] for row in ROWS]
    if model.config.sequence_head == "flat":
        vector = model.encode_histories([texts], tokenizer())
    else:
        vectors = model.scoring_head.item_vectors(model.encode_items(texts, tokenizer()), residuals_of(model, ROWS))
        vector = model.scoring_head.history_transformer(vectors[None])[:, -1]
    return float(sum(similarities(model, vector, targets).values()))


def test_words_of_the_explained_item(model):
    items = read_items([CATALOG[4]], tokenizer())
    read_alone(items, 128)
    target, history = targets_of(model, [4]), model.encode_histories([["kitchen-0002"]], tokenizer())
    found = target_words(model, tokenizer(), items[0], history, target)
    assert len(found.of_items) == 1
    assert sum(word.share for word in flat(found)) == pytest.approx(1, abs=1e-9)
    assert [word.text for word in flat(found) if word.in_key] == list(CATALOG[4])


def test_only_read_words_are_listed():
    model = recommender("paper")
    items = read_items([CATALOG[7], CATALOG[2]], tokenizer())
    read_in_history(items, 1, 6)
    words = history_words(model, tokenizer(), items, [7, 2], targets_of(model, [4]), 8192)[0]
    assert words.of_items[0] == [()] * len(CATALOG[7])
    read = flat(words)
    assert sum(word.share for word in read) == pytest.approx(1)
    assert 0 < len(read) <= 5


def test_the_first_token_of_a_tokenizer_without_bos():
    class Bert:
        bos_token_id, cls_token_id = None, 101

    assert first_token(Bert()) == 101
    assert first_token(tokenizer()) == tokenizer().bos_token_id
