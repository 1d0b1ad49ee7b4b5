"""Exact top-k over item vectors: a chunked matrix product with a running top-k, in bounded memory."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..encoder.losses import EPSILON

QUERY_BLOCK = 256
"""Queries that are searched at once."""

SCORE_BYTES = {"cpu": 4 << 20}
"""Scores that exist at once: on a CPU no more than its caches hold."""

ACCELERATOR_SCORE_BYTES = 256 << 20
"""The same on accelerators, where fewer and larger products are faster."""

FEWEST_ROWS = 1024
"""Items of a chunk at least, however many candidates or queries there are."""

SHORTLIST = 4
"""How many times the wanted items an inexact search hands on to be scored exactly (and never fewer than 64)."""


class ExactIndex:
    """Cosine similarity of queries with every item, the best items kept while the catalogue passes by in chunks.

    Memory beside the item vectors themselves: 4 bytes an item for their norms. While searching, `SCORE_BYTES` of scores
    (4 MiB on a CPU, 256 MiB on an accelerator), up to three times that while the best are picked, and what the
    product's library takes (24 MB in all as measured on a CPU); with `candidates`, the vectors of one chunk of them.

    Args:
        item_embeddings (`Tensor`, float32 `[num_items, hidden_size]`): of any length; not copied.

    Raises:
        ValueError: for another dtype or shape.
    """

    kind = "exact"

    def __init__(self, item_embeddings: Tensor) -> None:
        if item_embeddings.ndim != 2 or item_embeddings.dtype != torch.float32:
            raise ValueError(
                f"Item embeddings to search must be float32 [num_items, hidden_size], got {item_embeddings.dtype} "
                f"{list(item_embeddings.shape)}."
            )
        self.item_embeddings = item_embeddings.detach()
        norms = torch.linalg.vector_norm(self.item_embeddings, dim=1)
        self.inverse_norms = norms.clamp_min_(EPSILON).reciprocal_()

    @property
    def exact(self) -> ExactIndex:
        """What every kind of index has: the exact one over the same vectors."""
        return self

    def __len__(self) -> int:
        return len(self.item_embeddings)

    @torch.no_grad()
    def search(
        self,
        queries: Tensor,
        top_k: int,
        candidates: Tensor | None = None,
        excluded: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The `top_k` most similar items of each query.

        Args:
            queries (`Tensor`, float `[num_queries, hidden_size]`): of any length.
            top_k: how many, at least 1.
            candidates (`Tensor`, int64 `[num_candidates]`): rows to choose from, each once, in growing order; all rows
                if left out.
            excluded: (query, row) pairs that are not wanted, int64 `[num_pairs]` each.

        Returns:
            Cosine similarity, float32 `[num_queries, top_k]`, highest first, and rows, int64 `[num_queries, top_k]`,
            equal ones in growing order. Where a query has fewer items, -inf and -1.
        """
        device = self.item_embeddings.device
        queries = F.normalize(queries.to(device, torch.float32), dim=1, eps=EPSILON)
        candidates = None if candidates is None else candidates.to(device)
        pairs = None if excluded is None else _places(excluded[0].to(device), excluded[1].to(device), candidates)
        found = []
        for start in range(0, len(queries), QUERY_BLOCK):
            block = queries[start : start + QUERY_BLOCK]
            mine = None
            if pairs is not None:
                here = (pairs[0] >= start) & (pairs[0] < start + len(block))
                mine = pairs[0][here] - start, pairs[1][here]
            found.append(self._search_block(block, top_k, candidates, mine))
        if not found:
            return queries.new_zeros(0, top_k), torch.zeros(0, top_k, dtype=torch.int64, device=device)
        return torch.cat([scores for scores, _ in found]), torch.cat([rows for _, rows in found])

    def _search_block(
        self, queries: Tensor, top_k: int, candidates: Tensor | None, excluded: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        total = len(self) if candidates is None else len(candidates)
        kept = min(self._kept(top_k), total)
        budget = SCORE_BYTES.get(queries.device.type, ACCELERATOR_SCORE_BYTES)
        chunk = max(FEWEST_ROWS, kept, budget // (4 * len(queries)))
        scores = queries.new_full((len(queries), 0), -torch.inf)
        places = torch.zeros_like(scores, dtype=torch.int64)
        for start in range(0, total, chunk):
            stop = min(start + chunk, total)
            new = self._chunk_scores(queries, slice(start, stop) if candidates is None else candidates[start:stop])
            if excluded is not None:
                here = (excluded[1] >= start) & (excluded[1] < stop)
                new[excluded[1][here] - start, excluded[0][here]] = -torch.inf
            best, found = highest(new, min(kept, stop - start))
            scores, places = torch.cat([scores, best], 1), torch.cat([places, found + start], 1)
            if scores.shape[1] > kept:
                scores, columns = scores.topk(kept, dim=1)
                places = places.gather(1, columns)
        rows = places if candidates is None else candidates[places]
        rows = rows.masked_fill(scores == -torch.inf, -1)
        return ordered(self._final_scores(queries, scores, rows), rows, top_k)

    def _kept(self, top_k: int) -> int:
        """How many items of a query are kept on the way."""
        return top_k

    def _final_scores(self, queries: Tensor, scores: Tensor, rows: Tensor) -> Tensor:
        return scores

    def _chunk_scores(self, queries: Tensor, rows: slice | Tensor) -> Tensor:
        """Cosine similarity with some rows, float32 or bfloat16 `[rows, num_queries]`."""
        with torch.autocast(queries.device.type, enabled=False):
            # Items times queries, not the other way round: the tall operand first is faster, and needs no copy.
            return (self.item_embeddings[rows] @ queries.T).mul_(self.inverse_norms[rows, None])

    def cosines(self, queries: Tensor, rows: Tensor) -> Tensor:
        """Exact cosine similarity of queries with rows of their own.

        Args:
            queries (`Tensor`, float `[num_queries, hidden_size]`): of any length.
            rows (`Tensor`, int64 `[num_queries, count]`): -1 for none.

        Returns:
            float32 `[num_queries, count]`, -inf where the row is -1.
        """
        queries = F.normalize(queries.to(self.item_embeddings), dim=1, eps=EPSILON)
        scores = torch.empty(rows.shape, dtype=torch.float32, device=queries.device)
        step = max(1, (16 << 20) // (4 * queries.shape[1] * max(1, rows.shape[1])))  # 16 MiB of gathered vectors
        for start in range(0, len(queries), step):
            some, mine = rows[start : start + step].clamp_min(0), slice(start, start + step)
            vectors = self.item_embeddings[some]
            scores[mine] = (vectors @ queries[mine, :, None]).squeeze(2) * self.inverse_norms[some]
        return scores.masked_fill_(rows < 0, -torch.inf)


class BFloat16Index(ExactIndex):
    """As [`ExactIndex`], over a normalised copy of the vectors in bfloat16; the best are scored again in float32.

    Half the memory traffic, and on CPUs and accelerators with bfloat16 units a multiple of the speed, for another 2
    bytes a component of memory. An item can be missed where more than three others are that close to it.
    """

    kind = "bfloat16"

    def __init__(self, exact: ExactIndex) -> None:
        self._exact = exact
        self.item_embeddings, self.inverse_norms = exact.item_embeddings, exact.inverse_norms
        self._half = torch.empty_like(self.item_embeddings, dtype=torch.bfloat16)
        for start in range(0, len(self), 1 << 16):
            rows = slice(start, start + (1 << 16))
            self._half[rows] = self.item_embeddings[rows] * self.inverse_norms[rows, None]

    @property
    def exact(self) -> ExactIndex:
        return self._exact

    def _kept(self, top_k: int) -> int:
        return max(64, SHORTLIST * top_k)

    def _chunk_scores(self, queries: Tensor, rows: slice | Tensor) -> Tensor:
        with torch.autocast(queries.device.type, enabled=False):
            if len(queries) == 1:  # on CPUs a product with a single column is slower, by as much as the half was won
                return (self._half[rows] @ queries[0].bfloat16())[:, None]
            return self._half[rows] @ queries.bfloat16().T

    def _final_scores(self, queries: Tensor, scores: Tensor, rows: Tensor) -> Tensor:
        return self.cosines(queries, rows)


def measure_recall(index: Any, queries: Tensor, top_k: int = 10) -> dict[str, float]:
    """`{"recall@10": ...}`: the share of the exact `top_k` items of the queries that an index finds."""
    top_k = min(top_k, len(index))
    _, expected = index.exact.search(queries, top_k)
    _, found = index.search(queries, top_k)
    hits = (expected[:, :, None] == found[:, None, :]).any(2)
    return {f"recall@{top_k}": round(float(hits.float().mean()), 4)}


def sample_queries(exact: ExactIndex, seed: int = 0) -> Tensor:
    """Queries to measure an index on where there are no histories: 256 sums of two drawn items' directions."""
    pairs = torch.randint(len(exact), (2, 256), generator=torch.Generator().manual_seed(seed))
    pairs = pairs.to(exact.item_embeddings.device)
    return (exact.item_embeddings[pairs] * exact.inverse_norms[pairs, None]).sum(0)


def highest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The highest scores of each query: as `scores.T.topk(count)`, at a fraction of its cost.

    The rows are cut into blocks. The `count` blocks with the highest maxima hold `count` of the highest scores, so
    that these alone are looked at closely; the maxima cost one pass in the order that the scores lie in.

    Args:
        scores (`Tensor`, float `[num_rows, num_queries]`): contiguous, as a product leaves them.
        count: how many, at most `num_rows`.

    Returns:
        scores, float32 `[num_queries, count]`, highest first, and their rows, int64.
    """
    num_rows, num_queries = scores.shape
    size = math.isqrt(num_rows // count)  # the fewest maxima and rows of blocks together
    if size < 4:
        best, rows = scores.T.float().contiguous().topk(count, dim=1)
        return best, rows
    blocks = scores[: num_rows - num_rows % size].view(-1, size, num_queries)
    chosen = blocks.amax(1).T.contiguous().topk(count, dim=1).indices
    kept = blocks.gather(0, chosen.T[:, None].expand(-1, size, -1)).flatten(0, 1).T
    rows = (chosen[:, :, None] * size + torch.arange(size, device=scores.device)).flatten(1)
    last = torch.arange(num_rows - num_rows % size, num_rows, device=scores.device)
    kept = torch.cat([kept, scores[last].T], 1).float()
    best, places = kept.topk(count, dim=1)
    return best, torch.cat([rows, last.expand(num_queries, -1)], 1).gather(1, places)


def ordered(scores: Tensor, rows: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """The best `top_k` columns of each line, by score and then by row; -inf and -1 where there are fewer."""
    missing = top_k - rows.shape[1]
    if missing > 0:
        scores, rows = F.pad(scores, (0, missing), value=-torch.inf), F.pad(rows, (0, missing), value=-1)
    rows, order = rows.sort(dim=1)
    scores, best = scores.gather(1, order).sort(dim=1, descending=True, stable=True)
    return scores[:, :top_k], rows.gather(1, best)[:, :top_k]


def _places(queries: Tensor, rows: Tensor, candidates: Tensor | None) -> tuple[Tensor, Tensor]:
    """(query, row) pairs as (query, place among the candidates), those of other rows left out."""
    if candidates is None or len(candidates) == 0:
        return queries, rows
    places = torch.searchsorted(candidates, rows).clamp_max(len(candidates) - 1)
    present = candidates[places] == rows
    return queries[present], places[present]


def embeddings_fingerprint(item_embeddings: Tensor) -> str:
    """32 hexadecimal digits of the shape and of up to 1,024 rows evenly spread over the catalogue (BLAKE2b).

    It tells an index that was built for other vectors, without reading gigabytes.
    """
    total = len(item_embeddings)
    rows = torch.from_numpy(np.unique(np.linspace(0, total - 1, min(total, 1024)).astype(np.int64)))
    sample = item_embeddings.detach()[rows.to(item_embeddings.device)].float().cpu().numpy()
    digest = hashlib.blake2b(str(tuple(item_embeddings.shape)).encode(), digest_size=16, person=b"RecformerItems 1")
    digest.update(np.ascontiguousarray(sample, dtype="<f4").tobytes())
    return digest.hexdigest()


__all__ = [
    "BFloat16Index",
    "ExactIndex",
    "embeddings_fingerprint",
    "measure_recall",
    "ordered",
    "sample_queries",
]
