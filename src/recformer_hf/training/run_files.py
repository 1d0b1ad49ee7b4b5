"""Reading what a run left in its folder: files that somebody may have damaged or made up, checked before they are used.

Every error is a `ValueError` that names the file. Nothing is removed or written then.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.trainer_callback import TrainerState

_NUMBER = (int, float)


def read_object(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object.

    Raises:
        ValueError: if it does not; the message names it.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        raise ValueError(f"{path} is damaged: it cannot be read as JSON ({error}).") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: it should hold a JSON object, not a {type(found).__name__}.")
    return found


def read_rows(path: Path) -> list[dict[str, Any]]:
    """A file of JSON lines, each an object with a `step`; without the file, none.

    Raises:
        ValueError: the message names file and line.
    """
    rows: list[dict[str, Any]] = []
    lines = path.read_bytes().splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {number} is damaged: it cannot be read as JSON ({error}).") from error
        if not isinstance(row, dict) or not _is_count(row.get("step")):
            raise ValueError(f"{path}, line {number} is damaged: it should hold an object with the number of a step.")
        rows.append(row)
    return rows


def expect(path: Path, content: Mapping[str, Any], name: str, holds: bool, expected: str) -> None:
    """Raises `ValueError` unless a value of a file holds what is expected."""
    if not holds:
        found = "is missing" if name not in content else f"is {content[name]!r:.100}"
        raise ValueError(f"{path} is damaged: {name} {found}, expected {expected}.")


def is_log(value: object) -> bool:
    """Whether this is a log as in `TrainerState`: objects with a step each."""
    return isinstance(value, list) and all(isinstance(entry, dict) and _is_count(entry.get("step")) for entry in value)


def read_state(path: Path) -> TrainerState:
    """A `trainer_state.json`.

    Raises:
        OSError: if it cannot be opened.
        ValueError: if it holds something else.
    """
    content = read_object(path)
    known = {each.name for each in fields(TrainerState)}
    strange = sorted(content.keys() - known)
    if strange:
        raise ValueError(f"{path} has {strange[0]!r}, which this version of transformers does not know.")
    for name in ("global_step", "best_global_step", "max_steps", "num_train_epochs", "train_batch_size"):
        value = content.get(name, 0)
        whole = _is_count(value) or (value is None and name in ("best_global_step", "train_batch_size"))
        expect(path, content, name, whole, "a number of at least 0")
    for name in ("epoch", "best_metric", "total_flos", "num_input_tokens_seen"):
        value = content.get(name, 0)
        expect(path, content, name, value is None or _is_number(value), "a number")
    expect(path, content, "log_history", is_log(content.get("log_history") or []), "a list of entries with a step each")
    callbacks = content.get("stateful_callbacks") or {}
    expect(path, content, "stateful_callbacks", isinstance(callbacks, dict), "an object")
    return TrainerState(**content)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    return isinstance(value, _NUMBER) and not isinstance(value, bool)


def is_loss(value: object) -> bool:
    """Whether this is a number as a loss is; NaN counts, for a run that trained no step."""
    return _is_number(value) and (math.isnan(value) or math.isfinite(value))  # type: ignore[arg-type]


def check_contents(checkpoint: Path) -> None:
    """Refuses a checkpoint whose weights, optimizer, schedule or random state cannot be read.

    Pickles are read without running anything in them, and large tensors stay on disk.

    Raises:
        ValueError: the message names the file.
    """
    for path in sorted(checkpoint.glob("*.safetensors")):
        with naming_damage(path), safe_open(path, "pt") as file:
            list(file.keys())
    for path in sorted([*checkpoint.glob("*.pt"), *checkpoint.glob("*.pth")]):
        with naming_damage(path):
            if not zipfile.is_zipfile(path):
                raise ValueError("it is no file of torch.save")
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged:
                raise ValueError(f"{damaged} in it has another checksum")
            if path.suffix == ".pt":  # random states hold arrays of numpy, which only transformers allows
                torch.load(path, map_location="cpu", weights_only=True, mmap=True)


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Raises the errors of reading a file or a checkpoint as a `ValueError` that names it."""
    try:
        yield
    except (
        ValueError, RuntimeError, KeyError, TypeError, AttributeError, EOFError, UnpicklingError, SafetensorError,
        zipfile.BadZipFile,
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path} is damaged or was not written by this run: it cannot be read ({reason}).") from error
