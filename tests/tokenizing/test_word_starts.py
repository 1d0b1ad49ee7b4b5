"""Tokens that begin a word."""

from __future__ import annotations

import numpy as np


def test_word_starts(tokenizer):
    mask = tokenizer.word_start_mask()
    assert mask.dtype == bool
    assert mask.shape == (len(tokenizer),)
    specials = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    assert not mask[list(specials)].any()
    text = "Nintendo Switch Console steel"
    item = tokenizer.encode_item({"title": text})
    starts = mask[item.input_ids] & (item.token_type_ids == 2)
    starts[np.argmax(item.token_type_ids == 2)] = True  # the first token of a value always begins a word
    groups = np.split(item.input_ids, np.flatnonzero(starts))[1:]
    words = [tokenizer.decode(group).strip().lower() for group in groups]
    assert words == text.lower().split()
