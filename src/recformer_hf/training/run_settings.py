"""What a run was begun with: a run is gone on with as it was, or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.dataset import SequentialDataset
from ..data.sequences import Sequences
from .arguments import RecformerTrainingArguments
from .checkpoints import RUN_FILE, asked_to_resume, write_json
from .pretraining.arguments import RecformerPretrainingArguments

if TYPE_CHECKING:
    from .trainer import RecformerTrainer

SETTINGS_FILE = "run_settings.json"

# What decides the weights. How often to log, save and upload does not; nor does where.
_DECIDING = (
    "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "optim", "weight_decay", "adam_beta1",
    "adam_beta2", "adam_epsilon", "max_grad_norm", "num_train_epochs", "max_steps", "max_batch_tokens", "seed",
    "data_seed", "bf16", "fp16", "eval_strategy", "metric_for_best_model", "ranking_ties", "exclude_history", "recipe",
    "stage1_item_matrix", "stage2_item_matrix", "stage1_freeze", "stage2_freeze", "skip_stage1", "skip_stage2",
    "stage1_patience", "stage2_patience", "stage2_num_train_epochs", "stage2_learning_rate", "num_negatives",
    "patience", "mlm_probability", "freeze_word_embeddings", "contrastive_chunk_size", "max_validation_users",
    "mixing", "eval_steps", "greater_is_better", "max_validation_sequences", "eval_on_start",
)  # fmt: skip
_TOKENIZER = ("max_token_num", "max_attr_num", "max_attr_length", "max_item_embeddings")
_MODEL = ("temperature", "mlm_weight", "hidden_dropout_prob", "attention_probs_dropout_prob")


def check_run(trainer: RecformerTrainer, args: RecformerTrainingArguments, resume: str | bool | None) -> None:
    """Before a run begins or goes on, on all processes.

    Raises:
        ValueError: if `output_dir` holds a run with other settings or other data.
    """
    settings = settings_of(args, trainer.datasets, trainer.dataset_weights)
    settings |= {name: getattr(trainer.processing_class, name) for name in _TOKENIZER}
    settings |= {name: getattr(trainer.model.config, name) for name in _MODEL}
    chosen_by = (args.metric_for_best_model or "").removeprefix("eval_")
    settings["validation"] = None if args.eval_strategy == "no" else _validation(trainer.eval_dataset, chosen_by)
    named = asked_to_resume(resume) not in (True, False, None)
    check_settings(Path(args.output_dir or ""), settings, may_change=named, write=args.should_save)
    trainer.accelerator.wait_for_everyone()


def settings_of(
    args: RecformerTrainingArguments, datasets: Sequence[SequentialDataset], weights: Sequence[float] | None
) -> dict[str, Any]:
    """What decides the result of a run, as JSON: arguments, users or tokens of a step, and the training data."""
    values = args.to_dict()
    batch = (args.max_batch_tokens or args.per_device_train_batch_size) * args.world_size
    settings = {name: values[name] for name in _DECIDING if name in values}
    if isinstance(args, RecformerPretrainingArguments):
        # Negatives are those of one batch over all processes, in training and, on one process, in validation.
        settings["batch_over_processes"] = batch
        settings["per_device_eval_batch_size"] = args.per_device_eval_batch_size
    batch *= args.gradient_accumulation_steps
    return settings | {
        "users_of_a_step": None if args.max_batch_tokens else batch,
        "tokens_of_a_step": batch if args.max_batch_tokens else None,
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
    # Not those of other runs below: what a model was pretrained with may lie there too.
    own = (RUN_FILE, "checkpoint-*", "stage-*/checkpoint-*")
    begun = any(any(folder.glob(pattern)) for pattern in own)
    if path.is_file() and not may_change and begun:
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
    if name == "validation":
        return "its validation data are others"
    if name != "datasets":
        return f"{name} was {before!r}, is {now!r}"
    if [dataset["catalog"] for dataset in before] != [dataset["catalog"] for dataset in now]:
        return "it is of another catalogue"
    return "its training sequences are others"


def _fingerprint(dataset: SequentialDataset) -> dict[str, str]:
    return {"catalog": dataset.catalog.fingerprint, "train": _digest(dataset.train)}


def _validation(evaluated: Any, chosen_by: str) -> Any:
    """Fingerprints of a validation split, or of what pretraining evaluates: a domain, and the ranked splits where the
    metric that the best weights are chosen by is theirs."""
    if isinstance(evaluated, Sequences):
        return _digest(evaluated)
    domain, targets = getattr(evaluated, "validation", None), getattr(evaluated, "targets", [])
    targets = [target for target in targets if chosen_by.startswith(f"{target.name}_")]
    ranked = {name: _digest(split) for target in targets for name, split in target.splits.items()}
    return {"domain": None if domain is None else _fingerprint(domain), "ranked": ranked}


def _digest(split: Sequences) -> str:
    digest = hashlib.blake2b(digest_size=16, person=b"RecformerTrain01")
    for array in (split.items, split.offsets, split.targets):
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
