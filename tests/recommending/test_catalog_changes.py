"""Catalogues that change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from recformer_hf import RecformerForSeqRec, UnknownItemError
from recformer_hf.memory.memory import Memory
from tests.support.heads import trained
from tests.support.memories import assert_same, some_memory
from tests.support.models import enliven, small_config
from tests.support.shop import ITEMS, MORE, assert_close


class TestChangingTheCatalogue:
    def test_add(self, model, tokenizer):
        before = model.item_embeddings.detach().clone()
        model.add_items(MORE, tokenizer)
        assert torch.equal(model.item_embeddings[:32], before)
        assert_close(model.item_embeddings[32:], model.encode_items(list(MORE.values()), tokenizer))
        assert list(model.catalog.ids) == [*ITEMS, *MORE]
        assert model.config.num_items == 34
        assert model.recommend([[MORE["n1"]]], tokenizer, 33, exclude_history=True).rows.shape == (1, 33)
        with pytest.raises(ValueError, match=r"2 of 2 new ids are in the catalogue already.*'n1'"):
            model.add_items(MORE, tokenizer)
        assert model.config.num_items == 34

    def test_add_to_nothing(self, tokenizer):
        model = enliven(RecformerForSeqRec(small_config())).eval()
        model.add_items(MORE, tokenizer)
        assert list(model.catalog.ids) == list(MORE)

    def test_remove(self, model, tokenizer):
        before = model.item_embeddings.detach().clone()
        model.remove_items(["rkN", "rkA"])
        assert torch.equal(model.item_embeddings, before[2:])
        assert list(model.catalog.ids) == list(ITEMS)[2:]
        with pytest.raises(UnknownItemError, match="Item 1 is unknown"):
            model.remove_items(["rmA", "rkA"])
        assert model.config.num_items == 30

    def test_update(self, model, encoder, tokenizer):
        changed = {"gmN": {"title": "velvet curtain"}, "rkA": {"title": "oak shelf", "brand": "Nordby"}}
        model.update_items(changed, tokenizer)
        expected = encoder.with_catalog({**ITEMS, **changed}, tokenizer)
        assert_close(model.item_embeddings, expected.item_embeddings)
        assert model.catalog == expected.catalog
        with pytest.raises(UnknownItemError, match="No item 'nope'"):
            model.update_items({"nope": {"title": "x"}}, tokenizer)

    def test_what_was_learned_and_counted_follows(self, tokenizer):
        model = trained(ITEMS, tokenizer, "flat")
        residuals = model.item_residuals.detach().clone()
        model.memory = memory = replace(some_memory(32), of_vectors=False)
        model.add_items(MORE, tokenizer)
        assert torch.equal(model.item_residuals, torch.cat([residuals, torch.zeros(2, 64)]))
        assert_same(model.memory, memory.extended(2))
        model.remove_items([list(ITEMS)[5], "n1"])
        kept = np.array([row for row in range(34) if row not in (5, 32)])
        assert torch.equal(model.item_residuals[:31], residuals[kept[:31]])
        assert_same(model.memory, memory.extended(2).select(kept))
        before, residuals = model.memory, model.item_residuals.detach().clone()
        model.update_items({"gmN": {"title": "velvet curtain"}}, tokenizer)
        assert model.memory is before
        assert torch.equal(model.item_residuals, residuals)
        assert len(model.recommend([["gmN", "n2"]], tokenizer, 30).rows[0]) == 30

    def test_a_memory_of_vectors_compares_new_and_changed_texts(self, model, tokenizer):
        log = np.arange(32), np.array([0, 16, 32])
        model.memory = memory = Memory.fit(*log, 32, vectors=model.item_embeddings)
        model.add_items(MORE, tokenizer)
        expected = memory.extended(2).with_texts(np.array([32, 33]), vectors=model.item_embeddings)
        assert_same(model.memory, expected)
        assert (model.memory.scores([np.arange(32)])[:, 32:] > 0).all()
        model.update_items({"gmN": {"title": "velvet curtain"}}, tokenizer)
        changed = np.array([list(ITEMS).index("gmN")])
        assert_same(model.memory, expected.with_texts(changed, vectors=model.item_embeddings))
        model.remove_items(["n1"])
        assert model.memory.num_items == 33

    def test_trainable_embeddings_stay_trainable(self, model, tokenizer):
        model.item_embeddings.requires_grad_()
        model.add_items(MORE, tokenizer)
        assert model.item_embeddings.requires_grad

    def test_needs_a_catalogue(self, model, tokenizer):
        model.catalog = None
        for change in (
            lambda: model.add_items(MORE, tokenizer),
            lambda: model.remove_items(["rkA"]),
            lambda: model.update_items(MORE, tokenizer),
            lambda: model.export_embeddings("x.npy"),
        ):
            with pytest.raises(ValueError, match=r"no catalogue, which .* need"):
                change()
