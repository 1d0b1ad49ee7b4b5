"""baselines/shared/text_vectors.py: vectors of texts, from models and from words, and what is kept of them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from transformers import AutoModel, AutoTokenizer

from recformer_hf import ItemCatalog
from recformer_hf.baselines.shared import text_vectors as module
from recformer_hf.baselines.shared.text_vectors import prepared, text_vectors, without_words
from recformer_hf.memory.text_index import TextIndex
from recformer_hf.memory.text_neighbours import whitened
from tests.support.conversion import source_config, write_tokenizer
from tests.support.neural_baselines import with_items
from tests.support.training import small_dataset, small_model, small_tokenizer

CATALOG = ItemCatalog.from_items(
    {"a": {"title": "red shoes", "brand": "acme"}, "b": {"title": "red hat"}, "c": {"title": "blue shoes for a child"}}
)


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    """A small BERT."""
    folder = tmp_path / "encoder"
    folder.mkdir()
    torch.manual_seed(0)
    AutoModel.from_config(source_config("bert")).save_pretrained(folder)
    write_tokenizer(folder, "bert")
    return str(folder)


class TestWords:
    def test_cosines_are_about_those_of_tf_idf(self):
        catalog = small_dataset().catalog
        index = TextIndex.build(" ".join(item.values()) for item in catalog)
        vectors = text_vectors(catalog, width=20_000)
        assert vectors.shape == (60, 20_000)
        expected = torch.from_numpy(np.stack([index.cosines(row) for row in range(60)]))
        torch.testing.assert_close(vectors @ vectors.T, expected, atol=0.05, rtol=0)

    def test_a_word_is_the_same_everywhere(self):
        bits = np.unpackbits(np.frombuffer(hashlib.shake_128(b"wool").digest(2), np.uint8))[:12]
        expected = torch.from_numpy((2.0 * bits - 1) / 12**0.5).float()
        for texts in ({"a": "Wool", "b": "hat"}, {"b": "pan iron", "a": "wool"}):
            catalog = ItemCatalog.from_items({name: {"title": text} for name, text in texts.items()})
            torch.testing.assert_close(text_vectors(catalog, width=12)[catalog.row_of("a")], expected)

    def test_an_item_without_words_has_zeros(self):
        vectors = text_vectors(ItemCatalog.from_items({"a": {"title": "!"}, "b": {"title": "hat"}}), width=8)
        assert not vectors[0].any()
        assert vectors[1].all()


class TestModels:
    @pytest.mark.parametrize("pooling", ["mean", "cls"])
    def test_pooled_states_of_each_text_alone(self, encoder, pooling, tmp_path):
        found = text_vectors(CATALOG, encoder, pooling=pooling, cache_dir=tmp_path)
        model, tokenizer = AutoModel.from_pretrained(encoder), AutoTokenizer.from_pretrained(encoder)
        for row, text in enumerate(("red shoes acme", "red hat", "blue shoes for a child")):
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
            torch.testing.assert_close(found[row], states[0] if pooling == "cls" else states.mean(0))

    @pytest.mark.parametrize("wrong", ["folder that does not exist", "", "baseline"])
    def test_what_is_no_text_encoder_is_named(self, wrong, tmp_path):
        name = str(tmp_path / wrong) if wrong else wrong
        if wrong == "baseline":
            with_items("sasrec").save_pretrained(name)
        message = f"The text encoder {name!r} cannot be loaded. Give the folder or Hub id of a text encoder"
        with pytest.raises(OSError, match=re.escape(message)):
            text_vectors(CATALOG, name)

    def test_a_recformer_encodes_items_as_it_does(self, tmp_path):
        model = small_model()
        model.save_pretrained(tmp_path / "recformer")
        small_tokenizer().save_pretrained(tmp_path / "recformer")
        catalog = small_dataset().catalog
        found = text_vectors(catalog, str(tmp_path / "recformer"), cache_dir=tmp_path / "kept")
        torch.testing.assert_close(found, model.encode_items(catalog, small_tokenizer()))
        assert len(list((tmp_path / "kept").iterdir())) == 1

    def test_what_is_not_finite_is_refused(self, encoder, tmp_path):
        model = AutoModel.from_pretrained(encoder)
        model.embeddings.word_embeddings.weight.data.fill_(float("nan"))
        model.save_pretrained(encoder)
        with pytest.raises(ValueError, match=r"gives item 'a' \(row 0\) a vector with NaN or infinite values"):
            text_vectors(CATALOG, encoder, cache_dir=tmp_path / "kept")
        assert not (tmp_path / "kept").exists()


class TestKept:
    def test_the_same_texts_are_not_encoded_twice(self, encoder, tmp_path, monkeypatch):
        monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
        first = text_vectors(CATALOG, encoder)
        (kept,) = (tmp_path / "recformer_hf/text_vectors").iterdir()
        with monkeypatch.context() as patch:
            patch.setattr(module._AnyEncoder, "encode", lambda *_: pytest.fail("encoded again"))
            assert torch.equal(text_vectors(CATALOG, encoder), first)
        kept.write_bytes(b"half a file")
        assert torch.equal(text_vectors(CATALOG, encoder), first)
        assert np.array_equal(np.load(kept), first.numpy())

    def test_another_model_pooling_or_catalogue_is(self, encoder, tmp_path):
        kept = tmp_path / "kept"
        text_vectors(CATALOG, encoder, cache_dir=kept)
        text_vectors(CATALOG, encoder, pooling="cls", cache_dir=kept)
        text_vectors(CATALOG.select([0, 1]), encoder, cache_dir=kept)
        model = AutoModel.from_pretrained(encoder)
        model.embeddings.word_embeddings.weight.data[0, 0] += 1
        model.save_pretrained(encoder)
        text_vectors(CATALOG, encoder, cache_dir=kept)
        assert len(list(kept.iterdir())) == 4

    def test_a_folder_that_cannot_be_written_costs_only_time(self, encoder, tmp_path, caplog):
        (tmp_path / "file").write_text("")
        assert text_vectors(CATALOG, encoder, cache_dir=tmp_path / "file/kept").shape == (3, 32)
        assert "are not kept for the next time" in caplog.text


class TestPrepared:
    VECTORS = np.random.default_rng(0).normal(size=(40, 9)).astype(np.float32)

    def test_lengths(self):
        for whitening in (None, 0.0, 0.25):
            torch.testing.assert_close(prepared(self.VECTORS, whitening).norm(dim=1), torch.full((40,), 3.0))

    def test_whitening(self):
        torch.testing.assert_close(prepared(self.VECTORS, 0.25), 3 * whitened(self.VECTORS, 0.25))
        assert torch.equal(prepared(self.VECTORS, None)[0].argmax(), torch.from_numpy(self.VECTORS)[0].argmax())


class TestWithoutWords:
    def test_a_share_of_the_words_is_left_out(self):
        catalog = ItemCatalog.from_items({"a": {"title": " ".join(f"w{i}" for i in range(2000)), "brand": "x y"}})
        words = without_words(catalog, 0.15, 0)[0]["title"].split()
        assert 1640 < len(words) < 1760
        assert words == sorted(words, key=lambda word: int(word[1:]))

    def test_items_keep_their_ids_and_a_word(self):
        found = without_words(small_dataset().catalog, 0.99, 3)
        assert list(found.ids) == list(small_dataset().catalog.ids)
        assert all(any(item.values()) for item in found)
        assert any(len(item) == 1 for item in found)
        assert found == without_words(small_dataset().catalog, 0.99, 3) != without_words(CATALOG, 0.99, 4)
        assert without_words(CATALOG, 0.0, 1) == CATALOG
