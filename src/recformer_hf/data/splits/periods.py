"""The split at two dates."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Literal

import numpy as np

from ..arrays import offsets_from_lengths, slice_indices
from ..dataset import Sequences, SequentialDataset
from ..polars_engine import pl
from ..preparation import EmptyResultError, PreparedInteractions
from ..readers.source import DataError
from ..readers.timestamps import parse_timestamps
from .arrays import sequences_between

Targets = Literal["first", "all"]
Moment = str | int | float


def temporal(
    prepared: PreparedInteractions,
    validation_from: Moment | None = None,
    test_from: Moment | None = None,
    *,
    targets: Targets = "first",
) -> SequentialDataset:
    """Split at two dates, the same for all users: training sees nothing that happened after the first date.

    Training sequences are users' interactions before `validation_from`. Validation targets lie between
    `validation_from` and `test_from`, test targets at `test_from` or later. The history of a target is what a service
    would have known: with `targets="first"` everything before the date, with "all" also the user's earlier interactions
    of the same period. A user without any interaction before a target has no history, and therefore no row; such
    targets are counted.

    Args:
        prepared: users' interactions in order.
        validation_from: first moment of validation: seconds since 1970, or a date or datetime as text ("2017-06-30",
            UTC). By default the time before which 80 % of all interactions lie.
        test_from: first moment of test; by default the time before which 90 % lie.
        targets: "first": a user's first interaction of each period; "all": each of them in a row of its own, so that a
            user may have several rows.

    Returns:
        the dataset.

    Raises:
        EmptyResultError: if one of the three parts is empty.
        DataError: if a date is unreadable, the dates are not in order, or the log has no times.
    """
    if not prepared.has_times:
        raise DataError(
            "A temporal split needs times, but the log was read without a column of times (timestamp_column=None). "
            "Name the column of times, or split by leave_one_out, cold_item or users_held_out."
        )
    if targets not in ("first", "all"):
        raise DataError(f'targets is {targets!r}; expected "first" or "all".')
    cuts = (
        _moment(prepared.timestamps, validation_from, 0.8, "validation_from"),
        _moment(prepared.timestamps, test_from, 0.9, "test_from"),
    )
    if cuts[0] >= cuts[1]:
        raise DataError(f"validation_from ({_date(cuts[0])}) must lie before test_from ({_date(cuts[1])}).")
    starts, ends = prepared.offsets[:-1], prepared.offsets[1:]
    # Times ascend within a user, so the interactions before a date are a prefix of the user's sequence.
    to_validation, to_test = (starts + _counts_of_users(prepared, prepared.timestamps < cut) for cut in cuts)
    train = sequences_between(prepared, to_validation > starts, starts, to_validation)
    validation, validation_lost = _period(prepared, to_validation, to_test, targets)
    test, test_lost = _period(prepared, to_test, ends, targets)
    _check_parts({"training": train, "validation": validation, "test": test}, prepared, cuts)
    info = prepared.info | _info(cuts, targets, validation_lost, test_lost)
    return SequentialDataset(prepared.catalog, train, validation, test, info)


def _moment(times: np.ndarray, given: Moment | None, share: float, name: str) -> int:
    """Seconds since 1970: the given moment, or the time before which a share of the interactions lies."""
    if given is None:
        # "higher" takes a time that occurs. The default would interpolate between two.
        return int(np.quantile(times, share, method="higher"))
    text = str(given)
    if isinstance(given, str) and re.fullmatch(r"\d{8}", text):  # 20170630 is a date, and no moment of August 1970
        text = f"{text[:4]}-{text[4:6]}-{text[6:]}"
    seconds: int | None = parse_timestamps(pl.Series([text])).item()
    if seconds is None:
        raise DataError(f'{name} is {given!r}; expected a date ("2017-06-30"), a datetime, or seconds since 1970.')
    return seconds


def _counts_of_users(prepared: PreparedInteractions, which: np.ndarray) -> np.ndarray:
    """How many of each user's interactions are chosen, int64 `[num_users]`; `which` is bool `[num_interactions]`."""
    before = offsets_from_lengths(which)
    counts: np.ndarray = before[prepared.offsets[1:]] - before[prepared.offsets[:-1]]
    return counts


def _period(
    prepared: PreparedInteractions, begin: np.ndarray, end: np.ndarray, targets: Targets
) -> tuple[Sequences, int]:
    """The rows of a period.

    Args:
        begin, end: int64 `[num_users]`, the positions of each user's interactions in the period.

    Returns:
        (the rows; number of targets that have no history).
    """
    starts = prepared.offsets[:-1]
    if targets == "first":
        active = end > begin
        rows = active & (begin > starts)
        return sequences_between(prepared, rows, starts, begin, targets=begin), int(active.sum() - rows.sum())
    users = np.repeat(np.arange(len(starts)), end - begin)
    positions = slice_indices(begin, end - begin)
    with_history = positions > starts[users]
    users, positions = users[with_history], positions[with_history]
    lost = int((~with_history).sum())
    return sequences_between(prepared, users, starts[users], positions, targets=positions), lost


def _check_parts(parts: dict[str, Sequences], prepared: PreparedInteractions, cuts: tuple[int, int]) -> None:
    for name, sequences in parts.items():
        if not len(sequences):
            raise EmptyResultError(
                f"No {name} sequence with validation from {_date(cuts[0])} and test from {_date(cuts[1])}: the "
                f"interactions lie from {_date(prepared.timestamps.min())} to {_date(prepared.timestamps.max())}. "
                "Choose other dates."
            )


def _info(cuts: tuple[int, int], targets: Targets, validation_lost: int, test_lost: int) -> dict[str, object]:
    which = "a user's first interaction" if targets == "first" else "every interaction"
    return {
        "protocol": (
            f"Temporal: training sequences end before {_date(cuts[0])}; {which} from then to before {_date(cuts[1])} "
            f"is a validation target, {which} from then on a test target, each with the user's whole past as history. "
            "Users without a past have no row."
        ),
        "split": {
            "name": "temporal",
            "validation_from": _date(cuts[0]),
            "test_from": _date(cuts[1]),
            "targets": targets,
            "validation_targets_without_history": validation_lost,
            "test_targets_without_history": test_lost,
        },
    }


def _date(seconds: int | np.integer) -> str:
    text = datetime.fromtimestamp(int(seconds), tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    return text.removesuffix(" 00:00:00")
