"""Which arguments of transformers' `TrainingArguments` and `Trainer` are supported, and why the others are refused.

Nothing is accepted without effect. docs/training.md has this table.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

import torch
from transformers import Trainer, TrainingArguments, get_scheduler
from transformers.utils import logging

logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class Refusal:
    """Values of a field that are refused.

    Args:
        accepts: the only values that are accepted.
        reason: why, and what to use instead; it completes "NAME=VALUE is not supported: ".
    """

    accepts: tuple[object, ...]
    reason: str


SUPPORTED: Mapping[str, str] = {
    "output_dir": "required",
    "per_device_train_batch_size": "users (pairs in pretraining); `max_batch_tokens` takes its place",
    "num_train_epochs": "0 encodes the items and saves; finetuning: of stage 1, and of stage 2 by default",
    "max_steps": "finetuning: of each stage",
    "learning_rate": "",
    "lr_scheduler_type": "`reduce_lr_on_plateau` needs evaluations",
    "lr_scheduler_kwargs": "",
    "warmup_steps": "below 1: a share of all steps",
    "warmup_ratio": "older versions of transformers",
    "optim": "the package of an optimizer must be installed; not `lomo`, `adalomo` and `*_layerwise`",
    "optim_args": "",
    "optim_target_modules": "",
    "weight_decay": "never of item vectors",
    "adam_beta1": "",
    "adam_beta2": "",
    "adam_epsilon": "",
    "gradient_accumulation_steps": "the loss is the same however a step is divided",
    "max_grad_norm": "",
    "bf16": "also on CPUs",
    "fp16": "needs a GPU; on a CPU, training stays in float32",
    "tf32": "needs a GPU that has it",
    "activation_checkpointing": "",
    "activation_checkpointing_kwargs": "",
    "gradient_checkpointing": "the older name of `activation_checkpointing`",
    "gradient_checkpointing_kwargs": "",
    "torch_compile": "",
    "torch_compile_backend": "",
    "torch_compile_mode": "",
    "torch_empty_cache_steps": "",
    "logging_strategy": "",
    "logging_steps": "",
    "logging_first_step": "",
    "logging_dir": "older versions of transformers",
    "log_on_each_node": "",
    "include_num_input_tokens_seen": "packed batches have no padding, so both counts are the same",
    "log_level": "",
    "log_level_replica": "",
    "disable_tqdm": "all bars; by default they are shown on a terminal and in notebooks only",
    "report_to": "",
    "run_name": "",
    "project": "",
    "trackio_space_id": "",
    "trackio_bucket_id": "",
    "trackio_static_space_id": "",
    "eval_strategy": "",
    "eval_steps": "",
    "eval_delay": "",
    "per_device_eval_batch_size": "pretraining: pairs that are candidates of each other",
    "eval_on_start": "",
    "save_only_model": "such a run cannot be resumed",
    "save_strategy": "a new best is saved with each",
    "save_steps": "",
    "save_total_limit": "at least 1; the best checkpoint is kept besides",
    "push_to_hub": "creates the repository; `push_to_hub()` uploads the finished run",
    "hub_token": "",
    "hub_private_repo": "",
    "hub_model_id": "",
    "hub_revision": "",
    "load_best_model_at_end": "always, also if it is False",
    "metric_for_best_model": "",
    "greater_is_better": "",
    "restore_callback_states_from_checkpoint": "",
    "full_determinism": "",
    "seed": "",
    "data_seed": "",
    "use_cpu": "",
    "accelerator_config": "but what deals out or cuts batches",
    "dataloader_num_workers": "",
    "dataloader_pin_memory": "",
    "dataloader_persistent_workers": "",
    "dataloader_prefetch_factor": "",
    "dataloader_multiprocessing_context": "",
    "ddp_find_unused_parameters": "",
    "ddp_bucket_cap_mb": "",
    "ddp_broadcast_buffers": "",
    "ddp_static_graph": "",
    "ddp_backend": "",
    "ddp_timeout": "",
    "fsdp": "version 2",
    "fsdp_config": "",
    "debug": "",
    "skip_memory_metrics": "",
    "do_train": "for scripts; no trainer reads it",
    "do_eval": "for scripts; no trainer reads it",
    "do_predict": "for scripts; no trainer reads it",
    "resume_from_checkpoint": "for scripts, which hand it to `train()`",
    "local_rank": "set by launchers",
}
"""Fields of `TrainingArguments` that work, with a remark where they differ from what transformers documents."""

_PLANNED = "SequenceSampler plans the batches of all processes in advance"
_RANKS = "evaluation ranks the whole catalogue and keeps one batch's scores at a time"

REFUSED: Mapping[str, Refusal] = {
    "average_tokens_across_devices": Refusal(
        (True,), "the losses are means over the users or tokens of all processes, always"
    ),
    "label_smoothing_factor": Refusal((0, 0.0), "the losses do not smooth labels. Leave it at 0"),
    "bf16_full_eval": Refusal((False,), "evaluation is autocast like training. Set bf16 instead"),
    "fp16_full_eval": Refusal((False,), "evaluation is autocast like training. Set fp16 instead"),
    "use_liger_kernel": Refusal((False,), "Liger has no kernels for this model"),
    "liger_kernel_config": Refusal((None,), "Liger has no kernels for this model"),
    "use_cache": Refusal((False,), "an encoder has no cache of keys and values"),
    "neftune_noise_alpha": Refusal(
        (None, 0, 0.0), "its noise depends on the length of padded sequences, and batches are packed. Use dropout"
    ),
    "auto_find_batch_size": Refusal(
        (False,),
        f"{_PLANNED}, and a resumed run must have the same ones. Set max_batch_tokens, which bounds the memory of a "
        "step whatever the lengths, or a smaller per_device_train_batch_size with gradient_accumulation_steps",
    ),
    "logging_nan_inf_filter": Refusal((False,), "a loss that is not finite stops the run"),
    "prediction_loss_only": Refusal((False,), f"{_RANKS}, so there is nothing to save by it"),
    "eval_do_concat_batches": Refusal((True,), "predict returns the ranks of all users as one array"),
    "eval_use_gather_object": Refusal((False,), "ranks are gathered as objects already"),
    "eval_accumulation_steps": Refusal((None,), _RANKS + ". Set eval_batch_tokens"),
    "include_for_metrics": Refusal(
        ([], None), "compute_metrics gets ranks and targets. Use trainer.rank for recommended items"
    ),
    "batch_eval_metrics": Refusal((False,), "compute_metrics gets the ranks of all users at once"),
    "save_on_each_node": Refusal((False,), "all processes write a checkpoint together, to a disk that they share"),
    "enable_jit_checkpoint": Refusal(
        (False,),
        "the run would go on with its next stage after the signal. Set save_strategy='steps', and resume with "
        "resume_from_checkpoint=True",
    ),
    "hub_strategy": Refusal(
        ("every_save", "end"), "nothing is uploaded while a run trains. Call push_to_hub() after train()"
    ),
    "hub_always_push": Refusal((False,), "nothing is uploaded while a run trains. Call push_to_hub() after train()"),
    "ignore_data_skip": Refusal(
        (False,), "a resumed run goes on with what is left of its epoch; skipping planned batches takes no time"
    ),
    "parallelism_config": Refusal(
        (None,), "tensor, context and sequence parallelism would cut packed batches. Use FSDP"
    ),
    "dataloader_drop_last": Refusal(
        (False,), f"{_PLANNED}; the loss counts users, so a smaller last batch is no worse"
    ),
    "dataloader_in_order": Refusal((True,), "batches in another order would give another result"),
    "remove_unused_columns": Refusal((False,), "collators compose the batches; a dataset has no columns"),
    "label_names": Refusal((None,), "the labels are the targets of the dataset"),
    "train_sampling_strategy": Refusal(
        ("random",), f"{_PLANNED}. Packed batches have no padding that grouping by length could save"
    ),
    "length_column_name": Refusal(("length",), "a dataset has no columns; lengths are those of the tokenized items"),
    "deepspeed": Refusal((None,), "it is not tested with item matrices and packed batches. Use DDP or FSDP 2"),
}
"""Fields of `TrainingArguments` that would have no effect, or would fail during the run."""

REFUSED_IN_FINETUNING: Mapping[str, Refusal] = {
    "per_device_eval_batch_size": Refusal(
        (8,), "evaluation packs histories into batches of eval_batch_tokens. Set that instead"
    ),
}

TRAINER_ARGUMENTS: Mapping[str, str] = {
    "model": "or `model_init`",
    "args": "of the trainer's own class",
    "train_dataset": "pretraining: `train_datasets`",
    "eval_dataset": "",
    "processing_class": "a `RecformerTokenizer`",
    "model_init": "for `hyperparameter_search`; a new model for every `train()`",
    "compute_metrics": "finetuning: gets ranks and targets",
    "callbacks": "",
    "optimizers": "pretraining",
    "optimizer_cls_and_kwargs": "",
}
"""Arguments of `Trainer` that work."""

REFUSED_TRAINER_ARGUMENTS: Mapping[str, str] = {
    "data_collator": "the trainer composes packed batches with its own collator",
    "compute_loss_func": "the trainer computes the losses of the paper. Override compute_loss in a subclass",
    "preprocess_logits_for_metrics": "compute_metrics gets ranks and no scores. Use trainer.rank",
}
REFUSED_IN_PRETRAINING: Mapping[str, str] = {
    "train_dataset": "pretraining takes several: train_datasets=[dataset]",
    "compute_metrics": "pretraining hands no predictions to compute_metrics, so it would never be called. Losses, "
    "accuracy and zero-shot metrics are logged without it; for others, evaluate checkpoints with "
    "recformer_hf.evaluation",
}
REFUSED_IN_STAGES: Mapping[str, str] = {
    "optimizers": "a ready optimizer cannot serve both stages, because each begins with a new one. Choose it with "
    "args.optim, or pass optimizer_cls_and_kwargs",
}


def check_fields(args: TrainingArguments, refused: Mapping[str, Refusal] = REFUSED) -> None:
    """Refuses values of fields that would have no effect or fail later, and warns of fields that this package does not
    know, which a newer transformers may have.

    Args:
        args: before or after transformers has normalised them.
        refused: by the name of the field.

    Raises:
        ValueError: the message says what to do instead.
    """
    for name, refusal in refused.items():
        value = getattr(args, name, refusal.accepts[0])
        if not any(getattr(value, "value", value) == accepted for accepted in refusal.accepts):
            raise ValueError(f"{name}={getattr(value, 'value', value)!r} is not supported: {refusal.reason}.")
    optimizer = str(getattr(args.optim, "value", args.optim))
    if "lomo" in optimizer or optimizer.endswith("_layerwise"):
        raise ValueError(
            f"optim={optimizer!r} is not supported: it changes weights during the backward pass, before a gradient "
            "that is not finite could stop the run. Use another optimizer, such as adafactor."
        )
    for each in fields(TrainingArguments):
        if each.name in SUPPORTED or each.name in refused:
            continue
        default = each.default if each.default_factory is MISSING else each.default_factory()
        if getattr(args, each.name, default) != default:
            logger.warning_once(
                f"{each.name} is a setting of transformers that this version of recformer_hf is not tested with."
            )


def check_trainer_arguments(given: Mapping[str, Any], refused: Mapping[str, str]) -> None:
    """Refuses arguments of a trainer that would have no effect or that it does not know.

    Args:
        given: the further arguments; those that are None (a pair of None for `optimizers`) count as not given.
        refused: reasons by name, besides those that every trainer refuses.

    Raises:
        TypeError: for an unknown argument.
        ValueError: for one that transformers has but that is not supported.
    """
    for name, value in given.items():
        if value is None or (name == "optimizers" and not any(value)):
            continue
        reason = {**REFUSED_TRAINER_ARGUMENTS, **refused}.get(name)
        if reason is not None:
            raise ValueError(f"{name} is not supported: {reason}.")
        if name == "tokenizer":
            raise TypeError("The tokenizer's argument is processing_class, as in transformers since version 5.")
        if name not in TRAINER_ARGUMENTS and name not in inspect.signature(Trainer.__init__).parameters:
            raise TypeError(f"The trainer has no argument {name!r}.")


def check_optimizer_and_schedule(
    args: TrainingArguments,
    has_evaluations: bool,
    optimizer_of: Callable[[], object],
) -> None:
    """Refuses, before any work, an optimizer whose package is missing and a schedule that lacks settings.

    Args:
        args: their settings.
        has_evaluations: whether a metric is measured that a schedule can follow.
        optimizer_of: gives the class of the optimizer; it raises if that cannot be had.

    Raises:
        ImportError: if the optimizer's package is not installed.
        ValueError: if the schedule cannot be made.
    """
    optimizer_of()
    name = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
    if name in ("reduce_lr_on_plateau", "greedy") and not has_evaluations:
        raise ValueError(f"lr_scheduler_type={name!r} follows a metric: set eval_strategy to steps or epoch.")
    dummy = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    settings: dict[str, Any] = args.lr_scheduler_kwargs or {}  # type: ignore[assignment]
    try:
        get_scheduler(
            args.lr_scheduler_type, dummy, num_warmup_steps=1, num_training_steps=10, scheduler_specific_kwargs=settings
        )
    except Exception as error:  # each schedule checks its settings in its own way
        raise ValueError(
            f"lr_scheduler_type={name!r} cannot be made with lr_scheduler_kwargs={settings!r}: {error}."
        ) from error
