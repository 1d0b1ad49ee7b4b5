"""From scores to ranks, metrics and reports; docs/evaluation.md lists every metric with its definition."""

from .ranking import Ranking, Scorer, rank_protocols, rank_split, rank_targets
from .recformer_scorer import RecformerScorer
from .report import paired_test, ranking_report

__all__ = [
    "Ranking",
    "RecformerScorer",
    "Scorer",
    "paired_test",
    "rank_protocols",
    "rank_split",
    "rank_targets",
    "ranking_report",
]
