"""A fixed sample of users to validate on."""

from __future__ import annotations

import numpy as np

from ..data.sequences import Sequences
from ..data.stable_hash import first_by_hash


def sample_users(split: Sequences, most: int | None, seed: int = 0) -> Sequences:
    """A split, reduced to at most `most` users, in the split's order.

    The users are those with the smallest hashes of id and seed, so the sample does not depend on the order of the
    split, and is the same in every evaluation.

    Args:
        split: split to sample from, of any size.
        most: users to keep; `None` keeps all. A split that is no larger is returned as it is.
        seed: seed for the sample.
    """
    if most is None or len(split) <= most:
        return split
    return split.select(np.sort(first_by_hash(split.user_ids, most, seed)))
