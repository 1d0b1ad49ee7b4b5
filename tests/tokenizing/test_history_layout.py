"""`<s>`, then items, newest first."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from recformer_hf.tokenization_recformer import RecformerTokenizer
from recformer_hf.tokenizing.encoded_items import EncodedItem
from recformer_hf.tokenizing.history_layout import join_items
from tests.support.tokenizers import SWITCH


def item(*ids: int, keys: int = 1) -> EncodedItem:
    types = [1] * keys + [2] * (len(ids) - keys)
    return EncodedItem(np.array(ids, np.int32), np.array(types, np.uint8))


def test_newest_first_behind_bos():
    assert join_items([item(5, 6), item(7, 8, 9)], bos_token_id=0, max_items=50, max_tokens=1024) == {
        "input_ids": [0, 7, 8, 9, 5, 6],
        "token_type_ids": [0, 1, 2, 2, 1, 2],
        "item_position_ids": [0, 1, 1, 1, 2, 2],
        "attention_mask": [1] * 6,
    }


@pytest.mark.parametrize(
    ("max_items", "max_tokens", "ids"), [(1, 9, [0, 7, 8, 9]), (2, 5, [0, 7, 8, 9, 5]), (2, 1, [0])]
)
def test_limits_keep_the_newest(max_items, max_tokens, ids):
    joined = join_items([item(5, 6), item(7, 8, 9)], 0, max_items, max_tokens)
    assert joined["input_ids"] == ids
    assert {len(values) for values in joined.values()} == {len(ids)}


def test_layout_of_a_history(tokenizer):
    """`<s>`, then the newest item first; an item's key and value tokens are those of each text alone."""
    ids = {text: tokenizer.encode_item({"x": text}) for text in ("title", "Guitar", "Switch")}
    alone = {text: item.input_ids[item.token_type_ids == 2].tolist() for text, item in ids.items()}
    encoded = tokenizer([{"title": "Guitar"}, {"title": "Switch"}])
    bos = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
    assert encoded["input_ids"] == [bos, *alone["title"], *alone["Switch"], *alone["title"], *alone["Guitar"]]
    lengths = [1, *(len(alone[text]) for text in ("title", "Switch", "title", "Guitar"))]
    assert encoded["token_type_ids"] == np.repeat([0, 1, 2, 1, 2], lengths).tolist()
    assert encoded["item_position_ids"] == np.repeat([0, 1, 1, 2, 2], lengths).tolist()
    assert encoded["attention_mask"] == [1] * sum(lengths)
    assert list(encoded) == tokenizer.model_input_names


def test_encode_history_wants_encoded_items(roberta):
    with pytest.raises(ValueError, match="history is empty"):
        roberta.encode_history([])
    with pytest.raises(TypeError, match="takes encoded items, got dict"):
        roberta.encode_history([SWITCH])
    with pytest.raises(TypeError, match="values"):
        roberta.encode_items({"id": SWITCH})


def test_a_tokenizer_without_a_first_token_says_so():
    backend = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(ValueError, match="neither a BOS nor a CLS token"):
        RecformerTokenizer(tokenizer_object=backend)({"a": "a"})
