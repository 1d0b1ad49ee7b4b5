"""Splits of prepared interactions into training sequences, and histories with a target to evaluate on.

Every draw comes from a stable hash of ids and a seed, so that the same input gives the same split on every machine,
and a larger share contains a smaller one. Validation and test are never subsampled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from .arrays import offsets_from_lengths, slice_indices
from .dataset import Sequences, SequentialDataset
from .polars_engine import pl
from .preparation import EmptyResultError, PreparedInteractions
from .readers.source import DataError
from .readers.timestamps import parse_timestamps
from .split_arrays import (
    concatenated,
    joined_catalog,
    sequences_between,
    without_items,
)
from .stable_hash import first_by_hash


def leave_one_out(
    prepared: PreparedInteractions, *, short_users: Literal["train", "drop"] = "train"
) -> SequentialDataset:
    """The paper's split: a user's last item is the test target, the one before it validation's, the rest trains.

    The test history is the training sequence and the validation item.

    Args:
        prepared: users' interactions in order.
        short_users: users with one or two interactions have no room for all three parts: "train" keeps them whole as
            training sequences, so that no interaction is lost; "drop" leaves them out.

    Returns:
        the dataset.

    Raises:
        EmptyResultError: no user has three interactions.
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
    prepared: PreparedInteractions, short_users: Literal["train", "drop"]
) -> tuple[Sequences, Sequences, Sequences]:
    """Training sequences, and validation's and test's histories with targets."""
    if short_users not in ("train", "drop"):
        raise DataError(f'short_users is {short_users!r}; expected "train" or "drop".')
    starts, ends = prepared.offsets[:-1], prepared.offsets[1:]
    long = prepared.lengths >= 3
    if not long.any():
        raise EmptyResultError(
            f"None of {len(long):,} users has the three interactions that leave-one-out needs: a history, a validation "
            "item and a test item."
        )
    trained = long | (short_users == "train")
    return (
        sequences_between(prepared, trained, starts, np.where(long, ends - 2, ends)),
        sequences_between(prepared, long, starts, ends - 2, targets=ends - 2),
        sequences_between(prepared, long, starts, ends - 1, targets=ends - 1),
    )


def temporal(
    prepared: PreparedInteractions,
    validation_from: str | int | float | None = None,
    test_from: str | int | float | None = None,
    *,
    targets: Literal["first", "all"] = "first",
) -> SequentialDataset:
    """Split at two dates, the same for everybody: nothing that happened after the first date is trained on.

    Training sequences are users' interactions before `validation_from`. Validation targets lie from
    `validation_from` to before `test_from`, test targets from `test_from` on; their histories are everything before
    them that a service would have known (`targets="first"`: before the date; "all": also the user's earlier ones of
    the same period). A user without any interaction before a target has no history, and no row; they are counted.

    Args:
        prepared: users' interactions in order.
        validation_from: first moment of validation: seconds since 1970, a date or a datetime as text ("2017-06-30",
            UTC); or None for the time at which 80 % of all interactions are past.
        test_from: first moment of test; None for 90 %.
        targets: "first": a user's first interaction of each period; "all": each of them, a row apiece, so that a
            user may come in several rows.

    Returns:
        the dataset.

    Raises:
        EmptyResultError: one of the three parts is empty.
        DataError: the dates are unreadable or not in order.
    """
    if targets not in ("first", "all"):
        raise DataError(f'targets is {targets!r}; expected "first" or "all".')
    cuts = [
        _moment(prepared.timestamps, given, share, name)
        for given, share, name in ((validation_from, 0.8, "validation_from"), (test_from, 0.9, "test_from"))
    ]
    if cuts[0] >= cuts[1]:
        raise DataError(f"validation_from ({_date(cuts[0])}) must lie before test_from ({_date(cuts[1])}).")
    starts = prepared.offsets[:-1]
    # Times ascend within a user, so what lies before a date is a prefix of their sequence.
    to_validation, to_test = (starts + _counts_of_users(prepared, prepared.timestamps < cut) for cut in cuts)
    parts, without_history = {}, {}
    for name, begin, end in (("validation", to_validation, to_test), ("test", to_test, prepared.offsets[1:])):
        parts[name], without_history[name] = _period(prepared, begin, end, targets)
    train = sequences_between(prepared, to_validation > starts, starts, to_validation)
    for name, sequences in (("training", train), *parts.items()):
        if not len(sequences.user_ids):
            raise EmptyResultError(
                f"No {name} sequence with validation from {_date(cuts[0])} and test from {_date(cuts[1])}: the "
                f"interactions lie from {_date(prepared.timestamps.min())} to {_date(prepared.timestamps.max())}. "
                "Choose other dates."
            )
    which = "a user's first interaction" if targets == "first" else "every interaction"
    info = {
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
            "validation_targets_without_history": without_history["validation"],
            "test_targets_without_history": without_history["test"],
        },
    }
    return SequentialDataset(prepared.catalog, train, parts["validation"], parts["test"], prepared.info | info)


