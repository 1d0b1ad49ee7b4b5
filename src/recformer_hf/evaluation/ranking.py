"""A scorer and a split -> the rank of every user's target among the whole catalogue, over any number of processes.

Scores live a chunk of users at a time and only ranks are kept: no array of all users by all items ever exists.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
import torch
from torch import Tensor
from transformers.utils import logging

from ..data.arrays import slice_indices
from ..storage.atomic import atomic_file
from .metrics import mean, metric_names, metric_values
from .target_ranks import TieOrder, rank_targets

if TYPE_CHECKING:
    from accelerate import Accelerator

    from ..data.dataset import SequentialDataset
    from ..data.sequences import Sequences

CHUNK_BYTES = 1 << 26
"""Most memory that a chunk's scores take in float32: 64 MiB."""
MOST_USERS = 512
"""Most users of a chunk, so that small catalogues too are dealt out evenly over processes."""

RankingProtocol = Literal["kept", "excluded"]
"""Whether the items of a user's own history stay candidates: kept in the paper's protocol, excluded in a shop's."""


class Scorer(Protocol):
    """What can be ranked: a model, a baseline, anything with these two methods."""

    def fit(self, dataset: SequentialDataset) -> Scorer:
        """Learn from `dataset.train` and `dataset.catalog`; one that has learned already checks that they fit it.

        Returns:
            itself.
        """
        ...

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray | Tensor:
        """Score every item of the catalogue for each history.

        Args:
            histories: `[batch]` int32 arrays of catalogue rows, oldest first, each with one item at least.

        Returns:
            float `[batch, num_items]`, higher is better, never NaN. An item of score `-inf` is never recommended.
        """
        ...


def protocol_of(exclude_history: bool) -> RankingProtocol:
    """The name of the protocol that a trainer's or a function's `exclude_history` chooses."""
    return "excluded" if exclude_history else "kept"


