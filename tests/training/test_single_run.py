"""training/single_run.py, in the smallest trainer that is built on it: that of a baseline.

What pretraining makes of it is in pretraining/test_trainer.py.
"""

from __future__ import annotations

import json

import pytest

from recformer_hf.training.checkpoints import checkpoints_in
from tests.support.neural_baselines import small_baseline_trainer
from tests.support.training import contents, same_state, state_of, weights_of

EVERY_STEP = {"save_strategy": "steps", "save_steps": 3, "save_total_limit": None}


@pytest.fixture
def finished(tmp_path):
    trainer = small_baseline_trainer("sasrec", tmp_path / "run", **EVERY_STEP)
    trainer.train()
    return trainer


def test_a_run_says_where_its_result_is_from(finished, tmp_path):
    run = json.loads((tmp_path / "run/run.json").read_text())
    assert run["best_checkpoint"] == finished.best_checkpoint.name
    assert weights_of(tmp_path / "run") == weights_of(tmp_path / "run" / run["best_checkpoint"])


def test_a_run_is_never_written_over(finished, tmp_path):
    before = contents(tmp_path / "run")
    with pytest.raises(FileExistsError, match="holds a finished run"):
        small_baseline_trainer("sasrec", tmp_path / "run", **EVERY_STEP).train()
    assert contents(tmp_path / "run") == before


def test_a_named_checkpoint_is_gone_back_to(finished, tmp_path):
    expected = weights_of(tmp_path / "run/checkpoint-12")
    again = small_baseline_trainer("sasrec", tmp_path / "run", **EVERY_STEP)
    again.train(resume_from_checkpoint=str(tmp_path / "run/checkpoint-6"))
    assert [path.name for path in checkpoints_in(tmp_path / "run")] == [f"checkpoint-{step}" for step in (3, 6, 9, 12)]
    assert weights_of(tmp_path / "run/checkpoint-12") == expected


def test_a_finished_run_is_loaded_even_without_its_checkpoints(finished, tmp_path):
    for checkpoint in checkpoints_in(tmp_path / "run"):
        checkpoint.rename(tmp_path / checkpoint.name)
    again = small_baseline_trainer("sasrec", tmp_path / "run", **EVERY_STEP)
    output = again.train(resume_from_checkpoint=True)
    assert output.global_step == 12
    assert same_state(state_of(again.model), state_of(finished.model))


def test_a_damaged_note_is_named(finished, tmp_path):
    (tmp_path / "run/run.json").write_text('{"best_checkpoint": "elsewhere", "train_loss": 1.0}')
    with pytest.raises(ValueError, match=r"run\.json is damaged: best_checkpoint is 'elsewhere'"):
        small_baseline_trainer("sasrec", tmp_path / "run", **EVERY_STEP).train(resume_from_checkpoint=True)
