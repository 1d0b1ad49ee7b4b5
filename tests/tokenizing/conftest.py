"""Tokenizers of every algorithm."""

from __future__ import annotations

from pathlib import Path

import pytest

from recformer_hf.tokenization_recformer import RecformerTokenizer
from tests.support.tokenizers import ROBERTA_FILES, save_tokenizers


@pytest.fixture(scope="package")
def folders(tmp_path_factory) -> dict[str, Path]:
    return save_tokenizers(tmp_path_factory.mktemp("tokenizers"))


@pytest.fixture(scope="package", params=["roberta", "bert", "xlm_roberta", "trained"])
def tokenizer(request, folders) -> RecformerTokenizer:
    return RecformerTokenizer.from_pretrained(folders[request.param])


@pytest.fixture(scope="package")
def roberta() -> RecformerTokenizer:
    return RecformerTokenizer.from_pretrained(ROBERTA_FILES)
