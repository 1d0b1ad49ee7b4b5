"""Recformer: sequential recommendation from item text, as Hugging Face models, tokenizer and trainers."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from ._version import __version__
from .catalog_recformer import ItemCatalog, UnknownItemError
from .configuration_recformer import RecformerConfig
from .modeling_recformer import (
    RecformerForPretraining,
    RecformerForPreTrainingOutput,
    RecformerForSeqRec,
    RecformerForSeqRecOutput,
    RecformerModel,
    RecformerModelOutput,
    RecformerPreTrainedModel,
)
from .tokenization_recformer import EncodedItem, EncodedItems, RecformerTokenizer

AutoConfig.register("recformer", RecformerConfig, exist_ok=True)
AutoModel.register(RecformerConfig, RecformerModel, exist_ok=True)
AutoModelForPreTraining.register(RecformerConfig, RecformerForPretraining, exist_ok=True)
# The classes of the recommendation head are items.
AutoModelForSequenceClassification.register(RecformerConfig, RecformerForSeqRec, exist_ok=True)
AutoTokenizer.register(RecformerConfig, tokenizer_class=RecformerTokenizer, exist_ok=True)

__all__ = [
    "EncodedItem",
    "EncodedItems",
    "ItemCatalog",
    "RecformerConfig",
    "RecformerForPreTrainingOutput",
    "RecformerForPretraining",
    "RecformerForSeqRec",
    "RecformerForSeqRecOutput",
    "RecformerModel",
    "RecformerModelOutput",
    "RecformerPreTrainedModel",
    "RecformerTokenizer",
    "UnknownItemError",
    "__version__",
]
