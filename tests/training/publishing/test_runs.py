"""What a finished run leaves in its folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard

from recformer_hf.evaluation import Ranking
from recformer_hf.training.publishing import runs
from tests.support.publishing import FINISHED, PICTURES, finished_run
from tests.support.training import small_dataset, small_trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("matplotlib")
    pytest.importorskip("tensorboard")
    folder = tmp_path_factory.mktemp("runs") / "shop-recommender"
    return finished_run(folder, report_to="tensorboard", logging_steps=2)


@pytest.fixture
def folder(run) -> Path:
    return Path(run.args.output_dir)


class TestFinish:
    def test_leaves_the_whole_run(self, folder):
        names = {path.name for path in folder.iterdir() if path.is_file()}
        assert names >= FINISHED | PICTURES
        assert not [name for name in names if name.endswith(".partial")]

    def test_metrics_of_both_protocols_are_those_of_the_rankings(self, run, folder):
        metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
        assert metrics == run.metrics
        test = small_dataset().test
        for name, file in (("history_kept", "test-kept.npz"), ("history_excluded", "test-excluded.npz")):
            ranking = Ranking.load(folder / file)
            assert ranking == run.rank(test, exclude_history=name == "history_excluded")
            assert metrics["test"][name]["overall"]["metrics"] == ranking.metrics([10])
        repeated = [bool(np.isin(test.targets[row], test.history(row))) for row in range(len(test))]
        assert metrics["test"]["history_excluded"]["overall"]["misses"] == sum(repeated)
        assert metrics["test"]["history_kept"]["overall"]["misses"] == 0

    def test_both_protocols_come_from_one_encoding_of_the_histories(self, run, monkeypatch):
        test, forward, seen = small_dataset().test, run.model.forward, []

        def watched(**inputs):
            seen.append(len(inputs["cu_seqlens"]) - 1)
            return forward(**inputs)

        monkeypatch.setattr(run.model, "forward", watched)
        both = run.rank_protocols(test)
        assert sum(seen) == len(test)
        for history, ranking in both.items():
            assert ranking == run.rank(test, exclude_history=history == "excluded")

    def test_validation_is_that_of_the_weights_which_are_the_result(self, run):
        validation = run.metrics["validation"]
        assert (validation["stage"], f"checkpoint-{validation['step']}") == (
            run.best_result.stage, run.best_result.checkpoint,
        )  # fmt: skip
        assert validation["metrics"]["ndcg@10"] == run.best_result.best_metric
        assert validation["metrics"]["ndcg@10"] == run.rank(small_dataset().validation).metrics([10])["ndcg@10"]

    def test_validation_of_a_sample_says_so_and_the_test_split_is_whole(self, run, tmp_path):
        trainer = small_trainer(tmp_path / "run", max_validation_users=10, max_steps=2, skip_stage2=True)
        trainer.train()
        metrics = trainer.finish()
        assert metrics["validation"]["sample"] == {"users": 10, "of": 48}
        assert "sample" not in run.metrics["validation"]
        assert metrics["test"]["history_kept"]["overall"]["users"] == 48
        card = (tmp_path / "run" / "README.md").read_text("utf-8")
        assert "history kept, on a sample of 10 of 48 users)" in card
        assert "| `max_validation_users` | `10` |" in card

    def test_metrics_are_the_same_bytes_again_and_name_no_time_or_path(self, run, folder):
        files = [folder / name for name in ("metrics.json", "loss.png", "metrics.png", "test-kept.npz")]
        before = [file.read_bytes() for file in files]
        run.finish(small_dataset().test)
        assert [file.read_bytes() for file in files] == before
        assert not re.search(r"runtime|second|/", (folder / "metrics.json").read_text("utf-8"))
        times = json.loads((folder / "run_times.json").read_text("utf-8"))
        assert times["processes"] == 1
        assert times["train_seconds"] > 0

    def test_a_finished_run_that_is_opened_again_leaves_the_same(self, run, folder):
        before = {path.name: path.read_bytes() for path in folder.iterdir() if path.name in FINISHED | PICTURES}
        again = small_trainer(folder, num_train_epochs=1, report_to="none", logging_steps=2, weight_decay=0.01)
        again.train(resume_from_checkpoint=True)
        again.finish()
        varies = {"run_times.json", "README.md"}  # the card has the time, too
        for name in set(before) - varies:
            assert (folder / name).read_bytes() == before[name], name

    def test_comes_after_training(self, tmp_path):
        with pytest.raises(RuntimeError, match=r"call train\(\) first"):
            small_trainer(tmp_path).finish()

    def test_without_a_test_split_validation_is_all_there_is(self, run, monkeypatch, tmp_path):
        monkeypatch.setattr(run.args, "output_dir", str(tmp_path))
        monkeypatch.setattr(run.datasets[0], "test", None)
        metrics = run.finish()
        assert "test" not in metrics
        assert "validation" in metrics
        assert "model-index" not in ModelCard.load(tmp_path / "README.md").data.to_dict()

    def test_a_full_disk_leaves_what_was_there(self, run, folder, monkeypatch):
        before = (folder / "metrics.json").read_bytes()

        def refuse(*args: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("recformer_hf.storage.atomic.flush_to_disk", refuse)
        with pytest.raises(OSError, match="No space left"):
            runs._write(folder / "metrics.json", "{}")
        assert (folder / "metrics.json").read_bytes() == before
