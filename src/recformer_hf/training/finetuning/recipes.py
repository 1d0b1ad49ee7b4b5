"""Finetuning recipes: the paper's algorithm, the lecture's variant and the paper's ablations as settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..freezing import Freeze

ItemMatrix = Literal["reencode", "frozen", "trainable"]
"""What becomes of the item matrix in a stage.

`reencode`: made anew by the model at the start of every epoch. `frozen`: stays what it is at the start of the stage
(the first stage makes it). `trainable`: starts like `frozen` and is then trained like any weight.
"""


@dataclass(frozen=True)
class StageRecipe:
    """Args:
    item_matrix, freeze: see `ItemMatrix` and `Freeze`.
    """

    item_matrix: ItemMatrix
    freeze: Freeze


RECIPES: dict[str, tuple[StageRecipe | None, StageRecipe | None]] = {
    # Algorithm 1: re-encoded, then frozen; everything of the model trains.
    "paper": (StageRecipe("reencode", "none"), StageRecipe("frozen", "none")),
    # The sequence side alone, then everything, item vectors always the model's own.
    "lecture": (StageRecipe("reencode", "embeddings"), StageRecipe("reencode", "none")),
    # The rows of the paper's ablation (table 5): one stage, on the item matrix of the pretrained model.
    "ablation-1": (None, StageRecipe("frozen", "none")),
    "ablation-2": (None, StageRecipe("frozen", "word_embeddings")),
    "ablation-3": (None, StageRecipe("trainable", "none")),
    "ablation-4": (None, StageRecipe("trainable", "word_embeddings")),
}
"""First and second stage of each; `None` skips it.

Ablation 5 (no pretraining) starts from `recformer_hf.conversion`'s text encoder in place of a pretrained Recformer;
ablation 6 is a model configured without item positions and token types, from pretraining on.
"""
