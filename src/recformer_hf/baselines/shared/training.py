"""Training a neural baseline in one call: pretraining where the model has it, then training on a dataset."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import PrinterCallback

from ...data.dataset import SequentialDataset
from .arguments import BaselineTrainingArguments
from .model import BaselineModel
from .trainer import BaselineTrainer

PRETRAINING = "pretraining"
"""Folder of the pretraining inside that of a run."""

# What pretraining takes from the arguments of the run that it belongs to.
_SHARED = (
    "seed", "data_seed", "use_cpu", "bf16", "fp16", "report_to", "disable_tqdm", "full_determinism",
    "dataloader_num_workers", "max_grad_norm",
)  # fmt: skip


def train_baseline(
    model: BaselineModel,
    dataset: SequentialDataset,
    args: BaselineTrainingArguments,
    *,
    pretraining_datasets: Sequence[SequentialDataset] = (),
    pretraining_arguments: Mapping[str, Any] | None = None,
    resume_from_checkpoint: str | bool | None = None,
    quiet: bool = False,
    on_trainer: Callable[[BaselineTrainer], object] | None = None,
) -> BaselineTrainer:
    """Trains a model on a dataset; a new one that has pretraining is pretrained before, in the folder `pretraining`.

    Args:
        model: a new one; or a trained one to go on with, which is not pretrained again.
        dataset: what to train on.
        args: settings, such as [`default_arguments`].
        pretraining_datasets: what to pretrain on. By default the dataset itself, if the model `pretrains_first`.
        pretraining_arguments: settings of pretraining that differ from the model's `pretraining_defaults`. Seed, device
            and the like are those of `args`.
        resume_from_checkpoint: as in `BaselineTrainer.train`. A pretraining that was begun is resumed too, and one that
            is finished is only loaded.
        quiet: whether no lines of numbers are printed.
        on_trainer: called with each trainer before it trains, such as to add callbacks.

    Returns:
        the trainer after `train()`.
    """
    datasets = list(pretraining_datasets) or ([dataset] if model.pretrains_first else [])
    if datasets and model.is_new:
        settings: dict[str, Any] = {"eval_strategy": "no", "metric_for_best_model": None, "save_strategy": "epoch"}
        settings |= {name: getattr(args, name) for name in _SHARED}
        settings |= {**model.pretraining_defaults, **(pretraining_arguments or {})}
        folder = str(Path(args.output_dir or "", PRETRAINING))
        pretraining = BaselineTrainingArguments(output_dir=folder, **settings)
        trainer = BaselineTrainer(model, pretraining, train_datasets=datasets, pretraining=True)
        _train(trainer, resume_from_checkpoint not in (None, False), quiet, on_trainer)
    trainer = BaselineTrainer(model, args, train_datasets=[dataset])
    _train(trainer, resume_from_checkpoint, quiet, on_trainer)
    return trainer


def default_arguments(model: BaselineModel, output_dir: str | Path, **arguments: Any) -> BaselineTrainingArguments:
    """Settings of training with the model's own defaults for what is not given."""
    return BaselineTrainingArguments(output_dir=str(output_dir), **{**model.training_defaults, **arguments})


def fit_baseline(
    model: BaselineModel, dataset: SequentialDataset, output_dir: str | Path | None, arguments: Mapping[str, Any]
) -> None:
    """What [`BaselineModel.fit`] does with a model that is not trained yet."""
    if output_dir is not None:
        train_baseline(model, dataset, default_arguments(model, output_dir, **arguments))
        return
    # The arguments know the processes, which have to share a folder.
    args = default_arguments(model, "not-yet-known", **{"report_to": "none", **arguments})
    found = [tempfile.mkdtemp(prefix="baseline-") if args.should_save else None]
    args.output_dir = broadcast_object_list(found)[0]
    try:
        train_baseline(model, dataset, args, quiet=True)
    finally:
        if args.should_save:
            shutil.rmtree(str(args.output_dir), ignore_errors=True)


def _train(
    trainer: BaselineTrainer,
    resume: str | bool | None,
    quiet: bool,
    on_trainer: Callable[[BaselineTrainer], object] | None,
) -> None:
    if on_trainer is not None:
        on_trainer(trainer)
    if quiet:
        trainer.remove_callback(PrinterCallback)  # a bar is still shown on a terminal
    trainer.train(resume_from_checkpoint=resume)


__all__ = ["PRETRAINING", "default_arguments", "fit_baseline", "train_baseline"]
