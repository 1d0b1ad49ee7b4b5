"""From scores to ranks, metrics and reports; docs/evaluation.md lists every metric with its definition."""

from typing import Any

from . import ranking
from .ranking import RankedBatch, Ranking, RankingProtocol, Scorer, TieOrder, rank_protocols, rank_split, rank_targets
from .recformer_scorer import RecformerScorer
from .report import paired_test, ranking_report


def __getattr__(name: str) -> Any:
    """`History` and `Ties`, the names of an earlier version, which keep working for one release."""
    if name not in ("History", "Ties"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(ranking, name)


__all__ = [
    "RankedBatch",
    "Ranking",
    "RankingProtocol",
    "RecformerScorer",
    "Scorer",
    "TieOrder",
    "paired_test",
    "rank_protocols",
    "rank_split",
    "rank_targets",
    "ranking_report",
]