class RankedBatch(NamedTuple):
    """What is kept of some users once their scores are gone; tensors or arrays with one row for each user."""

    user_index: np.ndarray | Tensor
    """int `[batch]`, rows of the split."""
    ranks: np.ndarray | Tensor
    """float `[batch]`, from 1; infinite where the target was no candidate."""
    num_candidates: np.ndarray | Tensor
    """int `[batch]`, how many items were ranked."""
    recommended: np.ndarray | Tensor
    """int `[batch, top_k]`, the best candidates, best first; -1 where there are no more."""
    targets: np.ndarray | Tensor
    """int `[batch]`, catalogue rows."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """Where every user's target stood: all that metrics are made from. Rows are in the order of the split.

    Args:
        ranks: float64 `[num_users]`, from 1; infinite where the target was no candidate.
        num_candidates: int64 `[num_users]`, how many items were ranked.
        recommended: int32 `[num_users, top_k]`, the best candidates, best first; -1 where there are no more.
        targets: int32 `[num_users]`, catalogue rows.

    Raises:
        ValueError: if the arrays do not fit together, or a rank is NaN (the scores were).
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
            raise ValueError(f"A ranking has one row a user in every array; found the shapes {shapes}.")
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
            ValueError: if there are no users, or a k is no whole number from 1 on.
        """
        return {name: mean(self.values(name)) for name in metric_names(ks)}

    def values(self, metric: str) -> np.ndarray:
        """One metric of each user, float64 `[num_users]`; names as in [`~Ranking.metrics`]."""
        return metric_values(metric, self.ranks, self.num_candidates)

    def select(self, rows: Any) -> Ranking:
        """These users only.

        Args:
            rows: bool `[num_users]`, or int, in any order.
        """
        rows = np.asarray(rows)
        rows = rows if rows.dtype == bool else rows.astype(np.int64)
        return Ranking(self.ranks[rows], self.num_candidates[rows], self.recommended[rows], self.targets[rows])

    def __eq__(self, other: object) -> bool:
        """Same ranks, candidates, recommendations and targets in the same order."""
        return isinstance(other, Ranking) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in _COLUMNS
        )

    __hash__ = None  # type: ignore[assignment]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a `.npz` file, whole or not at all."""
        arrays = {name: getattr(self, name) for name in _COLUMNS}
        with atomic_file(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Ranking:
        """Read a file of [`~Ranking.save`].

        Raises:
            FileNotFoundError: if it is not there.
            ValueError: if it is no such file.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{name: file[name] for name in _COLUMNS})
        except FileNotFoundError:
            raise
        except Exception as error:  # zipfile, numpy and this class each have their own
            raise ValueError(f"{Path(path)} holds no ranking ({error}). Ranking.save writes one.") from error

    @classmethod
    def from_parts(cls, parts: Sequence[RankedBatch | tuple[Any, ...]], num_users: int | None = None) -> Ranking:
        """Join what several batches or processes ranked.

        Args:
            parts: [`RankedBatch`], or plain tuples with the same five columns in the same order. A user who occurs
                again (the padding of a last batch) counts once.
            num_users: users of the split; by default one more than the largest index.

        Returns:
            the ranking, in the order of the user index.

        Raises:
            ValueError: if a user is missing, or there are more of them than `num_users`.
        """
        arrays = [[_to_numpy(column) for column in part] for part in parts]
        if not arrays:
            raise ValueError("There is nothing to join: expected at least one part.")
        users, *columns = (np.concatenate(column) for column in zip(*arrays, strict=True))
        if num_users is None:
            num_users = int(users.max()) + 1 if users.size else 0
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
_COLUMNS: dict[str, Any] = {"ranks": np.float64, "num_candidates": np.int64, _WIDE: np.int32, "targets": np.int32}


def rank_split(
    scorer: Scorer,
    split: Sequences,
    *,
    exclude_history: bool = False,
    ties: TieOrder = "average",
    candidates: Any = None,
    top_k: int = 10,
    chunk_size: int | None = None,
    progress: bool | None = None,
    accelerator: Accelerator | None = None,
) -> Ranking:
    """Rank every user's target with a fitted scorer, among the whole catalogue.

    With an accelerator of several processes each ranks a share of the users, and all return the whole ranking: the same
    as one process would, to the last bit, because the users are cut into the same chunks.

    Args:
        scorer: fitted.
        split: validation or test of a dataset.
        exclude_history: the items of a user's history are no candidates. A target that is one of them then can not be
            recommended either: a miss (rank infinite, 0 in every metric).
        ties, top_k: as in [`rank_targets`].
        candidates: items to rank instead of the whole catalogue: int `[n]` for all users alike, or int `[num_users, n]`
            (-1 for none), or a list of one list a user. A target that is not among them is a miss.
        chunk_size: users to score at once; by default as many as keep their scores under 64 MiB, 512 at most.
        progress: whether to show a bar; by default if it takes more than a few seconds.
        accelerator: whose processes share the work; `None`: this one does all of it.

    Returns:
        [`Ranking`], in the order of the split, on every process.

    Raises:
        ValueError: if the split has no targets, the scores are of another shape or NaN (naming the user), or an item
            is none that the scorer knows. On several processes each raises what one of them met.
    """
    history = protocol_of(exclude_history)
    return rank_protocols(
        scorer, split, [history], ties=ties, candidates=candidates, top_k=top_k, chunk_size=chunk_size,
        progress=progress, accelerator=accelerator,
    )[history]  # fmt: skip


def rank_protocols(
    scorer: Scorer,
    split: Sequences,
    histories: Sequence[RankingProtocol] = get_args(RankingProtocol),
    *,
    ties: TieOrder = "average",
    candidates: Any = None,
    top_k: int = 10,
    chunk_size: int | None = None,
    progress: bool | None = None,
    accelerator: Accelerator | None = None,
) -> dict[RankingProtocol, Ranking]:
    """[`rank_split`] under several protocols at once: a history is scored once, which is most of the work.

    Args:
        histories: `"kept"` and `"excluded"`, or one of them.
        scorer, split, ties, candidates, top_k, chunk_size, progress, accelerator: as in [`rank_split`].

    Returns:
        The ranking of each protocol, the same as [`rank_split`] gives.

    Raises:
        ValueError: as in [`rank_split`], and for no protocol or an unknown one.
    """
    if split.targets is None:
        raise ValueError("Ranking takes a validation or test split, got one without targets (train).")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}; expected users from 1 on.")
    if isinstance(histories, str) or not histories or set(histories) - set(get_args(RankingProtocol)):
        raise ValueError(f"histories are {histories!r}; expected a list of 'kept', 'excluded' or both.")
    lists = _candidate_lists(candidates, len(split))
    rank, world = (0, 1) if accelerator is None else (accelerator.process_index, accelerator.num_processes)

    def ranked() -> Iterator[dict[RankingProtocol, RankedBatch]]:
        step = chunk_size or _chunk_size(scorer, split)
        chunks = [np.arange(start, min(start + step, len(split))) for start in range(0, len(split), step)][rank::world]
        with logging.tqdm(
            total=sum(map(len, chunks)),
            desc="Ranking",
            unit=" users",
            delay=0 if progress else 3,
            disable=progress is False or rank != 0,
        ) as bar:
            for users in chunks:
                scores = _checked_scores(scorer, split, users)
                parts = rank_batch(
                    scores, split, users, histories, ties=ties, candidates=_chunk_candidates(lists, users), top_k=top_k
                )
                _refuse_nan(scorer, split, users, parts)
                yield parts
                bar.update(len(users))

    if accelerator is None or world == 1:
        return join_parts(list(ranked()), histories, len(split))
    from accelerate.utils import gather_object

    # A process that raised on its own would leave the others waiting for it.
    parts: list[dict[RankingProtocol, RankedBatch]] = []
    failure: list[str] = []
    try:
        parts = list(ranked())
    except Exception as error:
        cause: Exception | None = error
        failure = [f"{type(error).__name__}: {error}"]
    else:
        cause = None
    failures = gather_object(failure)
    if failures:
        raise ValueError(f"Ranking failed on {len(failures)} of {world} processes: {failures[0]}") from cause
    return join_parts(gather_object(parts), histories, len(split))


def rank_batch(
    scores: Tensor,
    split: Sequences,
    users: np.ndarray,
    histories: Sequence[RankingProtocol],
    *,
    ties: TieOrder,
    candidates: Tensor | None = None,
    top_k: int,
) -> dict[RankingProtocol, RankedBatch]:
    """Rank the targets of some users of a split by their scores, under each protocol.

    Args:
        scores: float `[batch, num_items]`.
        split: validation or test.
        users: int `[batch]`, rows of the split.
        histories: the protocols.
        ties, candidates, top_k: as in [`rank_targets`].

    Returns:
        What [`Ranking.from_parts`] joins, arrays, by protocol.
    """
    assert split.targets is not None
    targets = split.targets[users]
    on_device = torch.from_numpy(targets.astype(np.int64))
    parts: dict[RankingProtocol, RankedBatch] = {}
    for history in histories:
        excluded = history_pairs(split, users) if history == "excluded" else None
        columns = rank_targets(scores, on_device, ties=ties, excluded=excluded, candidates=candidates, top_k=top_k)
        ranks, num_candidates, recommended = (column.cpu().numpy() for column in columns)
        parts[history] = RankedBatch(users, ranks, num_candidates, recommended, targets)
    return parts


def history_pairs(split: Sequences, users: np.ndarray) -> tuple[Tensor, Tensor]:
    """Which items stand in the histories of some users: rows of `users` and items, int64 `[total]` each."""
    lengths = split.lengths[users]
    items = split.items[slice_indices(split.offsets[users], lengths)].astype(np.int64)
    return torch.from_numpy(np.repeat(np.arange(len(users)), lengths)), torch.from_numpy(items)


def join_parts(
    parts: Sequence[dict[RankingProtocol, RankedBatch]], histories: Sequence[RankingProtocol], num_users: int
) -> dict[RankingProtocol, Ranking]:
    """The ranking of each protocol from what [`rank_batch`] gave, on any process and in any order."""
    return {history: Ranking.from_parts([part[history] for part in parts], num_users) for history in histories}


def _chunk_size(scorer: Scorer, split: Sequences) -> int:
    """The same on any number of processes; one user's scores tell how large the catalogue is."""
    num_items = torch.as_tensor(scorer.scores([split.history(0)])).shape[-1]
    return int(min(max(1, CHUNK_BYTES // (4 * max(1, num_items))), MOST_USERS))


def _checked_scores(scorer: Scorer, split: Sequences, users: np.ndarray) -> Tensor:
    assert split.targets is not None
    histories = [split.history(user) for user in users.tolist()]
    given = scorer.scores(histories)
    scores = given if isinstance(given, Tensor) else torch.from_numpy(np.require(given, requirements=["C", "W"]))
    if scores.ndim != 2 or len(scores) != len(users):
        raise ValueError(
            f"{type(scorer).__name__}.scores gave the shape {list(scores.shape)} for {len(users)} histories; expected "
            f"[{len(users)}, num_items]."
        )
    highest = max(int(np.concatenate(histories).max()), int(split.targets[users].max()))
    if highest >= scores.shape[1]:
        raise ValueError(
            f"{type(scorer).__name__} scores {scores.shape[1]:,} items, but the split has the catalogue row {highest}. "
            "Fit it on the dataset that the split is of; a model needs that catalogue's item embeddings."
        )
    return scores


def _refuse_nan(scorer: Scorer, split: Sequences, users: np.ndarray, parts: dict[RankingProtocol, RankedBatch]) -> None:
    ranks = np.asarray(next(iter(parts.values())).ranks)
    if np.isnan(ranks).any():
        row = int(users[int(np.isnan(ranks).argmax())])
        raise ValueError(
            f"{type(scorer).__name__} gave NaN among the scores of user {split.user_ids[row].as_py()!r} (row {row} of "
            "the split). Scores must be numbers (or infinite)."
        )


def _candidate_lists(candidates: Any, num_users: int) -> np.ndarray | None:
    """int64 `[1, n]` or `[num_users, n]`, -1 where a user has fewer."""
    if candidates is None:
        return None
    if isinstance(candidates, Tensor):
        candidates = candidates.cpu().numpy()
    if not isinstance(candidates, np.ndarray) and len(candidates) and np.ndim(candidates[0]) == 1:
        lists = [np.asarray(items) for items in candidates]
        width = max(len(items) for items in lists)
        candidates = np.stack([np.pad(items, (0, width - len(items)), constant_values=-1) for items in lists])
    array = np.asarray(candidates)
    if array.ndim == 1:
        array = array[None]
    elif array.ndim != 2 or len(array) != num_users:
        raise ValueError(f"candidates have the shape {list(array.shape)}; expected [n] or [{num_users} users, n].")
    if array.dtype.kind not in "iu":
        raise ValueError(f"candidates are {array.dtype}; expected catalogue rows.")
    return array.astype(np.int64)


def _chunk_candidates(candidates: np.ndarray | None, users: np.ndarray) -> Tensor | None:
    if candidates is None:
        return None
    return (
        torch.from_numpy(candidates).expand(len(users), -1)
        if len(candidates) == 1
        else torch.from_numpy(candidates[users])
    )


def _to_numpy(column: Any) -> np.ndarray:
    return column.cpu().numpy() if isinstance(column, Tensor) else np.asarray(column)


_RENAMED = {"History": "RankingProtocol", "Part": "RankedBatch", "Ties": "TieOrder", "history_of": "protocol_of"}


def __getattr__(name: str) -> Any:
    """The names of an earlier version, which keep working for one release."""
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        f"{__name__}.{name} is now {_RENAMED[name]}; the old name goes with the next release.",
        DeprecationWarning,
        stacklevel=2,
    )
    return globals()[_RENAMED[name]]


__all__ = [
    "RankedBatch",
    "Ranking",
    "RankingProtocol",
    "Scorer",
    "TieOrder",
    "protocol_of",
    "rank_protocols",
    "rank_split",
    "rank_targets",
]
