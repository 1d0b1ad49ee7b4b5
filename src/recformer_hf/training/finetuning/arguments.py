"""What is set of finetuning, and what that makes of each stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..arguments import RecformerTrainingArguments, one_of
from ..freezing import Freeze
from .recipes import RECIPES, ItemMatrix


@dataclass
class RecformerFinetuningArguments(RecformerTrainingArguments):
    """Settings of [`RecformerFinetuningTrainer`]. What a recipe leaves to choose is set stage by stage.

    A stage's own field, where given, goes before the recipe's.
    """

    num_train_epochs: float = field(
        default=128, metadata={"help": "At most this many epochs a stage. The public replication: 128."}
    )
    recipe: str = field(
        default="paper",
        metadata={
            "help": "Settings of both stages: paper (Algorithm 1), lecture, ablation-1 ... ablation-4 (rows of the "
            "paper's ablation table)."
        },
    )
    stage1_item_matrix: ItemMatrix | None = field(
        default=None, metadata={"help": "Item matrix in stage 1. Algorithm 1: reencode, every epoch."}
    )
    stage2_item_matrix: ItemMatrix | None = field(
        default=None, metadata={"help": "Item matrix in stage 2. Algorithm 1: frozen."}
    )
    stage1_freeze: Freeze | None = field(
        default=None, metadata={"help": "Weights frozen in stage 1. Algorithm 1: none."}
    )
    stage2_freeze: Freeze | None = field(
        default=None, metadata={"help": "Weights frozen in stage 2. Algorithm 1: none."}
    )
    skip_stage1: bool | None = field(default=None, metadata={"help": "Leave stage 1 out."})
    skip_stage2: bool | None = field(default=None, metadata={"help": "Leave stage 2 out."})
    stage1_patience: int = field(
        default=5, metadata={"help": "Stop stage 1 after this many evaluations without a better metric. The paper: 5."}
    )
    stage2_patience: int = field(
        default=3, metadata={"help": "The same for stage 2. The public replication: 3 (stage 1: 5)."}
    )
    stage2_num_train_epochs: float | None = field(
        default=None, metadata={"help": "At most this many epochs of stage 2; as num_train_epochs if left out."}
    )
    stage2_learning_rate: float | None = field(
        default=None, metadata={"help": "Peak learning rate of stage 2; as learning_rate if left out."}
    )
    num_negatives: int = field(
        default=0,
        metadata={"help": "Sampled softmax over this many negatives a user; 0: the whole catalogue (the paper)."},
    )
    max_validation_users: int | None = field(
        default=None,
        metadata={
            "help": "Validate on at most this many users during training, drawn by the seed, the same ones each time. "
            "None: on all. The test split is always ranked whole."
        },
    )
    metric_for_best_model: str | None = field(
        default="ndcg@10", metadata={"help": "Validation metric of Algorithm 1. The paper: NDCG@10."}
    )
    greater_is_better: bool | None = field(
        default=None, metadata={"help": "Whether more of that metric is better. None: unless its name ends in loss."}
    )

    def __post_init__(self) -> None:
        if self.ddp_find_unused_parameters is None:
            self.ddp_find_unused_parameters = False  # what no gradient reaches is frozen
        super().__post_init__()
        if self.recipe not in RECIPES:
            raise ValueError(f"recipe must be one of {', '.join(RECIPES)}, got {self.recipe!r}.")
        for number, recipe in enumerate(RECIPES[self.recipe], start=1):
            if getattr(self, f"skip_stage{number}") is None:
                setattr(self, f"skip_stage{number}", recipe is None)
            # A stage that the recipe leaves out and a person puts back is Algorithm 1's.
            of_stage = recipe or RECIPES["paper"][number - 1]
            assert of_stage is not None
            for name in ("item_matrix", "freeze"):
                if getattr(self, f"stage{number}_{name}") is None:
                    setattr(self, f"stage{number}_{name}", getattr(of_stage, name))
            one_of(f"stage{number}_item_matrix", getattr(self, f"stage{number}_item_matrix"), ItemMatrix)
            one_of(f"stage{number}_freeze", getattr(self, f"stage{number}_freeze"), Freeze)
        if self.skip_stage1 and self.skip_stage2:
            raise ValueError("skip_stage1 and skip_stage2 leave nothing to train: drop one of them.")
        if min(self.stage1_patience, self.stage2_patience) < 1:
            raise ValueError(f"Patience is at least 1, got {self.stage1_patience} and {self.stage2_patience}.")
        if self.max_validation_users is not None and self.max_validation_users < 1:
            raise ValueError(f"max_validation_users must be at least 1 or None, got {self.max_validation_users}.")

    def stages(self) -> list[Stage]:
        """The stages that are not skipped."""
        first = Stage(
            1, self.stage1_item_matrix, self.stage1_freeze, self.stage1_patience, self.num_train_epochs,
            self.learning_rate,
        )  # fmt: skip
        epochs, rate = self.stage2_num_train_epochs, self.stage2_learning_rate
        second = Stage(
            2, self.stage2_item_matrix, self.stage2_freeze, self.stage2_patience,
            first.num_train_epochs if epochs is None else epochs, first.learning_rate if rate is None else rate,
        )  # fmt: skip
        return [stage for stage, skipped in ((first, self.skip_stage1), (second, self.skip_stage2)) if not skipped]


@dataclass(frozen=True)
class Stage:
    """One stage's own settings."""

    number: int
    item_matrix: Any
    freeze: Any
    patience: int
    num_train_epochs: float
    learning_rate: float


def stage_seed(args: RecformerFinetuningArguments, stage: Stage) -> int:
    """Other draws in stage 2; seeds of runs stay below 2^32, so no other run has them."""
    seed = args.seed if args.data_seed is None else args.data_seed
    return seed + (stage.number - 1) * 2**32
