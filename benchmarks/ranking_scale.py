"""Ranking many users on a whole catalogue: seconds and memory of `rank_split`, for scorers that take almost no time.

    python -m benchmarks.ranking_scale                                  # 100,000 users, 20,000 items: minutes
    python -m benchmarks.ranking_scale --users 1000000 --output ranking_scale.json
    python -m benchmarks.ranking_scale --users 2000 --items 500         # seconds, to see that it runs

`popularity` gives all users the same scores. `vectors` scores by the product of two random vectors of width 32, so that
every user's scores are different. Users, histories of three items and targets are drawn at random. `added_MB` is the
resident memory that ranking adds at its peak to what the process held before, and `kept_MB` what is left of it
afterwards, which includes the ranking itself (`ranking_MB`). Each scorer ranks 1,000 users before, and runs in a
process of its own.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.memory import peak_bytes, reset_peak, resident_bytes

SCORERS = ("popularity", "vectors")
WIDTH = 32
LENGTH = 3


def measured(name: str, users: int, items: int, exclude_history: bool) -> dict[str, Any]:
    """One row of the table."""
    from recformer_hf.baselines import Popularity
    from recformer_hf.data.dataset import SequentialDataset
    from recformer_hf.data.sequences import Sequences
    from recformer_hf.evaluation import Scorer, rank_split
    from recformer_hf.items.catalog import ItemCatalog

    class Vectors:
        """Scores by products of random vectors."""

        def __init__(self) -> None:
            self.vectors = np.random.default_rng(1).standard_normal((items, WIDTH)).astype(np.float32)

        def fit(self, dataset: SequentialDataset) -> Vectors:
            return self

        def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
            last = [int(history[-1]) for history in histories]
            return self.vectors[last] @ self.vectors.T

    draw = np.random.default_rng(0)
    names, offsets = [f"user {user}" for user in range(users)], np.arange(users + 1) * LENGTH
    histories = draw.integers(0, items, users * LENGTH)
    train = Sequences(names, histories, offsets)
    test = Sequences(names, histories, offsets, draw.integers(0, items, users))
    catalog = ItemCatalog.from_items({f"item {item}": {"title": f"Title {item}"} for item in range(items)})
    dataset = SequentialDataset(catalog, train, None, test, {"name": "random"})
    scorer: Scorer = (Popularity() if name == "popularity" else Vectors()).fit(dataset)
    options: dict[str, Any] = {"exclude_history": exclude_history, "progress": False}
    rank_split(scorer, test.select(np.arange(min(1000, users))), **options)
    reset_peak()
    before, start = resident_bytes(), time.perf_counter()
    ranking = rank_split(scorer, test, **options)
    seconds = time.perf_counter() - start
    arrays = (ranking.ranks, ranking.num_candidates, ranking.recommended, ranking.targets)
    return {
        "scorer": name,
        "users": users,
        "items": items,
        "history": "excluded" if exclude_history else "kept",
        "seconds": round(seconds, 1),
        "ms_per_1000_users": round(1e6 * seconds / users),
        "added_MB": round((peak_bytes() - before) / 2**20),
        "kept_MB": round((resident_bytes() - before) / 2**20),
        "ranking_MB": round(sum(array.nbytes for array in arrays) / 2**20),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[100_000])
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--scorers", nargs="+", choices=SCORERS, default=list(SCORERS))
    parser.add_argument("--exclude_history", action="store_true", help="rank without the items of the history")
    parser.add_argument("--output", help="write everything as JSON")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:  # in its own process
        row = measured(options.scorers[0], options.users[0], options.items, options.exclude_history)
        print(json.dumps(row))
        return
    from benchmarks.measure import environment, print_table, row_of_own_process, write_report

    rows = []
    for users in options.users:
        for name in options.scorers:
            line = ["--users", str(users), "--items", str(options.items), "--scorers", name, "--alone"]
            line += ["--exclude_history"] if options.exclude_history else []
            rows.append(row_of_own_process("benchmarks.ranking_scale", *line))
    print_table(rows)
    write_report(options.output, {"options": vars(options), "environment": environment(), "ranking": rows})


if __name__ == "__main__":
    main()
