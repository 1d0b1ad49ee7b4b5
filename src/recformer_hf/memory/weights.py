"""Choosing weights by how a sum of scores, or its mixture with a model, ranks the targets of a validation split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .sparse_rows import offsets_of

TOP_K = 200
"""Items of each part that are compared: one below them in every part is hardly ever among the first ten of a sum."""

MOST_USERS = 10_000
"""Validation users on which weights are chosen; of more, every second, third, ... is taken."""

_CUT = 10
"""Ranks that count in NDCG."""

_NEARLY_NOTHING = 4.0**-10
"""Share of its scale with which a part begins that a start leaves out: from 0, no factor would lead away."""

ALONE = 1000.0
"""Strength with which a memory decides alone, and the model only orders what it does not score."""

_STRENGTHS = (0.0, 1.0, 3.0, 10.0, ALONE)
_HISTORY_FACTORS = (1.0, 0.25, 0.05)
_COLD_FACTORS = (128.0, 32.0)
"""Tried from the largest on."""

_COLD_COST = 0.003
"""Share of NDCG@10 that a larger cold factor may cost. Few validation users have a cold target, so NDCG alone would
never raise the factor."""

_LARGEST = 1e30
"""Stands for an infinite score, which a weight of 0 would turn into NaN."""

WeightProtocol = Literal["kept", "excluded", "both"]
"""Whether the items of a history are candidates; `both` takes the mean of the two."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """What several parts score the best items of each of them, and the target, for the users of a validation split.

    Args:
        offsets: int64 `[num_users + 1]`: user i has the candidates `offsets[i]` to `offsets[i + 1]`.
        scores: float32 `[num_parts, num_candidates]`.
        in_history: bool `[num_candidates]`, whether a candidate is in the user's history.
        cold: bool `[num_candidates]`, whether a candidate is an item that no training sequence has.
        target_scores: float32 `[num_parts, num_users]`. The target is none of the candidates.
        target_in_history, target_cold: bool `[num_users]`.
    """

    offsets: np.ndarray
    scores: np.ndarray
    in_history: np.ndarray
    cold: np.ndarray
    target_scores: np.ndarray
    target_in_history: np.ndarray
    target_cold: np.ndarray

    @classmethod
    def of(
        cls,
        scores: Sequence[Tensor],
        histories: Sequence[np.ndarray],
        targets: np.ndarray,
        top_k: int = TOP_K,
        cold: np.ndarray | None = None,
    ) -> Candidates:
        """The candidates of a batch of users.

        Args:
            scores: float `[batch, num_items]` of each part.
            histories: `[batch]` int arrays of items.
            targets: int `[batch]`, the item that came next.
            top_k: how many items each part proposes.
            cold: bool `[num_items]`, the items that no training sequence has. None: every item has one.
        """
        batch, num_items = scores[0].shape
        cold = np.zeros(num_items, bool) if cold is None else cold
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
            offsets_of(chosen.sum(1).numpy()),
            np.stack([part.gather(1, best)[chosen].numpy() for part in finite]),
            seen.gather(1, best)[chosen].numpy(),
            cold[best[chosen].numpy()],
            np.stack([part.gather(1, wanted)[:, 0].numpy() for part in finite]),
            seen.gather(1, wanted)[:, 0].numpy(),
            cold[targets],
        )

    @classmethod
    def joined(cls, batches: Sequence[Candidates]) -> Candidates:
        """The candidates of all batches, at least one."""
        counts = np.concatenate([np.diff(batch.offsets) for batch in batches])
        return cls(
            offsets_of(counts),
            np.concatenate([batch.scores for batch in batches], 1),
            np.concatenate([batch.in_history for batch in batches]),
            np.concatenate([batch.cold for batch in batches]),
            np.concatenate([batch.target_scores for batch in batches], 1),
            np.concatenate([batch.target_in_history for batch in batches]),
            np.concatenate([batch.target_cold for batch in batches]),
        )

    @property
    def num_parts(self) -> int:
        return len(self.scores)

    @property
    def owners(self) -> np.ndarray:
        """int64 `[num_candidates]`: the user of each candidate."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


@dataclass(frozen=True, eq=False)
class ChosenWeights:
    """What [`choose_weights`] found.

    Args:
        weights: float64 `[num_parts]`, at least 0, not all 0.
        ndcg: NDCG@10 of the weighted sum on the candidates.
        part_ndcg: `[num_parts]`, NDCG@10 of each part alone.
    """

    weights: np.ndarray
    ndcg: float
    part_ndcg: list[float]


