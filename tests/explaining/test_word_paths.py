"""Effects of tokens, against the change of a score on the way from no words to all, by finite differences."""

from __future__ import annotations

import numpy as np
import torch

from recformer_hf.explaining import word_paths
from recformer_hf.explaining.word_paths import token_effects
from recformer_hf.explaining.words import read_alone, read_in_history, read_items
from tests.support.explanations import recommender, tokenizer
from tests.support.shops import CATALOG

TEXTS = [CATALOG[3], CATALOG[4]]


def scores(vectors: torch.Tensor) -> torch.Tensor:
    """Two scores that depend on all vectors."""
    weights = torch.linspace(-1, 1, vectors.numel(), dtype=vectors.dtype).view_as(vectors)
    return torch.stack([(vectors * weights).sum(), (vectors * weights).square().sum().sqrt()])


def at(model, sequences: list[dict], scales: list[np.ndarray]) -> np.ndarray:
    """The scores of sequences whose word embeddings are scaled, token by token."""
    table, vectors = model.recformer.embeddings.word_embeddings.weight, []
    for sequence, scale in zip(sequences, scales, strict=True):
        embedded = table[torch.tensor(sequence["input_ids"])] * torch.tensor(scale, dtype=torch.float32)[:, None]
        others = {name: torch.tensor([sequence[name]]) for name in ("token_type_ids", "item_position_ids")}
        vectors.append(model.recformer(inputs_embeds=embedded[None], **others).pooler_output[0])
    return scores(torch.stack(vectors)).double().numpy()


def plain(model, sequences: list[dict]) -> np.ndarray:
    """The derivatives by the scale of each token half on the way, by central differences."""
    lengths, step, columns = [len(sequence["input_ids"]) for sequence in sequences], 2e-2, []
    for place, length in enumerate(lengths):
        for token in range(1, length):
            ends = []
            for sign in (1, -1):
                scales = [np.full(each, 0.5) for each in lengths]
                scales[place][token] += sign * step
                for each in scales:
                    each[0] = 1.0
                ends.append(at(model, sequences, scales))
            columns.append((ends[0] - ends[1]) / (2 * step))
    return np.stack(columns, axis=1)


@torch.no_grad()
def test_of_items_alone_and_in_a_history(monkeypatch):
    """Tokens come in the order of the items, oldest first, though a sequence begins with the newest."""
    monkeypatch.setattr(word_paths, "POINTS", 1)  # which is half on the way
    monkeypatch.setattr(word_paths, "_completed", lambda products, totals: products)
    model, texts = recommender("paper"), [{"t": "wok"}, {"n": "Tureen"}]
    alone, together = read_items(texts, tokenizer()), read_items(texts, tokenizer())
    read_alone(alone, 128)
    read_in_history(together, 50, 128)
    newest = len(alone[1].tokens()[0])
    sequences = [dict(tokenizer()(text)) for text in texts]
    for items, expected in ((alone, plain(model, sequences)), (together, plain(model, [dict(tokenizer()(texts))]))):
        found = token_effects(model, items, tokenizer().bos_token_id, scores, 8192).estimates
        if items is together:
            expected = np.concatenate([expected[:, newest:], expected[:, :newest]], axis=1)
        np.testing.assert_allclose(found, expected, atol=0.03 * np.abs(expected).max())


@torch.no_grad()
def test_each_sequence_in_a_pass_of_its_own():
    """The same numbers; no weight gets a gradient."""
    model = recommender("paper")
    items = read_items(TEXTS, tokenizer())
    read_alone(items, 128)
    few, many = (token_effects(model, items, tokenizer().bos_token_id, scores, most) for most in (1, 8192))
    np.testing.assert_allclose(few.estimates, many.estimates, atol=1e-4)
    np.testing.assert_allclose(few.blank, many.blank, atol=1e-5)
    assert all(weight.grad is None for weight in model.parameters())


@torch.no_grad()
def test_they_sum_up_to_what_the_words_add(monkeypatch):
    """Whatever the number of points, of which a few are close to many."""
    model = recommender("paper")
    items = read_items(TEXTS, tokenizer())
    read_in_history(items, 50, 128)
    sequence = dict(tokenizer()(TEXTS))
    length = len(sequence["input_ids"])
    whole, blank = at(model, [sequence], [np.ones(length)]), at(model, [sequence], [np.eye(1, length)[0]])
    monkeypatch.setattr(word_paths, "POINTS", 4)  # as they are by default
    few = token_effects(model, items, tokenizer().bos_token_id, scores, 8192)
    monkeypatch.setattr(word_paths, "POINTS", 32)
    monkeypatch.setattr(word_paths, "_completed", lambda products, totals: products)
    many = token_effects(model, items, tokenizer().bos_token_id, scores, 8192)
    np.testing.assert_allclose(few.blank, blank, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(few.estimates.sum(1) + few.blank, whole, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(many.estimates.sum(1) + many.blank, whole, atol=1e-2, rtol=1e-3)
    assert np.corrcoef(few.estimates[0], many.estimates[0])[0, 1] > 0.9


@torch.no_grad()
def test_texts_without_effect():
    model = recommender("paper")
    items = read_items(TEXTS, tokenizer())
    read_alone(items, 128)
    found = token_effects(model, items, tokenizer().bos_token_id, lambda vectors: vectors[:1, 0] * 0 + 3.0, 8192)
    assert not found.estimates.any()
    assert found.blank.tolist() == [3.0]
