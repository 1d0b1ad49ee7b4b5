"""What a run was begun with: a run is gone on with as it was, or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset import SequentialDataset
from .arguments import RecformerTrainingArguments
from .checkpoints import STATE_FILE, write_json

SETTINGS_FILE = "run_settings.json"

# What decides the weights. How often to log, save and upload does not; nor does where.
_DECIDING = (
    "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "optim", "weight_decay", "adam_beta1",
    "adam_beta2", "adam_epsilon", "max_grad_norm", "num_train_epochs", "max_steps", "max_batch_tokens", "seed",
    "data_seed", "bf16", "fp16", "eval_strategy", "metric_for_best_model", "ranking_ties", "exclude_history", "recipe",
    "stage1_item_matrix", "stage2_item_matrix", "stage1_freeze", "stage2_freeze", "skip_stage1", "skip_stage2",
    "stage1_patience", "stage2_patience", "stage2_num_train_epochs", "stage2_learning_rate", "num_negatives",
    "patience", "mlm_probability", "freeze_word_embeddings", "contrastive_chunk_size", "max_validation_users",
    "mixing",
)  # fmt: skip


def settings_of(
    args: RecformerTrainingArguments, datasets: Sequence[SequentialDataset], weights: Sequence[float] | None
) -> dict[str, Any]:
    """What decides the result of a run, as JSON: arguments, users of a step, and the training data."""
    values = args.to_dict()
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    return {name: values[name] for name in _DECIDING if name in values} | {
        "users_of_a_step": None if args.max_batch_tokens else batch,
        "datasets": [_fingerprint(dataset) for dataset in datasets],
        "dataset_weights": None if weights is None else list(weights),
    }


def check_settings(folder: Path, settings: dict[str, Any], *, may_change: bool, write: bool) -> None:
    """Refuses to go on with a run under other settings, whose result would be neither's; else notes these.

    Args:
        folder: of the run.
        settings: of `settings_of`.
        may_change: whether a person goes back to a checkpoint by name, from where on the settings may be others.
        write: whether this process writes the file.

    Raises:
        ValueError: naming what differs. A run that has no checkpoint yet may change.
    """
    path = folder / SETTINGS_FILE
    if path.is_file() and not may_change and any(folder.glob(f"**/{STATE_FILE}")):
        before, now = json.loads(path.read_text("utf-8")), json.loads(json.dumps(settings))
        changed = [_difference(name, before[name], now.get(name)) for name in before if before[name] != now.get(name)]
        if changed:
            raise ValueError(
                f"{folder} holds a run with other settings: {'; '.join(changed)}. Go on with those it was begun with, "
                "name the checkpoint from which on they change (resume_from_checkpoint=PATH), or name another "
                "output_dir."
            )
    elif write:
        write_json(path, settings)


def _difference(name: str, before: Any, now: Any) -> str:
    if name != "datasets":
        return f"{name} was {before!r}, is {now!r}"
    if [dataset["catalog"] for dataset in before] != [dataset["catalog"] for dataset in now]:
        return "it is of another catalogue"
    return "its training sequences are others"


def _fingerprint(dataset: SequentialDataset) -> dict[str, str]:
    digest = hashlib.blake2b(digest_size=16, person=b"RecformerTrain01")
    for array in (dataset.train.items, dataset.train.offsets):
        digest.update(np.ascontiguousarray(array).tobytes())
    return {"catalog": dataset.catalog.fingerprint, "train": digest.hexdigest()}