class ColdItemSplit(NamedTuple):
    """Two datasets that train alike and differ in their test rows: targets seen in training, and never seen."""

    in_set: SequentialDataset
    cold: SequentialDataset


def cold_item(prepared: PreparedInteractions, *, held_out_share: float = 0.0, seed: int = 0) -> ColdItemSplit:
    """Leave-one-out, its test rows in two as in the paper's table: targets seen in training (in-set) and never (cold).

    Without held-out items, cold are the targets that happen to occur in no training sequence: few in a 5-core. With
    `held_out_share` > 0 that share of the items is drawn and taken out of all training sequences and out of
    validation, so that every test row that asks for one is cold. Test histories stay whole in both.

    Args:
        prepared: users' interactions in order.
        held_out_share: share of the items, 0 to below 1, kept from training; a larger share contains a smaller one.
        seed: of the draw of items.

    Returns:
        (in_set, cold).

    Raises:
        EmptyResultError: one of the two has no test row, or training has no sequence.
    """
    if not 0 <= held_out_share < 1:
        raise DataError(f"held_out_share is {held_out_share}; expected 0 to below 1.")
    whole_train, whole_validation, test = _leave_one_out_parts(prepared, "train")
    held_out = np.zeros(len(prepared.catalog), dtype=bool)
    item_ids = prepared.catalog.table["item_id"]
    held_out[first_by_hash(item_ids, round(held_out_share * len(held_out)), seed)] = True
    train = without_items(whole_train, held_out)
    validation = without_items(whole_validation, held_out)
    seen = np.zeros(len(held_out), dtype=bool)
    seen[train.items] = True
    in_training = seen[np.asarray(test.targets)]
    for name, rows in (("in-set", in_training), ("cold", ~in_training)):
        if not rows.any():
            raise EmptyResultError(
                f"No {name} test row: of {len(rows):,} targets {int(in_training.sum()):,} occur in training. Hold out "
                f"{'fewer' if name == 'in-set' else 'more'} items (held_out_share is {held_out_share})."
            )
    datasets = []
    for name, rows in (("in-set", in_training), ("cold", ~in_training)):
        info = {
            "protocol": (
                f"Cold items, {name} rows: leave-one-out; the test rows are those whose target occurs in "
                f"{'at least one' if name == 'in-set' else 'no'} training sequence. "
                + (
                    f"{int(held_out.sum()):,} items, drawn, are taken out of training and validation. "
                    if held_out.any()
                    else ""
                )
                + "Training and validation are the same for in-set and cold; test histories are whole."
            ),
            "split": {
                "name": "cold_item",
                "rows": name,
                "held_out_share": held_out_share,
                "held_out_items": int(held_out.sum()),
            },
            "seed": seed,
        }
        datasets.append(
            SequentialDataset(
                prepared.catalog, train, validation, test.select(np.flatnonzero(rows)), prepared.info | info
            )
        )
    return ColdItemSplit(*datasets)


def users_held_out(
    prepared: PreparedInteractions, *, validation_share: float = 0.1, test_share: float = 0.1, seed: int = 0
) -> SequentialDataset:
    """Divide the users: training's are whole sequences, the others are only evaluated on, their last item the target.

    Args:
        prepared: users' interactions in order.
        validation_share: share of the users, 0 to 1, for validation.
        test_share: share of the users for test.
        seed: of the draw of users. Users with one interaction always train.

    Returns:
        the dataset.

    Raises:
        EmptyResultError: one of the three parts is empty.
    """
    if validation_share <= 0 or test_share <= 0 or validation_share + test_share >= 1:
        raise DataError(
            f"validation_share {validation_share} and test_share {test_share}: both must be above 0, their sum below 1."
        )
    starts, ends = prepared.offsets[:-1], prepared.offsets[1:]
    number = len(starts)
    drawn = first_by_hash(prepared.user_ids, number, seed)
    long_enough = prepared.lengths >= 2
    num_test, num_validation = round(test_share * number), round(validation_share * number)
    masks = {name: np.zeros(number, dtype=bool) for name in ("test", "validation")}
    masks["test"][drawn[:num_test]] = True
    masks["validation"][drawn[num_test : num_test + num_validation]] = True
    masks = {name: mask & long_enough for name, mask in masks.items()}
    masks["training"] = ~(masks["test"] | masks["validation"])
    for name, mask in masks.items():
        if not mask.any():
            raise EmptyResultError(f"No user is left for {name} of {number:,} users. Change the shares.")
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
    return SequentialDataset(
        prepared.catalog,
        sequences_between(prepared, masks["training"], starts, ends),
        sequences_between(prepared, masks["validation"], starts, ends - 1, targets=ends - 1),
        sequences_between(prepared, masks["test"], starts, ends - 1, targets=ends - 1),
        prepared.info | info,
    )


