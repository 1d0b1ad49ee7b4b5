"""Data frames to a dataset in one call: reading, preparation and split."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

from .dataset import SequentialDataset
from .preparation import prepare
from .readers.frames import read_frames
from .splits import leave_one_out, low_resource, temporal, users_held_out

Split = Literal["leave_one_out", "temporal", "users_held_out"]

SPLITS: dict[str, Callable[..., SequentialDataset]] = {
    "leave_one_out": leave_one_out,
    "temporal": temporal,
    "users_held_out": users_held_out,
}


def dataset_from_frames(
    interactions: Any,
    items: Any,
    *,
    split: str = "leave_one_out",
    low_resource_share: float | None = None,
    name: str = "data frames",
    **options: Any,
) -> SequentialDataset:
    """See [`SequentialDataset.from_frames`].

    Args:
        options: arguments of `read_frames`, `prepare` and the split.
    """
    if split == "cold_item":
        raise ValueError(
            "cold_item gives two datasets. Call its parts: in_set, cold = cold_item(prepare(read_frames(interactions, "
            "items)), held_out_share=...), from recformer_hf.data.splits, .data.preparation and .data.readers.frames."
        )
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; expected one of {', '.join(map(repr, SPLITS))}.")
    reading, preparing, splitting = _options_of(read_frames), _options_of(prepare), _options_of(SPLITS[split])
    _refuse_unknown(options, reading | preparing | splitting, split)
    source = read_frames(interactions, items, **_chosen(options, reading))
    dataset = SPLITS[split](prepare(source, **_chosen(options, preparing)), **_chosen(options, splitting))
    if low_resource_share is not None:
        dataset = low_resource(dataset, low_resource_share, seed=options.get("seed", 0))
    dataset.info["name"] = name
    return dataset


def _options_of(function: Callable[..., Any]) -> set[str]:
    """The names of a function's arguments but for the data themselves."""
    return set(inspect.signature(function).parameters) - {"interactions", "items", "source", "prepared"}


def _chosen(options: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in names}


def _refuse_unknown(options: dict[str, Any], known: set[str], split: str) -> None:
    unknown = [name for name in options if name not in known]
    for name in unknown:
        others = [other for other, function in SPLITS.items() if name in _options_of(function)]
        if others:
            raise TypeError(f"{name} has no effect with split={split!r}; it is an argument of {' and '.join(others)}.")
    if unknown:
        raise TypeError(f"Unknown arguments {', '.join(unknown)}; known are {', '.join(sorted(known))}.")
