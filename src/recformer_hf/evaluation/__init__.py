"""From scores to ranks, metrics and reports; docs/evaluation.md lists every metric with its definition."""

from .._renamed import renamed_names
from .ranking import RankedBatch, Ranking, RankingProtocol, Scorer, TieOrder, rank_protocols, rank_split, rank_targets
from .recformer_scorer import RecformerScorer
from .report import paired_test, ranking_report

__getattr__ = renamed_names(__name__, {"History": "RankingProtocol", "Ties": "TieOrder"})

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
