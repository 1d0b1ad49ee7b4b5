"""Exact top-k search over item vectors: a chunked matrix product with a running top-k, in bounded memory."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..encoder.losses import EPSILON
from .vector_checksums import VectorChecksums

QUERY_BLOCK = 256
"""Queries of one search block."""

SCORE_BYTES = {"cpu": 4 << 20}
"""Bytes of scores that exist at once: on a CPU, as many as its caches hold."""

ACCELERATOR_SCORE_BYTES = 256 << 20
"""The same for accelerators, where fewer and larger products are faster."""

FEWEST_ROWS = 1024
"""The smallest number of items in a chunk, whatever the number of candidates and queries."""

SHORTLIST = 4
"""An inexact search scores this many times `top_k` items again, and at least 64."""

RESCORED_BYTES = 4 << 20
"""Bytes of vectors that are scored again at once."""


class ExactIndex:
    """Cosine similarity of queries with every item. The catalogue is read in chunks, and the best items are kept.

    Of equal scores the lower row comes first, so the result for a `top_k` is the beginning of that for a larger one.
    The matrix product cannot decide this alone: it rounds a score depending on where the item stands in the chunk and
    on how many queries there are. So a few more items than `top_k` are kept, and [`~ExactIndex.cosines`] scores these
    again, by the two vectors alone. If a query has more items that the product cannot tell apart than were kept, they
    are found in a second pass.

    It stores nothing that is derived from the vectors: every search reads them as they are at that moment, and computes
    their norms. A search takes `SCORE_BYTES` of memory for scores (4 MiB on a CPU, 256 MiB on an accelerator), up to
    three times that while the best are picked, and whatever the library of the matrix product takes (24 MB in all,
    measured on a CPU). With `candidates` it also takes the vectors of one chunk of them.

    Args:
        item_embeddings (`Tensor`, float32 `[num_items, hidden_size]`): vectors of any length. They are not copied.

    Raises:
        ValueError: for another dtype or shape.
    """

    kind = "exact"

    def __init__(self, item_embeddings: Tensor) -> None:
        if item_embeddings.is_meta:
            raise ValueError(
                "The item vectors are offloaded, but search reads them as a whole. Offload the encoder alone: "
                "cpu_offload(model.recformer), or from_pretrained(..., device_map=...), which keeps them in memory."
            )
        if item_embeddings.ndim != 2 or item_embeddings.dtype != torch.float32:
            raise ValueError(
                f"Item embeddings to search must be float32 [num_items, hidden_size], got {item_embeddings.dtype} "
                f"{list(item_embeddings.shape)}."
            )
        self.item_embeddings = item_embeddings

    @property
    def exact(self) -> ExactIndex:
        """Every kind of index has this: exact search over the same vectors."""
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
            candidates (`Tensor`, int64 `[num_candidates]`): rows to choose from, each once, in ascending order; by
                default all rows.
            excluded: (query, row) pairs to leave out, int64 `[num_pairs]` each.

        Returns:
            Cosine similarity, float32 `[num_queries, top_k]`, highest first, and rows, int64 `[num_queries, top_k]`,
            equal scores in ascending order of rows. Where a query has fewer items, the rest is -inf and -1.
        """
        device = self.item_embeddings.device
        queries = unit(queries.to(device, torch.float32))
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
        scores = queries.new_full((len(queries), 0), -torch.inf)
        places = torch.zeros_like(scores, dtype=torch.int64)
        for start, new in self._chunks(queries, kept, candidates, excluded):
            best, found = highest(new, min(kept, len(new)))
            scores, places = torch.cat([scores, best], 1), torch.cat([places, found + start], 1)
            if scores.shape[1] > kept:
                scores, columns = scores.topk(kept, dim=1)
                places = places.gather(1, columns)
        rows = (places if candidates is None else candidates[places]).masked_fill(scores == -torch.inf, -1)
        found_scores, found_rows = ordered(self._cosines(queries, rows), rows, top_k)
        if kept < total:
            # What was not kept scores at most `last`. Every item that could be among the best was kept, unless `last`
            # is so close to the score in place `top_k` that the rounding of the product may have swapped them.
            lowest, last = scores[:, top_k - 1] - 2 * self.rounding(), scores[:, -1]
            unsure = ((last >= lowest) & (last > -torch.inf)).nonzero()[:, 0]
            if len(unsure):
                close = self._search_close(
                    queries[unsure], lowest[unsure], top_k, candidates, pairs_of(excluded, unsure)
                )
                found_scores[unsure], found_rows[unsure] = close
        return found_scores, found_rows

    def _search_close(
        self,
        queries: Tensor,
        lowest: Tensor,
        top_k: int,
        candidates: Tensor | None,
        excluded: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, Tensor]:
        """Searches among all items that the product scores with at least `lowest`, however many these are."""
        nothing = queries.new_zeros(1, 0), torch.zeros(1, 0, dtype=torch.int64, device=queries.device)
        best = [nothing] * len(queries)
        for start, new in self._chunks(queries, top_k, candidates, excluded):
            close = (new >= lowest).T
            for i in close.any(1).nonzero()[:, 0].tolist():
                places = close[i].nonzero().T + start
                rows = places if candidates is None else candidates[places]
                scores = torch.cat([best[i][0], self._cosines(queries[i : i + 1], rows)], 1)
                rows = torch.cat([best[i][1], rows], 1)
                best[i] = ordered(scores, rows, min(top_k, rows.shape[1]))
        filled = [ordered(*each, top_k) for each in best]
        return torch.cat([scores for scores, _ in filled]), torch.cat([rows for _, rows in filled])

    def _chunks(
        self, queries: Tensor, kept: int, candidates: Tensor | None, excluded: tuple[Tensor, Tensor] | None
    ) -> Iterator[tuple[int, Tensor]]:
        """Scores `[rows, num_queries]` of all items or candidates, chunk by chunk, and where each chunk begins."""
        total = len(self) if candidates is None else len(candidates)
        budget = SCORE_BYTES.get(queries.device.type, ACCELERATOR_SCORE_BYTES)
        chunk = max(FEWEST_ROWS, kept, budget // (4 * len(queries)))
        for start in range(0, total, chunk):
            stop = min(start + chunk, total)
            new = self._chunk_scores(queries, slice(start, stop) if candidates is None else candidates[start:stop])
            if excluded is not None:
                here = (excluded[1] >= start) & (excluded[1] < stop)
                new[excluded[1][here] - start, excluded[0][here]] = -torch.inf
            yield start, new

    def _kept(self, top_k: int) -> int:
        """How many items are kept for a query while the chunks are read."""
        return top_k + self.spare(top_k)

    def spare(self, top_k: int) -> int:
        """How many items more than `top_k` are scored again, so that rounding and ties rarely need a second search."""
        return max(6, top_k // 8)

    def rounding(self) -> float:
        """How far the score of a chunk may lie from [`~ExactIndex.cosines`].

        The rounding errors of a sum of n products grow with the square root of n; four times as much was never seen.
        """
        unit = 2.0**-24 if torch.get_float32_matmul_precision() == "highest" else 2.0**-11  # TF32
        return 4 * unit * math.sqrt(self.item_embeddings.shape[1])

    def _chunk_scores(self, queries: Tensor, rows: slice | Tensor) -> Tensor:
        """Cosine similarity with some rows, float32 or bfloat16 `[rows, num_queries]`."""
        vectors = self.item_embeddings.detach()[rows]
        with torch.autocast(queries.device.type, enabled=False):
            # Items times queries, because a product whose first operand is the tall one is faster and needs no copy.
            # The norms are a second pass over the vectors, at less than half the cost of the product.
            return (vectors @ queries.T).mul_(inverse_norms(vectors)[:, None])

    def rough_cosines(self, queries: Tensor, rows: Tensor) -> Tensor:
        """Cosine similarity of all queries with some rows, as one product: float32 `[rows, num_queries]`.

        It may lie [`~ExactIndex.rounding`] away from [`~ExactIndex.cosines`], and is many times faster.
        """
        device = self.item_embeddings.device
        return self._chunk_scores(unit(queries.to(device, torch.float32)), rows.to(device))

    def unit_vectors(self, rows: slice | Tensor) -> Tensor:
        """Some vectors scaled to length 1, float32 `[rows, hidden_size]`."""
        vectors = self.item_embeddings.detach()[rows]
        return vectors * inverse_norms(vectors)[..., None]

    def cosines(self, queries: Tensor, rows: Tensor) -> Tensor:
        """Cosine similarity of queries with rows of their own.

        It depends on the two vectors alone, to the last bit: not on their places, the number of queries, or the device.

        Args:
            queries (`Tensor`, float `[num_queries, hidden_size]`): of any length.
            rows (`Tensor`, int64 `[num_queries, count]`): -1 stands for no row.

        Returns:
            float32 `[num_queries, count]`, -inf where the row is -1.

        Raises:
            ValueError: if a cosine is NaN, because a vector is not finite.
        """
        return self._cosines(unit(queries.to(self.item_embeddings.detach())), rows)

    def _cosines(self, queries: Tensor, rows: Tensor) -> Tensor:
        """The [`~ExactIndex.cosines`] of queries of length 1."""
        items = self.item_embeddings.detach()
        scores = torch.empty(rows.shape, dtype=torch.float32, device=queries.device)
        at_once = max(1, RESCORED_BYTES // (4 * items.shape[1]))
        columns = max(1, min(rows.shape[1], at_once))
        lines = at_once // columns
        for line in range(0, len(rows), lines):
            for column in range(0, rows.shape[1], columns):
                part = slice(line, line + lines), slice(column, column + columns)
                vectors = items[rows[part].clamp_min(0)]
                norms = lengths(vectors)
                scores[part] = sums(vectors.mul_(queries[part[0], None])).div_(norms)
        scores.masked_fill_(rows < 0, -torch.inf)
        if bool(scores.isnan().any()):
            query, column = scores.isnan().nonzero()[0].tolist()
            raise ValueError(_not_finite(queries, query, int(rows[query, column])))
        return scores


class BFloat16Index(ExactIndex):
    """Searches a normalised copy of the vectors in bfloat16, and scores the best items again in float32.

    It reads half as much memory, and is several times as fast on CPUs and accelerators with bfloat16 units. The copy
    takes another 2 bytes per component. A query for which bfloat16 cannot tell the items that it scores again from the
    next ones is searched exactly, so that an item is hardly ever missed, and of equal ones the lower row comes first.
    """

    kind = "bfloat16"

    def __init__(self, exact: ExactIndex) -> None:
        super().__init__(exact.item_embeddings)
        self._exact = exact
        self.checksums = VectorChecksums(exact.item_embeddings)
        self._half = torch.empty_like(exact.item_embeddings.detach(), dtype=torch.bfloat16)
        for start in range(0, len(self), 1 << 16):
            rows = slice(start, start + (1 << 16))
            self._half[rows] = exact.unit_vectors(rows)

    @property
    def exact(self) -> ExactIndex:
        return self._exact

    @exact.setter
    def exact(self, exact: ExactIndex) -> None:
        self._exact, self.item_embeddings = exact, exact.item_embeddings

    def _kept(self, top_k: int) -> int:
        return max(64, SHORTLIST * top_k)

    def _chunk_scores(self, queries: Tensor, rows: slice | Tensor) -> Tensor:
        with torch.autocast(queries.device.type, enabled=False):
            if len(queries) == 1:  # on CPUs a product with a single column loses what half precision gains
                return (self._half[rows] @ queries[0].bfloat16())[:, None]
            return self._half[rows] @ queries.bfloat16().T

    def rounding(self) -> float:
        return 2.0**-8  # the last bit of a bfloat16 between 0.5 and 1

    def _search_close(self, queries: Tensor, lowest: Tensor, top_k: int, *where: Any) -> tuple[Tensor, Tensor]:
        return self.exact._search_block(queries, top_k, *where)


def inverse_norms(vectors: Tensor) -> Tensor:
    """1 / length of each vector `[..., hidden_size]` -> `[...]`."""
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return norms.clamp_min_(EPSILON).reciprocal_()


def sums(values: Tensor) -> Tensor:
    """Sums over the last dimension, `[..., n]` -> `[...]`; the values are overwritten.

    Halves are added to each other, element by element, so that the order of the additions is the same everywhere.
    `torch.sum` and matrix products add in an order that depends on the shape and the device.
    """
    left = values.shape[-1]
    while left > 1:
        half = (left + 1) // 2
        values[..., : left - half] += values[..., half:left]
        left = half
    return values[..., 0]


def lengths(vectors: Tensor) -> Tensor:
    """The length of each vector, `[..., hidden_size]` -> `[...]`, but at least `EPSILON`; summed as [`sums`] does."""
    return sums(vectors * vectors).sqrt_().clamp_min_(EPSILON)


def unit(vectors: Tensor) -> Tensor:
    """Vectors scaled to length 1, `[..., hidden_size]`."""
    return vectors / lengths(vectors)[..., None]


def measure_recall(index: Any, queries: Tensor, top_k: int = 10) -> dict[str, float]:
    """`{"recall@10": ...}`: the share of the exact `top_k` items of the queries that an index finds."""
    top_k = min(top_k, len(index))
    _, expected = index.exact.search(queries, top_k)
    _, found = index.search(queries, top_k)
    hits = (expected[:, :, None] == found[:, None, :]).any(2)
    return {f"recall@{top_k}": round(float(hits.float().mean()), 4)}


def sample_queries(exact: ExactIndex, seed: int = 0) -> Tensor:
    """Queries to measure an index with, if there are no histories: 256 sums of the directions of two random items."""
    pairs = torch.randint(len(exact), (2, 256), generator=torch.Generator().manual_seed(seed))
    return exact.unit_vectors(pairs.to(exact.item_embeddings.device)).sum(0)


def highest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The highest scores of each query, as `scores.T.topk(count)` finds them, at a fraction of its cost.

    The rows are cut into blocks. The `count` highest scores lie in the `count` blocks with the highest maxima, so only
    these blocks are searched. The maxima take one pass over the scores in memory order.

    Args:
        scores (`Tensor`, float `[num_rows, num_queries]`): contiguous, as a product leaves them.
        count: how many, at most `num_rows`.

    Returns:
        scores, float32 `[num_queries, count]`, highest first, and their rows, int64.
    """
    num_rows, num_queries = scores.shape
    size = math.isqrt(num_rows // count)  # minimises the number of maxima plus the rows of the chosen blocks
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
    """The best `top_k` columns of each row, by score and then by item row; -inf and -1 if there are fewer."""
    missing = top_k - rows.shape[1]
    if missing > 0:
        scores, rows = F.pad(scores, (0, missing), value=-torch.inf), F.pad(rows, (0, missing), value=-1)
    rows, order = rows.sort(dim=1)
    scores, best = scores.gather(1, order).sort(dim=1, descending=True, stable=True)
    return scores[:, :top_k], rows.gather(1, best)[:, :top_k]


def pairs_of(excluded: tuple[Tensor, Tensor] | None, queries: Tensor) -> tuple[Tensor, Tensor] | None:
    """The (query, row) pairs of some of the queries, which are numbered anew."""
    if excluded is None:
        return None
    pair, place = (excluded[0][:, None] == queries).nonzero(as_tuple=True)
    return place, excluded[1][pair]


def _not_finite(queries: Tensor, query: int, row: int) -> str:
    if not bool(queries[query].isfinite().all()):
        return f"The vector of query {query} holds NaN or infinite values. Check the weights of the model."
    return f"The item vector in row {row} holds NaN or infinite values. Encode the items again."


def _places(queries: Tensor, rows: Tensor, candidates: Tensor | None) -> tuple[Tensor, Tensor]:
    """(query, row) pairs as (query, index among the candidates), without pairs of other rows."""
    if candidates is None or len(candidates) == 0:
        return queries, rows
    places = torch.searchsorted(candidates, rows).clamp_max(len(candidates) - 1)
    present = candidates[places] == rows
    return queries[present], places[present]


def embeddings_fingerprint(item_embeddings: Tensor) -> str:
    """32 hexadecimal digits of the shape and of up to 1,024 rows evenly spread over the catalogue (BLAKE2b).

    It recognises, without reading gigabytes, an index that was built for other vectors; [`VectorChecksums`] reads all
    rows.
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
    "pairs_of",
    "sample_queries",
    "unit",
]
