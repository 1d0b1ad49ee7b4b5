"""The checkpoints of a training run: which are complete, which is the best one, and which may be removed.

A folder that is called `checkpoint-N` is complete, because it got this name only when every process had finished
writing it ([`staged_folder`]). It can still be truncated afterwards, for example while being copied; the list of its
files' sizes reveals that.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from transformers.trainer_callback import TrainerState
from transformers.utils import logging

from ..storage.atomic import atomic_file
from ..storage.atomic_shared import is_whole, remove_folder
from ..storage.write_errors import write_errno
from .run_files import read_state

logger = logging.get_logger(__name__)

STATE_FILE = "trainer_state.json"
RUN_FILE = "run.json"
"""In the folder of a finished run: which checkpoint its result is from."""
_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def checkpoint_name(step: int) -> str:
    """Name of the folder of the checkpoint after this many optimizer steps."""
    return f"checkpoint-{step}"


def step_of(name: str) -> int:
    """Optimizer steps before a checkpoint, from its folder's name."""
    return int(name.removeprefix("checkpoint-"))


def is_checkpoint_name(name: object) -> bool:
    """Whether this is the name of a checkpoint's folder, and no path to elsewhere."""
    return isinstance(name, str) and _CHECKPOINT.fullmatch(name) is not None


def load_state(folder: Path) -> TrainerState:
    """The `TrainerState` that a checkpoint, or the folder of a finished run, holds.

    Raises:
        OSError: if there is none.
        ValueError: if it is damaged; the message names the file.
    """
    return read_state(folder / STATE_FILE)


def has_its_own_name(checkpoint: Path) -> bool:
    """Whether a complete checkpoint is called `checkpoint-N` for the step N of its state; a link to it may differ."""
    return checkpoint.resolve().name == f"checkpoint-{load_state(checkpoint).global_step}"


def is_complete(checkpoint: Path) -> bool:
    """Whether a folder holds every file of a checkpoint at its full size, and a state that can be read."""
    try:
        load_state(checkpoint)
    except (OSError, ValueError):
        return False
    return is_whole(checkpoint)


def checkpoints_in(folder: Path) -> list[Path]:
    """Folders named like checkpoints, complete or not, in the order of their steps."""
    if not folder.is_dir():
        return []
    matches = ((path, _CHECKPOINT.fullmatch(path.name)) for path in folder.iterdir() if path.is_dir())
    return [path for _, path in sorted((int(match[1]), path) for path, match in matches if match)]


def complete_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints of a folder, in the order of their steps. A warning names the others."""
    found = checkpoints_in(folder)
    complete = [path for path in found if is_complete(path)]
    for path in found:
        if path not in complete:
            logger.warning(f"{path} is not complete (files are missing or truncated) and is ignored.")
    return complete


def best_of(checkpoint: Path) -> Path | None:
    """The checkpoint beside this one that was the best when this one was written; `None` if there was none."""
    step = load_state(checkpoint).best_global_step
    return checkpoint.with_name(checkpoint_name(step)) if step else None


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint whose best one is complete too, or `None`.

    A run that resumes from a checkpoint still needs the best one: it may turn out to be the result.
    """
    complete = complete_checkpoints(folder)
    usable = [path for path in complete if best_of(path) in (None, *complete)]  # None: nothing was the best yet
    if len(usable) < len(complete):
        logger.warning(f"Checkpoints of {folder} whose best checkpoint is not complete are ignored.")
    return usable[-1] if usable else None


def holds_optimizer(checkpoint: Path) -> bool:
    """Whether a checkpoint has optimizer and schedule, under any of the names that the frameworks give them:
    `optimizer.pt`, FSDP's `optimizer.bin` or `optimizer_0/`, XLA's `rank0-of-8-optimizer.pt`, and DeepSpeed's `latest`,
    which names a folder with everything."""
    names = {path.name for path in checkpoint.iterdir()}
    return "latest" in names or ("scheduler.pt" in names and any("optimizer" in name for name in names))


def remove_later(checkpoint: Path) -> None:
    """Removes the checkpoints beside this one that have more steps, the last one first."""
    step = load_state(checkpoint).global_step
    # In this order a run that is killed meanwhile has no gap between the checkpoints that remain.
    for later in reversed(complete_checkpoints(checkpoint.parent)):
        if load_state(later).global_step > step:
            remove_folder(later)


def rotate_checkpoints(folder: Path, limit: int | None, best: Path | None) -> None:
    """Removes all checkpoints except the newest `limit`, the best one, and those that the remaining ones name as the
    best so far, without which a run could not resume from them. `None` keeps all."""
    if limit is None:
        return
    checkpoints = complete_checkpoints(folder)
    oldest_kept = max(len(checkpoints) - limit, 0)
    bests = [best, *map(best_of, checkpoints[oldest_kept:])]
    kept = {path.name for path in bests if path is not None}
    for path in checkpoints[:oldest_kept]:
        if path.name not in kept:
            remove_folder(path)


@contextmanager
def clear_write_errors(what: str, folder: Path) -> Iterator[None]:
    """Raises every error of writing as an `OSError`; torch and safetensors have types of their own for a full disk.

    Args:
        what: what is written; begins the message.
        folder: where the checkpoints of the run lie.

    Raises:
        OSError: if writing fails; the message says what could not be written, what is whole, and how to continue.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        code = write_errno(error) or errno.EIO
        why = "the disk is full: " if code in _FULL and "disk is full" not in str(error) else ""
        last = last_checkpoint(folder)
        kept = "No checkpoint had been written before" if last is None else f"{last}, the last one, is whole"
        raise OSError(
            code,
            f"{what} could not be written ({why}{error}). What was written before is whole. {kept}: make room, then "
            "continue with resume_from_checkpoint=True.",
        ) from error


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Writes a JSON file that appears whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
