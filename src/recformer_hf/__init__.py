"""Recformer: sequential recommendation from item text, as Hugging Face models, tokenizer and trainers."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.pipelines import PIPELINE_REGISTRY

from ._moved import keep_old_paths, old_module
from ._version import __version__
from .configuration_recformer import RecformerConfig
from .items.catalog import ItemCatalog, UnknownItemError
from .memory.memory import Memory
from .modeling_recformer import (
    RecformerForPretraining,
    RecformerForPreTrainingOutput,
    RecformerForSeqRec,
    RecformerForSeqRecOutput,
    RecformerModel,
    RecformerModelOutput,
    RecformerPreTrainedModel,
)
from .pipeline_recformer import SequentialRecommendationPipeline
from .recommending.recommend import Recommendations
from .tokenization_recformer import EncodedItem, EncodedItems, RecformerTokenizer

keep_old_paths()
AutoConfig.register("recformer", RecformerConfig, exist_ok=True)
AutoModel.register(RecformerConfig, RecformerModel, exist_ok=True)
AutoModelForPreTraining.register(RecformerConfig, RecformerForPretraining, exist_ok=True)
# The classes of the recommendation head are items.
AutoModelForSequenceClassification.register(RecformerConfig, RecformerForSeqRec, exist_ok=True)
AutoTokenizer.register(RecformerConfig, tokenizer_class=RecformerTokenizer, exist_ok=True)
if "sequential-recommendation" not in PIPELINE_REGISTRY.supported_tasks:  # reloading the package would warn
    PIPELINE_REGISTRY.register_pipeline(
        "sequential-recommendation",
        pipeline_class=SequentialRecommendationPipeline,
        pt_model=AutoModelForSequenceClassification,
        type="text",
    )

__all__ = [
    "EncodedItem",
    "EncodedItems",
    "ItemCatalog",
    "Memory",
    "RecformerConfig",
    "RecformerForPreTrainingOutput",
    "RecformerForPretraining",
    "RecformerForSeqRec",
    "RecformerForSeqRecOutput",
    "RecformerModel",
    "RecformerModelOutput",
    "RecformerPreTrainedModel",
    "RecformerTokenizer",
    "Recommendations",
    "SequentialRecommendationPipeline",
    "UnknownItemError",
    "__version__",
]


def __getattr__(name: str) -> object:
    return old_module(name)
