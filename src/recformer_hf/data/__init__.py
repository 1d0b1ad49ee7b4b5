"""From a log of interactions to the batches that models take; docs/data.md tells the way.

Reading and preparing raw data (`readers/`, `preparation`, `splits`, `recipes`) needs polars (`recformer-hf[data]`) and
is imported by name; what training needs is here.
"""

from .collators import EvaluationCollator, FinetuningCollator, ItemCollator, PretrainingCollator
from .dataset import Sequences, SequentialDataset
from .sampling import EvaluationSequences, SequenceSampler, TrainingSequences
from .tokenized_catalog import TokenizedCatalog

__all__ = [
    "EvaluationCollator",
    "EvaluationSequences",
    "FinetuningCollator",
    "ItemCollator",
    "PretrainingCollator",
    "SequenceSampler",
    "Sequences",
    "SequentialDataset",
    "TokenizedCatalog",
    "TrainingSequences",
]
