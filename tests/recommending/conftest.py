"""A recommender of the small shop."""

from __future__ import annotations

import pytest

from recformer_hf import RecformerForSeqRec, RecformerTokenizer
from tests.support.models import enliven, small_config
from tests.support.shop import ITEMS


@pytest.fixture(scope="package")
def tokenizer() -> RecformerTokenizer:
    return RecformerTokenizer.train_from_catalog(ITEMS.values(), vocab_size=320)


@pytest.fixture(scope="package")
def encoder() -> RecformerForSeqRec:
    return enliven(RecformerForSeqRec(small_config())).eval()


@pytest.fixture
def model(encoder, tokenizer) -> RecformerForSeqRec:
    return encoder.with_catalog(ITEMS, tokenizer)
