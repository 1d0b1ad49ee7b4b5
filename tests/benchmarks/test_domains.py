"""The study of real domains: its tables, and the paired tests with the best blend."""

from __future__ import annotations

import json

import pytest

from benchmarks import domains, results_tables
from recformer_hf.baselines import Markov, Popularity
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.evaluation import paired_test, rank_protocols, ranking_report


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[domains.Row]:
    """Popularity as the blend, and a Markov chain as the model."""
    folder = tmp_path_factory.mktemp("domains")
    dataset = load_demo_domain("kitchen", num_users=60, num_items=60)
    reports = {}
    for name, scorer in (("blend", Popularity()), ("model", Markov())):
        for protocol, ranking in rank_protocols(scorer.fit(dataset), dataset.test).items():
            ranking.save(folder / f"{name}-{protocol}.npz")
            reports[f"{name}-{protocol}"] = ranking_report(ranking, dataset, dataset.test)
    (folder / "metrics.json").write_text(json.dumps({"rankings": reports}))
    return [
        domains.Row("**best blend of simple baselines**", folder, "blend", None),
        domains.Row("**hybrid (two-level)**", folder, "model", 61.4),
    ]


def test_figures_are_those_of_the_reports(rows):
    figures = domains.figures_of({"toys": rows})
    blend, model = figures["domains"]
    overall = rows[1].reports["excluded"]["overall"]
    assert model["toys"]["excluded"][0] == pytest.approx(overall["metrics"]["ndcg@10"], abs=5e-5)
    assert model["toys"]["excluded"][1:] == pytest.approx(overall["intervals"]["ndcg@10"], abs=5e-5)
    assert (blend["toys"]["seconds"], model["toys"]["seconds"]) == (None, 61)
    test = paired_test(rows[1].rankings["kept"], rows[0].rankings["kept"])
    (difference,) = figures["differences_of_domains"]
    assert difference["difference"] == "hybrid (two-level) minus the best blend"
    assert difference["kept"][:3] == pytest.approx([test["difference"], test["low"], test["high"]], abs=5e-5)
    for name, table in figures.items():
        assert len(results_tables.TABLES[name](table)) == 1 + len(table)


def test_the_rows_of_a_domain_name_their_commands(tmp_path, monkeypatch):
    commands = []

    class Recorded(domains.Study):
        def run(self, name, result, *command):
            commands.append((name, command))
            self.seconds[name] = 1.0
            return self.folder / name

        def without_test(self, dataset):
            return dataset

    monkeypatch.setattr(domains, "Row", lambda *row: row)
    study = Recorded(tmp_path, "data", "encoder", 128)
    found = domains.rows_of(study, "toys", ["simple", "text-only", "hybrid"], ["--bf16", "true"])
    assert [row[2] for row in found] == [*domains.SIMPLE, "model", "model_without_memory", "model"]
    trained = dict(commands)["toys-hybrid"]
    assert trained[-4:] == ("--recipe", "hybrid", "--bf16", "true")
    assert dict(commands)["toys-text-only"][-8:-2] == (
        "--recipe", "hybrid", "--item_residuals", "false", "--memory", "false",
    )  # fmt: skip
