"""Trainers: pretraining on several shops, two-stage finetuning on one."""

from .finetuning import RecformerFinetuningTrainer
from .finetuning_arguments import RecformerFinetuningArguments
from .pretraining import RecformerPretrainingTrainer
from .pretraining_arguments import RecformerPretrainingArguments
from .trainer import LossNotFiniteError, RecformerTrainer

__all__ = [
    "LossNotFiniteError",
    "RecformerFinetuningArguments",
    "RecformerFinetuningTrainer",
    "RecformerPretrainingArguments",
    "RecformerPretrainingTrainer",
    "RecformerTrainer",
]
