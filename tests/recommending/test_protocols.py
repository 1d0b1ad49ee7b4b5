"""The classes above and beside this room have what its protocols ask for."""

from __future__ import annotations

import pytest

from recformer_hf import RecformerForSeqRec, RecformerTokenizer
from recformer_hf.recommending import protocols
from recformer_hf.recommending.faiss_index import FaissIndex
from recformer_hf.recommending.search import BFloat16Index, ExactIndex
from recformer_hf.tokenization_recformer import EncodedItems
from tests.support.models import small_config
from tests.support.shop import ITEMS


def members(protocol: type) -> set[str]:
    names = {name for each in protocol.__mro__ for name in (*vars(each), *getattr(each, "__annotations__", {}))}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("index", [ExactIndex, BFloat16Index, FaissIndex])
def test_indexes(index):
    assert all(hasattr(index, name) for name in members(protocols.SearchIndex))


def test_model_and_tokenizer():
    tokenizer = RecformerTokenizer.train_from_catalog(ITEMS.values(), vocab_size=320)
    model = RecformerForSeqRec(small_config())
    needed = members(protocols.RecommendingModel)
    assert {"item_embeddings", "set_item_embeddings", "index", "catalog", "device"} <= needed
    assert all(hasattr(model, name) for name in needed)
    assert all(hasattr(tokenizer, name) for name in members(protocols.ItemTokenizer))
    assert set(EncodedItems.__annotations__) == members(protocols.FlatItems)
