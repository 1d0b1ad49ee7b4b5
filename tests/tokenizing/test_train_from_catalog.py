"""Byte-level BPE trained on a catalogue."""

from __future__ import annotations

import pytest

from recformer_hf.tokenization_recformer import RecformerTokenizer
from tests.support.tokenizers import CATALOG, SWITCH, TEXTS


def test_training():
    tokenizer = RecformerTokenizer.train_from_catalog(iter(CATALOG), vocab_size=300, max_attr_num=2, max_token_num=64)
    assert tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]) == [0, 1, 2, 3, 4]
    assert len(tokenizer) <= 300
    assert (tokenizer.max_attr_num, tokenizer.max_token_num, tokenizer.model_max_length) == (2, 64, 64)
    for text in ["Nintendo Switch", "never seen: 日本語 🎮\n\ttabs", "a <s> b"]:
        assert tokenizer.decode(tokenizer.encode_item({"": text}).input_ids) == text
    assert tokenizer("Nintendo")["input_ids"][0] == 0
    assert tokenizer("Nintendo")["input_ids"][-1] == 2
    assert tokenizer.unk_token_id not in tokenizer(TEXTS[2])["input_ids"]


def test_training_is_deterministic_and_learns_words():
    catalog = [{"title": f"Nintendo game {i}", "brand": ["Video", "Games"], "nothing": None} for i in range(50)]
    first, second = (RecformerTokenizer.train_from_catalog(catalog, vocab_size=400) for _ in range(2))
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()
    assert {"title", "brand", "Nintendo", "Video", "ĠGames"} <= set(first.get_vocab())
    assert "nothing" not in first.get_vocab()  # the key of a missing value is never read


def test_training_refuses():
    with pytest.raises(ValueError, match="no item"):
        RecformerTokenizer.train_from_catalog([])
    with pytest.raises(ValueError, match="vocab_size must be at least 261, got 260"):
        RecformerTokenizer.train_from_catalog(CATALOG, vocab_size=260)
    with pytest.raises(ValueError, match="Item 1 is empty"):
        RecformerTokenizer.train_from_catalog([SWITCH, {}])
    with pytest.raises(TypeError, match="Unknown limits"):
        RecformerTokenizer.train_from_catalog(CATALOG, max_attrs=3)
    with pytest.raises(TypeError, match="values"):
        RecformerTokenizer.train_from_catalog({"id": SWITCH})
    with pytest.raises(ValueError, match="max_attr_num"):
        RecformerTokenizer.train_from_catalog(CATALOG, max_attr_num=0)
