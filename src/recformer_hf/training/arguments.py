"""Training arguments that pretraining and finetuning share."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, get_args

import torch
from transformers import TrainingArguments
from transformers.integrations import is_tensorboard_available
from transformers.trainer_pt_utils import AcceleratorConfig
from transformers.utils import is_torch_xla_available

from ..evaluation.target_ranks import TieOrder


def default_reports() -> list[str]:
    """TensorBoard where it is installed (`pip install recformer-hf[train]`)."""
    return ["tensorboard"] if is_tensorboard_available() else []


def one_of(name: str, value: Any, choices: Any) -> None:
    """Raises `ValueError` unless a value is one of a `Literal`'s."""
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {value!r}.")


@dataclass
class RecformerTrainingArguments(TrainingArguments):
    """What both trainers take beside `transformers.TrainingArguments`; some defaults of those differ.

    The best weights of a run are always restored at its end, whatever the save and evaluation strategies:
    `load_best_model_at_end` need not be set. `bf16` where there is no accelerator sets `use_cpu`, and float16, which no
    CPU has, is float32 there. `remove_unused_columns`, `dataloader_drop_last` and samplers have no
    effect: batches are planned by `SequenceSampler`.
    """

    output_dir: str | None = field(
        default=None, metadata={"help": "Folder of the run: checkpoints, logs, the final model and its card."}
    )
    learning_rate: float = field(
        default=5e-5, metadata={"help": "Peak learning rate of AdamW. The paper: 5e-5 (section 4.1.4)."}
    )
    per_device_train_batch_size: int = field(
        default=16, metadata={"help": "Users a step of each process. The paper finetunes with 16."}
    )
    max_batch_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Cut training batches by this many tokens a process in place of per_device_train_batch_size: "
            "steady memory whatever the lengths."
        },
    )
    eval_batch_tokens: int = field(
        default=16384, metadata={"help": "Tokens of one forward of evaluation and of encoding items."}
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: no, steps or epoch."})
    save_strategy: str = field(
        default="epoch",
        metadata={"help": "When to write a checkpoint to resume from: no, steps, epoch or best. A new best always is."},
    )
    save_total_limit: int | None = field(
        default=1, metadata={"help": "Newest checkpoints to keep, beside the best one. None: all."}
    )
    logging_steps: float = field(default=50, metadata={"help": "Steps between log lines; below 1 a share of all."})
    report_to: list[str] | None = field(
        default_factory=default_reports,
        metadata={"help": "Where logs go: tensorboard (the default where it is installed), wandb, none, ..."},
    )
    ranking_ks: list[int] = field(
        default_factory=lambda: [10, 50],
        metadata={"help": "Cut-offs k of NDCG@k, Recall@k and MRR@k. The paper reports 10."},
    )
    ranking_ties: TieOrder = field(
        default="average",
        metadata={"help": "Rank of a target among equal scores. The public replication's is optimistic."},
    )
    exclude_history: bool = field(
        default=False,
        metadata={"help": "Rank without the items of the user's own history. The paper keeps them (its protocol)."},
    )
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Left off: a loss that is not finite stops the run and is not smoothed over."}
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "Without effect: batches are composed."})

    def __post_init__(self) -> None:
        for each in fields(self):  # YAML reads 5e-5, unlike 5.0e-5, as text
            value, kind = getattr(self, each.name), str(each.type)
            if isinstance(value, str) and "float" in kind and "str" not in kind:
                setattr(self, each.name, float(value))
        self.load_best_model_at_end = False  # ours needs no matching strategies; transformers would ask for them
        self._refuse_what_has_no_effect()
        if self.bf16:
            # CPUs have bfloat16. transformers would ask for use_cpu all the same, even where there is nothing else.
            self.use_cpu = self.use_cpu or not (torch.accelerator.is_available() or is_torch_xla_available())
        super().__post_init__()
        if self.output_dir == "trainer_output":
            raise ValueError("Name the run's folder: output_dir=..., on the command line --output_dir.")
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
        one_of("ranking_ties", self.ranking_ties, TieOrder)

    def _refuse_what_has_no_effect(self) -> None:
        """Of transformers' own fields, those whose silence would pass for a result."""
        for name in ("bf16_full_eval", "fp16_full_eval"):
            if getattr(self, name):
                precision = name.removesuffix("_full_eval")
                raise ValueError(
                    f"{name} has no effect here: evaluation is autocast like training. Set {precision} instead."
                )
        if self.label_smoothing_factor:
            raise ValueError(
                "label_smoothing_factor has no effect here: the losses take no smoothed labels. Leave it at 0, "
                f"got {self.label_smoothing_factor}."
            )

    def settings(self) -> dict[str, Any]:
        """What was set, as JSON: every field whose value is not its default, nor what transformers makes of that."""
        values = self.to_dict()
        defaults = {
            each.name: each.default if each.default_factory is MISSING else each.default_factory()
            for each in fields(self)
        }
        defaults["accelerator_config"] = AcceleratorConfig().to_dict()
        if not self.fsdp:  # older versions fill its settings in all the same
            defaults["fsdp_config"] = values.get("fsdp_config")
        defaults["greater_is_better"] = not str(self.metric_for_best_model).endswith("loss")
        return {name: value for name, value in values.items() if name in defaults and not _equal(value, defaults[name])}


def _equal(value: Any, default: Any) -> bool:
    # Arguments as new as these would reset accelerate's state, so what stands for None is told by its emptiness.
    if isinstance(value, dict) and isinstance(default, dict):
        return value.items() <= default.items()
    empty = not value and not default
    return empty or value == default or str(value) == str(getattr(default, "value", default))
