"""Training a neural baseline in one call: pretraining where the model has it, then training on a dataset."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from transformers import PrinterCallback

from ...data.dataset import SequentialDataset
from .arguments import BaselineTrainingArguments
from .model import BaselineModel
from .trainer import BaselineTrainer

PRETRAINING = "pretraining"
"""Folder of the pretraining inside that of a run."""


def train_baseline(
    model: BaselineModel,
    dataset: SequentialDataset,
    *,
    output_dir: str | Path | None = None,
    pretraining_datasets: Sequence[SequentialDataset] = (),
    pretraining_arguments: Mapping[str, Any] | None = None,
    resume_from_checkpoint: str | bool | None = None,
    **arguments: Any,
) -> BaselineTrainer:
    """Trains a model, with its own defaults for whatever is not given.

    Args:
        model: a new one; or a trained one to go on with, which is not pretrained again.
        dataset: what to train on.
        output_dir: folder of the run. By default nothing is kept but the model in memory.
        pretraining_datasets: what to pretrain on first. By default the dataset itself, if the model
            `pretrains_first`.
        pretraining_arguments: of [`BaselineTrainingArguments`], for pretraining.
        resume_from_checkpoint: as in `BaselineTrainer.train`; pretraining resumes in its own folder.
        arguments: of [`BaselineTrainingArguments`].

    Returns:
        the trainer after `train()`.
    """
    keeps = output_dir is not None
    folder: AbstractContextManager[Any] = nullcontext(output_dir) if keeps else tempfile.TemporaryDirectory()
    datasets = list(pretraining_datasets) or ([dataset] if model.pretrains_first else [])
    with folder as path:
        if datasets and model.is_new:
            settings = {"eval_strategy": "no", "metric_for_best_model": None, "save_strategy": "epoch"}
            settings |= {**model.pretraining_defaults, **(pretraining_arguments or {})}
            args = _arguments(Path(path, PRETRAINING), keeps, settings)
            trainer = BaselineTrainer(model, args, train_datasets=datasets, pretraining=True)
            # A pretraining that is finished is only loaded.
            _train(trainer, resume_from_checkpoint is not None and resume_from_checkpoint is not False, keeps)
        args = _arguments(path, keeps, {**model.training_defaults, **arguments})
        trainer = BaselineTrainer(model, args, train_datasets=[dataset])
        _train(trainer, resume_from_checkpoint, keeps)
    return trainer


def _arguments(folder: str | Path, keeps: bool, settings: Mapping[str, Any]) -> BaselineTrainingArguments:
    quiet: dict[str, Any] = {} if keeps else {"report_to": "none"}
    return BaselineTrainingArguments(output_dir=str(folder), **{**quiet, **settings})


def _train(trainer: BaselineTrainer, resume: str | bool | None, keeps: bool) -> None:
    if not keeps:
        trainer.remove_callback(PrinterCallback)  # a bar is shown on a terminal, but no lines of numbers
    trainer.train(resume_from_checkpoint=resume)


__all__ = ["PRETRAINING", "train_baseline"]
