"""Choosing the weights of a sum of scores by how it ranks the targets of a validation split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

TOP_K = 200
"""Items of each part that are compared: one below them in every part is hardly ever among the first ten of a sum."""

MOST_USERS = 10_000
"""Validation users on which weights are chosen; of more, every second, third, ... is taken."""

_CUT = 10
_NEARLY_NOTHING = 4.0**-10
_LARGEST = 1e30  # stands for an infinite score, which a weight of 0 would turn into NaN

WeightProtocol = Literal["kept", "excluded", "both"]
"""Whether the items of a history are candidates; `both` takes the mean of the two."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """What several parts score the best items of each of them, and the target, for the users of a validation split.

    Args:
        offsets: int64 `[num_users + 1]`: user i has the candidates `offsets[i]` to `offsets[i + 1]`.
        scores: float32 `[num_parts, num_candidates]`.
        in_history: bool `[num_candidates]`, whether a candidate is in the user's history.
        target_scores: float32 `[num_parts, num_users]`. The target is none of the candidates.
        target_in_history: bool `[num_users]`.
    """

    offsets: np.ndarray
    scores: np.ndarray
    in_history: np.ndarray
    target_scores: np.ndarray
    target_in_history: np.ndarray

    @classmethod
    def of(
        cls, scores: Sequence[Tensor], histories: Sequence[np.ndarray], targets: np.ndarray, top_k: int = TOP_K
    ) -> Candidates:
        """The candidates of a batch of users.

        Args:
            scores: float `[batch, num_items]` of each part.
            histories: `[batch]` int arrays of items.
            targets: int `[batch]`, the item that came next.
            top_k: how many items each part proposes.
        """
        batch, num_items = scores[0].shape
        finite = [part.detach().float().cpu().clamp(-_LARGEST, _LARGEST) for part in scores]
        best = torch.cat([part.topk(min(top_k, num_items), dim=1).indices for part in finite], 1).sort(1).values
        wanted = torch.from_numpy(targets.astype(np.int64))[:, None]
        first = torch.ones_like(best, dtype=torch.bool)
        first[:, 1:] = best[:, 1:] != best[:, :-1]
        chosen = first & (best != wanted)
        seen = torch.zeros(batch, num_items, dtype=torch.bool)
        owners = np.repeat(np.arange(batch), [len(history) for history in histories])
        seen[torch.from_numpy(owners), torch.from_numpy(np.concatenate(histories).astype(np.int64))] = True
        return cls(
            np.concatenate([np.zeros(1, np.int64), np.cumsum(chosen.sum(1).numpy(), dtype=np.int64)]),
            np.stack([part.gather(1, best)[chosen].numpy() for part in finite]),
            seen.gather(1, best)[chosen].numpy(),
            np.stack([part.gather(1, wanted)[:, 0].numpy() for part in finite]),
            seen.gather(1, wanted)[:, 0].numpy(),
        )

    @classmethod
    def joined(cls, batches: Sequence[Candidates]) -> Candidates:
        """The candidates of all batches, at least one."""
        counts = np.concatenate([np.diff(batch.offsets) for batch in batches])
        return cls(
            np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)]),
            np.concatenate([batch.scores for batch in batches], 1),
            np.concatenate([batch.in_history for batch in batches]),
            np.concatenate([batch.target_scores for batch in batches], 1),
            np.concatenate([batch.target_in_history for batch in batches]),
        )

    @property
    def num_parts(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, eq=False)
class ChosenWeights:
    """What [`choose_weights`] found.

    Args:
        weights: float64 `[num_parts]`, at least 0, not all 0.
        history_factor: what the scores of items of the history are multiplied by.
        ndcg: NDCG@10 of the weighted sum on the candidates.
        part_ndcg: `[num_parts]`, NDCG@10 of each part alone.
    """

    weights: np.ndarray
    history_factor: float
    ndcg: float
    part_ndcg: list[float]


def choose_weights(
    candidates: Candidates,
    *,
    protocol: WeightProtocol = "both",
    factors: Sequence[float] = (1.0,),
    scaled: Sequence[bool] | None = None,
) -> ChosenWeights:
    """Weights of at least 0 whose sum of scores ranks the targets of these users best, by NDCG@10.

    The search changes one weight after the other, in steps of 4, then of 2 and of 1.4, as long as that helps. It starts
    from equal shares and from the best part alone, and what it returns is never below a part alone. Nothing is drawn:
    the same candidates give the same weights.

    Args:
        candidates: the scores of the parts.
        protocol: what is ranked; `"both"` is the mean of history kept and excluded.
        factors: what the scores of a history's items may be multiplied by; the first is where the search starts.
        scaled: `[num_parts]`, the parts whose scores are multiplied; all, if None.

    Raises:
        ValueError: if there are no users.
    """
    if len(candidates.target_in_history) == 0:
        raise ValueError("Weights are chosen on validation users, got none.")
    num_parts = candidates.num_parts
    ranked = _Ranked(candidates, protocol, np.ones(num_parts, bool) if scaled is None else np.asarray(scaled, bool))
    scales = 1 / ranked.spreads()
    alone = [scales * (np.arange(num_parts) == part) for part in range(num_parts)]
    found = [ranked.exact(weights, factors[0]) for weights in alone]
    best_alone = int(np.argmax(found))
    results = [(found[best_alone], alone[best_alone], factors[0])]
    for start in (scales, alone[best_alone]):
        _, weights, factor = _climbed(ranked, np.maximum(start, scales * _NEARLY_NOTHING), scales, factors)
        results.append(_without_idle_parts(ranked, weights, factor, scales))
    ndcg, weights, factor = max(results, key=lambda result: result[0])  # the first of equals
    return ChosenWeights(weights, factor, ndcg, found)


class _Ranked:
    """NDCG@10 of weighted sums: `exact` for any weights, `value` faster, for weights above 0."""

    def __init__(self, candidates: Candidates, protocol: WeightProtocol, scaled: np.ndarray) -> None:
        self.candidates, self.protocol, self.scaled = candidates, protocol, scaled
        self.owners = np.repeat(np.arange(len(candidates.offsets) - 1), np.diff(candidates.offsets))
        self.kept: dict[float, tuple[np.ndarray, np.ndarray]] = {}

    def spreads(self) -> np.ndarray:
        """float64 `[num_parts]`: how far a user's candidates are apart on average; 1 if they have equal scores."""
        data = self.candidates
        starts = data.offsets[:-1][np.diff(data.offsets) > 0]
        if len(starts) == 0:
            return np.ones(data.num_parts)
        # An item of score -inf is never recommended and says nothing about the others.
        low = np.where(data.scores > -_LARGEST, data.scores, np.inf)
        highest, lowest = np.maximum.reduceat(data.scores, starts, 1), np.minimum.reduceat(low, starts, 1)
        spread = np.where(np.isfinite(lowest), highest - lowest, 0).mean(1, dtype=np.float64)
        return np.where(spread > 0, spread, 1.0)

    def above_target(self, factor: float) -> np.ndarray:
        """float32 `[num_parts, num_candidates]`: a candidate's score minus the target's."""
        data, which = self.candidates, self.scaled[:, None]
        scores = np.where(which & data.in_history, data.scores * np.float32(factor), data.scores)
        targets = np.where(which & data.target_in_history, data.target_scores * np.float32(factor), data.target_scores)
        return scores - targets[:, self.owners]

    def exact(self, weights: np.ndarray, factor: float) -> float:
        """NDCG of any weights."""
        return self._ndcg(_weighted(weights, self.above_target(factor)), np.arange(len(self.owners)))

    def deciding(self, factor: float) -> tuple[np.ndarray, np.ndarray]:
        """The candidates that can be before the target for some weights above 0, and their `above_target`.

        Of a user who has ten that always are, only these ten stay.
        """
        if factor not in self.kept:
            above = self.above_target(factor)
            never, always = (above <= 0).all(0), (above >= 0).all(0)
            equal = never & always
            always &= ~equal & ~self.candidates.in_history
            offsets = self.candidates.offsets
            counts = np.cumsum(always)
            firsts = counts - (counts - always)[offsets[:-1].clip(max=max(0, len(always) - 1))][self.owners] <= _CUT
            lost = (_per_user(always, offsets) >= _CUT)[self.owners]
            stays = np.flatnonzero(np.where(lost, always & firsts, ~never | equal))
            self.kept[factor] = stays, np.ascontiguousarray(above[:, stays])
        return self.kept[factor]

    def value(self, weights: np.ndarray, factor: float) -> float:
        """NDCG of weights above 0."""
        stays, above = self.deciding(factor)
        return self._ndcg(_weighted(weights, above), stays)

    def values(self, weights: np.ndarray, factor: float, part: int, tried: Sequence[float]) -> list[float]:
        """NDCG with each of these numbers, above 0, as the weight of a part."""
        stays, above = self.deciding(factor)
        others = _weighted(np.where(np.arange(len(weights)) == part, 0, weights), above)
        return [self._ndcg(others + np.float32(number) * above[part], stays) for number in tried]

    def _ndcg(self, above: np.ndarray, places: np.ndarray) -> float:
        """NDCG where these candidates stand above the target by so much; the others stand below it."""
        data = self.candidates
        offsets = np.searchsorted(places, data.offsets)
        higher, equal = above > 0, above == 0
        gains = []
        if self.protocol != "excluded":
            gains.append(_gains(_per_user(higher, offsets) + _per_user(equal, offsets) / 2))
        if self.protocol != "kept":
            others = ~data.in_history[places]
            better = _per_user(higher & others, offsets) + _per_user(equal & others, offsets) / 2
            gains.append(np.where(data.target_in_history, 0, _gains(better)))
        return float(np.mean(gains))


