"""The k-core of a log."""

from __future__ import annotations

import numpy as np
from transformers.utils import logging

logger = logging.get_logger(__name__)


def k_core(
    users: np.ndarray, items: np.ndarray, min_user_interactions: int, min_item_interactions: int
) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """The largest set of interactions in which every user and every item has enough of them.

    Each round removes the users and items that have too few interactions, until no round removes anything. The result
    does not depend on the order of removal: it is the union of all sets that satisfy the condition.

    Args:
        users: non-negative integers `[n]`.
        items: non-negative integers `[n]`.
        min_user_interactions: fewest interactions that a remaining user may have.
        min_item_interactions: fewest interactions that a remaining item may have.

    Returns:
        (positions of the remaining interactions, int64, ascending;
        (interactions, users, items) before the first round and after each).
    """
    kept, rounds = np.arange(len(users)), []
    while True:
        per_user, per_item = np.bincount(users), np.bincount(items)
        rounds.append((len(users), int(np.count_nonzero(per_user)), int(np.count_nonzero(per_item))))
        logger.info("k-core: %s interactions, %s users, %s items", *(f"{number:,}" for number in rounds[-1]))
        enough = (per_user >= min_user_interactions)[users] & (per_item >= min_item_interactions)[items]
        if enough.all():
            return kept, rounds
        kept, users, items = kept[enough], users[enough], items[enough]
