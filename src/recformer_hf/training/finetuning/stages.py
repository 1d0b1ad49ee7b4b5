"""What a finished stage of finetuning leaves, in its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoints import RUN_FILE, is_complete, remove_folder, remove_later

STAGE_FILE = "stage.json"


@dataclass(frozen=True)
class StageResult:
    """What a finished stage left (`stage.json`).

    Args:
        stage: 1 or 2.
        checkpoint: name of the checkpoint with the stage's model and item matrix, beside `stage.json`.
        best_metric: its validation metric, or `None` without evaluation.
        improved: whether it is better than all before; else the result of the run is an earlier stage's.
        global_step: optimizer steps of the stage.
        train_loss: mean over its steps since the last start.
        log_history: as in `TrainerState`.
    """

    stage: int
    checkpoint: str
    best_metric: float | None
    improved: bool
    global_step: int
    train_loss: float
    log_history: list[dict[str, Any]]


def go_back_to(checkpoint: Path) -> None:
    """Removes what a run wrote after one of its checkpoints."""
    stage, run = checkpoint.parent, checkpoint.parent.parent
    (run / RUN_FILE).unlink(missing_ok=True)
    for later in run.glob("stage-*"):
        if later.name > stage.name:
            remove_folder(later)
    (stage / STAGE_FILE).unlink(missing_ok=True)
    remove_later(checkpoint)


def load_stage(folder: Path) -> StageResult | None:
    """The result of a stage that is done, `None` of one that is not."""
    if not (folder / STAGE_FILE).is_file():
        return None
    result = StageResult(**json.loads((folder / STAGE_FILE).read_text("utf-8")))
    if not is_complete(folder / result.checkpoint):
        raise ValueError(
            f"{folder / STAGE_FILE} names {result.checkpoint}, which is not complete. Remove {folder} to train this "
            "stage again, or put the checkpoint back."
        )
    return result