def _per_user(flags: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """How many flags are set between the offsets of each user."""
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(flags)])
    counts: np.ndarray = before[offsets[1:]] - before[offsets[:-1]]
    return counts


def _weighted(weights: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """float32 `[n]`: the weighted sum of `[num_parts, n]` scores."""
    total = np.zeros(scores.shape[1], np.float32)
    for weight, part in zip(weights.astype(np.float32), scores, strict=True):
        if weight > 0:
            total += weight * part
    return total


def _gains(better: np.ndarray) -> np.ndarray:
    """The gain of a target with this many items before it, half of its equals among them."""
    return np.where(better + 1 <= _CUT, 1 / np.log2(better + 2), 0)


def _climbed(
    ranked: _Ranked, start: np.ndarray, scales: np.ndarray, factors: Sequence[float]
) -> tuple[float, np.ndarray, float]:
    """NDCG, weights and factor that no single step from a start improves any more."""
    weights, factor = start.copy(), factors[0]
    best = ranked.value(weights, factor)
    steps = [4.0**step for step in range(-4, 5)]
    for by in (4.0, 2.0, 1.4):
        improved = True
        while improved:
            before = best
            for part, scale in enumerate(scales):
                grid = (
                    scale * np.array([_NEARLY_NOTHING, *steps]) if by == 4 else weights[part] * np.array([1 / by, by])
                )
                found = ranked.values(weights, factor, part, grid.tolist())
                if max(found) > best:
                    best, weights[part] = max(found), grid[int(np.argmax(found))]
            for other in factors:
                if other != factor and (value := ranked.value(weights, other)) > best:
                    best, factor = value, other
            improved = best > before
    return best, weights, factor


def _without_idle_parts(
    ranked: _Ranked, weights: np.ndarray, factor: float, scales: np.ndarray
) -> tuple[float, np.ndarray, float]:
    """The same with 0 for the parts that the sum is not better with."""
    weights, best = weights.copy(), ranked.exact(weights, factor)
    for part in np.flatnonzero(weights < scales * 4.0**-4):
        fewer = np.where(np.arange(len(weights)) == part, 0, weights)
        if fewer.any() and (value := ranked.exact(fewer, factor)) >= best:
            weights, best = fewer, value
    return best, weights, factor


__all__ = ["MOST_USERS", "Candidates", "ChosenWeights", "WeightProtocol", "choose_weights"]
