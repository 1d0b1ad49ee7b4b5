"""Metrics as plain numbers, which logs, checkpoints and cards can hold whatever computed them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from numbers import Real

import numpy as np
import torch
from transformers.utils import logging

logger = logging.get_logger(__name__)

_OF_TRAINER = ("runtime", "samples_per_second", "steps_per_second")


def plain_metrics(found: object, *, taken: Collection[str], prefix: str = "eval") -> dict[str, float]:
    """What `compute_metrics` returned, as floats.

    Numbers of Python, numpy and torch are converted, truth values count as 1 and 0. A value that is not finite is
    missing: it is left out, and the first time a warning names it.

    Args:
        found: a mapping of names to numbers. A name may begin with `{prefix}_`, as in transformers.
        taken: names of the trainer's own metrics.
        prefix: of this evaluation.

    Raises:
        TypeError: if it is no such mapping; the message names the metric and its value.
        ValueError: if a name is one of the trainer's.
    """
    if not isinstance(found, Mapping):
        raise TypeError(f"compute_metrics must return a dictionary of numbers by name, got {type(found).__name__}.")
    metrics: dict[str, float] = {}
    for name, value in found.items():
        if not isinstance(name, str):
            raise TypeError(f"compute_metrics must name its metrics by text, got the name {name!r}.")
        short = name.removeprefix(f"{prefix}_")
        if short in taken or short in _OF_TRAINER or short in metrics:
            raise ValueError(f"compute_metrics returns {name!r}, a name that is taken already. Choose another.")
        number = _number(name, value)
        if math.isfinite(number):
            metrics[short] = number
        else:
            logger.warning_once(f"The metric {name!r} of compute_metrics is {number}, so it is left out.")
    return metrics


def _number(name: str, value: object) -> float:
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = value.detach().float().item() if value.is_floating_point() else value.item()
    elif isinstance(value, (np.ndarray, np.generic)) and value.size == 1:
        value = value.item()
    if isinstance(value, Real):
        return float(value)
    raise TypeError(
        f"compute_metrics must return numbers, got {value!r} ({type(value).__name__}) for {name!r}. Give each number a "
        "name of its own."
    )
