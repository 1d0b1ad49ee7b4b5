"""What each item of a history and each part of a memory add to the counts of some items, with and without an item.

A memory counts `m = factors * sum over parts and items of weight * exp(-decay * age) * value`, and adds
`strength * ln(1 + m)` to a score ([`Memory`]). The sum makes it cheap to leave an item out: those that are newer stay,
and those that are older become newer by one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..memory.memory import Memory


@dataclass(frozen=True)
class MemoryTerms:
    """The counts of a memory for some items.

    Args:
        whole: float64 `[num_targets]`, m of the whole history.
        without: float64 `[num_items, num_targets]`, m of the history without each of its items.
        terms: float64 `[num_parts, num_items, num_targets]`, what each item adds in each part: they sum up to `whole`.
        names: of the parts.
        strength: of the memory.
    """

    whole: np.ndarray
    without: np.ndarray
    terms: np.ndarray
    names: tuple[str, ...]
    strength: float

    def gain(self) -> np.ndarray:
        """What the memory adds to the scores, float64 `[num_targets]`."""
        gain: np.ndarray = self.strength * np.log1p(self.whole)
        return gain

    def gain_without(self) -> np.ndarray:
        """The same without each item of the history, float64 `[num_items, num_targets]`."""
        gain: np.ndarray = self.strength * np.log1p(self.without)
        return gain

    def shares(self) -> np.ndarray:
        """The gain divided in proportion to the counts, float64 `[num_parts, num_items, num_targets]`.

        The logarithm is of the sum, so no other division would give equal counts equal shares.
        """
        per_count = np.divide(self.gain(), self.whole, out=np.zeros_like(self.whole), where=self.whole > 0)
        shares: np.ndarray = self.terms * per_count
        return shares


def memory_terms(memory: Memory, history: np.ndarray, targets: np.ndarray) -> MemoryTerms:
    """The counts of some items for one history.

    Args:
        memory: of the catalogue.
        history (int64 `[num_items]`): rows, oldest first; -1 for an item that is not in the catalogue, which the memory
            does not see, so that it is no item of an age either.
        targets (int64 `[num_targets]`): rows; -1 for a new item, of which nothing is known.
    """
    places, known = np.flatnonzero(history >= 0), history[history >= 0]
    ages = len(known) - 1 - np.arange(len(known))
    factors = _factors(memory, (known[:, None] == targets).sum(0), targets)
    # Without an item, the target may not be in the history any more.
    left = (history[:, None] == targets).sum(0) - (history[:, None] == targets)
    factors_without = _factors(memory, left, targets)
    terms = np.zeros((len(memory.parts), len(history), len(targets)))
    without = np.zeros((len(history), len(targets)))
    for number, part in enumerate(memory.parts):
        values = part.weight * _values(memory, number, known, targets)
        now = values * np.exp(-part.decay * ages)[:, None]
        one_newer = values * np.exp(-part.decay * np.maximum(ages - 1, 0))[:, None]
        terms[number, places] = now
        newer = np.cumsum(now[::-1], axis=0)[::-1] - now
        older = np.cumsum(one_newer, axis=0) - one_newer
        without += now.sum(0)
        without[places] += newer.clip(0) + older.clip(0) - now.sum(0)
    # Rounding of the differences must not leave something of nothing.
    without = np.where(np.abs(without) <= 1e-12 * (1 + terms.sum((0, 1))), 0.0, without)
    return MemoryTerms(
        terms.sum((0, 1)) * factors,
        without * factors_without,
        terms * factors,
        tuple(part.name for part in memory.parts),
        memory.strength,
    )


def _factors(memory: Memory, times_in_history: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """What counts are multiplied by: for items of the history, for cold items, and 0 for new ones."""
    found = np.where(times_in_history > 0, memory.history_factor, 1.0)
    cold = np.where(targets >= 0, memory.cold[targets], False)
    return found * np.where(cold, memory.cold_factor, 1.0) * (targets >= 0)


def _values(memory: Memory, part: int, rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The numbers of a part of the memory, float64 `[num_rows, num_targets]`."""
    found = np.zeros((len(rows), len(targets)))
    matrix = memory.parts[part].rows
    for place, row in enumerate(rows.tolist()):
        start, stop = matrix.offsets[row], matrix.offsets[row + 1]
        columns = matrix.columns[start:stop]
        at = np.searchsorted(columns, targets)
        hit = np.flatnonzero(at < len(columns))
        hit = hit[columns[at[hit]] == targets[hit]]
        found[place, hit] = matrix.values[start:stop][at[hit]]
    return found


__all__ = ["MemoryTerms", "memory_terms"]
