"""From a log of interactions to the batches that models take; docs/data.md explains the steps.

This package exports what training needs. Reading and preparing raw data (`readers/`, `preparation`, `splits`,
`recipes`) needs polars (`recformer-hf[data]`), so these modules are imported by their own names.
"""

from .collators import EvaluationCollator, FinetuningCollator, ItemCollator, PretrainingCollator
from .dataset import SequentialDataset
from .row_collators import TwoLevelCollator, TwoLevelEvaluationCollator
from .sampling import SequenceSampler
from .sequences import Sequences
from .tokenized_catalog import TokenizedCatalog
from .torch_datasets import EvaluationSequences, TrainingSequences

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
    "TwoLevelCollator",
    "TwoLevelEvaluationCollator",
]
