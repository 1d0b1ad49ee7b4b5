"""The command of a test file, and a model and a shop in folders for the commands that use a recommender."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from recformer_hf import RecformerForSeqRec, RecformerTokenizer
from tests.support.shops import save_encoder_and_shop, shop_encoder, shop_tokenizer


@pytest.fixture(scope="module")
def script(request) -> ModuleType:
    """`recformer_hf.cli.commands.evaluate` in test_evaluate.py."""
    return importlib.import_module(f"recformer_hf.cli.commands.{request.module.__name__.rpartition('test_')[2]}")


@pytest.fixture(scope="module")
def tokenizer() -> RecformerTokenizer:
    return shop_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer) -> RecformerForSeqRec:
    return shop_encoder(tokenizer)


@pytest.fixture(scope="module")
def folders(model, tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("commands")
    save_encoder_and_shop(model, tokenizer, folder)
    return folder