def low_resource(dataset: SequentialDataset, share: float, *, seed: int = 0) -> SequentialDataset:
    """The same dataset with a share of its training sequences; validation and test stay whole.

    Args:
        dataset: any split.
        share: of the training sequences, above 0 to 1; rounded up to a whole sequence. A larger share contains a
            smaller one; 1 keeps all, by the same way.
        seed: of the draw of users.

    Returns:
        the dataset; its training sequences stay in their order.
    """
    if not 0 < share <= 1:
        raise DataError(f"share is {share}; expected above 0 to 1 (0.05 is 5 %).")
    number = len(dataset.train.user_ids)
    kept = np.zeros(number, dtype=bool)
    # Rounded first: 0.07 * 100 is a little more than 7.
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


def by_domain(
    train: Mapping[str, PreparedInteractions], validation: Mapping[str, PreparedInteractions]
) -> SequentialDataset:
    """Several domains as one dataset for pretraining: some train with whole sequences, others validate with their
    last item.

    A user of two domains is two sequences, `user/domain`. An item of two domains is one row, with the first one's text.

    Args:
        train: name -> domain whose whole sequences train.
        validation: name -> domain whose sequences validate, the last item the target.

    Returns:
        the dataset, without test.
    """
    if not train:
        raise DataError("No domain to train on.")
    domains = {**train, **validation}
    if len(domains) < len(train) + len(validation):
        raise DataError(f"A domain both trains and validates: {sorted(set(train) & set(validation))}.")
    catalog, rows_of = joined_catalog({name: domain.catalog for name, domain in domains.items()})
    parts: dict[str, list[Sequences]] = {"train": [], "validation": []}
    for name, domain in domains.items():
        starts, ends = domain.offsets[:-1], domain.offsets[1:]
        ids = pa.array([f"{user}/{name}" for user in domain.user_ids.to_pylist()], pa.large_string())
        moved = replace(domain, user_ids=ids, items=rows_of[name][domain.items], catalog=catalog)
        if name in train:
            parts["train"].append(sequences_between(moved, ends > starts, starts, ends))
        else:
            parts["validation"].append(sequences_between(moved, ends > starts + 1, starts, ends - 1, targets=ends - 1))
    number = sum(len(domain.items) for domain in domains.values())
    tied = (
        sum(domain.info.get("share_tied_timestamps", 0.0) * len(domain.items) for domain in domains.values()) / number
    )
    info = {
        "protocol": (
            f"By domain: whole sequences of {', '.join(train)} train"
            + (f"; of {', '.join(validation)} the last item is the validation target." if validation else ".")
            + " A user of two domains is two sequences."
        ),
        "split": {"name": "by_domain", "train": list(train), "validation": list(validation)},
        "source": "; ".join(str(domain.info.get("source", name)) for name, domain in domains.items()),
        "share_tied_timestamps": tied,
        "domains": {name: domain.info for name, domain in domains.items()},
    }
    joined = {name: concatenated(sequences) for name, sequences in parts.items() if sequences}
    return SequentialDataset(catalog, joined["train"], joined.get("validation"), None, info)


def _counts_of_users(prepared: PreparedInteractions, which: np.ndarray) -> np.ndarray:
    """How many of each user's interactions are chosen, int64 `[num_users]`; `which` bool `[num_interactions]`."""
    before = offsets_from_lengths(which)
    return before[prepared.offsets[1:]] - before[prepared.offsets[:-1]]


def _period(
    prepared: PreparedInteractions, begin: np.ndarray, end: np.ndarray, targets: Literal["first", "all"]
) -> tuple[Sequences, int]:
    """The rows of a period that is `begin` to `end` of each user's positions, and how many targets have no history."""
    starts = prepared.offsets[:-1]
    if targets == "first":
        active = end > begin
        rows = active & (begin > starts)
        return sequences_between(prepared, rows, starts, begin, targets=begin), int(active.sum() - rows.sum())
    numbers = np.repeat(np.arange(len(starts)), end - begin)
    positions = slice_indices(begin, end - begin)
    with_history = positions > starts[numbers]
    lost = int((~with_history).sum())
    numbers, positions = numbers[with_history], positions[with_history]
    return sequences_between(prepared, numbers, starts[numbers], positions, targets=positions), lost


def _moment(times: np.ndarray, given: str | int | float | None, share: float, name: str) -> int:
    """A date as seconds since 1970: as given, or the time at which a share of the interactions is past."""
    if given is None:
        return int(np.quantile(times, share, method="higher"))
    seconds = parse_timestamps(pl.Series([str(given)])).item()
    if seconds is None:
        raise DataError(f'{name} is {given!r}; expected a date ("2017-06-30"), a datetime, or seconds since 1970.')
    return seconds


def _date(seconds: int | np.integer) -> str:
    text = datetime.fromtimestamp(int(seconds), tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    return text.removesuffix(" 00:00:00")
