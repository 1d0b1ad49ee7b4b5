"""Finding the nearest items: exact and approximate search, beside numpy and faiss-flat.

    python -m benchmarks.search                                    # 1,000,000 items x 768
    python -m benchmarks.search --items 20000 --width 128          # seconds, to see that it runs
    python -m benchmarks.search --kinds numpy faiss-flat exact bfloat16 --repeats 9 --output results.json

Building hnsw takes most of the time, and faiss-flat's batches of 64 take most of the rest. With a build effort of 40,
the default here, 50,000 items took 32 s on one busy core, and 20,000 took 20 s instead of 70 s with the library's 128.

The vectors are invented. Items lie in clusters, like the texts of one brand or category: uniformly random directions
would be much harder for the approximate kinds than any catalogue. A query lies near an item, like a history's vector.
`numpy` is a handwritten search: a product with normalised vectors and `argpartition`. `extra_MB` is the resident memory
that a kind needs in addition to the float32 vectors, and `search_MB` is what a search of the largest batch adds at its
peak (Linux). `recall@10` is the share of the exact ten that are found. `flat_over_it` is faiss-flat's time over this
kind's, the median over turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.measure import (
    checked_load,
    environment,
    interleaved_medians,
    median_ratio,
    print_table,
    write_report,
)
from benchmarks.memory import peak_bytes, reset_peak, resident_bytes
from recformer_hf.recommending.faiss_index import FaissIndex
from recformer_hf.recommending.search import BFloat16Index, ExactIndex

KINDS = ["numpy", "faiss-flat", "exact", "bfloat16", "ivfpq", "hnsw"]
TOP_K = 10
Search = Callable[[torch.Tensor], np.ndarray]


def clustered_vectors(count: int, width: int, seed: int = 0) -> torch.Tensor:
    """Unit vectors, float32 `[count, width]`, with one cluster for every 200; drawn in blocks to save memory."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(max(1, count // 200), width, generator=generator)
    vectors = torch.empty(count, width)
    for block in vectors.split(1 << 16):
        own = centres[torch.randint(len(centres), (len(block),), generator=generator)]
        block.copy_(own).add_(torch.randn(block.shape, generator=generator), alpha=0.7)
        block /= block.norm(dim=1, keepdim=True)
    return vectors


def near_items(vectors: torch.Tensor, count: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(vectors), (count,), generator=generator)
    noise = torch.randn(count, vectors.shape[1], generator=generator) / vectors.shape[1] ** 0.5
    return vectors[rows] + 0.7 * noise


def peak_above(function: Callable[[], Any]) -> float:
    """MB that a call adds at its peak; NaN on systems without /proc."""
    reset_peak()
    before = resident_bytes()
    function()
    return max((peak_bytes() - before) / 2**20, 0.0)


def numpy_search(vectors: np.ndarray) -> Search:
    def search(queries: torch.Tensor) -> np.ndarray:
        unit = (queries / queries.norm(dim=1, keepdim=True)).numpy()
        scores = unit @ vectors.T
        best = np.argpartition(scores, -TOP_K, axis=1)[:, -TOP_K:]
        return np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1), 1)

    return search


def faiss_flat_search(vectors: np.ndarray) -> Search:
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)

    def search(queries: torch.Tensor) -> np.ndarray:
        return index.search((queries / queries.norm(dim=1, keepdim=True)).numpy(), TOP_K)[1]

    return search


def make(kind: str, vectors: torch.Tensor, exact: ExactIndex, hnsw_effort: int) -> Search:
    if kind == "numpy":
        return numpy_search(vectors.numpy())
    if kind == "faiss-flat":
        return faiss_flat_search(vectors.numpy())
    if kind == "exact":
        index: Any = ExactIndex(vectors)
    elif kind == "bfloat16":
        index = BFloat16Index(exact)
    else:
        index = FaissIndex.build(exact, kind, **({"build_effort": hnsw_effort} if kind == "hnsw" else {}))
    return lambda queries: index.search(queries, TOP_K)[1].numpy()


def search_rows(
    num_items: int, width: int, kinds: list[str], batches: list[int], repeats: int, hnsw_effort: int
) -> list[dict[str, Any]]:
    print(f"making {num_items:,} vectors of width {width}", flush=True)
    vectors = clustered_vectors(num_items, width)
    exact = ExactIndex(vectors)
    queries = {size: near_items(vectors, size, seed=size) for size in batches}
    judged = near_items(vectors, 256, seed=7)
    expected = exact.search(judged, TOP_K)[1].numpy()
    searches: dict[str, Search] = {}
    rows = []
    for kind in kinds:
        print(f"building {kind}", flush=True)
        before, start = resident_bytes(), time.perf_counter()
        searches[kind] = make(kind, vectors, exact, hnsw_effort)
        row: dict[str, Any] = {"kind": kind, "build_s": time.perf_counter() - start}
        row["extra_MB"] = (resident_bytes() - before) / 2**20
        row["search_MB"] = peak_above(partial(searches[kind], queries[max(batches)]))
        found = searches[kind](judged)
        row["recall@10"] = float((found[:, :, None] == expected[:, None, :]).any(2).mean())
        rows.append(row)
    for size in batches:
        calls = {kind: partial(searches[kind], queries[size]) for kind in kinds}
        seconds = interleaved_medians(calls, repeats)
        for row in rows:
            mine = seconds[row["kind"]]
            row[f"ms_{size}"] = 1000 * statistics.median(mine)
            row[f"best_ms_{size}"] = 1000 * min(mine)
            if "faiss-flat" in kinds:
                row[f"flat_over_it_{size}"] = median_ratio(seconds["faiss-flat"], mine)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--hnsw_effort", type=int, default=40, help="build_effort of hnsw; the library's default is 128"
    )
    parser.add_argument("--threads", type=int, help="threads of torch and faiss (default: all processors)")
    parser.add_argument("--output", help="write everything as JSON")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    report: dict[str, Any] = {"options": vars(options), "environment": environment()}
    try:
        import faiss

        faiss.omp_set_num_threads(torch.get_num_threads())
        report["environment"]["faiss"] = faiss.__version__
    except ImportError:
        options.kinds = [kind for kind in options.kinds if kind in ("numpy", "exact", "bfloat16")]
        print("faiss is not installed, so its kinds are skipped: pip install recformer-hf[faiss]")
    report["search"] = search_rows(
        options.items, options.width, options.kinds, options.batches, options.repeats, options.hnsw_effort
    )
    print_table(report["search"])
    report["environment"]["other_load_after"] = checked_load()
    write_report(options.output, report)


if __name__ == "__main__":
    main()