def choose_weights(candidates: Candidates, *, protocol: WeightProtocol = "both") -> ChosenWeights:
    """Weights of at least 0 whose sum of scores ranks the targets of these users best, by NDCG@10.

    The search changes one weight after the other, in steps of 4, then of 2 and of 1.4, as long as that helps. It starts
    from equal shares and from the best part alone, and what it returns is never below a part alone. Nothing is drawn:
    the same candidates give the same weights.

    Args:
        candidates: the scores of the parts.
        protocol: what is ranked; `"both"` is the mean of history kept and excluded.

    Raises:
        ValueError: if there are no users.
    """
    if len(candidates.target_in_history) == 0:
        raise ValueError("Weights are chosen on validation users, got none.")
    num_parts = candidates.num_parts
    ranked = _Ranked(candidates, protocol)
    scales = 1 / ranked.spreads()
    alone = [scales * (np.arange(num_parts) == part) for part in range(num_parts)]
    found = [ranked.exact(weights) for weights in alone]
    best_alone = int(np.argmax(found))
    results = [(found[best_alone], alone[best_alone])]
    for start in (scales, alone[best_alone]):
        weights = _climbed(ranked, np.maximum(start, scales * _NEARLY_NOTHING), scales)
        results.append(_without_idle_parts(ranked, weights, scales))
    ndcg, weights = max(results, key=lambda result: result[0])  # the first of equals
    return ChosenWeights(weights, ndcg, found)


class _Ranked:
    """NDCG@10 of weighted sums: `exact` for any weights, `value` faster, for weights above 0."""

    def __init__(self, candidates: Candidates, protocol: WeightProtocol) -> None:
        self.candidates, self.protocol, self.owners = candidates, protocol, candidates.owners
        self.above = candidates.scores - candidates.target_scores[:, self.owners]
        self.deciding = self._deciding()
        self.above_of_deciding = np.ascontiguousarray(self.above[:, self.deciding])

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

    def _deciding(self) -> np.ndarray:
        """The candidates that can be before the target for some weights above 0; of ten that always are, only these."""
        never, always = (self.above <= 0).all(0), (self.above >= 0).all(0)
        equal = never & always
        always &= ~equal & ~self.candidates.in_history
        offsets = self.candidates.offsets
        counts = np.cumsum(always)
        firsts = counts - (counts - always)[offsets[self.owners]] <= _CUT
        lost = (_per_user(always, offsets) >= _CUT)[self.owners]
        return np.flatnonzero(np.where(lost, always & firsts, ~never | equal))

    def exact(self, weights: np.ndarray) -> float:
        """NDCG of any weights."""
        return _ndcg(self.candidates, self.protocol, _weighted(weights, self.above))

    def value(self, weights: np.ndarray) -> float:
        """NDCG of weights above 0."""
        return _ndcg(self.candidates, self.protocol, _weighted(weights, self.above_of_deciding), self.deciding)

    def values(self, weights: np.ndarray, part: int, tried: Sequence[float]) -> list[float]:
        """NDCG with each of these numbers, above 0, as the weight of a part."""
        above = self.above_of_deciding
        others = _weighted(np.where(np.arange(len(weights)) == part, 0, weights), above)
        totals = (others + np.float32(number) * above[part] for number in tried)
        return [_ndcg(self.candidates, self.protocol, total, self.deciding) for total in totals]


def _ndcg(data: Candidates, protocol: WeightProtocol, above: np.ndarray, places: np.ndarray | None = None) -> float:
    """NDCG@10 where candidates stand above the target by so much.

    Args:
        data: the candidates of all users.
        protocol: what is ranked.
        above: float `[n]`.
        places: int64 `[n]`, the candidates meant, ascending; all others stand below their target. None: all.
    """
    offsets = data.offsets if places is None else np.searchsorted(places, data.offsets)
    higher, equal = above > 0, above == 0
    gains = []
    if protocol != "excluded":
        gains.append(_gains(_per_user(higher, offsets) + _per_user(equal, offsets) / 2))
    if protocol != "kept":
        others = ~(data.in_history if places is None else data.in_history[places])
        better = _per_user(higher & others, offsets) + _per_user(equal & others, offsets) / 2
        gains.append(np.where(data.target_in_history, 0, _gains(better)))
    return float(np.mean(gains))


