"""training/item_matrix.py: the vectors of a catalogue, items of equal text among them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from recformer_hf.data.collators import ItemCollator
from recformer_hf.data.tokenized_catalog import TokenizedCatalog
from recformer_hf.items.catalog import ItemCatalog
from recformer_hf.training.item_matrix import encode_item_matrix
from tests.support.training import small_dataset, small_model, small_tokenizer

ITEMS = list(small_dataset().catalog)
ITEMS += ITEMS[::-3]


@pytest.fixture(scope="module")
def collator() -> ItemCollator:
    catalog = ItemCatalog.from_items({f"i{row}": item for row, item in enumerate(ITEMS)})
    return ItemCollator(TokenizedCatalog.build(catalog, small_tokenizer()), small_tokenizer())


def test_items_of_equal_tokens_are_found(collator):
    tokens = [str(small_tokenizer().encode_item(item)) for item in ITEMS]
    assert collator.first_of_equal.tolist() == [tokens.index(each) for each in tokens]


@pytest.mark.parametrize("max_tokens", [30, 4096])
def test_items_of_equal_tokens_are_encoded_once_to_the_very_same_vector(collator, monkeypatch, max_tokens):
    model, encoded = small_model(num_items=1), []
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda **inputs: encoded.append(len(inputs["cu_seqlens"]) - 1) or forward(**inputs)
    )
    matrix = encode_item_matrix(model, collator, Accelerator(cpu=True), max_tokens=max_tokens)
    firsts = collator.first_of_equal
    assert torch.equal(matrix, matrix[firsts])
    assert sum(encoded) == len(np.unique(firsts)) < len(small_dataset().catalog)
    torch.testing.assert_close(matrix, small_model().encode_items(ITEMS, small_tokenizer()), rtol=0, atol=1e-5)
