"""A stage of finetuning: its settings, the recipes that choose them, and the result that it leaves in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..checkpoints import is_checkpoint_name, is_complete, step_of, write_json
from ..freezing import Freeze
from ..run_files import expect, is_log, is_loss, read_object

ItemMatrix = Literal["reencode", "frozen", "trainable"]
"""What happens to the item matrix in a stage.

`reencode`: the model encodes all items again at the start of every epoch. `frozen`: the matrix stays as it is at the
start of the stage (the first stage encodes it). `trainable`: it starts like `frozen` and is then trained like any
weight.
"""

STAGE_FILE = "stage.json"
"""In the folder of a finished stage: its [`StageResult`]."""


@dataclass(frozen=True)
class StageRecipe:
    """What a recipe chooses for a stage: see `ItemMatrix`, `Freeze` and [`Stage`]."""

    item_matrix: ItemMatrix
    freeze: Freeze
    item_pairs: bool = False


@dataclass(frozen=True)
class Recipe:
    """What a recipe chooses.

    Args:
        stage1, stage2: its stages; `None` skips one.
        settings: values of those arguments that are None unless the caller sets them, where they differ from
            `USUAL_SETTINGS`.
    """

    stage1: StageRecipe | None
    stage2: StageRecipe | None
    settings: Mapping[str, Any] = field(default_factory=dict)


USUAL_SETTINGS: dict[str, Any] = {
    "num_train_epochs": 128, "learning_rate": 5e-5, "per_device_train_batch_size": 16, "weight_decay": 0.0,
    "warmup_steps": 0, "stage1_patience": 5, "stage2_patience": 3, "num_negatives": 0, "min_steps": 0,
    "stage1_max_steps": -1,
    "eval_strategy": "epoch", "eval_steps": None, "save_strategy": "epoch", "save_steps": 500,
}  # fmt: skip
"""Arguments that a recipe may set, and their values in the others. Like the paper and the public replication."""

_HEAD = {
    "memory": True,
    "item_projection": True,
    "item_residuals": True,
    "history_bias": True,
    "learned_temperature": True,
}

_HYBRID = {
    **_HEAD, "sequence_head": "two_level", "num_train_epochs": 14, "learning_rate": 2e-3,
    "per_device_train_batch_size": 128, "weight_decay": 0.01, "warmup_steps": 0.05, "num_negatives": 1000,
    # Ten evaluations, however small the shop is. The schedule ends at 0, so a run does not stop before.
    "min_steps": 1500, "eval_strategy": "steps", "eval_steps": 0.1, "save_strategy": "steps", "save_steps": 0.1,
    "stage2_patience": 10,
}  # fmt: skip

RECIPES: dict[str, Recipe] = {
    # Algorithm 1: re-encoded, then frozen; all weights of the model train.
    "paper": Recipe(StageRecipe("reencode", "none"), StageRecipe("frozen", "none")),
    # The text encoder only makes item vectors; what reads histories of them trains. Every item is a target.
    "hybrid": Recipe(None, StageRecipe("frozen", "encoder"), _HYBRID),
    # The same, after the text encoder has learned which items of this shop are bought one after the other. That takes
    # as many steps in a large shop as in a small one.
    "hybrid-text": Recipe(
        StageRecipe("reencode", "lower_layers", item_pairs=True),
        StageRecipe("frozen", "encoder"),
        {
            **_HYBRID, "learning_rate": 2e-4, "per_device_train_batch_size": 32, "stage1_max_steps": 840,
            "stage2_learning_rate": 2e-3, "stage2_per_device_train_batch_size": 128,
        },
    ),
    # The same parts of the head, with histories read as text.
    "hybrid-flat": Recipe(
        StageRecipe("reencode", "none"),
        None,
        {
            **_HEAD, "sequence_head": "flat", "num_train_epochs": 10, "learning_rate": 1e-4,
            "head_learning_rate": 1e-3, "per_device_train_batch_size": 32, "weight_decay": 0.01, "warmup_steps": 0.05,
        },
    ),
    # Only the sequence side at first, then everything; item vectors always come from the model.
    "lecture": Recipe(StageRecipe("reencode", "embeddings"), StageRecipe("reencode", "none")),
    # Rows of the paper's ablation (table 5): one stage, on the item matrix of the pretrained model.
    "ablation-1": Recipe(None, StageRecipe("frozen", "none")),
    "ablation-2": Recipe(None, StageRecipe("frozen", "word_embeddings")),
    "ablation-3": Recipe(None, StageRecipe("trainable", "none")),
    "ablation-4": Recipe(None, StageRecipe("trainable", "word_embeddings")),
}  # fmt: skip
"""The recipes by name.

