"""training/run_files.py: what a run left is checked before it is used, and an error names the file."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from recformer_hf.training.checkpoints import STATE_FILE, is_complete
from recformer_hf.training.finetuning.stages import load_stage
from recformer_hf.training.pretraining.zero_shot import ROWS_FILE, ZeroShotLog
from recformer_hf.training.run_files import check_contents, naming_damage, read_object, read_state
from tests.support.pretraining import pretraining_trainer
from tests.support.training import EVERY_TWO_STEPS, contents, list_sizes, small_trainer


def changed(path: Path, **values) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in (content | values).items() if value != "leave out"}))


@pytest.fixture
def run(tmp_path, finished_run) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


class TestReading:
    @pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"null", b"\xff\xfe{}", b"[" * 100_000])
    def test_what_is_no_object(self, tmp_path, text):
        path = tmp_path / "run.json"
        path.write_bytes(text)
        with pytest.raises(ValueError, match=r"run\.json is damaged"):
            read_object(path)

    @pytest.mark.parametrize(
        "values",
        [
            {"global_step": "../../elsewhere"}, {"global_step": -1}, {"global_step": 1.5}, {"best_global_step": "4"},
            {"best_metric": "high"}, {"log_history": {"step": 1}}, {"log_history": [{"loss": 1.0}]},
            {"log_history": [{"step": "1"}]}, {"stateful_callbacks": [1]}, {"epoch": [1]}, {"new_field": 1},
        ],
    )  # fmt: skip
    def test_a_state(self, run, values):
        checkpoint = run / "stage-1/checkpoint-6"
        assert read_state(checkpoint / STATE_FILE).global_step == 6
        changed(checkpoint / STATE_FILE, **values)
        list_sizes(checkpoint)
        with pytest.raises(ValueError, match=rf"{STATE_FILE} .*{next(iter(values))}"):
            read_state(checkpoint / STATE_FILE)
        assert not is_complete(checkpoint)

    @pytest.mark.parametrize(
        "values",
        [
            {"checkpoint": "../../../elsewhere"}, {"checkpoint": "checkpoint-6/../../stage-2/checkpoint-6"},
            {"checkpoint": 6}, {"stage": 2}, {"best_metric": "high"}, {"improved": "yes"}, {"train_loss": None},
            {"log_history": 3}, {"global_step": "leave out"},
        ],
    )  # fmt: skip
    def test_the_result_of_a_stage(self, run, values):
        assert load_stage(run / "stage-1") is not None
        changed(run / "stage-1/stage.json", **values)
        before = contents(run)
        with pytest.raises(ValueError, match=rf"stage\.json is damaged: {next(iter(values))}"):
            small_trainer(run, **EVERY_TWO_STEPS).train(resume_from_checkpoint=True)
        assert contents(run) == before

    def test_the_settings_of_a_run(self, run):
        changed(run / "run_settings.json", datasets=3)
        with pytest.raises(ValueError, match=r"run_settings\.json is damaged: datasets is 3"):
            small_trainer(run, **EVERY_TWO_STEPS).train(resume_from_checkpoint=True)

    @pytest.mark.parametrize("name", ["metrics.json", "run_times.json"])
    def test_what_the_card_is_written_from(self, run, name):
        trainer = small_trainer(run, **EVERY_TWO_STEPS)
        trainer.train(resume_from_checkpoint=True)
        (run / name).write_text("[]")
        with pytest.raises(ValueError, match=rf"{name} is damaged"):
            trainer.create_model_card()

    def test_a_row_of_a_zero_shot_log(self, tmp_path):
        (tmp_path / ROWS_FILE).write_text('{"step": 1}\n{"step": \n')
        with pytest.raises(ValueError, match=rf"{ROWS_FILE}, line 2 is damaged"):
            _ = ZeroShotLog(tmp_path, "kept").rows
        (tmp_path / ROWS_FILE).write_text('{"steps": 1}\n')
        with pytest.raises(ValueError, match=rf"{ROWS_FILE}, line 1 is damaged: .* number of a step"):
            _ = ZeroShotLog(tmp_path, "kept").rows

    def test_a_finished_pretraining_that_names_another_folder(self, tmp_path):
        pretraining_trainer(tmp_path / "run", max_steps=1).train()
        changed(tmp_path / "run/run.json", best_checkpoint="../elsewhere")
        with pytest.raises(ValueError, match=r"run\.json is damaged: best_checkpoint is '\.\./elsewhere'"):
            pretraining_trainer(tmp_path / "run", max_steps=1).train(resume_from_checkpoint=True)


class TestContents:
    """A named checkpoint is read before what came after it is removed."""

    @pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"])
    def test_bytes_that_changed(self, run, name):
        path = run / f"stage-1/checkpoint-4/{name}"
        content = bytearray(path.read_bytes())
        content[: len(content) // 2] = bytes(len(content) // 2)
        path.write_bytes(content)
        before = contents(run)
        with pytest.raises(ValueError, match=rf"checkpoint-4/{name} is damaged"):
            small_trainer(run, **EVERY_TWO_STEPS).train(resume_from_checkpoint=str(path.parent))
        assert contents(run) == before

    def test_a_pickle_that_runs_code(self, run, tmp_path):
        class Runs:
            def __reduce__(self):
                return Path.touch, (tmp_path / "ran",)

        checkpoint = run / "stage-1/checkpoint-4"
        for save in (torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))):
            save(Runs(), checkpoint / "scheduler.pt")
            list_sizes(checkpoint)
            with pytest.raises(ValueError, match=r"scheduler\.pt is damaged or was not written by this run"):
                small_trainer(run, **EVERY_TWO_STEPS).train(resume_from_checkpoint=str(checkpoint))
        assert not (tmp_path / "ran").exists()

    def test_the_optimizer_of_another_model(self, run):
        (run / "run.json").unlink()
        shutil.rmtree(run / "stage-2")
        (run / "stage-1/stage.json").unlink()
        checkpoint = run / "stage-1/checkpoint-12"
        optimizer = torch.load(checkpoint / "optimizer.pt")
        optimizer["param_groups"] = optimizer["param_groups"][:1]
        torch.save(optimizer, checkpoint / "optimizer.pt")
        list_sizes(checkpoint)
        with pytest.raises(ValueError, match=r"checkpoint-12 is damaged or was not written by this run"):
            small_trainer(run, **EVERY_TWO_STEPS, num_train_epochs=3).train(resume_from_checkpoint=str(checkpoint))

    def test_a_whole_one(self, run):
        check_contents(run / "stage-1/checkpoint-4")

    def test_other_errors_pass(self):
        with pytest.raises(KeyboardInterrupt), naming_damage(Path("checkpoint-1")):
            raise KeyboardInterrupt
