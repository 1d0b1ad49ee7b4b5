"""Models that count and compare texts, on real shops: NDCG@10 in both protocols, and seconds to fit and to rank.

    python -m benchmarks.simple_baselines --datasets shop --split validation
    python -m benchmarks.simple_baselines --datasets shop toys --vectors shop.npy toys.npy --output baselines.json

A dataset is a folder or a Hub id. Vectors are `[num_items, width]` arrays of an encoder, one file for each dataset;
with them there are two more rows. `blend` is co-occurrence, directed co-occurrence and TF-IDF neighbours; its weights
are chosen on the validation split, and nothing else is.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from recformer_hf.baselines import Blend, Cooccurrence, Markov, Popularity, TextNeighbours
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.opening import open_dataset
from recformer_hf.evaluation import Scorer, rank_protocols


def scorers(vectors: np.ndarray | None) -> dict[str, Scorer]:
    """The rows of the table."""
    rows: dict[str, Scorer] = {
        "popularity": Popularity(),
        "markov": Markov(),
        "co-occurrence": Cooccurrence(),
        "directed": Cooccurrence(directed=True),
        "TF-IDF neighbours": TextNeighbours(),
        "blend": Blend([Cooccurrence(), Cooccurrence(directed=True), TextNeighbours()]),
    }
    if vectors is not None:
        rows["vector neighbours"] = TextNeighbours(vectors)
        rows["counts + 30 vector neighbours"] = Blend([Cooccurrence(power=0), TextNeighbours(vectors)], [1, 30])
    return rows


def measured(name: str, scorer: Scorer, dataset: SequentialDataset, split_name: str) -> dict[str, Any]:
    """One row of the table."""
    start = time.perf_counter()
    scorer.fit(dataset)
    fitted = time.perf_counter()
    rankings = rank_protocols(scorer, dataset.splits[split_name], progress=False)
    seconds = time.perf_counter() - fitted
    figures = {
        f"{metric} {protocol}": round(ranking.metrics()[metric], 4)
        for metric in ("ndcg@10", "recall@10")
        for protocol, ranking in rankings.items()
    }
    row = {"scorer": name, **figures, "fit_s": round(fitted - start, 1), "rank_s": round(seconds, 1)}
    if isinstance(scorer, Blend) and scorer.weights is not None:
        row["weights"] = " : ".join(f"{weight / max(scorer.weights):.3g}" for weight in scorer.weights)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", required=True)
    parser.add_argument("--vectors", nargs="+", default=[], help="one .npy file for each dataset")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--scorers", nargs="+", help="some rows of the table")
    parser.add_argument("--output", help="write everything as JSON")
    options = parser.parse_args()
    if options.vectors and len(options.vectors) != len(options.datasets):
        parser.error(f"{len(options.vectors)} --vectors for {len(options.datasets)} --datasets; expected as many.")
    from benchmarks.measure import environment, print_table, write_report

    rows = []
    for place, name in enumerate(options.datasets):
        dataset = open_dataset(name)
        vectors = np.load(options.vectors[place]) if options.vectors else None
        for label, scorer in scorers(vectors).items():
            if options.scorers is None or label in options.scorers:
                rows.append({"dataset": name, **measured(label, scorer, dataset, options.split)})
                print(rows[-1], flush=True)
    print_table(rows)
    write_report(options.output, {"options": vars(options), "environment": environment(), "baselines": rows})


if __name__ == "__main__":
    main()
