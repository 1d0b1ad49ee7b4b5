"""Pretraining on several datasets."""

from .arguments import RecformerPretrainingArguments
from .trainer import RecformerPretrainingTrainer

__all__ = ["RecformerPretrainingArguments", "RecformerPretrainingTrainer"]
