"""A share of the training sequences of any split."""

from __future__ import annotations

import numpy as np

from ..dataset import SequentialDataset
from ..readers.source import DataError
from ..sequences import whole_number
from ..stable_hash import first_by_hash


def low_resource(dataset: SequentialDataset, share: float, *, seed: int = 0) -> SequentialDataset:
    """The same dataset with a share of its training sequences; validation and test stay whole.

    Args:
        dataset: any split.
        share: share of the training sequences to keep, above 0 and at most 1; rounded up to a whole sequence. A larger
            share contains a smaller one, and 1 keeps all.
        seed: seed for the draw of users.

    Returns:
        the dataset; its training sequences stay in their order.

    Raises:
        DataError: if the share is out of its range.
    """
    seed, share = whole_number(seed, "seed"), float(share)
    if not 0 < share <= 1:
        raise DataError(f"share is {share}; expected above 0 and at most 1 (0.05 is 5 %).")
    number = len(dataset.train.user_ids)
    kept = np.zeros(number, dtype=bool)
    # Without `round`, floating point would add a sequence: 0.07 * 100 is a little more than 7.
    kept[first_by_hash(dataset.train.user_ids, int(np.ceil(round(share * number, 6))), seed)] = True
    info = {
        "protocol": (
            f"{dataset.info.get('protocol', '')} Low resource: {share:.0%} of the training sequences, drawn by user; "
            "validation and test are whole."
        ).strip(),
        "low_resource": {"share": share, "seed": seed, "training_sequences": int(kept.sum()), "of": number},
    }
    return SequentialDataset(
        dataset.catalog,
        dataset.train.select(np.flatnonzero(kept)),
        dataset.validation,
        dataset.test,
        dataset.info | info,
    )
