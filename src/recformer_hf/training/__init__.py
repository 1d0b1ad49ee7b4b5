"""Trainers: pretraining on several shops, two-stage finetuning on one."""

from .finetuning import RecformerFinetuningArguments, RecformerFinetuningTrainer
from .finite_loss import LossNotFiniteError
from .pretraining import RecformerPretrainingArguments, RecformerPretrainingTrainer
from .trainer import RecformerTrainer

__all__ = [
    "LossNotFiniteError",
    "RecformerFinetuningArguments",
    "RecformerFinetuningTrainer",
    "RecformerPretrainingArguments",
    "RecformerPretrainingTrainer",
    "RecformerTrainer",
]
