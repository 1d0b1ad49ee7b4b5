"""A finished run of pretraining for the tests of this folder.

Every test file has a run of its own: accelerate keeps one state a process, which later trainers reset.
"""

from __future__ import annotations

import pytest

from tests.support.pretraining import domain, pretraining_model, pretraining_trainer


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two epochs with everything on: its folder and trainer."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    trainer = pretraining_trainer(
        folder, pretraining_model(dropout=0.1), eval_strategy="steps", eval_steps=2, save_strategy="steps",
        save_steps=2, save_total_limit=None, trainer_zero_shot_datasets={"kitchen": domain("kitchen", 20)},
    )  # fmt: skip
    trainer.output = trainer.train()
    trainer.log_of_training = list(trainer.state.log_history)  # tests evaluate, which adds to it
    return trainer
