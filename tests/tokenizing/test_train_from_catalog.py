"""Byte-level BPE trained on a catalogue."""

from __future__ import annotations

import random
import time

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from recformer_hf.tokenization_recformer import RecformerTokenizer
from recformer_hf.tokenizing.train_from_catalog import LONGEST_WORD, words_cut
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


class TestLongWords:
    """Training takes time in proportion to the text, also where the text has no spaces."""

    BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "plain words, numbers 123 and symbols ==>",
            " ".join(["word"] * 5000),
            "x" * LONGEST_WORD,
            "x" * LONGEST_WORD + " " + "y" * LONGEST_WORD + "\n" * LONGEST_WORD + "z",
            "日本語の長い説明文です。" * 500,  # words end at punctuation
        ],
        ids=range(6),
    )
    def test_text_without_long_words_stays(self, text):
        assert words_cut(text, self.BYTE_LEVEL) == text

    def test_each_long_word_keeps_its_beginning(self):
        text = "a title " + "x" * 1000 + "=" * 1000 + " and" + " " * 1000 + "日" * 1000 + "1" * 1000 + " end"
        expected = (
            f"a title {'x' * 255}{'=' * 256} and{' ' * 257}{'日' * 255}{'1' * 256} end"  # a word has its space in front
        )
        assert words_cut(text, self.BYTE_LEVEL) == expected

    def test_the_vocabulary_of_usual_text_is_that_of_plain_byte_level_bpe(self):
        generator = random.Random(0)
        words = ["".join(generator.choices("abcdeé日", k=generator.randint(1, 12))) for _ in range(300)]
        items = [{"title": " ".join(generator.choices(words, k=400))} for _ in range(20)]
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer, backend.decoder = self.BYTE_LEVEL, decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=500, min_frequency=2, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        )  # fmt: skip
        backend.train_from_iterator([[text for pair in item.items() for text in pair] for item in items], trainer)
        backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
        assert RecformerTokenizer.train_from_catalog(items, 500).backend_tokenizer.to_str() == backend.to_str()

    @pytest.mark.parametrize(
        "alphabet", ["abcdefghijklmnop", "あいうえお漢字仮名", "ab(){};=0", "=", " \u3000", "\u0301"]
    )
    def test_a_megabyte_without_spaces(self, alphabet):
        text = "x" + "".join(random.Random(0).choices(alphabet, k=1_000_000))
        start = time.perf_counter()
        tokenizer = RecformerTokenizer.train_from_catalog([{"title": "a short title"}, {"title": text}], vocab_size=600)
        tokenizer.encode_items([{"title": text}])
        assert time.perf_counter() - start < 10  # before, ten minutes

    def test_many_long_items(self):
        generator = random.Random(0)
        items = [{"title": "".join(generator.choices("abcdefghijklmnop", k=20_000))} for _ in range(50)]
        start = time.perf_counter()
        RecformerTokenizer.train_from_catalog(items, vocab_size=600)
        assert time.perf_counter() - start < 10
