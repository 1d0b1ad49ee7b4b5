"""Settings of pretraining."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ...data.sampling import Mixing
from ..arguments import RecformerTrainingArguments, check_choice


@dataclass
class RecformerPretrainingArguments(RecformerTrainingArguments):
    """Settings of [`RecformerPretrainingTrainer`]; the defaults are the paper's."""

    per_device_train_batch_size: int = field(
        default=64,
        metadata={
            "help": "Pairs of context and target item per step on each process. The paper: 64. The public "
            "replication: 16 on each of 4 processes, which share negatives."
        },
    )
    per_device_eval_batch_size: int = field(
        default=64,
        metadata={
            "help": "Pairs per batch of the validation domain. The accuracy is that of choosing among this many items."
        },
    )
    num_train_epochs: float = field(default=32, metadata={"help": "At most this many epochs. The paper: 32."})
    patience: int | None = field(
        default=5,
        metadata={"help": "Stop after this many evaluations without a better metric. The paper: 5. None: never."},
    )
    mlm_probability: float = field(
        default=0.15,
        metadata={"help": "Share of tokens masked, by whole words. The paper: 0.15. 0: contrastive learning alone."},
    )
    freeze_word_embeddings: bool = field(
        default=True,
        metadata={"help": "Do not train word embeddings, as in the public replication. Unset it for random weights."},
    )
    mixing: Mixing = field(
        default="sequences",
        metadata={
            "help": "What is shuffled when there are several datasets: sequences (the paper), so that negatives come "
            "from all shops; or steps of one dataset each, so that negatives come from the same shop and are harder."
        },
    )
    contrastive_chunk_size: int | None = field(
        default=None,
        metadata={
            "help": "Pairs per forward pass (gradient caching). A batch of any size then takes the memory of this many "
            "pairs, with all its negatives and the same gradients, at the price of one more forward pass without "
            "gradient. None: the whole batch at once."
        },
    )
    max_validation_sequences: int | None = field(
        default=None, metadata={"help": "Validate on at most this many sequences of the domain. None: on all."}
    )
    zero_shot_splits: list[Literal["validation", "test"]] = field(
        default_factory=lambda: ["validation"],
        metadata={"help": "Splits of the zero-shot datasets to rank at every evaluation: validation, test or both."},
    )
    zero_shot_max_users: int | None = field(
        default=None,
        metadata={"help": "Rank at most this many users of each split, the same ones each time. None: all."},
    )
    tokenized_cache_dir: str | None = field(
        default=None, metadata={"help": "Folder for tokenized catalogues, which processes and runs share."}
    )
    metric_for_best_model: str | None = field(
        default=None,
        metadata={
            "help": "What chooses the best weights: accuracy, loss or contrastive_loss of the validation domain, or a "
            "zero-shot metric such as kitchen_ndcg@10. None: accuracy; without a validation domain, the last weights."
        },
    )
    eval_on_start: bool = field(default=True, metadata={"help": "Also evaluate before the first step (step 0)."})

    def __post_init__(self) -> None:
        if self.eval_strategy == "no":
            self.eval_on_start = False
        super().__post_init__()

    def _check_values(self) -> None:
        super()._check_values()
        if not 0 <= self.mlm_probability < 1:
            raise ValueError(f"mlm_probability must lie in [0, 1), got {self.mlm_probability}.")
        check_choice("mixing", self.mixing, Mixing)
        for name in ("patience", "contrastive_chunk_size", "max_validation_sequences", "zero_shot_max_users"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1 or None, got {value}.")
        if not self.zero_shot_splits or set(self.zero_shot_splits) - {"validation", "test"}:
            raise ValueError(f"zero_shot_splits must be validation, test or both, got {self.zero_shot_splits}.")

    def searchable_fields(self) -> tuple[str, ...]:
        return (*super().searchable_fields(), "patience", "freeze_word_embeddings", "contrastive_chunk_size")

    def deciding_fields(self) -> tuple[str, ...]:
        return (
            *super().deciding_fields(),
            "patience", "mlm_probability", "freeze_word_embeddings", "mixing", "contrastive_chunk_size",
            "max_validation_sequences",
        )  # fmt: skip

    def deciding_settings(self) -> dict[str, Any]:
        # Negatives are the other items of a batch: of all processes in training, of one process in validation.
        return super().deciding_settings() | {
            "batch_over_processes": self._batch_over_processes,
            "per_device_eval_batch_size": self.per_device_eval_batch_size,
        }
