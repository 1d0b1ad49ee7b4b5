"""Vectors of histories and of items."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from recformer_hf import RecformerForSeqRec, RecformerTokenizer
from recformer_hf.recommending.vectors import equal_rows, first_of_equal
from recformer_hf.tokenization_recformer import EncodedItems
from tests.support.models import enliven, small_config
from tests.support.shop import ITEMS, assert_close


class TestEncodeHistories:
    def test_is_the_forward_of_the_tokenized_history(self, model, tokenizer):
        histories = [["rkA", "gmN"], [ITEMS["wtA"]], ["bsN", ITEMS["rmA"], "gkA"] * 3]
        found = model.encode_histories(histories, tokenizer, max_tokens=50)
        texts = [[ITEMS[entry] if isinstance(entry, str) else entry for entry in history] for history in histories]
        with torch.no_grad():
            expected = model.recformer(**tokenizer(texts, padding=True, return_tensors="pt")).pooler_output
        assert_close(found, expected)
        assert found.dtype == torch.float32

    def test_a_history_of_one_is_that_item(self, model, tokenizer):
        assert_close(model.encode_histories([["rkA"]], tokenizer), model.item_embeddings[:1])

    def test_only_the_newest_items_count(self, model, tokenizer):
        history = ["rkA"] * 100
        assert_close(model.encode_histories([history], tokenizer), model.encode_histories([history[:50]], tokenizer))

    def test_numpy(self, model, tokenizer):
        found = model.encode_histories([["rkA"]], tokenizer, return_tensors="np")
        assert isinstance(found, np.ndarray)
        assert model.encode_histories([], tokenizer).shape == (0, 64)
        with pytest.raises(ValueError, match="return_tensors is 'tf'"):
            model.encode_histories([["rkA"]], tokenizer, return_tensors="tf")

    def test_whole_numbers_are_ids(self, encoder, tokenizer):
        model = encoder.with_catalog({7: {"title": "red mug"}, 8: {"title": "tent"}}, tokenizer)
        expected = model.encode_histories([["7", "8"]], tokenizer)
        for history in ([7, 8], np.array([7, 8]), np.array(["7", "8"])):
            assert torch.equal(model.encode_histories([history], tokenizer), expected)

    def test_blocks(self, model, tokenizer, monkeypatch):
        histories = [["rkA"] * count for count in (5, 1, 3, 2, 4)]
        expected = model.encode_histories(histories, tokenizer)
        monkeypatch.setattr("recformer_hf.recommending.vectors.HISTORY_BLOCK", 2)
        assert_close(model.encode_histories(histories, tokenizer), expected)

    def test_a_tokenizer_of_another_model(self, model, tokenizer):
        other = enliven(RecformerForSeqRec(small_config(vocab_size=270))).eval()
        with pytest.raises(ValueError, match="input_ids of this tokenizer must lie between 0 and 269"):
            other.encode_histories([[ITEMS["rkA"]]], tokenizer)

    def test_settings_of_the_tokenizer_change_nothing(self, model, tokenizer):
        """Neither the names that a call returns nor its padding: what is encoded is packed."""

        class Padding(RecformerTokenizer):
            def __call__(self, text=None, *args, **kwargs):
                return super().__call__(text, *args, **{"padding": True, "return_tensors": "pt", **kwargs})

        class Earlier:
            """The tokenizer of a checkpoint that an earlier version saved with its code."""

            def __init__(self, inner) -> None:
                self.inner, self.max_token_num = inner, inner.max_token_num

            def encode_items(self, items, progress=False):
                return self.inner.encode_items(items, progress)

            def __call__(self, text, **kwargs):
                return self.inner(text, **kwargs)

        padding = copy.deepcopy(tokenizer)
        padding.__class__ = Padding
        histories = [["rkA", "gmN"], [ITEMS["wtA"]]]
        expected = model.encode_histories(histories, tokenizer)
        assert torch.equal(model.encode_histories(histories, Earlier(padding)), expected)
        padding.model_input_names = ["input_ids", "attention_mask"]
        assert torch.equal(model.encode_histories(histories, padding), expected)

    def test_modules_keep_their_mode(self, model, tokenizer):
        model.train()
        model.recformer.embeddings.eval()
        model.encode_histories([["rkA"]], tokenizer)
        assert model.recformer.encoder.training
        assert not model.recformer.embeddings.training
        model.eval()


class TestItemVectors:
    """However the items come to be encoded, their vectors are the same."""

    def test_several_threads_share_a_model_in_training(self, model, tokenizer):
        """None of them may compute with dropout, because another one has just finished."""
        model.train()
        histories = [[item_id] for item_id in ITEMS] * 4
        expected = [model.encode_histories([history], tokenizer) for history in histories]
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda history: model.encode_histories([history], tokenizer), histories))
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
        assert all(module.training for module in model.modules())

    def test_one_by_one_in_batches_in_another_order_and_added(self, encoder, model, tokenizer):
        items = list(ITEMS.values())
        together = model.item_embeddings.detach()
        assert_close(torch.cat([encoder.encode_items([item], tokenizer) for item in items]), together)
        assert_close(encoder.encode_items(items, tokenizer, max_tokens=40), together)
        assert_close(encoder.encode_items(items[::-1], tokenizer).flip(0), together)
        grown = encoder.with_catalog(dict(list(ITEMS.items())[:5]), tokenizer)
        grown.add_items(dict(list(ITEMS.items())[5:]), tokenizer)
        assert_close(grown.item_embeddings, together)
        assert grown.catalog == model.catalog

    def test_items_of_equal_text_have_the_very_same_vector(self, encoder, tokenizer):
        items = [*ITEMS.values()] * 5
        vectors = encoder.encode_items(items, tokenizer, max_tokens=50)
        assert torch.equal(vectors, vectors[:32].repeat(5, 1))
        recommender = encoder.with_catalog({f"i{row}": item for row, item in enumerate(items)}, tokenizer)
        scores = recommender(**tokenizer([[items[0]], items[5:9]], padding=True, return_tensors="pt")).scores
        assert torch.equal(scores, scores[:, :32].repeat(1, 5))  # so that they tie

    def test_what_is_cut_off_makes_no_difference_and_types_do(self):
        ids, types = [5, 6, 7, 5, 6, 8, 5, 6, 5, 6], [1, 2, 2, 1, 2, 2, 1, 2, 2, 2]
        encoded = EncodedItems(np.array(ids, np.int32), np.array(types, np.uint8), np.array([0, 3, 6, 8, 10]))
        assert first_of_equal(encoded, 1024).tolist() == [0, 1, 2, 3]
        assert first_of_equal(encoded, 3).tolist() == [0, 0, 0, 3]  # <s> and two tokens

    def test_half_precision_gives_float32_vectors_near_the_same(self, tokenizer):
        model = enliven(RecformerForSeqRec(small_config())).eval()
        exact = model.encode_items(list(ITEMS.values()), tokenizer)
        half = model.to(torch.bfloat16).encode_items(list(ITEMS.values()), tokenizer)
        assert half.dtype == torch.float32
        assert F.cosine_similarity(half, exact).min() > 0.99


class TestEqualRows:
    def test_by_definition(self):
        vectors = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
        vectors[[7, 20, 49]] = vectors[3].clone()
        vectors[30] = vectors[29]
        vectors[40:45, :2] = 0.5  # alike at the beginning only
        vectors[44] = vectors[41]
        rows, firsts = equal_rows(vectors)
        assert dict(zip(rows.tolist(), firsts.tolist(), strict=True)) == {7: 3, 20: 3, 49: 3, 30: 29, 44: 41}

    @pytest.mark.parametrize("width", [1, 2, 5])
    def test_none_or_all(self, width):
        assert all(len(found) == 0 for found in equal_rows(torch.randn(9, width)))
        assert all(len(found) == 0 for found in equal_rows(torch.zeros(0, width)))
        rows, firsts = equal_rows(torch.ones(4, width))
        assert (rows.tolist(), firsts.tolist()) == ([1, 2, 3], [0, 0, 0])
