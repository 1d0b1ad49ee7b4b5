"""Recommenders to compare a model with; every one is a [`~recformer_hf.evaluation.Scorer`].

A baseline is one module named after it, with one public class (and its configuration): `fit(dataset)` learns from the
training sequences and returns the scorer itself, and `scores(histories)` scores every item of the catalogue. To add
one, write that module, export its class here, add it to `BASELINES` of `cli/commands/evaluate.py` and to the docs
(docs/evaluation.md, docs/baselines.md), and test it in `tests/baselines/`, against values computed by hand. A neural
one goes into `NEURAL` instead; what these have in common is in `shared/`.

What baselines share with a model is in `memory/`. A baseline imports from `shared/` and from any room above this one,
never from another baseline.
"""

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from .bert4rec import BERT4Rec, BERT4RecConfig
from .blend import Blend, Probabilities
from .cooccurrence import Cooccurrence
from .fdsa import FDSA, FDSAConfig
from .gru4rec import GRU4Rec, GRU4RecConfig
from .last_item_text import LastItemText
from .markov import Markov
from .popularity import Popularity
from .recguru import RecGURU, RecGURUConfig
from .s3rec import S3Rec, S3RecConfig
from .sasrec import SASRec, SASRecConfig
from .shared.arguments import BaselineTrainingArguments
from .shared.model import BaselineModel
from .shared.trainer import BaselineTrainer
from .shared.training import default_arguments, train_baseline
from .text_neighbours import TextNeighbours
from .unisrec import UniSRec, UniSRecConfig
from .zesrec import ZESRec, ZESRecConfig

NEURAL: dict[str, type[BaselineModel]] = {
    "gru4rec": GRU4Rec,
    "sasrec": SASRec,
    "bert4rec": BERT4Rec,
    "fdsa": FDSA,
    "s3rec": S3Rec,
    "recguru": RecGURU,
    "zesrec": ZESRec,
    "unisrec": UniSRec,
}
"""The neural baselines by name, which is the model type of their configurations."""

for _name, _model in NEURAL.items():
    AutoConfig.register(_name, _model.config_class, exist_ok=True)
    AutoModel.register(_model.config_class, _model, exist_ok=True)
    AutoModelForSequenceClassification.register(_model.config_class, _model, exist_ok=True)  # for the pipeline

__all__ = [
    "FDSA",
    "NEURAL",
    "BERT4Rec",
    "BERT4RecConfig",
    "BaselineModel",
    "BaselineTrainer",
    "BaselineTrainingArguments",
    "Blend",
    "Cooccurrence",
    "FDSAConfig",
    "GRU4Rec",
    "GRU4RecConfig",
    "LastItemText",
    "Markov",
    "Popularity",
    "Probabilities",
    "RecGURU",
    "RecGURUConfig",
    "S3Rec",
    "S3RecConfig",
    "SASRec",
    "SASRecConfig",
    "TextNeighbours",
    "UniSRec",
    "UniSRecConfig",
    "ZESRec",
    "ZESRecConfig",
    "default_arguments",
    "train_baseline",
]
