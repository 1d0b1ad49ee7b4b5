"""Approximate search against exact search."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from recformer_hf import RecformerForSeqRec
from recformer_hf.recommending.faiss_index import FaissIndex
from recformer_hf.recommending.search import ExactIndex
from tests.support.models import small_config
from tests.support.shop import vectors

SMALL = {"flat": {}, "hnsw": {"search_effort": 256}, "ivfpq": {"lists": 8, "subvectors": 8, "bits": 6, "probes": 8}}


@pytest.mark.parametrize("kind", list(SMALL))
class TestFaiss:
    @pytest.fixture(autouse=True)
    def needs_faiss(self):
        pytest.importorskip("faiss")

    @pytest.fixture
    def exact(self) -> ExactIndex:
        return ExactIndex(vectors(1500, 16))

    def test_finds_most_with_exact_scores(self, kind, exact):
        index = FaissIndex.build(exact, kind, **SMALL[kind])
        assert len(index) == 1500
        assert index.recall["recall@10"] >= (0.9 if kind == "ivfpq" else 0.99)
        queries = vectors(9, seed=1)
        scores, rows = index.search(queries, 10)
        torch.testing.assert_close(scores, exact.cosines(queries, rows))
        assert (scores[:, :-1] >= scores[:, 1:]).all()

    def test_of_equal_items_the_lowest_rows(self, kind):
        """faiss proposes any of them."""
        items = torch.cat([vectors(500, 16), vectors(1, 16, seed=5).repeat(700, 1), vectors(300, 16, seed=6)])
        exact = ExactIndex(items)
        index = FaissIndex.build(exact, kind, **SMALL[kind])
        queries = torch.cat([items[500:501], items[:3]])
        excluded = torch.tensor([0, 0]), torch.tensor([500, 502])
        for top_k in (1, 3, 10, 60):
            rows = index.search(queries, top_k, None, excluded)[1]
            assert rows[0].tolist() == [501, *range(503, 502 + top_k)]
            if kind == "flat":
                assert torch.equal(rows, exact.search(queries, top_k, None, excluded)[1])

    def test_exclusions_and_candidates(self, kind, exact):
        index = FaissIndex.build(exact, kind, **SMALL[kind])
        queries = vectors(4, seed=1)
        best = exact.search(queries, 30)[1]
        excluded = (torch.arange(4).repeat_interleave(20), best[:, :20].reshape(-1))
        found = index.search(queries, 10, None, excluded)[1]
        assert not any(set(best[query, :20].tolist()) & set(found[query].tolist()) for query in range(4))
        if kind != "ivfpq":
            assert torch.equal(found, best[:, 20:])
        candidates = best[0].sort().values
        assert torch.equal(index.search(queries[:1], 5, candidates)[1], best[:1, :5])

    def test_what_it_misses_is_searched_exactly(self, kind, exact):
        """More excluded than an index is asked for, and fewer found than wanted."""
        index = FaissIndex.build(exact, kind, **SMALL[kind])
        queries, keep = vectors(2, seed=1), torch.tensor([3, 700, 1400])
        others = torch.ones(1500, dtype=torch.bool).index_fill(0, keep, False).nonzero().squeeze(1)
        excluded = (torch.zeros_like(others), others)
        _, rows = index.search(queries, 3, None, excluded)
        assert sorted(rows[0].tolist()) == keep.tolist()
        index._propose = lambda queries, count: np.full((len(queries), count), -1)
        assert torch.equal(index.search(queries, 3)[1], exact.search(queries, 3)[1])

    def test_saved_and_loaded_beside_the_model(self, kind, tmp_path):
        model = RecformerForSeqRec(small_config())
        model.set_item_embeddings(vectors(1500, 64))
        recall = model.build_index(kind, **SMALL[kind])
        assert model.index.kind == kind
        model.save_pretrained(tmp_path)
        loaded = RecformerForSeqRec.from_pretrained(tmp_path)
        assert loaded.index.kind == kind
        assert loaded.index.recall == recall
        queries = vectors(5, 64, seed=1)
        for ours, theirs in zip(loaded.index.search(queries, 7), model.index.search(queries, 7), strict=True):
            assert torch.equal(ours, theirs)

    def test_damaged_or_of_other_items(self, kind, exact, tmp_path):
        FaissIndex.build(exact, kind, **SMALL[kind]).save_pretrained(tmp_path)
        with pytest.raises(ValueError, match="built for other item embeddings"):
            FaissIndex.from_pretrained(tmp_path, ExactIndex(vectors(1500, 16, seed=9)))
        (tmp_path / "item_index.faiss").write_bytes(b"nothing")
        with pytest.raises(ValueError, match="damaged"):
            FaissIndex.from_pretrained(tmp_path, exact)
        (tmp_path / "item_index.json").write_text("{}")
        with pytest.raises(ValueError, match="damaged: it lacks"):
            FaissIndex.from_pretrained(tmp_path, exact)

    def test_an_index_file_of_another_index(self, kind, exact, tmp_path):
        index = FaissIndex.build(exact, kind, **SMALL[kind])
        for items in (vectors(1499, 16), vectors(1500, 8), vectors(1500, 16, seed=3)):
            FaissIndex.build(ExactIndex(items), kind, **SMALL[kind]).save_pretrained(tmp_path)
            other = (tmp_path / "item_index.faiss").read_bytes()
            index.save_pretrained(tmp_path)
            (tmp_path / "item_index.faiss").write_bytes(other)
            with pytest.raises(ValueError, match=r"item_index\.faiss is damaged \(.*Build it again"):
                FaissIndex.from_pretrained(tmp_path, exact)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("kind", "ivfflat"), ("kind", 3), ("settings", {"search_effort": 2**40}),
            ("settings", []), ("settings", {"search_effort": "x", "probes": None}),
            ("num_items", "1500"), ("num_items", 7), ("fingerprint", None), ("recall", {"recall@10": 7}), ("recall", 1),
            ("vector_checksums", "x"), ("vector_checksums", [1]), ("file_checksum", 5), ("file_checksum", [5]),
        ],
    )  # fmt: skip
    def test_a_description_that_was_edited(self, kind, exact, tmp_path, name, value):
        FaissIndex.build(exact, kind, **SMALL[kind]).save_pretrained(tmp_path)
        path = tmp_path / "item_index.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
        with pytest.raises(ValueError, match=r"[Bb]uild .* again"):
            FaissIndex.from_pretrained(tmp_path, exact)

    def test_bad_settings(self, kind, exact):
        with pytest.raises(ValueError, match="has no setting"):
            FaissIndex.build(exact, kind, colour=3)
        with pytest.raises(ValueError, match="an index is one of flat, hnsw, ivfpq"):
            FaissIndex.build(exact, "annoy")
