"""`Ranking`: the rank of every user's target, from which all metrics are computed; saved, loaded and joined."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from ..storage.atomic import atomic_file
from .metrics import mean, metric_names, metric_values

RankingProtocol = Literal["kept", "excluded"]
"""Whether the items of a user's own history stay candidates: kept in the paper's protocol, excluded in a shop's."""

Column: TypeAlias = ArrayLike | Tensor


def protocol_of(exclude_history: bool) -> RankingProtocol:
    """The name of the protocol that a trainer's or a function's `exclude_history` selects."""
    return "excluded" if exclude_history else "kept"


class RankedBatch(NamedTuple):
    """What is kept of some users' scores: tensors or arrays with one row for each user."""

    user_index: np.ndarray | Tensor
    """int `[batch]`, rows of the split."""
    ranks: np.ndarray | Tensor
    """float `[batch]`, from 1; infinite where the target was not a candidate."""
    num_candidates: np.ndarray | Tensor
    """int `[batch]`, how many items were ranked."""
    recommended: np.ndarray | Tensor
    """int `[batch, top_k]`, the best candidates, best first; padded with -1."""
    targets: np.ndarray | Tensor
    """int `[batch]`, catalogue rows."""


# A dataclass's own __eq__ asks for the truth value of whole arrays, which numpy refuses.
@dataclass(frozen=True, eq=False)
class Ranking:
    """The rank of every user's target. Rows are in the order of the split.

    Args:
        ranks: float64 `[num_users]`, from 1; infinite where the target was not a candidate.
        num_candidates: int64 `[num_users]`, how many items were ranked.
        recommended: int32 `[num_users, top_k]`, the best candidates, best first; padded with -1.
        targets: int32 `[num_users]`, catalogue rows.

    Raises:
        ValueError: if the arrays have different numbers of rows, or a rank is NaN because the scores were.
    """

    ranks: np.ndarray
    num_candidates: np.ndarray
    recommended: np.ndarray
    targets: np.ndarray

    def __post_init__(self) -> None:
        for name, dtype in _COLUMNS.items():
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=dtype))
        shapes = {name: getattr(self, name).shape for name in _COLUMNS}
        if any(len(shape) != (2 if name == _WIDE else 1) for name, shape in shapes.items()) or (
            len({shape[0] for shape in shapes.values()}) != 1
        ):
            raise ValueError(f"A ranking has one row per user in every array; found the shapes {shapes}.")
        wrong = np.flatnonzero(np.isnan(self.ranks))
        if wrong.size:
            raise ValueError(
                f"The scores of {wrong.size:,} of {len(self):,} users hold NaN, the first in rows "
                f"{wrong[:5].tolist()} of the split. Scores must be numbers (or infinite)."
            )

    def __len__(self) -> int:
        return len(self.ranks)

    def metrics(self, ks: Sequence[int] = (10,)) -> dict[str, float]:
        """Means over users: `ndcg@k`, `recall@k` and `mrr@k` for each k, `mrr` and `auc`.

        Raises:
            ValueError: if there are no users, or a k is not a whole number of at least 1.
        """
        return {name: mean(self.values(name)) for name in metric_names(ks)}

    def values(self, metric: str) -> np.ndarray:
        """One metric of each user, float64 `[num_users]`; names as in [`~Ranking.metrics`]."""
        return metric_values(metric, self.ranks, self.num_candidates)

    def select(self, rows: ArrayLike) -> Ranking:
        """The ranking of some users.

        Args:
            rows: bool `[num_users]`, or int `[n]` in any order.
        """
        rows = np.asarray(rows)
        rows = rows if rows.dtype == bool else rows.astype(np.int64)  # an empty list makes a float array
        return Ranking(self.ranks[rows], self.num_candidates[rows], self.recommended[rows], self.targets[rows])

    def __eq__(self, other: object) -> bool:
        """Whether ranks, candidates, recommendations and targets are the same, in the same order."""
        return isinstance(other, Ranking) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in _COLUMNS
        )

    __hash__ = None  # type: ignore[assignment]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a `.npz` file, whole or not at all."""
        arrays = {name: getattr(self, name) for name in _COLUMNS}
        # numpy appends .npz to a path that lacks it, but not to an open file, so the file gets exactly the caller's
        # name.
        with atomic_file(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Ranking:
        """Read a file that [`~Ranking.save`] wrote.

        Raises:
            FileNotFoundError: if the file does not exist.
            ValueError: if it is not such a file.
        """
        try:
            with np.load(path, allow_pickle=False) as file:  # a pickle could run any code
                ranking = cls(**{name: file[name] for name in _COLUMNS})
            ranking._check_values()
            return ranking
        except FileNotFoundError:
            raise
        except Exception as error:  # zipfile, numpy and this class each raise exceptions of their own
            raise ValueError(f"{Path(path)} holds no ranking ({error}). Ranking.save writes one.") from error

    def _check_values(self) -> None:
        """Raises ValueError for ranks, candidates or rows that ranking cannot give."""
        possible = (self.ranks >= 1) & (self.ranks <= self.num_candidates) | np.isposinf(self.ranks)
        wrong = np.flatnonzero(~possible | (self.num_candidates < 0))
        if wrong.size:
            row = int(wrong[0])
            raise ValueError(
                f"{wrong.size:,} of {len(self):,} ranks are impossible, the first in row {row}: {self.ranks[row]} "
                f"among {self.num_candidates[row]} candidates"
            )
        for name, lowest in (("targets", 0), (_WIDE, -1)):
            if (values := getattr(self, name)).size and values.min() < lowest:
                raise ValueError(f"{name} hold {values.min()}; expected rows of a catalogue")

    @classmethod
    def from_parts(
        cls, parts: Sequence[RankedBatch | tuple[Column, Column, Column, Column, Column]], num_users: int | None = None
    ) -> Ranking:
        """Join what several batches or processes ranked.

        Args:
            parts: [`RankedBatch`], or plain tuples with the same five columns in the same order. A user who occurs
                again (in the padding of a last batch) counts once.
            num_users: users of the split; by default one more than the largest index.

        Returns:
            the ranking, in the order of the user index.

        Raises:
            ValueError: if a user is missing, or an index is not below `num_users`.
        """
        arrays = [[_to_numpy(column) for column in part] for part in parts]
        if not arrays:
            raise ValueError("There is nothing to join: expected at least one part.")
        users, *columns = (np.concatenate(column) for column in zip(*arrays, strict=True))
        if num_users is None:
            num_users = int(users.max()) + 1 if users.size else 0
        # If a user occurs again, only the first occurrence counts.
        present, first = np.unique(users, return_index=True)
        if present.size and not 0 <= present[0] <= present[-1] < num_users:
            raise ValueError(f"The parts rank users {present[0]} to {present[-1]}; expected 0 to {num_users - 1}.")
        if len(present) < num_users:
            missing = np.setdiff1d(np.arange(num_users), present)
            raise ValueError(
                f"{missing.size:,} of {num_users:,} users are in no part, the first: {missing[:5].tolist()}. "
                "Gather the parts of all processes."
            )
        return cls(*(column[first] for column in columns))


_WIDE = "recommended"
# Ranks are float64 because a target that ties may stand half way between two places.
_COLUMNS: dict[str, type[np.generic]] = {
    "ranks": np.float64,
    "num_candidates": np.int64,
    _WIDE: np.int32,
    "targets": np.int32,
}


def join_parts(
    parts: Sequence[dict[RankingProtocol, RankedBatch]], protocols: Sequence[RankingProtocol], num_users: int
) -> dict[RankingProtocol, Ranking]:
    """Join batches that were ranked under several protocols, by any process and in any order."""
    return {protocol: Ranking.from_parts([part[protocol] for part in parts], num_users) for protocol in protocols}


def _to_numpy(column: Column) -> np.ndarray:
    return column.cpu().numpy() if isinstance(column, Tensor) else np.asarray(column)


__all__ = ["RankedBatch", "Ranking", "RankingProtocol", "join_parts", "protocol_of"]
