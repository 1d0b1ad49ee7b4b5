"""Settings of finetuning, and of each of its stages."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from transformers.trainer_utils import IntervalStrategy

from ..arguments import RecformerTrainingArguments, check_choice
from ..freezing import Freeze
from ..supported_arguments import REFUSED, REFUSED_IN_FINETUNING, Refusal
from .stages import RECIPES, USUAL_SETTINGS, ItemMatrix, Stage, StageRecipe

HEAD_ARGUMENTS = (
    "sequence_head",
    "head_size",
    "item_projection",
    "item_residuals",
    "history_bias",
    "learned_temperature",
)
"""Arguments that are fields of the model's configuration."""

STAGE_2 = ("stage2_num_train_epochs", "stage2_learning_rate", "stage2_per_device_train_batch_size")
"""Arguments of the second stage that take the place of those without `stage2_`."""


@dataclass
class RecformerFinetuningArguments(RecformerTrainingArguments):
    """Settings of [`RecformerFinetuningTrainer`].

    A recipe sets both stages, and the arguments whose default here is None. What the caller sets overrides the recipe.
    """

    num_train_epochs: float = field(  # type: ignore[assignment]
        default=None,
        metadata={"help": "At most this many epochs per stage. None: the recipe's (paper: 128, as the replication)."},
    )
    learning_rate: float = field(  # type: ignore[assignment]
        default=None,
        metadata={"help": "Peak learning rate of AdamW. None: the recipe's (paper: 5e-5, its section 4.1.4)."},
    )
    min_steps: int = field(  # type: ignore[assignment]
        default=None,
        metadata={
            "help": "Train at least this many steps in each stage, for more epochs than num_train_epochs if need be; "
            "not in one that trains the text encoder under a two-level head. None: the recipe's (paper: 0), or 0 if "
            "num_train_epochs or stage2_num_train_epochs is set."
        },
    )
    eval_strategy: str = field(  # type: ignore[assignment]
        default=None,
        metadata={"help": "When to evaluate: no, steps or epoch. None: the recipe's (paper: epoch)."},
    )
    eval_steps: float | None = field(
        default=None,
        metadata={
            "help": "Steps between evaluations by steps; below 1 a share of all steps. None: the recipe's, or else "
            "logging_steps."
        },
    )
    save_strategy: str = field(  # type: ignore[assignment]
        default=None,
        metadata={
            "help": "When to write a checkpoint to resume from: no, steps, epoch or best. A new best always is. "
            "None: the recipe's (paper: epoch)."
        },
    )
    save_steps: float = field(  # type: ignore[assignment]
        default=None,
        metadata={
            "help": "Steps between checkpoints by steps; below 1 a share of all steps. None: the recipe's (paper: 500)."
        },
    )
    head_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Peak learning rate of the head's own weights (scoring_head, item_residuals), in both stages. "
            "None: the recipe's, or else that of all weights."
        },
    )
    per_device_train_batch_size: int = field(  # type: ignore[assignment]
        default=None,
        metadata={"help": "Users per step on each process. None: the recipe's (paper: 16)."},
    )
    weight_decay: float = field(  # type: ignore[assignment]
        default=None,
        metadata={"help": "Weight decay of AdamW, never of item vectors. None: the recipe's (paper: 0)."},
    )
    warmup_steps: float = field(  # type: ignore[assignment]
        default=None,
        metadata={
            "help": "Steps in which the learning rate rises; below 1 a share of all steps. None: the recipe's (paper: "
            "0)."
        },
    )
    recipe: str = field(
        default="paper",
        metadata={
            "help": "Settings of both stages: paper (Algorithm 1); hybrid (a two-level head over frozen item vectors); "
            "hybrid-text (the text encoder trains first); hybrid-flat; lecture; ablation-1 ... ablation-4 (rows of the "
            "paper's ablation table)."
        },
    )
    sequence_head: Literal["flat", "two_level"] | None = field(
        default=None,
        metadata={
            "help": "How the model reads a history: flat, as one text, or two_level, as a sequence of item vectors. "
            "None: the recipe's, or else the model's own. So are the next ones."
        },
    )
    head_size: int | None = field(
        default=None,
        metadata={
            "help": "Width of a two-level head. None: the model's own, and of a new head with a projection 128, if its "
            "text encoder is wider."
        },
    )
    item_projection: bool | None = field(
        default=None, metadata={"help": "A learned linear map of the item vectors (docs/model.md)."}
    )
    item_residuals: bool | None = field(default=None, metadata={"help": "A learned vector for every item."})
    history_bias: bool | None = field(
        default=None, metadata={"help": "A learned bias of the items that the history holds already."}
    )
    learned_temperature: bool | None = field(default=None, metadata={"help": "Learn the temperature."})
    memory: bool | None = field(
        default=None,
        metadata={
            "help": "At the end of the run, count the training sequences, and mix the counts with the model's "
            "probabilities, with weights chosen on validation (docs/model.md). None: the recipe's (paper: no)."
        },
    )
    stage1_item_matrix: ItemMatrix | None = field(
        default=None, metadata={"help": "Item matrix in stage 1. Algorithm 1: reencode, in every epoch."}
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
    stage1_item_pairs: bool | None = field(
        default=None,
        metadata={
            "help": "Stage 1 trains the text encoder alone, with pairs of items that follow each other "
            "(docs/training.md), and evaluates nothing. None: the recipe's (paper: no)."
        },
    )
    stage1_max_steps: int = field(  # type: ignore[assignment]
        default=None,
        metadata={
            "help": "Steps of stage 1, whatever num_train_epochs is; -1: those of the epochs. None: the recipe's "
            "(paper: -1), or -1 if num_train_epochs or max_steps is set."
        },
    )
    skip_stage1: bool | None = field(default=None, metadata={"help": "Skip stage 1."})
    skip_stage2: bool | None = field(default=None, metadata={"help": "Skip stage 2."})
    stage1_patience: int = field(  # type: ignore[assignment]
        default=None,
        metadata={
            "help": "Stop stage 1 after this many evaluations without a better metric. None: the recipe's (paper: 5)."
        },
    )
    stage2_patience: int = field(  # type: ignore[assignment]
        default=None,
        metadata={"help": "The same for stage 2. None: the recipe's (paper: 3, as the replication)."},
    )
    stage2_num_train_epochs: float | None = field(
        default=None,
        metadata={
            "help": "At most this many epochs in stage 2. None: the recipe's, or num_train_epochs if that is set. The "
            "next two likewise."
        },
    )
    stage2_learning_rate: float | None = field(
        default=None, metadata={"help": "Peak learning rate of stage 2. None: see above; or learning_rate."}
    )
    stage2_per_device_train_batch_size: int | None = field(
        default=None, metadata={"help": "Users per step in stage 2. None: see above; or per_device_train_batch_size."}
    )
    num_negatives: int = field(  # type: ignore[assignment]
        default=None,
        metadata={
            "help": "Sampled softmax over this many negatives: of each user, or with a two-level head of a batch. "
            "0: the whole catalogue. None: the recipe's (paper: 0)."
        },
    )
    targets_per_user: int = field(
        default=1,
        metadata={
            "help": "Targets of each user in an epoch with a flat head, each with its own history; 0: all. A two-level "
            "head always has all."
        },
    )
    max_validation_users: int | None = field(
        default=None,
        metadata={
            "help": "Validate on at most this many users during training, drawn by the seed, the same ones each time. "
            "None: on all. The whole test split is always ranked."
        },
    )
    metric_for_best_model: str | None = field(
        default="ndcg@10", metadata={"help": "Validation metric that chooses the best weights. The paper: NDCG@10."}
    )
    greater_is_better: bool | None = field(
        default=None,
        metadata={"help": "Whether more of that metric is better. None: yes, unless its name ends in loss."},
    )

    def __post_init__(self) -> None:
        if self.ddp_find_unused_parameters is None:
            self.ddp_find_unused_parameters = False  # weights that no gradient reaches are frozen
        if self.recipe not in RECIPES:
            raise ValueError(f"recipe must be one of {', '.join(RECIPES)}, got {self.recipe!r}.")
        recipe = RECIPES[self.recipe]
        if self.min_steps is None and (self.num_train_epochs, self.stage2_num_train_epochs) != (None, None):
            self.min_steps = 0  # the caller has said for how long
        if self.stage1_max_steps is None and (self.num_train_epochs is not None or self.max_steps > 0):
            self.stage1_max_steps = self.max_steps
        # How often to evaluate goes with when: the recipe's steps are not for a strategy that the caller chose.
        settings = {**USUAL_SETTINGS, **recipe.settings}
        for name in STAGE_2:
            if getattr(self, name.removeprefix("stage2_")) is not None:  # the caller has said so for both stages
                settings.pop(name, None)
        for kind in ("eval", "save"):
            if getattr(self, f"{kind}_strategy") is not None:
                settings[f"{kind}_steps"] = USUAL_SETTINGS[f"{kind}_steps"]
        for name, value in settings.items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        for number, stage in enumerate((recipe.stage1, recipe.stage2), start=1):
            self._apply_stage(number, stage)
        super().__post_init__()

    @classmethod
    def refused_fields(cls) -> Mapping[str, Refusal]:
        return {**REFUSED, **REFUSED_IN_FINETUNING}

    def _check_values(self) -> None:
        super()._check_values()
        if self.skip_stage1 and self.skip_stage2:
            raise ValueError("skip_stage1 and skip_stage2 leave nothing to train: unset one of them.")
        if min(self.stage1_patience, self.stage2_patience) < 1:
            raise ValueError(
                "stage1_patience and stage2_patience must be at least 1, got "
                f"{self.stage1_patience} and {self.stage2_patience}."
            )
        if self.stage1_max_steps != -1 and self.stage1_max_steps < 1:
            raise ValueError(f"stage1_max_steps must be at least 1, or -1 for epochs, got {self.stage1_max_steps}.")
        for name, choices in (("item_matrix", ItemMatrix), ("freeze", Freeze)):
            for field_name in (f"stage1_{name}", f"stage2_{name}"):
                if getattr(self, field_name) is not None:  # the recipe's
                    check_choice(field_name, getattr(self, field_name), choices)
        if self.sequence_head is not None:
            check_choice("sequence_head", self.sequence_head, Literal["flat", "two_level"])
        for field_name in ("memory", "item_projection", "item_residuals", "history_bias", "learned_temperature"):
            if not isinstance(getattr(self, field_name), bool | None):
                raise ValueError(f"{field_name} must be True, False or None, got {getattr(self, field_name)!r}.")
        for field_name in (
            "stage2_num_train_epochs",
            "stage2_learning_rate",
            "head_learning_rate",
            "num_negatives",
            "min_steps",
        ):
            value = getattr(self, field_name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{field_name} must be a number of at least 0, got {value}.")
        size = self.stage2_per_device_train_batch_size
        if size is not None and size < 1:
            raise ValueError(f"stage2_per_device_train_batch_size must be at least 1, got {size}.")
        if self.max_validation_users is not None and self.max_validation_users < 1:
            raise ValueError(f"max_validation_users must be at least 1 or None, got {self.max_validation_users}.")

    def _apply_stage(self, number: int, recipe: StageRecipe | None) -> None:
        """Fills in the fields of a stage that the caller did not set."""
        if getattr(self, f"skip_stage{number}") is None:
            setattr(self, f"skip_stage{number}", recipe is None)
        # If the caller restores a stage that the recipe skips, its settings are those of Algorithm 1.
        of_paper = RECIPES["paper"].stage1 if number == 1 else RECIPES["paper"].stage2
        of_stage = recipe or of_paper
        assert of_stage is not None
        for name in ("item_matrix", "freeze"):
            if getattr(self, f"stage{number}_{name}") is None:
                setattr(self, f"stage{number}_{name}", getattr(of_stage, name))
        if number == 1 and self.stage1_item_pairs is None:
            self.stage1_item_pairs = of_stage.item_pairs

    def searchable_fields(self) -> tuple[str, ...]:
        return (
            *super().searchable_fields(),
            "stage1_item_matrix", "stage2_item_matrix", "stage1_freeze", "stage2_freeze", "stage1_item_pairs",
            "stage1_max_steps", "stage1_patience", "stage2_patience", *STAGE_2, "num_negatives", "head_learning_rate",
            "min_steps", "targets_per_user",
            *HEAD_ARGUMENTS,
        )  # fmt: skip

    def deciding_fields(self) -> tuple[str, ...]:
        return (
            *super().deciding_fields(),
            "recipe", "stage1_item_matrix", "stage2_item_matrix", "stage1_freeze", "stage2_freeze", "skip_stage1",
            "skip_stage2", "stage1_item_pairs", "stage1_max_steps", "stage1_patience", "stage2_patience", *STAGE_2,
            "num_negatives", "max_validation_users", "head_learning_rate", "min_steps", "targets_per_user", "memory",
            *HEAD_ARGUMENTS,
        )  # fmt: skip

    def head_fields(self) -> dict[str, Any]:
        """The fields of the model's configuration that these arguments set; the model keeps its own for the others."""
        fields = {name: getattr(self, name) for name in HEAD_ARGUMENTS}
        return {name: value for name, value in fields.items() if value is not None}

    def plan(self) -> str:
        """What the run will do, in two lines: the stages and the settings that a recipe chooses or the caller set."""
        stages = {stage.number: f"item matrix {stage.item_matrix}, freeze {stage.freeze}" for stage in self.stages()}
        first, second = (stages.get(number, "skipped") for number in (1, 2))
        chosen = {
            name: getattr(self, name) for name in (*USUAL_SETTINGS, *STAGE_2, "head_learning_rate", "memory")
        } | self.head_fields()
        plain = {
            name: getattr(value, "value", value) for name, value in chosen.items()
        }  # transformers has enumerations
        values = ", ".join(f"{name} {value}" for name, value in plain.items() if value is not None)
        return f"Recipe {self.recipe}: stage 1: {first}; stage 2: {second}\n  {values}"

    def _defaults(self) -> dict[str, Any]:
        return super()._defaults() | USUAL_SETTINGS

    def stages(self) -> list[Stage]:
        """The stages that are not skipped, in order."""
        first = Stage(
            number=1,
            item_matrix=self.stage1_item_matrix,  # type: ignore[arg-type]  # `__post_init__` has filled it in
            freeze=self.stage1_freeze,  # type: ignore[arg-type]
            patience=self.stage1_patience,
            num_train_epochs=self.num_train_epochs,
            learning_rate=self.learning_rate,
            per_device_train_batch_size=self.per_device_train_batch_size,
            item_pairs=bool(self.stage1_item_pairs),
            max_steps=self.stage1_max_steps,
        )
        epochs, rate, size = (
            self.stage2_num_train_epochs, self.stage2_learning_rate, self.stage2_per_device_train_batch_size,
        )  # fmt: skip
        second = Stage(
            number=2,
            item_matrix=self.stage2_item_matrix,  # type: ignore[arg-type]
            freeze=self.stage2_freeze,  # type: ignore[arg-type]
            patience=self.stage2_patience,
            num_train_epochs=self.num_train_epochs if epochs is None else epochs,
            learning_rate=self.learning_rate if rate is None else rate,
            per_device_train_batch_size=self.per_device_train_batch_size if size is None else size,
            max_steps=self.max_steps,
        )
        return [stage for stage, skipped in ((first, self.skip_stage1), (second, self.skip_stage2)) if not skipped]

    def of_stage(self, stage: Stage) -> RecformerFinetuningArguments:
        """The arguments of one stage of a run with these arguments: its folder, epochs, learning rate, batch size."""
        args = copy.copy(self)
        args.output_dir = str(Path(self.output_dir or "", stage.name))
        args.num_train_epochs = stage.num_train_epochs
        args.learning_rate = stage.learning_rate
        args.per_device_train_batch_size = stage.per_device_train_batch_size
        args.max_steps = stage.max_steps
        if stage.item_pairs:
            args.eval_strategy = IntervalStrategy.NO
        args.push_to_hub = False  # a stage's checkpoints stay here; the finished run is pushed
        return args

    def seed_of(self, stage: Stage) -> int:
        """Seed of a stage's draws. A run's seed is below 2^32, so stage 2 shares its draws with no other run."""
        seed = self.seed if self.data_seed is None else self.data_seed
        return int(seed) + (stage.number - 1) * 2**32
