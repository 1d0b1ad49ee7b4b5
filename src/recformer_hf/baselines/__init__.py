"""Simple recommenders to hold a model against: scorers for `recformer_hf.evaluation`."""

from .frequency import Markov, Popularity
from .text import LastItemText

__all__ = ["LastItemText", "Markov", "Popularity"]
