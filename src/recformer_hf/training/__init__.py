"""Trainers: pretraining on several shops, two-stage finetuning on one."""

from .finetuning.arguments import RecformerFinetuningArguments
from .finetuning.trainer import RecformerFinetuningTrainer
from .pretraining.arguments import RecformerPretrainingArguments
from .pretraining.trainer import RecformerPretrainingTrainer
from .trainer import LossNotFiniteError, RecformerTrainer

__all__ = [
    "LossNotFiniteError",
    "RecformerFinetuningArguments",
    "RecformerFinetuningTrainer",
    "RecformerPretrainingArguments",
    "RecformerPretrainingTrainer",
    "RecformerTrainer",
]