Ablation 5 (no pretraining) starts from the text encoder of `recformer_hf.conversion` instead of a pretrained Recformer.
Ablation 6 is a model that is configured without item positions and token types, from pretraining on.
"""


@dataclass(frozen=True)
class Stage:
    """The settings of one stage.

    Args:
        number: 1 or 2.
        item_matrix, freeze: see `ItemMatrix` and `Freeze`.
        patience: evaluations without a better metric after which the stage stops.
        num_train_epochs: most epochs of the stage.
        learning_rate: peak learning rate.
        per_device_train_batch_size: users per step on each process.
        item_pairs: whether the text encoder trains alone, with pairs of items. Nothing is evaluated then, because a
            head that has learned nothing says little about texts: the last weights are the result.
        max_steps: steps of the stage, whatever `num_train_epochs` is; -1 for those of the epochs.
    """

    number: int
    item_matrix: ItemMatrix
    freeze: Freeze
    patience: int
    num_train_epochs: float
    learning_rate: float
    per_device_train_batch_size: int
    item_pairs: bool = False
    max_steps: int = -1

    @property
    def name(self) -> str:
        """Name of its folder in the run's folder."""
        return f"stage-{self.number}"


@dataclass(frozen=True)
class StageResult:
    """The result of a finished stage (`stage.json`).

    Args:
        stage: 1 or 2.
        checkpoint: name of the checkpoint with the stage's model and item matrix, beside `stage.json`.
        best_metric: its validation metric, or `None` without evaluation.
        improved: whether it is better than all stages before; otherwise the run's result is that of an earlier stage.
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

    @property
    def step(self) -> int:
        """Optimizer steps before the checkpoint."""
        return step_of(self.checkpoint)

    def save(self, folder: Path) -> None:
        """Writes `stage.json` to the stage's folder."""
        write_json(folder / STAGE_FILE, asdict(self))


def load_stage(folder: Path) -> StageResult | None:
    """The result in a stage's folder; `None` if the stage is not finished.

    Raises:
        ValueError: if the file is damaged, or if the checkpoint that it names is not complete.
    """
    path = folder / STAGE_FILE
    if not path.is_file():
        return None
    content = read_object(path)
    checks = {
        "stage": (f"stage-{content.get('stage')}" == folder.name, "the number of its folder"),
        "checkpoint": (is_checkpoint_name(content.get("checkpoint")), "the name of a checkpoint beside it"),
        "best_metric": (
            content.get("best_metric", "") is None or is_loss(content.get("best_metric")),
            "a number or null",
        ),
        "improved": (isinstance(content.get("improved"), bool), "true or false"),
        "global_step": (isinstance(content.get("global_step"), int), "a number of steps"),
        "train_loss": (is_loss(content.get("train_loss")), "a number"),
        "log_history": (is_log(content.get("log_history")), "a list of entries with a step each"),
    }
    for name, (holds, expected) in checks.items():
        expect(path, content, name, holds, expected)
    result = StageResult(**{name: content[name] for name in checks})
    if not is_complete(folder / result.checkpoint):
        raise ValueError(
            f"{folder / STAGE_FILE} names {result.checkpoint}, which is not complete. Put the checkpoint back, or "
            f"remove {folder} to train this stage again."
        )
    return result
