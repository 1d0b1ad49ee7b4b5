"""Words and their tokens: the same tokens as the tokenizer's, whatever its algorithm."""

from __future__ import annotations

import numpy as np
import pytest

from recformer_hf import RecformerTokenizer
from recformer_hf.explaining.words import read_alone, read_in_history, read_items
from tests.support.tokenizers import CATALOG, SPECIAL_STRINGS, save_tokenizers

ODD = [
    {"title": "  two  spaces\nand a line ", "brand": "héllo wörld ¡"},
    {"title": "日本語のゲーム", "note": "100%-steel (AISI 304)"},
    {"emoji": "a 🎮🕹️ b", "title": " ".join(SPECIAL_STRINGS)},
    {"long": "word " * 60, "title": "the end"},
    {"": "no key", " ": "blank key"},
    {"b": "control \x07\x08 characters", "a": "x" * 400, "c": "third", "d": "fourth"},
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return save_tokenizers(tmp_path_factory.mktemp("tokenizers"))


@pytest.fixture(scope="module", params=["roberta", "bert", "xlm_roberta", "trained"])
def tokenizer(request, folders) -> RecformerTokenizer:
    return RecformerTokenizer.from_pretrained(folders[request.param])


@pytest.mark.parametrize("item", [*CATALOG, *ODD], ids=lambda item: next(iter(item)))
def test_tokens_are_those_of_the_tokenizer(tokenizer, item):
    (found,) = read_items([item], tokenizer)
    read_alone([found], 10_000)
    ids, types = found.tokens()
    expected = tokenizer.encode_item(item)
    assert ids.tolist() == expected.input_ids.tolist()
    assert types.tolist() == expected.token_type_ids.tolist()
    for attribute in found.attributes:
        assert sum(word.tokens for word in attribute.words) == len(attribute.ids)


def test_words_are_what_spaces_separate(tokenizer):
    (found,) = read_items([{"my title": "Nintendo  Switch,\tnew (2017) "}], tokenizer)
    (attribute,) = found.attributes
    texts = [attribute.text_of(word) for word in attribute.words]
    assert texts == ["my", "title", "Nintendo", "Switch,", "new", "(2017)"]
    assert [word.in_key for word in attribute.words] == [True, True, False, False, False, False]


def test_scripts_without_spaces_are_cut_into_tokens():
    tokenizer = RecformerTokenizer.train_from_catalog([{"a": "日本 日本 語 ゲーム"}] * 3, vocab_size=400)
    (found,) = read_items([{"a": "日本語ゲーム mug"}], tokenizer)
    texts = [found.attributes[0].text_of(word) for word in found.attributes[0].words]
    assert "".join(texts) == "a日本語ゲームmug"
    assert len(texts) > 4
    assert texts[-1] == "mug"  # which is not a token of this vocabulary


class TestLimits:
    @pytest.fixture(scope="class")
    def tokenizer(self, folders):
        return RecformerTokenizer.from_pretrained(
            folders["roberta"], max_attr_num=2, max_attr_length=6, max_item_embeddings=4, max_token_num=20
        )

    def test_what_a_history_reads(self, tokenizer):
        """Of five items the newest three may be read, and the tokens end within them."""
        items = [{"t": str(i), "b": "a rather long text with many words", "c": "third"} for i in range(5)]
        found = read_items(items, tokenizer, 3)
        read_in_history(found, 3, 20)
        assert [item.extent for item in found] == ["none", "none", "part", "part", "part"]
        assert [attribute.extent for attribute in found[4].attributes] == ["all", "part", "none"]
        assert [attribute.extent for attribute in found[2].attributes] == ["all", "part", "none"]
        expected = tokenizer(items)["input_ids"]
        read = [found[place].tokens()[0] for place in (4, 3, 2)]
        assert [tokenizer.bos_token_id, *np.concatenate(read).tolist()] == expected

    def test_a_short_item_is_read_whole(self, tokenizer):
        found = read_items([{"t": "mug"}], tokenizer)
        assert found[0].extent == "none"
        read_alone(found, 20)
        assert found[0].extent == "all"
        assert found[0].alone

    def test_a_single_token_of_room(self, tokenizer):
        found = read_items([{"t": "mug"}], tokenizer)
        read_in_history(found, 3, 1)
        assert found[0].extent == "none"

    def test_old_items_are_not_tokenized(self, tokenizer):
        found = read_items([{"t": "mug"}, {"t": "pan"}], tokenizer, 1)
        assert [len(item.attributes[0].ids) > 0 for item in found] == [False, True]
        assert found[0].attributes[0].value == "mug"
