"""Counting pairs and comparing texts of a large shop: seconds and memory of fitting, and seconds of scoring a batch.

    python -m benchmarks.memory_scale                                    # 1,000,000 users, 200,000 items
    python -m benchmarks.memory_scale --users 2000 --items 500           # seconds, to see that it runs

Users have 5 to 15 items. Items are drawn by a power law, and the items of a user come from one group of 200, as
people's interests do; a title has eight words, of a vocabulary of 50,000 with a power law. `added_MB` is the resident
memory that fitting adds at its peak to what the process held before, `kept_MB` the matrix. Each scorer runs in a
process of its own.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np

from benchmarks.memory import peak_bytes, reset_peak, resident_bytes

SCORERS = ("cooccurrence", "directed", "text_neighbours")
ITEMS_OF_A_GROUP = 200
WORDS = 50_000


def measured(name: str, users: int, items: int) -> dict[str, Any]:
    """One row of the table."""
    from recformer_hf.baselines import Cooccurrence, TextNeighbours
    from recformer_hf.data.dataset import SequentialDataset
    from recformer_hf.data.sequences import Sequences
    from recformer_hf.items.catalog import ItemCatalog
    from recformer_hf.memory.sparse_rows import SparseRows

    draw = np.random.default_rng(0)
    lengths = draw.integers(5, 16, users)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    # The square of a uniform number: the first tenth of a group's items has a third of its sales.
    within = (draw.random(offsets[-1]) ** 2 * ITEMS_OF_A_GROUP).astype(np.int64)
    groups = draw.integers(0, max(1, items // ITEMS_OF_A_GROUP), users)
    bought = (np.repeat(groups, lengths) * ITEMS_OF_A_GROUP + within) % items
    train = Sequences([str(user) for user in range(users)], bought, offsets)
    words = (draw.random((items, 8)) ** 3 * WORDS).astype(np.int64)
    titles = {
        f"item {item}": {"title": " ".join(f"w{word}" for word in own)} for item, own in enumerate(words.tolist())
    }
    dataset = SequentialDataset(ItemCatalog.from_items(titles), train, None, None, {"name": "random"})
    scorer = TextNeighbours() if name == "text_neighbours" else Cooccurrence(directed=name == "directed")
    histories = [train.history(user) for user in range(min(256, users))]
    reset_peak()
    before, start = resident_bytes(), time.perf_counter()
    scorer.fit(dataset)
    fitted, peak = time.perf_counter() - start, peak_bytes()
    matrix = scorer.neighbours if isinstance(scorer, TextNeighbours) else scorer.counts
    assert isinstance(matrix, SparseRows)
    start = time.perf_counter()
    matrix.sparse_sum_of_rows(histories, scorer.history_decay)
    return {
        "scorer": name,
        "users": users,
        "items": items,
        "interactions": int(offsets[-1]),
        "fit_s": round(fitted, 1),
        "added_MB": round((peak - before) / 2**20),
        "kept_MB": round((matrix.columns.nbytes + matrix.values.nbytes + matrix.offsets.nbytes) / 2**20),
        "entries": matrix.num_entries,
        "sparse_score_ms_per_user": round(1000 * (time.perf_counter() - start) / len(histories), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--scorers", nargs="+", choices=SCORERS, default=list(SCORERS))
    parser.add_argument("--output", help="write everything as JSON")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:  # in its own process
        print(json.dumps(measured(options.scorers[0], options.users, options.items)))
        return
    from benchmarks.measure import environment, print_table, row_of_own_process, write_report

    rows = []
    for name in options.scorers:
        line = ["--users", str(options.users), "--items", str(options.items), "--scorers", name, "--alone"]
        rows.append(row_of_own_process("benchmarks.memory_scale", *line))
    print_table(rows)
    write_report(options.output, {"options": vars(options), "environment": environment(), "memory": rows})


if __name__ == "__main__":
    main()
