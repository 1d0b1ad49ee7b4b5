"""The split by users."""

from __future__ import annotations

import numpy as np

from ..dataset import SequentialDataset
from ..preparation import EmptyResultError, PreparedInteractions
from ..readers.source import DataError
from ..sequences import whole_number
from ..stable_hash import first_by_hash
from .arrays import sequences_between


def users_held_out(
    prepared: PreparedInteractions, *, validation_share: float = 0.1, test_share: float = 0.1, seed: int = 0
) -> SequentialDataset:
    """Split by users: some users' whole sequences train; the others are only evaluated on, with their last item as the
    target.

    Args:
        prepared: users' interactions in order.
        validation_share: share of the users, 0 to 1, for validation.
        test_share: share of the users for test.
        seed: seed for the draw of users. Users with one interaction always train.

    Returns:
        the dataset.

    Raises:
        EmptyResultError: if one of the three parts is empty.
        DataError: if a share is out of its range.
    """
    seed = whole_number(seed, "seed")
    validation_share, test_share = float(validation_share), float(test_share)
    if not (validation_share > 0 and test_share > 0 and validation_share + test_share < 1):
        raise DataError(
            f"validation_share is {validation_share} and test_share is {test_share}; expected both above 0 and their "
            "sum below 1."
        )
    validation, test = _drawn_users(prepared, validation_share, test_share, seed)
    training = ~(test | validation)
    for name, mask in (("test", test), ("validation", validation), ("training", training)):
        if not mask.any():
            raise EmptyResultError(f"No user is left for {name} of {len(mask):,} users. Change the shares.")
    info = {
        "protocol": (
            f"Users held out: {validation_share:.0%} of the users, drawn, are validation's, {test_share:.0%} test's, "
            "with their last item as the target and those before it as the history; the other users' whole sequences "
            "train."
        ),
        "split": {
            "name": "users_held_out",
            "validation_share": validation_share,
            "test_share": test_share,
        },
        "seed": seed,
    }
    starts, ends = prepared.offsets[:-1], prepared.offsets[1:]
    return SequentialDataset(
        prepared.catalog,
        sequences_between(prepared, training, starts, ends),
        sequences_between(prepared, validation, starts, ends - 1, targets=ends - 1),
        sequences_between(prepared, test, starts, ends - 1, targets=ends - 1),
        prepared.info | info,
    )


def _drawn_users(
    prepared: PreparedInteractions, validation_share: float, test_share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The users of validation and of test, bool `[num_users]` each."""
    number = len(prepared.user_ids)
    order = first_by_hash(prepared.user_ids, number, seed)
    num_test, num_validation = round(test_share * number), round(validation_share * number)
    test, validation = np.zeros(number, dtype=bool), np.zeros(number, dtype=bool)
    # Test takes the first users, so that validation_share does not change who they are.
    test[order[:num_test]] = True
    validation[order[num_test : num_test + num_validation]] = True
    has_history_and_target = prepared.lengths >= 2
    return validation & has_history_and_target, test & has_history_and_target
