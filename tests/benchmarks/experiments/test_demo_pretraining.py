"""The demo shop is finetuned from pretrained and from random weights, for as many epochs as each row says."""

from __future__ import annotations

import json
import sys

from benchmarks.experiments import demo_pretraining
from recformer_hf.data.demo import load_demo_domain


def test_the_demo_shop_is_finetuned_with_and_without_pretraining(monkeypatch, tmp_path, capsys):
    def small(name: str, seed: int):
        return load_demo_domain(name, seed, num_users=40, num_items=60)

    monkeypatch.setattr(demo_pretraining, "load_demo_domain", small)
    for settings in (demo_pretraining.finetune.DEMO_PRETRAINING, demo_pretraining.finetune.DEMO_FINETUNING):
        monkeypatch.setitem(settings, "num_train_epochs", 1)
    monkeypatch.setitem(demo_pretraining.finetune.DEMO_FINETUNING, "stage2_num_train_epochs", 1)
    arguments = ["--seeds", "0", "--output_dir", str(tmp_path / "runs"), "--output", str(tmp_path / "demo.json")]
    monkeypatch.setattr(sys, "argv", ["demo_pretraining", *arguments])
    demo_pretraining.main()
    rows = json.loads((tmp_path / "demo.json").read_text())["rows"]
    assert [row["start"] for row in rows] == ["pretrained", "random", "random, 3 times the epochs"]
    assert "pretrained minus this" in rows[1]
    runs = [tmp_path / f"runs/seed-0/finetuned-{number}/stage-1" for number in range(3)]
    epochs = [
        json.loads(next(run.glob("checkpoint-*/trainer_state.json")).read_text())["num_train_epochs"] for run in runs
    ]
    assert epochs == [1, 1, 3]
