"""A `RecformerScorer` gives the model's own scores, whatever the batches."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from recformer_hf.data.demo import load_demo_domain
from recformer_hf.data.tokenized_catalog import TokenizedCatalog
from recformer_hf.evaluation import RecformerScorer, rank_split
from recformer_hf.items.catalog import ItemCatalog
from recformer_hf.modeling_recformer import RecformerForSeqRec
from recformer_hf.recommending import recommender
from recformer_hf.recommending.vectors import equal_rows
from recformer_hf.tokenization_recformer import RecformerTokenizer
from tests.support.heads import HEADS, trained
from tests.support.memories import some_memory
from tests.support.models import assert_parity, enliven, small_config

DATASET = load_demo_domain("kitchen", num_users=20, num_items=60)
TOKENIZER = RecformerTokenizer.train_from_catalog(list(DATASET.catalog), vocab_size=320)
HISTORIES = [DATASET.test.history(row) for row in range(len(DATASET.test))]


@pytest.fixture(scope="module")
def model() -> RecformerForSeqRec:
    model = enliven(
        RecformerForSeqRec(small_config(vocab_size=len(TOKENIZER), max_token_num=TOKENIZER.max_token_num))
    ).eval()
    model.set_item_embeddings(model.encode_items(DATASET.catalog, TOKENIZER))
    return model


def test_scores_are_the_models_own(model) -> None:
    items = list(DATASET.catalog)
    scores = RecformerScorer(model, TOKENIZER, DATASET.catalog).fit(DATASET).scores(HISTORIES)
    assert scores.shape == (20, 60)
    with torch.no_grad():
        for row in (0, 7, 19):
            alone = model(**TOKENIZER([items[item] for item in HISTORIES[row]], return_tensors="pt")).scores[0]
            torch.testing.assert_close(scores[row], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("max_tokens", [1, 60, 200])
def test_the_token_budget_does_not_matter(model, max_tokens: int) -> None:
    catalog = TokenizedCatalog.build(DATASET.catalog, TOKENIZER)
    scores = RecformerScorer(model, TOKENIZER, catalog, max_tokens=max_tokens).scores(HISTORIES)
    expected = RecformerScorer(model, TOKENIZER, catalog).scores(HISTORIES)
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)


def test_modules_keep_their_mode_and_no_gradient_is_kept(model) -> None:
    model.train()
    model.recformer.embeddings.eval()
    scorer = RecformerScorer(model, TOKENIZER, DATASET.catalog)
    first, second = scorer.scores(HISTORIES), scorer.scores(HISTORIES)
    assert torch.equal(first, second)  # no dropout
    assert not first.requires_grad
    assert (model.training, model.recformer.embeddings.training) == (True, False)
    model.eval()


def test_ranks_a_split(model) -> None:
    ranking = rank_split(RecformerScorer(model, TOKENIZER, DATASET.catalog), DATASET.test, chunk_size=7)
    assert len(ranking) == 20
    assert np.isfinite(ranking.ranks).all()


def test_another_catalogue_is_refused(model) -> None:
    smaller = DATASET.catalog.select(range(59))
    with pytest.raises(ValueError, match="60 item embeddings, the catalogue 59 items"):
        RecformerScorer(model, TOKENIZER, smaller)
    other = load_demo_domain("kitchen", seed=1, num_users=20, num_items=60)
    with pytest.raises(ValueError, match="is not the dataset's"):
        RecformerScorer(model, TOKENIZER, DATASET.catalog).fit(other)


@pytest.mark.parametrize("chunk_size", [1, 7, None])
def test_items_of_equal_text_tie_whatever_the_batches(model, chunk_size) -> None:
    """And what is recommended is what the model recommends."""
    catalog = ItemCatalog.from_items(
        {f"{copy}{row}": item for copy in "abc" for row, item in enumerate(DATASET.catalog)}
    )
    shop = model.with_catalog(catalog, TOKENIZER)
    scorer = RecformerScorer(shop, TOKENIZER, catalog)
    ranking = rank_split(scorer, DATASET.test, chunk_size=chunk_size, top_k=30)
    histories = [[catalog.ids[row] for row in history] for history in HISTORIES]
    found = shop.recommend(histories, TOKENIZER, top_k=30, exclude_history=False)
    assert ranking.recommended.tolist() == found.rows.tolist()
    scores = scorer.scores(HISTORIES[:1])[0]
    assert torch.equal(scores[:60], scores[60:120])
    assert torch.equal(scores[:60], scores[120:])


def test_the_models_own_catalogue_in_another_order_is_refused(model) -> None:
    """Every score would belong to another item."""
    shop = model.with_catalog(DATASET.catalog.select(range(59, -1, -1)), TOKENIZER)
    with pytest.raises(ValueError, match=r"differs from this one in 60 of 60 rows, the first is row 0: 'kitchen-0059'"):
        RecformerScorer(shop, TOKENIZER, DATASET.catalog)
    tokenized = TokenizedCatalog.build(DATASET.catalog, TOKENIZER)
    with pytest.raises(ValueError, match="differs from this one"):
        RecformerScorer(shop, TOKENIZER, tokenized).fit(DATASET)
    shop.set_item_embeddings(shop.encode_items(DATASET.catalog, TOKENIZER), DATASET.catalog)
    RecformerScorer(shop, TOKENIZER, DATASET.catalog).fit(DATASET)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"model": None}, "Expected a RecformerForSeqRec, got a NoneType"),
        ({"tokenizer": None}, "Expected a RecformerTokenizer, got None"),
        ({"catalog": DATASET}, "got a SequentialDataset; a dataset's is dataset.catalog"),
    ],
)
def test_wrong_kinds(model, change, problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        RecformerScorer(**{"model": model, "tokenizer": TOKENIZER, "catalog": DATASET.catalog, **change})


@pytest.mark.parametrize("parts", HEADS)
def test_the_scores_of_forward_with_every_head(parts: str) -> None:
    model = trained(DATASET.catalog, TOKENIZER, parts)
    tokenizer = None if model.config.sequence_head == "two_level" else TOKENIZER
    histories = [*HISTORIES, np.arange(60), np.array([3, 3, 3])]
    scores = RecformerScorer(model, tokenizer, DATASET.catalog).fit(DATASET).scores(histories)
    assert not scores.requires_grad
    with torch.no_grad():
        for row, history in enumerate(histories):
            tokens = TOKENIZER([DATASET.catalog[item] for item in history[-50:]], return_tensors="pt")
            rows = torch.from_numpy(history)[None]
            alone = model(**({} if tokenizer is None else tokens), history_rows=rows).scores[0]
            assert_parity(scores[row], alone, 1e-6)


@pytest.mark.parametrize("parts", ["paper", "narrow"])
def test_a_memory_is_mixed_in(parts: str) -> None:
    model = trained(DATASET.catalog, TOKENIZER, parts)
    scorer = RecformerScorer(model, TOKENIZER, DATASET.catalog)
    alone = scorer.scores(HISTORIES)
    model.memory = memory = some_memory(60)
    mixed = scorer.scores(HISTORIES)
    assert torch.equal(mixed, memory.mixed(alone, HISTORIES))
    assert not torch.equal(mixed.argsort(1), alone.argsort(1))


def test_a_second_ranking_takes_the_kept_vectors(monkeypatch) -> None:
    model = trained(DATASET.catalog, TOKENIZER, "paper")
    expected = RecformerScorer(model, TOKENIZER, DATASET.catalog).scores(HISTORIES)
    model.memory = some_memory(60)
    scorer = RecformerScorer(model, TOKENIZER, DATASET.catalog, keep_vectors=True)
    mixed = scorer.scores(HISTORIES)
    alone = copy.copy(scorer)
    alone.model = copy.copy(model)
    alone.model.memory = None
    other = scorer.scores(HISTORIES[:4])  # another call has other vectors
    assert torch.equal(other.argsort(1), mixed[:4].argsort(1))
    monkeypatch.setattr(type(model.recformer), "forward", None)
    assert torch.equal(alone.scores(HISTORIES), expected)
    assert torch.equal(scorer.scores(HISTORIES), mixed)
    with pytest.raises(TypeError):  # without the option, it encodes
        RecformerScorer(model, TOKENIZER, DATASET.catalog).scores(HISTORIES)


def test_a_two_level_head_needs_no_tokens(monkeypatch) -> None:
    model = trained(DATASET.catalog, TOKENIZER, "two_level")
    monkeypatch.setattr(TokenizedCatalog, "build", None)
    monkeypatch.setattr(type(model.recformer), "forward", None)
    with_one = RecformerScorer(model, TOKENIZER, DATASET.catalog).scores(HISTORIES)
    assert torch.equal(RecformerScorer(model, None, DATASET.catalog).scores(HISTORIES), with_one)
    one_by_one = torch.cat([RecformerScorer(model, None, DATASET.catalog, 1).scores([each]) for each in HISTORIES])
    assert_parity(with_one, one_by_one, 1e-6)
    with pytest.raises(ValueError, match="history_rows"):
        RecformerScorer(model, None, DATASET.catalog).scores([np.array([60])])


def test_items_of_equal_text_are_compared_once_for_each_state_of_the_vectors(monkeypatch) -> None:
    catalog = ItemCatalog.from_items({f"{c}{row}": item for c in "ab" for row, item in enumerate(DATASET.catalog)})
    model = trained(catalog, TOKENIZER, {"item_residuals": True, "history_bias": True})
    calls = []
    monkeypatch.setattr(recommender, "equal_rows", lambda *given: calls.append(1) or equal_rows(*given))
    scorer = RecformerScorer(model, TOKENIZER, catalog)
    scores = torch.cat([scorer.scores([each]) for each in HISTORIES])
    assert len(calls) == 1
    assert not torch.equal(scores[:, :60], scores[:, 60:])  # their residuals differ
    with torch.no_grad():
        model.item_residuals.zero_()
    scores = torch.cat([scorer.scores([each]) for each in HISTORIES])
    assert len(calls) == 2
    for row, history in enumerate(HISTORIES):
        others = np.setdiff1d(np.arange(60), history)
        assert torch.equal(scores[row, others], scores[row, others + 60])
        assert (scores[row, history] != scores[row, history + 60]).all()  # the history has only one of the two
