"""Encoding a catalogue in blocks: on disk, by several calls, equal to encoding it at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recformer_hf import ItemCatalog, RecformerForSeqRec, RecformerTokenizer
from recformer_hf.recommending import encode_catalog as module
from recformer_hf.recommending.encode_catalog import BLOCKS_FOLDER, encode_catalog, encoder_fingerprint
from tests.support.faults import run_killed
from tests.support.models import enliven
from tests.support.shops import CATALOG, assert_same_directions, shop_encoder, shop_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> RecformerTokenizer:
    return shop_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer) -> RecformerForSeqRec:
    return shop_encoder(tokenizer)


class TestEncodeCatalog:
    def test_is_encode_items(self, model, tokenizer, tmp_path):
        path = encode_catalog(model, tokenizer, CATALOG, tmp_path, block_size=17)
        assert_same_directions(np.load(path), model.encode_items(CATALOG, tokenizer))
        assert ItemCatalog.from_pretrained(tmp_path) == CATALOG
        assert {file.name for file in tmp_path.iterdir()} == {
            "item_embeddings.npy", "item_embeddings.json", "item_catalog.arrow",
        }  # fmt: skip

    def test_goes_on_where_it_was_killed(self, model, tokenizer, tmp_path, monkeypatch):
        def work():
            import os

            calls, original = [], module.encode_items

            def encode(*args):
                calls.append(1)
                if len(calls) == 3:
                    os._exit(9)
                return original(*args)

            module.encode_items = encode
            torch.set_num_threads(1)  # a forked process has none of its parent's
            encode_catalog(model, tokenizer, CATALOG, tmp_path, block_size=10, progress=False)

        run_killed(work)
        assert len(list((tmp_path / BLOCKS_FOLDER).glob("[0-9]*.npy"))) == 2
        assert not (tmp_path / "item_embeddings.npy").exists()
        encoded = []
        original = module.encode_items

        def counting(model, items, *args):
            encoded.append(len(items))
            return original(model, items, *args)

        monkeypatch.setattr(module, "encode_items", counting)
        path = encode_catalog(model, tokenizer, CATALOG, tmp_path, block_size=10)
        assert encoded == [10] * 4
        monkeypatch.undo()
        assert_same_directions(np.load(path), model.encode_items(CATALOG, tokenizer))

    def test_a_finished_one_is_left_alone(self, model, tokenizer, tmp_path, monkeypatch):
        path = encode_catalog(model, tokenizer, CATALOG, tmp_path)
        monkeypatch.setattr(module, "encode_items", lambda *_, **__: pytest.fail("encoded again"))
        assert encode_catalog(model, tokenizer, CATALOG, tmp_path) == path

    def test_refuses_a_folder_of_something_else(self, model, tokenizer, tmp_path):
        encode_catalog(model, tokenizer, CATALOG, tmp_path)
        other = enliven(RecformerForSeqRec(model.config), seed=1)
        with pytest.raises(ValueError, match=r"made with another encoder.*another folder"):
            encode_catalog(other, tokenizer, CATALOG, tmp_path)
        with pytest.raises(ValueError, match="made with another num_items, catalog"):
            encode_catalog(model, tokenizer, CATALOG.select(range(9)), tmp_path)
        with pytest.raises(ValueError, match="There must be items"):
            encode_catalog(model, tokenizer, CATALOG.select([]), tmp_path)

    def test_fingerprint_is_the_encoders(self, model, tokenizer, tmp_path):
        model.save_pretrained(tmp_path)
        loaded = RecformerForSeqRec.from_pretrained(tmp_path)
        assert encoder_fingerprint(loaded) == encoder_fingerprint(model)
        assert encoder_fingerprint(model.with_catalog(CATALOG, tokenizer)) == encoder_fingerprint(model)
        assert encoder_fingerprint(loaded.to(torch.bfloat16)) != encoder_fingerprint(model)
