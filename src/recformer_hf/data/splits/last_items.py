"""Splits whose targets are users' last items: leave-one-out, and its test rows with and without cold targets."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from ..dataset import Sequences, SequentialDataset
from ..preparation import EmptyResultError, PreparedInteractions
from ..readers.source import DataError
from ..sequences import whole_number
from ..stable_hash import first_by_hash
from .arrays import sequences_between, without_items

ShortUsers = Literal["train", "drop"]


def leave_one_out(prepared: PreparedInteractions, *, short_users: ShortUsers = "train") -> SequentialDataset:
    """The paper's split: a user's last item is the test target, the one before it the validation target; the others
    train.

    The test history is the training sequence and the validation item.

    Args:
        prepared: users' interactions in order.
        short_users: what to do with users of one or two interactions, which are too few for all three parts: "train"
            keeps them whole as training sequences, so that no interaction is lost; "drop" removes them.

    Returns:
        the dataset.

    Raises:
        EmptyResultError: if no user has three interactions.
        DataError: for an unknown value of `short_users`.
    """
    if short_users not in ("train", "drop"):
        raise DataError(f'short_users is {short_users!r}; expected "train" or "drop".')
    train, validation, test = _leave_one_out_parts(prepared, short_users)
    info = {
        "protocol": (
            "Leave-one-out: of every user with at least three interactions the last item is the test target, the one "
            "before it the validation target, and those before it the training sequence; the test history includes the "
            f"validation item. Shorter users {'only train' if short_users == 'train' else 'are left out'}."
        ),
        "split": {
            "name": "leave_one_out",
            "short_users": short_users,
            "users_shorter_than_three": len(prepared.user_ids) - len(test),
        },
    }
    return SequentialDataset(prepared.catalog, train, validation, test, prepared.info | info)


def _leave_one_out_parts(
    prepared: PreparedInteractions, short_users: ShortUsers
) -> tuple[Sequences, Sequences, Sequences]:
    """Training sequences, and the histories with targets of validation and test."""
    starts, ends = prepared.offsets[:-1], prepared.offsets[1:]
    long = prepared.lengths >= 3
    if not long.any():
        raise EmptyResultError(
            f"None of {len(long):,} users has the three interactions that leave-one-out needs: a history, a validation "
            "item and a test item."
        )
    trained = long | (short_users == "train")
    return (
        # Short users have no targets, so all of their items train.
        sequences_between(prepared, trained, starts, np.where(long, ends - 2, ends)),
        sequences_between(prepared, long, starts, ends - 2, targets=ends - 2),
        sequences_between(prepared, long, starts, ends - 1, targets=ends - 1),
    )


class ColdItemSplit(NamedTuple):
    """Two datasets with the same training and different test rows: targets seen in training, and never seen."""

    in_set: SequentialDataset
    cold: SequentialDataset


def cold_item(prepared: PreparedInteractions, *, held_out_share: float = 0.0, seed: int = 0) -> ColdItemSplit:
    """Leave-one-out with its test rows in two parts, as in the paper's table: targets seen in training (in-set), and
    never seen (cold).

    Without held-out items, the cold targets are those that happen to occur in no training sequence; a 5-core has few of
    them. With `held_out_share` > 0, that share of the items is drawn and removed from all training sequences and from
    validation, so that every test row with such a target is cold. Test histories stay whole in both parts.

    Args:
        prepared: users' interactions in order.
        held_out_share: share of the items, at least 0 and below 1, that is removed from training; a larger share
            contains a smaller one.
        seed: seed for the draw of items.

    Returns:
        (in_set, cold).

    Raises:
        EmptyResultError: if one of the two has no test row, or training has no sequence.
        DataError: if the share is out of its range.
    """
    seed, held_out_share = whole_number(seed, "seed"), float(held_out_share)
    if not 0 <= held_out_share < 1:
        raise DataError(f"held_out_share is {held_out_share}; expected at least 0 and below 1.")
    train, validation, test = _leave_one_out_parts(prepared, "train")
    held_out = _drawn_items(prepared, held_out_share, seed)
    train, validation = without_items(train, held_out), without_items(validation, held_out)
    in_training = _targets_in(train, test, len(held_out))
    rows = {"in-set": in_training, "cold": ~in_training}
    for name, chosen in rows.items():
        if not chosen.any():
            raise EmptyResultError(
                f"No {name} test row: of {len(chosen):,} targets {int(in_training.sum()):,} occur in training. Hold "
                f"out {'fewer' if name == 'in-set' else 'more'} items (held_out_share is {held_out_share})."
            )
    datasets = []
    for name, chosen in rows.items():
        info = prepared.info | _cold_item_info(name, held_out_share, int(held_out.sum()), seed)
        part = test.select(np.flatnonzero(chosen))
        datasets.append(SequentialDataset(prepared.catalog, train, validation, part, info))
    return ColdItemSplit(*datasets)


def _drawn_items(prepared: PreparedInteractions, share: float, seed: int) -> np.ndarray:
    """Which items are drawn, bool `[num_items]`."""
    drawn = np.zeros(len(prepared.catalog), dtype=bool)
    drawn[first_by_hash(prepared.catalog.table["item_id"], round(share * len(drawn)), seed)] = True
    return drawn


def _targets_in(train: Sequences, test: Sequences, num_items: int) -> np.ndarray:
    """Whether each test target occurs in a training sequence, bool `[num_test_rows]`."""
    seen = np.zeros(num_items, dtype=bool)
    seen[train.items] = True
    in_training: np.ndarray = seen[np.asarray(test.targets)]
    return in_training


def _cold_item_info(name: str, held_out_share: float, num_held_out: int, seed: int) -> dict[str, object]:
    held_out = f"{num_held_out:,} items, drawn, are taken out of training and validation. " if num_held_out else ""
    return {
        "protocol": (
            f"Cold items, {name} rows: leave-one-out; the test rows are those whose target occurs in "
            f"{'at least one' if name == 'in-set' else 'no'} training sequence. {held_out}"
            "Training and validation are the same for in-set and cold; test histories are whole."
        ),
        "split": {
            "name": "cold_item",
            "rows": name,
            "held_out_share": held_out_share,
            "held_out_items": num_held_out,
        },
        "seed": seed,
    }
