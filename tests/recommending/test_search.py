"""Search over item vectors: exact against a plain product, the approximate kinds against exact."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import recformer_hf.recommending.search as search_module
from recformer_hf import RecformerForSeqRec
from recformer_hf.recommending.export import write_embeddings
from recformer_hf.recommending.faiss_index import FaissIndex
from recformer_hf.recommending.search import BFloat16Index, ExactIndex, embeddings_fingerprint, measure_recall
from tests.support.models import small_config


def vectors(rows: int, width: int = 16, seed: int = 0) -> torch.Tensor:
    """Of lengths from 0.1 to 10: cosine, not product, has to decide."""
    generator = torch.Generator().manual_seed(seed)
    lengths = 10 ** (2 * torch.rand(rows, 1, generator=generator) - 1)
    return torch.randn(rows, width, generator=generator) * lengths


def plain_search(queries, items, top_k, allowed=None):
    """By definition: all cosines, `allowed` bool `[num_queries, num_items]`, sorted."""
    cosines = F.cosine_similarity(queries[:, None].double(), items[None].double(), dim=-1)
    if allowed is not None:
        cosines = cosines.masked_fill(~allowed, -torch.inf)
    return cosines.topk(top_k, dim=1)


class TestExact:
    @pytest.mark.parametrize(("num_queries", "num_items", "top_k"), [(1, 5, 5), (3, 3000, 10), (300, 1500, 7)])
    def test_is_the_plain_product(self, num_queries, num_items, top_k, monkeypatch):
        monkeypatch.setattr(search_module, "SCORE_BYTES", {"cpu": 4096})  # many chunks
        queries, items = vectors(num_queries, seed=1), vectors(num_items)
        scores, rows = ExactIndex(items).search(queries, top_k)
        expected = plain_search(queries, items, top_k)
        torch.testing.assert_close(scores.double(), expected.values, atol=1e-6, rtol=0)
        assert torch.equal(rows, expected.indices)
        assert scores.dtype == torch.float32
        assert rows.dtype == torch.int64

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_candidates_and_exclusions(self, data):
        num_items, num_queries = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 4))
        top_k = data.draw(st.integers(1, 8))
        queries, items = vectors(num_queries, seed=1), vectors(num_items)
        row = st.integers(0, num_items - 1)
        candidates = data.draw(st.none() | st.sets(row, min_size=1).map(sorted))
        pairs = data.draw(st.lists(st.tuples(st.integers(0, num_queries - 1), row), unique=True, max_size=40))
        excluded = tuple(torch.tensor([pair[side] for pair in pairs], dtype=torch.int64) for side in (0, 1))
        allowed = torch.zeros(num_queries, num_items, dtype=torch.bool)
        allowed[:, list(range(num_items)) if candidates is None else candidates] = True
        allowed[excluded] = False
        scores, rows = ExactIndex(items).search(
            queries, top_k, None if candidates is None else torch.tensor(candidates), excluded
        )
        assert scores.shape == rows.shape == (num_queries, top_k)
        expected = plain_search(queries, items, min(top_k, num_items), allowed)
        for query in range(num_queries):
            count = min(top_k, int(allowed[query].sum()))
            assert rows[query, :count].tolist() == expected.indices[query, :count].tolist()
            assert rows[query, count:].tolist() == [-1] * (top_k - count)
            assert scores[query, count:].eq(-torch.inf).all()

    def test_equal_items_come_in_order_of_rows(self):
        items = torch.ones(50, 8)
        scores, rows = ExactIndex(items).search(torch.ones(2, 8), 50)
        assert rows[0].tolist() == sorted(rows[0].tolist())
        torch.testing.assert_close(scores, torch.ones(2, 50))

    def test_a_vector_of_zeros_is_far_from_everything(self):
        items = torch.cat([torch.zeros(1, 4), torch.eye(4)])
        scores, rows = ExactIndex(items).search(torch.eye(4)[:1], 2)
        assert rows[0, 0] == 1
        assert scores[0].tolist() == [1, 0]

    def test_no_queries(self):
        scores, rows = ExactIndex(vectors(5)).search(torch.zeros(0, 16), 3)
        assert scores.shape == rows.shape == (0, 3)

    def test_memory_is_bounded(self, monkeypatch):
        """No product larger than the budget, whatever the number of items and queries."""
        sizes = []
        original = ExactIndex._chunk_scores

        def watched(self, queries, rows):
            scores = original(self, queries, rows)
            sizes.append(scores.numel() * 4)
            return scores

        monkeypatch.setattr(ExactIndex, "_chunk_scores", watched)
        ExactIndex(vectors(40_000, 4)).search(vectors(600, 4), 10)
        assert max(sizes) <= search_module.SCORE_BYTES["cpu"]
        assert sum(sizes) == 600 * 40_000 * 4

    @pytest.mark.parametrize("bad", [torch.zeros(3, 4, dtype=torch.float64), torch.zeros(3)])
    def test_refuses_other_vectors(self, bad):
        with pytest.raises(ValueError, match="must be float32"):
            ExactIndex(bad)


class TestBFloat16:
    def test_finds_the_same_with_exact_scores(self):
        exact, queries = ExactIndex(vectors(5000, 64)), vectors(20, 64, seed=1)
        half = BFloat16Index(exact)
        expected, found = exact.search(queries, 10), half.search(queries, 10)
        assert torch.equal(found[1], expected[1])
        torch.testing.assert_close(found[0], expected[0], atol=1e-6, rtol=0)
        assert measure_recall(half, queries) == {"recall@10": 1.0}


class TestHighest:
    @settings(max_examples=60, deadline=None)
    @given(queries=st.integers(1, 5), num_rows=st.integers(1, 700), part=st.floats(0, 1), half=st.booleans())
    def test_is_topk(self, queries, num_rows, part, half):
        scores = torch.randn(num_rows, queries, generator=torch.Generator().manual_seed(num_rows))
        scores = scores.bfloat16() if half else scores
        scores[num_rows // 2 :: 3] = -torch.inf
        count = max(1, int(part**3 * num_rows))
        best, rows = search_module.highest(scores, count)
        lines = scores.T.float().contiguous()
        assert torch.equal(best, lines.topk(count, dim=1).values)
        assert torch.equal(lines.gather(1, rows), best)
        assert all(len(set(line)) == count for line in rows.tolist())


class TestFingerprint:
    def test_depends_on_shape_and_values(self):
        items = vectors(3000)
        other = items.clone()
        other[0, 0] += 1e-3
        prints = [embeddings_fingerprint(x) for x in (items, items.clone(), other, items[:-1], items.reshape(6000, 8))]
        assert prints[0] == prints[1]
        assert len(set(prints)) == 4


class TestExport:
    IDS = ["a", "b", "ü", "d"]

    def test_npy(self, tmp_path):
        items = vectors(4)
        write_embeddings(tmp_path / "out.npy", items, self.IDS, normalize=False)
        assert np.array_equal(np.load(tmp_path / "out.npy"), items.numpy())
        assert json.loads((tmp_path / "out.ids.json").read_text(encoding="utf-8")) == self.IDS

    def test_parquet(self, tmp_path, monkeypatch):
        import pyarrow.parquet as pq

        monkeypatch.setattr("recformer_hf.recommending.export.ROWS_AT_ONCE", 3)
        items = vectors(4)
        write_embeddings(tmp_path / "out.parquet", items, self.IDS, normalize=True)
        table = pq.read_table(tmp_path / "out.parquet")
        assert table["item_id"].to_pylist() == self.IDS
        found = np.array(table["embedding"].to_pylist(), dtype=np.float32)
        np.testing.assert_allclose(found, F.normalize(items, dim=1).numpy(), atol=1e-7)

    def test_another_ending(self, tmp_path):
        with pytest.raises(ValueError, match=r"written as \.parquet or \.npy"):
            write_embeddings(tmp_path / "out.csv", vectors(2), ["a", "b"], normalize=False)


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

    def test_bad_settings(self, kind, exact):
        with pytest.raises(ValueError, match="has no setting"):
            FaissIndex.build(exact, kind, colour=3)
        with pytest.raises(ValueError, match="an index is one of flat, hnsw, ivfpq"):
            FaissIndex.build(exact, "annoy")


class TestChoiceOfIndex:
    @pytest.fixture
    def model(self) -> RecformerForSeqRec:
        model = RecformerForSeqRec(small_config())
        model.set_item_embeddings(vectors(1500, 64))
        return model

    def test_exact_needs_nothing(self, model):
        assert model.index.kind == "exact"
        assert model.index is model.index
        assert model.build_index("exact") == {"recall@10": 1.0}

    def test_bfloat16(self, model):
        assert model.build_index("bfloat16")["recall@10"] > 0.99
        assert model.index.kind == "bfloat16"

    @pytest.mark.parametrize("change", ["set", "in place", "through data", "moved"])
    def test_changed_embeddings_end_an_index(self, model, change):
        model.build_index("bfloat16")
        queries, other = vectors(3, 64, seed=2), vectors(1500, 64, seed=3)
        if change == "set":
            model.set_item_embeddings(other)
        elif change == "in place":
            with torch.no_grad():
                model.item_embeddings.copy_(other)
        elif change == "through data":
            model.item_embeddings.data.copy_(other)
        else:
            model.item_embeddings = torch.nn.Parameter(other, requires_grad=False)
        assert model.index.kind == "exact"
        assert torch.equal(model.index.search(queries, 5)[1], plain_search(queries, other, 5).indices)

    def test_without_faiss_a_saved_index_is_left_aside(self, model, tmp_path, monkeypatch):
        pytest.importorskip("faiss")
        model.build_index("flat")
        model.save_pretrained(tmp_path)

        def absent():
            raise ImportError("no faiss here")

        monkeypatch.setattr("recformer_hf.recommending.faiss_index.faiss_module", absent)
        loaded = RecformerForSeqRec.from_pretrained(tmp_path)
        assert loaded.index.kind == "exact"
        with pytest.raises(ImportError, match="no faiss here"):
            loaded.build_index("flat")

    def test_saving_over_an_older_models_index_removes_it(self, model, tmp_path):
        pytest.importorskip("faiss")
        model.build_index("flat")
        model.save_pretrained(tmp_path)
        model.set_item_embeddings(vectors(20, 64))
        model.save_pretrained(tmp_path)
        assert not list(tmp_path.glob("item_index*"))

    def test_a_copy_searches_exactly(self, model):
        pytest.importorskip("faiss")
        model.build_index("flat")
        assert copy.deepcopy(model).index.kind == "exact"
        assert model.index.kind == "flat"

    def test_settings_of_exact_search(self, model):
        with pytest.raises(ValueError, match="exact search has no settings"):
            model.build_index("exact", lists=3)
        with pytest.raises(ValueError, match="no items to score"):
            RecformerForSeqRec(small_config()).build_index("exact")
