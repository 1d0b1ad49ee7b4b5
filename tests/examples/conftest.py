"""A model and a shop in folders, for the scripts that use a recommender."""

from __future__ import annotations

from pathlib import Path

import pytest

from recformer_hf import RecformerForSeqRec, RecformerTokenizer
from tests.support.shops import save_encoder_and_shop, shop_encoder, shop_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> RecformerTokenizer:
    return shop_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer) -> RecformerForSeqRec:
    return shop_encoder(tokenizer)


@pytest.fixture(scope="module")
def folders(model, tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    save_encoder_and_shop(model, tokenizer, folder)
    return folder
