"""The study of real data compares the rows that belong together, and writes figures that the docs' tables take."""

from __future__ import annotations

import json

from benchmarks import real_data, results_tables
from recformer_hf.baselines import Markov, Popularity
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.evaluation import rank_protocols, ranking_report


def test_rows_are_compared_with_the_same_seed_and_with_baselines():
    rows = ["popularity", "markov", "a", "c", "b, seed 0", "b, seed 1", "d, seed 0"]
    assert real_data.pairs(rows) == [
        ("d, seed 0", "b, seed 0"),
        *((row, name) for row in ("b, seed 0", "b, seed 1", "d, seed 0") for name in ("popularity", "markov")),
        ("c", "a"),
    ]


def test_figures_are_those_of_the_tables(tmp_path):
    dataset = load_demo_domain("kitchen", num_users=40, num_items=60)
    rows = {}
    for name, scorer in (("popularity", Popularity()), ("b, seed 0", Markov())):
        rows[name] = (tmp_path / name, "model")
        reports = {}
        for protocol, ranking in rank_protocols(scorer.fit(dataset), dataset.test).items():
            ranking.save(tmp_path / name / f"model-{protocol}.npz")
            reports[f"model-{protocol}"] = ranking_report(ranking, dataset, dataset.test)
        (tmp_path / name / "metrics.json").write_text(json.dumps({"rankings": reports}))
    figures = real_data.figures_of(rows)
    assert [row["row"] for row in figures["test_split"]] == list(rows)
    assert [row["difference"] for row in figures["differences"]] == ["b, seed 0 minus popularity"]
    assert all(len(results_tables.TABLES[name](figures[name])) == 1 + 2 * len(figures[name]) for name in figures)
