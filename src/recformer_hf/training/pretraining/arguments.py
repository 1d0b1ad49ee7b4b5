"""What is set of pretraining."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ...data.sampling import Mixing
from ..arguments import RecformerTrainingArguments, one_of


@dataclass
class RecformerPretrainingArguments(RecformerTrainingArguments):
    """Settings of [`RecformerPretrainingTrainer`]; the defaults are the paper's."""

    per_device_train_batch_size: int = field(
        default=64,
        metadata={
            "help": "Pairs of context and target item a step of each process. The paper: 64, the replication 4 "
            "processes of 16 with shared negatives."
        },
    )
    per_device_eval_batch_size: int = field(
        default=64,
        metadata={
            "help": "Pairs of a batch of the validation domain, each on one process: its accuracy is among so many."
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
        metadata={"help": "Leave word embeddings as they are. The public replication does; not for random weights."},
    )
    mixing: Mixing = field(
        default="sequences",
        metadata={
            "help": "What is shuffled over several datasets: sequences (the paper), so that negatives are of all of "
            "them; or steps that are of one dataset each, so that negatives are of the same shop, and harder."
        },
    )
    contrastive_chunk_size: int | None = field(
        default=None,
        metadata={
            "help": "Pairs of one forward: batches of any size in the memory of so many, with all their negatives and "
            "the same gradients, for one more forward without gradient (gradient caching). None: all at once."
        },
    )
    max_validation_sequences: int | None = field(
        default=None, metadata={"help": "Validate on at most this many sequences of the domain; None: on all."}
    )
    zero_shot_splits: list[Literal["validation", "test"]] = field(
        default_factory=lambda: ["validation"],
        metadata={"help": "Splits of the zero-shot datasets to rank at every evaluation: validation, test or both."},
    )
    zero_shot_max_users: int | None = field(
        default=None, metadata={"help": "Rank at most this many users of each of them, the same ones each time."}
    )
    tokenized_cache_dir: str | None = field(
        default=None, metadata={"help": "Folder for tokenized catalogues, shared by processes and runs."}
    )
    metric_for_best_model: str | None = field(
        default=None,
        metadata={
            "help": "What the best weights are chosen by: accuracy, loss or contrastive_loss of the validation domain, "
            "or a zero-shot metric such as kitchen_ndcg@10. None: accuracy, or without a validation domain the last."
        },
    )
    eval_on_start: bool = field(default=True, metadata={"help": "Evaluate before the first step too (step 0)."})

    def __post_init__(self) -> None:
        if self.eval_strategy == "no":
            self.eval_on_start = False
        super().__post_init__()
        if not 0 <= self.mlm_probability < 1:
            raise ValueError(f"mlm_probability must lie in [0, 1), got {self.mlm_probability}.")
        one_of("mixing", self.mixing, Mixing)
        for name in ("patience", "contrastive_chunk_size", "max_validation_sequences", "zero_shot_max_users"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1 or None, got {value}.")
        if not self.zero_shot_splits or set(self.zero_shot_splits) - {"validation", "test"}:
            raise ValueError(f"zero_shot_splits must be validation, test or both, got {self.zero_shot_splits}.")
