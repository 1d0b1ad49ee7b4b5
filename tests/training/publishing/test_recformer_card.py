"""What a card says of each kind of Recformer; test_model_card.py has whole cards."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from recformer_hf.training.publishing.recformer_card import RecformerTexts
from tests.support.training import small_dataset, small_model

TEXTS = RecformerTexts()


def described(recommends: bool, **fields):
    config = small_model(**fields).config
    config.num_items = 60 if recommends else 0
    return SimpleNamespace(
        datasets=[small_dataset()], recommends=recommends, name="someone/model", example=None, parameters=12345,
        config=config, metadata={"base_model": "someone/base"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (described(False), "pretrained from [`someone/base`](https://huggingface.co/someone/base) on **"),
        (described(True), "It reads a user's history as text and ranks a catalogue of 60 items"),
        (described(True, sequence_head="two_level"), "as the sequence of its items' vectors, and ranks"),
    ],
)
def test_introduction(run, expected):
    assert expected in TEXTS.introduction(run)


def test_loading():
    assert "RecformerForSeqRec.from_pretrained(name)" in TEXTS.loading(described(False))
    assert f'history = ["{small_dataset().catalog.id_of(0)}"]' in TEXTS.loading(described(True))


def test_architecture():
    assert TEXTS.architecture(described(True)) == (
        "12,345 parameters, 1,920 of them item vectors; 2 layers of width 32, attention window 8, histories of at most "
        "8 items and 64 tokens, temperature 0.05."
    )
    assert "item vectors" not in TEXTS.architecture(described(False))
