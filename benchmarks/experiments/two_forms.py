"""What do the two forms of the recipe give together? A mixture of the probabilities of a flat and a two-level model.

    python -m benchmarks.experiments.two_forms --dataset data-scientific --flat scientific-hybrid-flat \
        --two_level scientific-hybrid-text --output two_forms.json

The weights are chosen on the validation split (`Blend`), with the memory of each model and without it. The test split
is read once. The models are those of `benchmarks.domains`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.domains import values
from benchmarks.results_tables import interval_of
from recformer_hf import RecformerForSeqRec, RecformerTokenizer
from recformer_hf.baselines import Blend, Probabilities
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.evaluation import RecformerScorer, Scorer, paired_test, rank_protocols, ranking_report


class Remembered:
    """A model's scores, with its memory or without. Each history goes through the model once."""

    def __init__(self, folder: str, dataset: SequentialDataset) -> None:
        model = RecformerForSeqRec.from_pretrained(folder).eval()
        self.memory, model.memory = model.memory, None
        self.scorer = RecformerScorer(model, RecformerTokenizer.from_pretrained(folder), dataset.catalog)
        self.known: dict[bytes, Tensor] = {}
        self.with_memory = False

    def fit(self, dataset: SequentialDataset) -> Remembered:
        return self

    def scores(self, histories: Sequence[np.ndarray]) -> Tensor:
        new = {history.tobytes(): history for history in histories if history.tobytes() not in self.known}
        if new:
            self.known |= zip(new, self.scorer.scores(list(new.values())), strict=True)
        scores = torch.stack([self.known[history.tobytes()] for history in histories])
        return self.memory.mixed(scores, histories) if self.with_memory and self.memory is not None else scores


def figures_of(dataset: SequentialDataset, forms: Mapping[str, Scorer]) -> dict[str, Any]:
    """NDCG@10 of each form and of both on the test split, and the gain of both over each, with intervals."""
    assert dataset.test is not None
    both = Blend([Probabilities(form) for form in forms.values()]).fit(dataset)
    rankings = {name: rank_protocols(scorer, dataset.test) for name, scorer in {**forms, "both": both}.items()}
    figures: dict[str, Any] = {"weights": both.weights}
    for name, found in rankings.items():
        figures[name] = {
            protocol: values(ranking_report(ranking, dataset, dataset.test)) for protocol, ranking in found.items()
        }
    for name in forms:
        tests = {
            protocol: paired_test(rankings["both"][protocol], rankings[name][protocol]) for protocol in rankings[name]
        }
        figures[f"both minus {name}"] = {protocol: interval_of(test) for protocol, test in tests.items()}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--flat", required=True, help="folder of the run of hybrid-flat")
    parser.add_argument("--two_level", required=True, help="folder of the run of hybrid or hybrid-text")
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args()
    dataset = SequentialDataset.load(arguments.dataset)
    forms = {
        "flat": Remembered(arguments.flat, dataset), "two-level": Remembered(arguments.two_level, dataset),
    }  # fmt: skip
    figures = {}
    for name, memory in (("without memory", False), ("with memory", True)):
        for form in forms.values():
            form.with_memory = memory
        figures[name] = figures_of(dataset, forms)
        print(name, figures[name], flush=True)
    arguments.output.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
