"""Training arguments that pretraining and finetuning share."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, get_args

import torch
from transformers import TrainingArguments
from transformers.integrations.integration_utils import is_tensorboard_available
from transformers.trainer_pt_utils import AcceleratorConfig
from transformers.utils.import_utils import is_torch_xla_available

from ..evaluation.target_ranks import TieOrder


def default_reports() -> list[str]:
    """TensorBoard, if it is installed (`pip install recformer-hf[train]`)."""
    return ["tensorboard"] if is_tensorboard_available() else []


def check_choice(name: str, value: object, choices: object) -> None:
    """Raises `ValueError` unless a value is one of the values of the `Literal` `choices`."""
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {value!r}.")


@dataclass
class RecformerTrainingArguments(TrainingArguments):
    """What both trainers take in addition to `transformers.TrainingArguments`, some of whose defaults differ here.

    The best weights of a run are always restored at its end, whatever the save and evaluation strategies:
    `load_best_model_at_end` need not be set. Without an accelerator `bf16` sets `use_cpu`, and `fp16` trains in
    float32, because accelerate has no float16 autocast for CPUs. `remove_unused_columns`, `dataloader_drop_last` and
    the choice of a sampler have no effect: `SequenceSampler` plans the batches.
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
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Has no effect: collators compose the batches."}
    )

    def __post_init__(self) -> None:
        for each in fields(self):  # YAML reads 5e-5 as text, unlike 5.0e-5
            value, kind = getattr(self, each.name), str(each.type)
            if isinstance(value, str) and "float" in kind and "str" not in kind:
                setattr(self, each.name, float(value))
        self.load_best_model_at_end = False  # transformers would demand equal eval and save strategies
        self._refuse_what_has_no_effect()
        if self.bf16:
            # CPUs have bfloat16, but transformers refuses bf16 without an accelerator unless use_cpu is set.
            self.use_cpu = self.use_cpu or not (torch.accelerator.is_available() or is_torch_xla_available())
        super().__post_init__()  # type: ignore[no-untyped-call]
        if self.output_dir == "trainer_output":
            raise ValueError("The run needs a folder: set output_dir, on the command line --output_dir.")
        if self.save_total_limit is not None and self.save_total_limit < 1:
            raise ValueError(
                f"save_total_limit must be at least 1, or None to keep all checkpoints, got {self.save_total_limit}."
            )
        if self.max_batch_tokens is not None and self.max_batch_tokens < 1:
            raise ValueError(f"max_batch_tokens must be at least 1, got {self.max_batch_tokens}.")
        if self.eval_batch_tokens < 1:
            raise ValueError(f"eval_batch_tokens must be at least 1, got {self.eval_batch_tokens}.")
        if not self.ranking_ks or min(self.ranking_ks) < 1:
            raise ValueError(f"ranking_ks must be cut-offs of at least 1, got {self.ranking_ks}.")
        check_choice("ranking_ties", self.ranking_ties, TieOrder)

    def _refuse_what_has_no_effect(self) -> None:
        """Refuses fields of transformers that have no effect here but that a user might believe to work."""
        for name in ("bf16_full_eval", "fp16_full_eval"):
            if getattr(self, name):
                precision = name.removesuffix("_full_eval")
                raise ValueError(
                    f"{name} has no effect here: evaluation is autocast like training. Set {precision} instead."
                )
        if self.label_smoothing_factor:
            raise ValueError(
                "label_smoothing_factor has no effect here: the losses do not smooth labels. Leave it at 0, "
                f"got {self.label_smoothing_factor}."
            )

    def settings(self) -> dict[str, Any]:
        """Every field that differs from its default and from what transformers makes of that default, as JSON."""
        values = self._values()
        defaults = {
            each.name: each.default if each.default_factory is MISSING else each.default_factory()
            for each in fields(self)
        }
        defaults["accelerator_config"] = AcceleratorConfig().to_dict()
        if not self.fsdp:  # older versions fill in its settings even without FSDP
            defaults["fsdp_config"] = values.get("fsdp_config")
        defaults["greater_is_better"] = not str(self.metric_for_best_model).endswith("loss")
        return {name: value for name, value in values.items() if name in defaults and not _equal(value, defaults[name])}

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
