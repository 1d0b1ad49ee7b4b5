"""A `RecformerScorer` gives the model's own scores, whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recformer_hf.data.demo import load_demo_domain
from recformer_hf.data.tokenized_catalog import TokenizedCatalog
from recformer_hf.evaluation import RecformerScorer, rank_split
from recformer_hf.items.catalog import ItemCatalog
from recformer_hf.modeling_recformer import RecformerForSeqRec
from recformer_hf.tokenization_recformer import RecformerTokenizer
from tests.support.models import enliven, small_config

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