def _per_user(flags: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """How many flags are set between the offsets of each user."""
    before = offsets_of(flags)
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


def _climbed(ranked: _Ranked, start: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Weights that no single step from a start improves any more."""
    weights, best = start.copy(), ranked.value(start)
    steps = np.array([_NEARLY_NOTHING, *(4.0**step for step in range(-4, 5))])
    for by in (4.0, 2.0, 1.4):
        improved = True
        while improved:
            before = best
            for part, scale in enumerate(scales):
                grid = scale * steps if by == 4 else weights[part] * np.array([1 / by, by])
                found = ranked.values(weights, part, grid.tolist())
                if max(found) > best:
                    best, weights[part] = max(found), grid[int(np.argmax(found))]
            improved = best > before
    return weights


def _without_idle_parts(ranked: _Ranked, weights: np.ndarray, scales: np.ndarray) -> tuple[float, np.ndarray]:
    """NDCG and weights, with 0 for the parts that the sum is not better with."""
    weights, best = weights.copy(), ranked.exact(weights)
    for part in np.flatnonzero(weights < scales * 4.0**-4):
        fewer = np.where(np.arange(len(weights)) == part, 0, weights)
        if fewer.any() and (value := ranked.exact(fewer)) >= best:
            weights, best = fewer, value
    return best, weights


@dataclass(frozen=True)
class Mixture:
    """How a memory's parts are mixed with a model: `logits + strength * ln(1 + sum of weight * part)`.

    Args:
        weights: of the parts, at least 0.
        history_factor: what the sum is multiplied by for items of the history.
        strength: at least 0.
        cold_factor: what the sum is multiplied by for cold items, above 0.
    """

    weights: tuple[float, ...]
    history_factor: float
    strength: float
    cold_factor: float = 1.0


def choose_mixture(
    candidates: Candidates,
    start: Mixture,
    tried: Mapping[int, Sequence[float]],
    *,
    protocol: WeightProtocol = "both",
) -> Mixture:
    """The mixture that ranks the targets of these users best, by NDCG@10, in a small neighbourhood of a start.

    Only the strength, the history factor and the weights that `tried` names are changed, one after the other: around
    good defaults the other weights hardly matter, and a few thousand users cannot tell them apart. The model alone and
    each part alone are tried too, so that none of them is better. In the end cold items gain as much as costs the users
    at most 0.3 % of the NDCG.

    Args:
        candidates: of the parts; before them the model's logits.
        start: where the search begins, and what it keeps if nothing is better.
        tried: the weights to try for some parts of the memory.
        protocol: what is ranked.

    Raises:
        ValueError: if there are no users.
    """
    if len(candidates.target_in_history) == 0:
        raise ValueError("A mixture is chosen on validation users, got none.")
    owners = candidates.owners

    def value(mixture: Mixture) -> float:
        found = _mixed(mixture, candidates.scores, candidates.in_history, candidates.cold)
        targets = _mixed(mixture, candidates.target_scores, candidates.target_in_history, candidates.target_cold)
        return _ndcg(candidates, protocol, found - targets[owners])

    best, ndcg, improved = start, value(start), True
    while improved:
        improved = False
        neighbours = [
            [replace(best, weights=_with(best.weights, part, weight)) for weight in weights]
            for part, weights in tried.items()
        ]
        neighbours += [[replace(best, strength=strength) for strength in _STRENGTHS]]
        neighbours += [[replace(best, history_factor=factor) for factor in _HISTORY_FACTORS]]
        for group in neighbours:
            for mixture in group:
                if mixture != best and (figure := value(mixture)) > ndcg:
                    best, ndcg, improved = mixture, figure, True
            if improved:  # the other groups are neighbours of what was the best before
                break
    nothing = (0.0,) * len(start.weights)
    for part in range(len(nothing)):
        for factor in _HISTORY_FACTORS:
            # A large weight, so that small scores are not below the model's either.
            mixture = Mixture(_with(nothing, part, ALONE), factor, ALONE, start.cold_factor)
            if (figure := value(mixture)) > ndcg:
                best, ndcg = mixture, figure
    if best.strength > 0 and candidates.cold.any():
        for factor in _COLD_FACTORS:
            mixture = replace(best, cold_factor=factor)
            if factor > best.cold_factor and value(mixture) >= (1 - _COLD_COST) * ndcg:
                return mixture
    return best


def _with(weights: tuple[float, ...], part: int, weight: float) -> tuple[float, ...]:
    return tuple(weight if place == part else other for place, other in enumerate(weights))


def _mixed(mixture: Mixture, scores: np.ndarray, in_history: np.ndarray, cold: np.ndarray) -> np.ndarray:
    counted = _weighted(np.array(mixture.weights), scores[1:])
    counted = np.where(cold, counted * np.float32(mixture.cold_factor), counted)
    counted = np.where(in_history, counted * np.float32(mixture.history_factor), counted)
    mixed: np.ndarray = scores[0] + np.float32(mixture.strength) * np.log1p(counted)
    return mixed


__all__ = ["ALONE", "Candidates", "ChosenWeights", "Mixture", "WeightProtocol", "choose_mixture", "choose_weights"]
