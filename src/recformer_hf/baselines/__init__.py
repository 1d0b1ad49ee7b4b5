"""Recommenders to compare a model with; every one is a [`~recformer_hf.evaluation.Scorer`].

A baseline is one module named after it, with one public class: `fit(dataset)` learns from the training sequences and
returns the scorer itself, and `scores(histories)` scores every item of the catalogue. To add one, write that module,
export its class here, add it to `BASELINES` of `examples/evaluate.py` and to the table of docs/evaluation.md, and test
it in `tests/baselines/`, against values computed by hand.

What baselines share with a model is in `memory/`. A baseline imports from any room above this one, never from
another baseline.
"""

from .blend import Blend, Probabilities
from .cooccurrence import Cooccurrence
from .last_item_text import LastItemText
from .markov import Markov
from .popularity import Popularity
from .text_neighbours import TextNeighbours

__all__ = ["Blend", "Cooccurrence", "LastItemText", "Markov", "Popularity", "Probabilities", "TextNeighbours"]
