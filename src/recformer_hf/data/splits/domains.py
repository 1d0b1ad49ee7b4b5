"""Several domains as one dataset for pretraining."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from ...items.catalog import ItemCatalog
from ..dataset import Sequences, SequentialDataset
from ..preparation import PreparedInteractions
from ..readers.source import DataError
from .arrays import concatenated, joined_catalog, sequences_between


def by_domain(
    train: Mapping[str, PreparedInteractions], validation: Mapping[str, PreparedInteractions]
) -> SequentialDataset:
    """Join several domains: some train with whole sequences, the others validate with their users' last items.

    A user of two domains becomes two sequences, `user/domain`. An item of two domains becomes one row, with the text of
    the first one.

    Args:
        train: name -> domain whose whole sequences train.
        validation: name -> domain whose sequences validate, with the last item as the target.

    Returns:
        the dataset, without a test split.

    Raises:
        DataError: if there is no domain to train on, or one of them both trains and validates.
    """
    if not train:
        raise DataError("No domain to train on; expected at least one.")
    domains = {**train, **validation}
    if len(domains) < len(train) + len(validation):
        raise DataError(f"Domains that both train and validate: {sorted(set(train) & set(validation))}; expected none.")
    catalog, rows_of = joined_catalog({name: domain.catalog for name, domain in domains.items()})
    whole = [_whole_sequences(_in_catalog(name, train[name], catalog, rows_of[name])) for name in train]
    last = [_last_items(_in_catalog(name, validation[name], catalog, rows_of[name])) for name in validation]
    return SequentialDataset(
        catalog, concatenated(whole), concatenated(last) if last else None, None, _info(train, validation)
    )


def _in_catalog(
    name: str, domain: PreparedInteractions, catalog: ItemCatalog, rows: np.ndarray
) -> PreparedInteractions:
    """A domain over the joined catalogue; `rows`, int32 `[num_items]`, are its items' rows there."""
    # With the plain ids, a user of two domains would have two training sequences, which `SequentialDataset` refuses.
    user_ids = pa.array([f"{user}/{name}" for user in domain.user_ids.to_pylist()], pa.large_string())
    return replace(domain, user_ids=user_ids, items=rows[domain.items], catalog=catalog)


def _whole_sequences(domain: PreparedInteractions) -> Sequences:
    starts, ends = domain.offsets[:-1], domain.offsets[1:]
    return sequences_between(domain, ends > starts, starts, ends)


def _last_items(domain: PreparedInteractions) -> Sequences:
    starts, ends = domain.offsets[:-1], domain.offsets[1:]
    return sequences_between(domain, ends > starts + 1, starts, ends - 1, targets=ends - 1)


def _info(
    train: Mapping[str, PreparedInteractions], validation: Mapping[str, PreparedInteractions]
) -> dict[str, object]:
    domains = {**train, **validation}
    number = sum(len(domain.items) for domain in domains.values())
    shares = [(domain.info.get("share_tied_timestamps", 0.0), len(domain.items)) for domain in domains.values()]
    # A domain without times has no share, and so the whole has none.
    tied = None if any(share is None for share, _ in shares) else sum(share * count for share, count in shares) / number
    orders = {domain.info["order"] for domain in domains.values() if not domain.has_times}
    return {
        "protocol": (
            f"By domain: whole sequences of {', '.join(train)} train"
            + (f"; of {', '.join(validation)} the last item is the validation target." if validation else ".")
            + " A user of two domains is two sequences."
        ),
        "split": {"name": "by_domain", "train": list(train), "validation": list(validation)},
        "source": "; ".join(str(domain.info.get("source", name)) for name, domain in domains.items()),
        "share_tied_timestamps": tied,
        **({"order": "; ".join(sorted(orders))} if orders else {}),
        "domains": {name: domain.info for name, domain in domains.items()},
    }
