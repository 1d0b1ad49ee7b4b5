"""Exact search against a plain product."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import recformer_hf.recommending.search as search_module
from recformer_hf.recommending.search import BFloat16Index, ExactIndex, embeddings_fingerprint, measure_recall
from tests.support.shop import plain_search, vectors


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

    def test_a_cosine_depends_on_the_two_vectors_alone(self):
        """A product rounds equal rows differently at the end of a chunk, and in batches of other sizes."""
        items, queries = vectors(1, 768).repeat(4099, 1), vectors(33, 768, seed=1)
        scores = ExactIndex(items).cosines(queries, torch.arange(4099).repeat(33, 1))
        assert torch.equal(scores, scores[:, :1].expand(-1, 4099))
        for count in (1, 2, 7):
            few = ExactIndex(items[:count]).cosines(queries[:count], torch.arange(count).repeat(count, 1))
            assert torch.equal(few, scores[:count, :count])

    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    def test_every_list_is_the_beginning_of_the_longer_ones(self, data):
        """Groups of equal items among others, whatever the chunks, the queries, the candidates and the exclusions."""
        width = data.draw(st.sampled_from([3, 16, 64]))
        of = torch.tensor(data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=300)))
        items, queries = vectors(6, width)[of], vectors(data.draw(st.integers(1, 3)), width, seed=1)
        row = st.integers(0, len(of) - 1)
        candidates = data.draw(st.none() | st.sets(row, min_size=1).map(sorted))
        pairs = data.draw(st.lists(st.tuples(st.integers(0, len(queries) - 1), row), unique=True, max_size=9))
        excluded = tuple(torch.tensor([pair[side] for pair in pairs], dtype=torch.int64) for side in (0, 1))
        where = None if candidates is None else torch.tensor(candidates), excluded
        exact = ExactIndex(items)
        budget, rows_at_least = data.draw(st.sampled_from([1, 256, 1 << 22])), data.draw(st.sampled_from([1, 50, 1024]))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(search_module, "SCORE_BYTES", {"cpu": budget})
            patch.setattr(search_module, "FEWEST_ROWS", rows_at_least)
            for index in (exact, BFloat16Index(exact)):
                scores, rows = index.search(queries, len(of), *where)
                count = (rows >= 0).sum(1)
                for query in range(len(queries)):
                    found = rows[query, : count[query]].tolist()
                    line = scores[query, : count[query]].tolist()
                    assert found == sorted(found, key=lambda row: (-line[found.index(row)], row))
                for top_k in (1, 2, 3, 10, len(of) - 1):
                    if 1 <= top_k <= len(of):
                        shorter = index.search(queries, top_k, *where)
                        assert torch.equal(shorter[1], rows[:, :top_k])
                        assert torch.equal(shorter[0], scores[:, :top_k])

    def test_of_many_equal_items_the_lowest_rows(self):
        items = torch.cat([vectors(1, 32).repeat(5000, 1), vectors(20_000, 32, seed=3)])
        queries = torch.cat([items[:1], vectors(3, 32, seed=4), items[:1] + 0.1])
        excluded = torch.tensor([0, 4, 4]), torch.tensor([1, 0, 3])
        rows = ExactIndex(items).search(queries, 100, None, excluded)[1]
        assert rows[0].tolist() == [0, *range(2, 101)]
        assert rows[4].tolist() == [1, 2, *range(4, 102)]
        assert torch.equal(rows[1:2], ExactIndex(items).search(queries[1:2], 100)[1])

    def test_not_finite(self):
        items, queries = vectors(2000), vectors(2, seed=1)
        items[1234, 3] = torch.nan
        with pytest.raises(ValueError, match="The item vector in row 1234 holds NaN"):
            ExactIndex(items).search(queries, 3)
        with pytest.raises(ValueError, match="The vector of query 1 holds NaN"):
            ExactIndex(vectors(2000)).search(torch.cat([queries[:1], queries[1:] * torch.inf]), 3)

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


def test_offloaded_vectors_are_named():
    with pytest.raises(ValueError, match=r"item vectors are offloaded.*cpu_offload\(model\.recformer\)"):
        ExactIndex(torch.zeros(3, 4, device="meta"))


def test_rough_cosines_are_near_the_exact_ones():
    items, queries = vectors(300, 24), vectors(7, 24, seed=1)
    index, rows = ExactIndex(items), torch.tensor([299, 3, 3, 120])
    exact = index.cosines(queries, rows.expand(7, 4))
    rough = index.rough_cosines(queries, rows)
    assert rough.shape == (4, 7)
    assert (rough.T - exact).abs().max() <= index.rounding()
