"""A finished run of finetuning, with all its checkpoints, which the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.training import EVERY_TWO_STEPS, small_trainer


@pytest.fixture(scope="package")
def finished_run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    small_trainer(folder, **EVERY_TWO_STEPS).train()
    return folder
