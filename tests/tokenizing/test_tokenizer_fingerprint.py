"""A tokenizer's fingerprint: the same for the same tokens of items, another for others."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from recformer_hf.tokenization_recformer import RecformerTokenizer
from recformer_hf.tokenizing.tokenizer_fingerprint import tokenizer_fingerprint

ITEMS = [
    {"title": f"Claw hammer {row} with a fibreglass handle", "brand": ("Stanley", "Estwing")[row % 2]}
    for row in range(40)
]


@pytest.fixture(scope="module")
def tokenizer() -> RecformerTokenizer:
    return RecformerTokenizer.train_from_catalog(ITEMS, vocab_size=320)


def test_it_does_not_depend_on_how_the_tokenizer_was_called(tokenizer):
    before = tokenizer_fingerprint(tokenizer)
    tokenizer("plain text", padding="max_length", truncation=True, max_length=8)
    assert tokenizer_fingerprint(tokenizer) == before


def test_it_survives_saving(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    assert tokenizer_fingerprint(RecformerTokenizer.from_pretrained(tmp_path)) == tokenizer_fingerprint(tokenizer)


@pytest.mark.parametrize(
    ("limit", "changes"), [("max_attr_num", True), ("max_attr_length", True), ("max_token_num", False)]
)
def test_limits_of_an_item_count_and_those_of_a_sequence_do_not(limit, changes):
    one, other = (RecformerTokenizer.train_from_catalog(ITEMS, vocab_size=300, **{limit: value}) for value in (5, 6))
    assert (tokenizer_fingerprint(one) != tokenizer_fingerprint(other)) == changes


def test_another_vocabulary_is_another_tokenizer(tokenizer):
    other = RecformerTokenizer.train_from_catalog(ITEMS, vocab_size=290)
    assert tokenizer_fingerprint(other) != tokenizer_fingerprint(tokenizer)


def test_it_never_changes():
    """Folders of tokenized catalogues and of item vectors are recognised by it."""
    settings = (
        '{"model": {"type": "WordLevel"}, "padding": {"strategy": "Fixed"}, "truncation": null, "version": "1.0"}'
    )
    tokenizer = SimpleNamespace(
        backend_tokenizer=SimpleNamespace(to_str=lambda: settings),
        all_special_tokens=["<s>", "[UNK]"],
        max_attr_num=3,
        max_attr_length=8,
    )
    assert tokenizer_fingerprint(tokenizer) == "a57f20263e992012eb1a90bc26c52aa9"
