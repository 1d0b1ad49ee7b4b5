"""Ranks every user's target of a split among the whole catalogue, on any number of processes.

Only one chunk of users has scores at a time, and only ranks are kept: an array of all users by all items never exists.
Ranks are written into arrays that are made before the first chunk. If the small arrays of every chunk were kept
instead, they would lie between the freed scores of other chunks, and the heap would grow with every chunk.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch
from torch import Tensor
from transformers.utils import logging

from .._renamed import renamed_names
from .candidates import CandidateLists, candidates_of, history_pairs, padded_candidates
from .ranking_result import RankedBatch, Ranking, RankingProtocol, join_parts, protocol_of
from .scorer import Scorer, checked_scores, num_scored
from .target_ranks import TieOrder, rank_targets

if TYPE_CHECKING:
    from accelerate import Accelerator

    from ..data.sequences import Sequences

CHUNK_BYTES = 1 << 26
"""The most memory that the float32 scores of a chunk take: 64 MiB."""
MOST_USERS = 512
"""The most users of a chunk. It spreads the users of a small catalogue evenly over processes, too."""


def rank_split(
    scorer: Scorer,
    split: Sequences,
    *,
    exclude_history: bool = False,
    ties: TieOrder = "average",
    candidates: CandidateLists | None = None,
    top_k: int = 10,
    chunk_size: int | None = None,
    progress: bool | None = None,
    accelerator: Accelerator | None = None,
) -> Ranking:
    """Rank every user's target with a fitted scorer, among the whole catalogue.

    With an accelerator that has several processes, each ranks a share of the users, and all return the whole ranking.
    It is the same to the last bit as that of one process, because the users are cut into the same chunks.

    Args:
        scorer: fitted.
        split: validation or test of a dataset.
        exclude_history: whether the items of a user's history are excluded from the candidates. A target among them
            then cannot be recommended either and counts as a miss (rank infinite, 0 in every metric).
        ties, top_k: as in [`rank_targets`].
        candidates: items to rank instead of the whole catalogue: int `[n]` for all users alike, or int `[num_users, n]`
            padded with -1, or one list for each user. A target that is not among them is a miss.
        chunk_size: users to score at once; by default as many as keep their scores under 64 MiB, at most 512.
        progress: whether to show a progress bar; by default if ranking takes more than a few seconds.
        accelerator: whose processes share the work; by default this process does all of it.

    Returns:
        [`Ranking`], in the order of the split, on every process.

    Raises:
        ValueError: if the split has no targets, the scores have another shape or are NaN (naming the user), or the
            split has an item that the scorer does not score. Of several processes, all raise what one of them met.
    """
    protocol = protocol_of(exclude_history)
    return rank_protocols(
        scorer, split, [protocol], ties=ties, candidates=candidates, top_k=top_k, chunk_size=chunk_size,
        progress=progress, accelerator=accelerator,
    )[protocol]  # fmt: skip


def rank_protocols(
    scorer: Scorer,
    split: Sequences,
    protocols: Sequence[RankingProtocol] = get_args(RankingProtocol),
    *,
    ties: TieOrder = "average",
    candidates: CandidateLists | None = None,
    top_k: int = 10,
    chunk_size: int | None = None,
    progress: bool | None = None,
    accelerator: Accelerator | None = None,
    histories: Sequence[RankingProtocol] | None = None,
) -> dict[RankingProtocol, Ranking]:
    """[`rank_split`] under several protocols at once. Scoring, which is most of the work, is done once for all of them.

    Args:
        protocols: `"kept"` and `"excluded"`, or one of them.
        scorer, split, ties, candidates, top_k, chunk_size, progress, accelerator: as in [`rank_split`].
        histories: deprecated name of `protocols`.

    Returns:
        The ranking under each protocol, the same as that of [`rank_split`].

    Raises:
        ValueError: as in [`rank_split`], and for an empty list of protocols or an unknown one.
    """
    if histories is not None:
        warnings.warn("rank_protocols(histories=...) is now protocols=...", DeprecationWarning, stacklevel=2)
        protocols = histories
    _check_split(split)
    for name, count in (("chunk_size", chunk_size), ("top_k", top_k)):
        if count is not None and (isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1):
            raise ValueError(f"{name} is {count!r}; expected a whole number of at least 1.")
    if isinstance(protocols, str) or not protocols or set(protocols) - set(get_args(RankingProtocol)):
        raise ValueError(f"protocols are {protocols!r}; expected a list of 'kept', 'excluded' or both.")
    lists = padded_candidates(candidates, len(split))
    rank, num_processes = (0, 1) if accelerator is None else (accelerator.process_index, accelerator.num_processes)

    def ranked() -> dict[RankingProtocol, list[np.ndarray]]:
        step = chunk_size or _default_chunk_size(scorer, split)
        chunks = [np.arange(start, min(start + step, len(split))) for start in range(0, len(split), step)]
        # Chunks are dealt in turns, so that no process has more than one chunk above the others.
        mine = chunks[rank::num_processes]
        found = {protocol: _unfilled(mine, top_k) for protocol in protocols}
        start = 0
        for users in _with_progress(mine, progress if rank == 0 else False):
            scores, listed = checked_scores(scorer, split, users), candidates_of(users, lists)
            parts = rank_batch(scores, split, users, protocols, ties=ties, candidates=listed, top_k=top_k)
            _refuse_nan(scorer, split, users, parts)
            for protocol, part in parts.items():
                for whole, column in zip(found[protocol], part, strict=True):
                    whole[start : start + len(users)] = np.asarray(column)
            start += len(users)
        return found

    if num_processes == 1:
        return {protocol: Ranking(*columns[1:]) for protocol, columns in ranked().items()}  # in the order of the split
    return join_parts(_gathered(ranked, num_processes), protocols, len(split))


def _check_split(split: object) -> None:
    """Raises an error unless this is a split with users and targets."""
    if not hasattr(split, "targets"):
        raise TypeError(
            f"Ranking takes a split (Sequences), got a {type(split).__name__}. Pass dataset.validation or dataset.test."
        )
    if split.targets is None:
        raise ValueError("Ranking takes a validation or test split, got one without targets (train).")
    if len(split.targets) == 0:
        raise ValueError("The split has no users to rank.")


def _unfilled(chunks: Sequence[np.ndarray], top_k: int) -> list[np.ndarray]:
    """The columns of a [`RankedBatch`] for the users of some chunks."""
    total = sum(map(len, chunks))
    shapes: list[int | tuple[int, int]] = [total, total, total, (total, top_k), total]
    dtypes = (np.int64, np.float64, np.int64, np.int32, np.int32)
    return [np.empty(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]


def rank_batch(
    scores: Tensor,
    split: Sequences,
    users: np.ndarray,
    protocols: Sequence[RankingProtocol],
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
        protocols: `"kept"` and `"excluded"`, or one of them.
        ties, candidates, top_k: as in [`rank_targets`].

    Returns:
        Arrays under each protocol, for [`Ranking.from_parts`].
    """
    assert split.targets is not None
    targets = split.targets[users]
    as_indices = torch.from_numpy(targets.astype(np.int64))  # torch gathers by int64 only
    parts: dict[RankingProtocol, RankedBatch] = {}
    for protocol in protocols:
        excluded = history_pairs(split, users) if protocol == "excluded" else None
        columns = rank_targets(scores, as_indices, ties=ties, excluded=excluded, candidates=candidates, top_k=top_k)
        ranks, num_candidates, recommended = (column.cpu().numpy() for column in columns)
        parts[protocol] = RankedBatch(users, ranks, num_candidates, recommended, targets)
    return parts


