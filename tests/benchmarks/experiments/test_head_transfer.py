"""Transfer of a head: which runs are compared, and how."""

from __future__ import annotations

import json

import pytest

from benchmarks.experiments import head_transfer
from recformer_hf.baselines import Markov, Popularity
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.evaluation import paired_test, rank_protocols, ranking_report


def test_starts_are_compared_seed_by_seed(tmp_path):
    dataset = load_demo_domain("kitchen", num_users=60, num_items=60)
    folders, rankings = [], []
    for scorer in (Popularity(), Markov()):
        folder = tmp_path / type(scorer).__name__
        folder.mkdir()
        found = rank_protocols(scorer.fit(dataset), dataset.validation)
        reports = {}
        for protocol, ranking in found.items():
            ranking.save(folder / f"model-{protocol}.npz")
            reports[f"model-{protocol}"] = ranking_report(ranking, dataset, dataset.validation)
        (folder / "metrics.json").write_text(json.dumps({"rankings": reports}))
        folders.append(folder)
        rankings.append(found)
    before, after = folders
    figures = head_transfer.comparison([before, after], [after, after], "model")
    test = paired_test(rankings[1]["kept"], rankings[0]["kept"])
    assert figures["differences"]["kept"][0] == pytest.approx([test["difference"], test["low"], test["high"]], abs=5e-5)
    assert figures["differences"]["kept"][1] == [0, 0, 0]
    assert figures["mean difference"]["kept"] == pytest.approx(test["difference"] / 2, abs=5e-5)
    assert figures["new"]["kept"][1] == figures["pretrained"]["kept"][0]


def test_what_belongs_to_single_items_is_not_trained_on_the_sources(tmp_path, monkeypatch):
    commands = {}

    class Recorded(head_transfer.Study):
        def run(self, name, result, *command):
            commands[name] = command
            return self.folder / name

    study = Recorded(tmp_path, "", "", 0)
    for name in ("target", "garden", "kitchen"):
        load_demo_domain("kitchen" if name == "target" else name, num_users=60, num_items=60).save_to_disk(
            tmp_path / name
        )
    sources = [str(tmp_path / name) for name in ("garden", "kitchen")]
    monkeypatch.setattr(head_transfer, "without_users", lambda shop, excluded: shop)
    found = head_transfer.pretrained(
        study, tmp_path / "warm", tmp_path / "target", sources, ["--num_train_epochs", "5"]
    )
    assert found == tmp_path / "pretrained"
    assert commands["pretrained"][-8:] == (*head_transfer.TRANSFERABLE, "--num_train_epochs", "5")
    joined = head_transfer.SequentialDataset.load(study.folder / "data-sources")
    assert {user.split(":")[0] for user in joined.train.user_ids.to_pylist()} == {"garden", "kitchen"}
