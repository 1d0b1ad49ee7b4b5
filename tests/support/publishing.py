"""Finished runs whose output folder several test files look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.training import small_trainer

FINISHED = {
    "README.md", "config.json", "item_catalog.arrow", "metrics.json", "model.safetensors", "run_times.json",
    "test-excluded.npz", "test-kept.npz", "tokenizer.json", "tokenizer_config.json",
}  # fmt: skip
"""Files that every finished run of finetuning leaves."""

PICTURES = {"loss.png", "metrics.png"}
"""Files that it also leaves if matplotlib is installed."""


def finished_run(folder: Path, **settings: Any) -> Any:
    """A trainer after one epoch of each stage and `finish()`, whose result is in `trainer.metrics`."""
    trainer = small_trainer(folder, num_train_epochs=1, weight_decay=0.01, **settings)
    trainer.train()
    trainer.metrics = trainer.finish()
    return trainer
