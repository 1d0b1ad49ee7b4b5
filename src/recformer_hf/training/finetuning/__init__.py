"""Two-stage finetuning on one dataset."""

from .arguments import RecformerFinetuningArguments
from .two_stages import RecformerFinetuningTrainer

__all__ = ["RecformerFinetuningArguments", "RecformerFinetuningTrainer"]