def _default_chunk_size(scorer: Scorer, split: Sequences) -> int:
    """The users of a chunk. It must not depend on the number of processes, or scores could differ in the last bits."""
    return int(min(max(1, CHUNK_BYTES // (4 * max(1, num_scored(scorer, split)))), MOST_USERS))


def _with_progress(chunks: Sequence[np.ndarray], progress: bool | None) -> Iterator[np.ndarray]:
    """The chunks, with a bar that counts users: shown if `progress`, or if None after three seconds."""
    total, delay = sum(map(len, chunks)), 0 if progress else 3
    with logging.tqdm(total=total, desc="Ranking", unit=" users", delay=delay, disable=progress is False) as bar:
        for users in chunks:
            yield users
            bar.update(len(users))


def _gathered(
    ranked: Callable[[], dict[RankingProtocol, list[np.ndarray]]], num_processes: int
) -> list[dict[RankingProtocol, RankedBatch]]:
    """What each process ranked, on all of them; if one fails, all raise."""
    from accelerate.utils import gather_object

    parts: list[dict[RankingProtocol, RankedBatch]] = []
    failure: list[str] = []
    cause: Exception | None = None
    # If a process raised here, the others would wait for it forever in gather_object.
    try:
        parts = [{protocol: RankedBatch(*columns) for protocol, columns in ranked().items()}]
    except Exception as error:
        cause, failure = error, [f"{type(error).__name__}: {error}"]
    failures = gather_object(failure)
    if failures:
        raise ValueError(f"Ranking failed on {len(failures)} of {num_processes} processes: {failures[0]}") from cause
    gathered: list[dict[RankingProtocol, RankedBatch]] = gather_object(parts)
    return gathered


def _refuse_nan(scorer: Scorer, split: Sequences, users: np.ndarray, parts: dict[RankingProtocol, RankedBatch]) -> None:
    ranks = np.asarray(next(iter(parts.values())).ranks)
    if np.isnan(ranks).any():
        row = int(users[int(np.isnan(ranks).argmax())])
        raise ValueError(
            f"{type(scorer).__name__} gave NaN among the scores of user {split.user_ids[row].as_py()!r} (row {row} of "
            "the split). Scores must be numbers (or infinite)."
        )


__getattr__ = renamed_names(
    __name__,
    {"History": "RankingProtocol", "Part": "RankedBatch", "Ties": "TieOrder", "history_of": "protocol_of"},
)

__all__ = [
    "RankedBatch",
    "Ranking",
    "RankingProtocol",
    "Scorer",
    "TieOrder",
    "join_parts",
    "protocol_of",
    "rank_batch",
    "rank_protocols",
    "rank_split",
    "rank_targets",
]
