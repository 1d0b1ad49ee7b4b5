"""Items as tokens: alone or many at once, key by key and value by value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from recformer_hf.tokenization_recformer import EncodedItem, RecformerTokenizer
from recformer_hf.tokenizing.item_tokens import encode_attributes, readable_part
from tests.support.tokenizers import CATALOG, SPECIAL_STRINGS, SWITCH


@pytest.fixture
def words() -> Tokenizer:
    """One token per word: a 0, b 1, c 2."""
    backend = Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2, "?": 3}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return backend


def test_keys_and_values_alternate(words):
    encoded = encode_attributes([[("a", "b c"), ("b", "a")], [("c", "c")]], words, max_attr_length=32)
    assert encoded.input_ids.tolist() == [0, 1, 2, 1, 0, 2, 2]
    assert encoded.token_type_ids.tolist() == [1, 2, 2, 1, 2, 1, 2]
    assert encoded.offsets.tolist() == [0, 5, 7]


def test_a_key_takes_its_tokens_from_those_of_the_attribute(words):
    encoded = encode_attributes([[("a b", "c c c")], [("a b c a", "b")]], words, max_attr_length=3)
    assert encoded.input_ids.tolist() == [0, 1, 2, 0, 1, 2]
    assert encoded.token_type_ids.tolist() == [1, 1, 2, 1, 1, 1]
    assert encoded.offsets.tolist() == [0, 3, 6]


def test_an_item_without_tokens_is_named_by_its_row(words):
    with pytest.raises(ValueError, match=r"Item 1 gives no tokens: \{' ': ' '\}"):
        encode_attributes([[("a", "b")], [(" ", " ")]], words, max_attr_length=3)


def test_a_value_without_tokens_leaves_its_key(folders):
    bert = RecformerTokenizer.from_pretrained(folders["bert"])
    assert set(bert.encode_item({"title": "\u0000"}).token_type_ids.tolist()) == {1}
    with pytest.raises(ValueError, match="Item 1 gives no tokens"):
        bert.encode_items([SWITCH, {"\u0000": "\u0000"}])


def test_encode_items_equals_encode_item(tokenizer, monkeypatch):
    """Also across the blocks and calls that bound its memory."""
    monkeypatch.setattr("recformer_hf.tokenization_recformer._ITEMS_PER_BLOCK", 3)
    monkeypatch.setattr("recformer_hf.tokenizing.item_tokens.TEXTS_PER_CALL", 2)
    items = [*CATALOG, {"title": "long " * 50, "x": "y"}, *CATALOG[::-1]]
    encoded = tokenizer.encode_items(items)
    assert (encoded.input_ids.dtype, encoded.token_type_ids.dtype, encoded.offsets.dtype) == (
        np.int32,
        np.uint8,
        np.int64,
    )
    assert len(encoded) == len(items)
    for item, row in zip(items, encoded, strict=True):
        np.testing.assert_array_equal(tokenizer.encode_item(item).input_ids, row.input_ids)
        np.testing.assert_array_equal(tokenizer.encode_item(item).token_type_ids, row.token_type_ids)
    assert tokenizer.encode_history(encoded) == dict(tokenizer(items))
    np.testing.assert_array_equal(encoded[-1].input_ids, encoded[len(items) - 1].input_ids)
    with pytest.raises(IndexError):
        encoded[len(items)]


texts = st.text(max_size=12) | st.lists(st.sampled_from([*SPECIAL_STRINGS, " ", "a", "Ġ", "▁", "##"]), max_size=4).map(
    "".join
)


def encode_or_none(tokenizer: RecformerTokenizer, item: dict[str, str]) -> EncodedItem | None:
    try:
        return tokenizer.encode_item(item)
    except ValueError:  # blank, or without tokens
        return None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(catalog=st.lists(st.dictionaries(texts, texts, max_size=5), min_size=1, max_size=4))
def test_any_dictionary_of_strings(tokenizer, catalog):
    """No special ids, whatever the text; many items at once equal each item alone; every limit holds."""
    specials = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    good = [(item, encoded) for item in catalog if (encoded := encode_or_none(tokenizer, item))]
    encoded = tokenizer.encode_items([item for item, _ in good])
    assert len(encoded) == len(good)
    assert encoded.offsets.tolist() == np.cumsum([0, *(len(item.input_ids) for _, item in good)]).tolist()
    for (_, alone), together in zip(good, encoded, strict=True):
        assert not specials & set(alone.input_ids.tolist())
        assert set(alone.token_type_ids.tolist()) <= {1, 2}
        assert 0 < len(alone.input_ids) == len(alone.token_type_ids) <= 3 * 32
        np.testing.assert_array_equal(alone.input_ids, together.input_ids)
        np.testing.assert_array_equal(alone.token_type_ids, together.token_type_ids)


def test_of_a_huge_text_only_the_beginning_is_tokenized(tokenizer):
    """The tokens are those of the whole text, because a tokenizer that reads on changes none of the first."""
    huge = "  \n" + "Nintendo Switch console " * 40_000
    assert readable_part(huge, 32) == huge[: 3 + 65_536]
    assert len(readable_part(huge, 8_000)) == 3 + 8_000 * 64
    assert readable_part(huge[:65_536], 32) == huge[:65_536]
    whole = tokenizer.backend_tokenizer.encode(huge, add_special_tokens=False).ids
    found = tokenizer.encode_item({"": huge}).input_ids.tolist()
    assert found == whole[: len(found)]
    assert len(found) == tokenizer.max_attr_length
