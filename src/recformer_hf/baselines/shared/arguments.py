"""Settings of training a neural baseline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...data.sampling import Mixing
from ...training.arguments import RecformerTrainingArguments, check_choice


@dataclass
class BaselineTrainingArguments(RecformerTrainingArguments):
    """Settings of [`BaselineTrainer`]. A model's `training_defaults` come before the defaults here."""

    learning_rate: float = field(default=1e-3, metadata={"help": "Peak learning rate of AdamW."})
    lr_scheduler_type: str = field(default="constant", metadata={"help": "Schedule of the learning rate."})
    per_device_train_batch_size: int = field(
        default=128, metadata={"help": "Users (training sequences) per step on each process."}
    )
    num_train_epochs: float = field(default=200, metadata={"help": "At most this many epochs."})
    patience: int | None = field(
        default=10,
        metadata={"help": "Stop after this many evaluations without a better metric. None: never."},
    )
    metric_for_best_model: str | None = field(
        default="ndcg@10", metadata={"help": "Validation metric that chooses the best weights."}
    )
    greater_is_better: bool | None = field(
        default=None,
        metadata={"help": "Whether more of that metric is better. None: yes, unless its name ends in loss."},
    )
    logging_strategy: str = field(
        default="epoch", metadata={"help": "When to log the training loss: no, steps or epoch."}
    )
    save_strategy: str = field(
        default="best",
        metadata={"help": "When to write a checkpoint to resume from: no, steps, epoch or best. A new best always is."},
    )
    max_validation_users: int | None = field(
        default=None,
        metadata={"help": "Validate on at most this many users, the same ones each time. None: on all."},
    )
    mixing: Mixing = field(
        default="sequences",
        metadata={"help": "What is shuffled when there are several datasets: sequences, or steps of one dataset each."},
    )

    def _check_values(self) -> None:
        super()._check_values()
        check_choice("mixing", self.mixing, Mixing)
        for name in ("patience", "max_validation_users"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1 or None, got {value}.")

    def searchable_fields(self) -> tuple[str, ...]:
        return (*super().searchable_fields(), "patience")

    def deciding_fields(self) -> tuple[str, ...]:
        return (*super().deciding_fields(), "patience", "max_validation_users", "mixing")

    def deciding_settings(self) -> dict[str, Any]:
        # Negatives may be shared by the batch of one process.
        return super().deciding_settings() | {"batch_over_processes": self._batch_over_processes}


__all__ = ["BaselineTrainingArguments"]
