"""Training arguments that pretraining and finetuning share."""

from __future__ import annotations

import copy
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar, get_args

import torch
from transformers import TrainingArguments
from transformers.integrations.integration_utils import is_tensorboard_available
from transformers.trainer_pt_utils import AcceleratorConfig
from transformers.utils.import_utils import is_in_notebook, is_torch_xla_available

from ..evaluation.target_ranks import TieOrder
from .supported_arguments import REFUSED, Refusal, check_fields

Arguments = TypeVar("Arguments", bound="RecformerTrainingArguments")


def default_reports() -> list[str]:
    """TensorBoard, if it is installed (`pip install recformer-hf[train]`)."""
    return ["tensorboard"] if is_tensorboard_available() else []


def launched_on_cpus() -> bool:
    """Whether this is one of several processes of a launcher, on a machine without accelerators."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and not has_accelerator()


def has_accelerator() -> bool:
    return bool(torch.accelerator.is_available() or is_torch_xla_available())


def check_choice(name: str, value: object, choices: object) -> None:
    """Raises `ValueError` unless a value is one of the values of the `Literal` `choices`."""
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {value!r}.")


@dataclass
class RecformerTrainingArguments(TrainingArguments):
    """What both trainers take in addition to `transformers.TrainingArguments`, some of whose defaults differ here.

    The best weights of a run are always restored at its end, whatever the save and evaluation strategies:
    `load_best_model_at_end` need not be set. Without an accelerator `bf16` sets `use_cpu`, and `fp16` trains in
    float32, because accelerate has no float16 autocast for CPUs. Settings that would have no effect are refused
    (docs/training.md lists them).
    """

    output_dir: str | None = field(
        default=None, metadata={"help": "Folder of the run: checkpoints, logs, the final model and its card."}
    )
    learning_rate: float = field(
        default=5e-5, metadata={"help": "Peak learning rate of AdamW. The paper: 5e-5 (section 4.1.4)."}
    )
    per_device_train_batch_size: int = field(
        default=16, metadata={"help": "Users per step on each process. The paper finetunes with 16."}
    )
    max_batch_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Fill training batches up to this many tokens per process, instead of per_device_train_batch_size: "
            "memory stays steady whatever the lengths."
        },
    )
    eval_batch_tokens: int = field(
        default=16384, metadata={"help": "Tokens per forward pass when evaluating and when encoding items."}
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: no, steps or epoch."})
    save_strategy: str = field(
        default="epoch",
        metadata={
            "help": "When to write a checkpoint to resume from: no, steps, epoch or best. A new best is always written."
        },
    )
    save_total_limit: int | None = field(
        default=1, metadata={"help": "How many of the newest checkpoints to keep, besides the best one. None: all."}
    )
    logging_steps: float = field(
        default=50, metadata={"help": "Steps between log lines; a value below 1 is a share of all steps."}
    )
    report_to: list[str] | None = field(
        default_factory=default_reports,
        metadata={"help": "Where logs go: tensorboard (the default if it is installed), wandb, none, ..."},
    )
    ranking_ks: list[int] = field(
        default_factory=lambda: [10, 50],
        metadata={"help": "Cut-offs k of NDCG@k, Recall@k and MRR@k. The paper reports 10."},
    )
    ranking_ties: TieOrder = field(
        default="average",
        metadata={"help": "Rank of a target among equal scores. The public replication uses optimistic."},
    )
    exclude_history: bool = field(
        default=False,
        metadata={"help": "Rank without the items of the user's own history. The paper's protocol keeps them."},
    )
    logging_nan_inf_filter: bool = field(
        default=False,
        metadata={"help": "Off: a loss that is not finite stops the run instead of being filtered out of the logs."},
    )
    disable_tqdm: bool | None = field(
        default=None, metadata={"help": "Show no bars. By default they are shown on a terminal and in notebooks only."}
    )
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={"help": "true: continue from the last checkpoint. A folder: go back to that checkpoint."},
    )
    push_to_hub: bool = field(default=False, metadata={"help": "Upload the finished run to the Hub."})
    seed: int = field(default=42, metadata={"help": "Seed of every random draw of the run."})
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Not supported: collators compose the batches."}
    )

    def __post_init__(self) -> None:
        for each in fields(self):  # YAML reads 5e-5 as text, unlike 5.0e-5
            value, kind = getattr(self, each.name), str(each.type)
            if isinstance(value, str) and "float" in kind and "str" not in kind:
                setattr(self, each.name, float(value))
        if self.disable_tqdm is None and not (sys.stderr.isatty() or is_in_notebook()):
            self.disable_tqdm = True  # a log file would hold every redraw of a bar
        self.load_best_model_at_end = False  # transformers would demand equal eval and save strategies
        check_fields(self, self.refused_fields())
        self._check_values()
        # Otherwise each of them would train alone, and write over the others.
        self.use_cpu = self.use_cpu or launched_on_cpus()
        if self.bf16:
            # CPUs have bfloat16, but transformers refuses bf16 without an accelerator unless use_cpu is set.
            self.use_cpu = self.use_cpu or not has_accelerator()
        super().__post_init__()  # type: ignore[no-untyped-call]
        if self.output_dir == "trainer_output":
            raise ValueError("The run needs a folder: set output_dir, on the command line --output_dir.")

    @classmethod
    def refused_fields(cls) -> Mapping[str, Refusal]:
        """Fields of `TrainingArguments` that have values which are not supported."""
        return REFUSED

    def _check_values(self) -> None:
        """Raises `ValueError` for a value that no run can have."""
        if self.save_total_limit is not None and self.save_total_limit < 1:
            raise ValueError(
                f"save_total_limit must be at least 1, or None to keep all checkpoints, got {self.save_total_limit}."
            )
        if self.max_steps == 0:
            raise ValueError(
                "max_steps must be at least 1, or -1 to train for num_train_epochs, got 0. num_train_epochs=0 saves "
                "the model without training it."
            )
        for name in ("per_device_train_batch_size", "gradient_accumulation_steps", "eval_batch_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.max_batch_tokens is not None and self.max_batch_tokens < 1:
            raise ValueError(f"max_batch_tokens must be at least 1, got {self.max_batch_tokens}.")
        for name in ("num_train_epochs", "learning_rate"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number of at least 0, got {getattr(self, name)}.")
        if not self.ranking_ks or min(self.ranking_ks) < 1:
            raise ValueError(f"ranking_ks must be cut-offs of at least 1, got {self.ranking_ks}.")
        check_choice("ranking_ties", self.ranking_ties, TieOrder)

    def settings(self) -> dict[str, Any]:
        """Every field that differs from its default and from what transformers makes of that default, as JSON."""
        values, defaults = self._values(), self._defaults()
        defaults["accelerator_config"] = AcceleratorConfig().to_dict()
        if not self.fsdp:  # older versions fill in its settings even without FSDP
            defaults["fsdp_config"] = values.get("fsdp_config")
        defaults["greater_is_better"] = not str(self.metric_for_best_model).endswith("loss")
        return {name: value for name, value in values.items() if name in defaults and not _equal(value, defaults[name])}

    def _defaults(self) -> dict[str, Any]:
        """What [`settings`] compares with."""
        return {
            each.name: each.default if each.default_factory is MISSING else each.default_factory()
            for each in fields(self)
        }

    def searchable_fields(self) -> tuple[str, ...]:
        """Fields that may differ between the trials of a hyperparameter search."""
        return (
            "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "optim", "weight_decay",
            "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "num_train_epochs", "max_steps",
            "max_batch_tokens", "per_device_train_batch_size", "gradient_accumulation_steps", "seed", "data_seed",
        )  # fmt: skip

    def with_settings(self: Arguments, settings: Mapping[str, Any]) -> Arguments:
        """A copy with other values of some [`searchable_fields`].

        Raises:
            ValueError: for another field, or a value that it cannot have.
        """
        args = copy.copy(self)
        for name, value in settings.items():
            if name not in self.searchable_fields():
                raise ValueError(
                    f"{name} cannot differ between trials. These can: {', '.join(self.searchable_fields())}. For the "
                    "model's own settings, let model_init take the trial."
                )
            before = getattr(args, name)
            # A search space may give 4.0 for an int, or the text of a choice. What is None by default has no type.
            setattr(args, name, value if before is None or value is None else type(before)(value))
        args._check_values()
        return args

    def deciding_fields(self) -> tuple[str, ...]:
        """Fields that decide which weights a run ends with; not how often and where it logs, saves and uploads."""
        return (
            "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "optim", "weight_decay",
            "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "num_train_epochs", "max_steps",
            "max_batch_tokens", "seed", "data_seed", "bf16", "fp16", "eval_strategy", "eval_steps", "eval_on_start",
            "metric_for_best_model", "greater_is_better", "ranking_ties", "exclude_history",
        )  # fmt: skip

    def deciding_settings(self) -> dict[str, Any]:
        """The settings that decide which weights a run ends with, as JSON. A resumed run must have the same ones."""
        values = self._values()
        batch = self._batch_over_processes * self.gradient_accumulation_steps
        return {name: values[name] for name in self.deciding_fields() if name in values} | {
            "users_of_a_step": None if self.max_batch_tokens else batch,
            "tokens_of_a_step": batch if self.max_batch_tokens else None,
        }

    @property
    def _batch_over_processes(self) -> int:
        """Users or tokens of a batch, over all processes."""
        return (self.max_batch_tokens or self.per_device_train_batch_size) * int(self.world_size)

    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = self.to_dict()  # type: ignore[no-untyped-call]
        return values


def _equal(value: object, default: object) -> bool:
    # Constructing default arguments to compare with would reset accelerate's state. What transformers fills in where
    # the default is None is therefore unknown, and an empty value counts as equal to it.
    if isinstance(value, dict) and isinstance(default, dict):
        return value.items() <= default.items()
    empty = not value and not default
    return empty or value == default or str(value) == str(getattr(default, "value", default))
