"""Checkpoints that are there whole or not at all, on any number of processes.

`staged_folder` gives a hidden sibling to write to, `.checkpoint-40.partial`; it is flushed to disk and renamed to
`checkpoint-40` when every process is done. A run that dies meanwhile leaves the sibling, which nobody reads and the
next write removes; a checkpoint to delete is renamed away before its files go. So whatever is called `checkpoint-N` is
complete, unless somebody else cut it short in copying: a list of its files and their sizes tells (`is_complete`).
"""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from transformers.trainer_callback import TrainerState
from transformers.utils import logging

from ..storage.atomic import atomic_file, flush_to_disk

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.get_logger(__name__)

STATE_FILE = "trainer_state.json"
SIZES_FILE = "checkpoint_files.json"
"""Size in bytes of every other file of a checkpoint."""
RUN_FILE = "run.json"
"""In the folder of a run that is done: which checkpoint its result is from."""
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_PARTIAL, _REMOVED = "partial", "removed"


@contextmanager
def staged_folder(folder: Path, accelerator: Accelerator) -> Iterator[Path]:
    """Gives all processes one hidden folder to fill; it becomes `folder` when the block ends on all of them.

    Args:
        folder: what to write; one of that name is replaced.
        accelerator: of the run; its main process makes, flushes and renames.

    Yields:
        The folder to write to, the same on every process of a machine.

    Raises:
        OSError: if it cannot be written (a full disk); nothing half-written stays, what was there stays.
    """
    staging = folder.with_name(f".{folder.name}.{_PARTIAL}")
    if accelerator.is_main_process:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder.parent)
        staging.mkdir()
    accelerator.wait_for_everyone()
    try:
        yield staging
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            sizes = {path.relative_to(staging).as_posix(): path.stat().st_size for path in _files(staging)}
            (staging / SIZES_FILE).write_text(json.dumps(sizes, indent=2) + "\n", "utf-8")
            for path in (*staging.rglob("*"), staging):
                flush_to_disk(path)
            remove_folder(folder)
            staging.rename(folder)
            flush_to_disk(folder.parent)
    except BaseException:
        if accelerator.is_main_process:
            shutil.rmtree(staging, ignore_errors=True)
        raise
    accelerator.wait_for_everyone()


@contextmanager
def staged_files(folder: Path, accelerator: Accelerator) -> Iterator[Path]:
    """Gives all processes one hidden folder to fill; its files move into `folder`, each whole, when the block ends.

    Args, yields, raises: as in [`staged_folder`]; what else is in `folder` stays.
    """
    staging = folder / f".result.{_PARTIAL}"
    if accelerator.is_main_process:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
    accelerator.wait_for_everyone()
    try:
        yield staging
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            for path in _files(staging):
                flush_to_disk(path)
                target = folder / path.relative_to(staging)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
            flush_to_disk(folder)
    finally:
        if accelerator.is_main_process:
            shutil.rmtree(staging, ignore_errors=True)
    accelerator.wait_for_everyone()


@contextmanager
def clear_write_errors(what: str) -> Iterator[None]:
    """Gives every error of writing the same form; torch and safetensors have errors of their own for a full disk.

    Raises:
        OSError: saying what could not be written, and how to go on.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        raise OSError(
            getattr(error, "errno", None) or errno.EIO,
            f"{what} could not be written ({error}). What was written before is whole: make room, then go on with "
            "resume_from_checkpoint.",
        ) from error


def remove_folder(folder: Path) -> None:
    """Removes a folder under another name, so that nobody takes what is left for the whole. None is fine."""
    if folder.exists():
        removed = folder.with_name(f".{folder.name}.{_REMOVED}")
        shutil.rmtree(removed, ignore_errors=True)
        folder.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Removes what a killed run was writing to a folder, or removing from it."""
    for leftover in (*folder.glob(f".*.{_PARTIAL}"), *folder.glob(f".*.{_REMOVED}")):
        shutil.rmtree(leftover, ignore_errors=True)


def complete_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints of a run's folder, those of fewer steps first; others are named in a log line."""
    found = _checkpoints(folder)
    complete = [path for path in found if is_complete(path)]
    for path in found:
        if path not in complete:
            logger.warning(f"{path} is not complete (files are missing or cut short): ignored.")
    return complete


def _checkpoints(folder: Path) -> list[Path]:
    """What a run's folder holds under a checkpoint's name, those of fewer steps first."""
    if not folder.is_dir():
        return []
    matches = ((path, _CHECKPOINT.fullmatch(path.name)) for path in folder.iterdir() if path.is_dir())
    return [path for _, path in sorted((int(match[1]), path) for path, match in matches if match)]


def best_of(checkpoint: Path) -> Path | None:
    """The checkpoint beside it that was the best one then; `None` if none was."""
    step = load_state(checkpoint).best_global_step
    return checkpoint.with_name(f"checkpoint-{step}") if step else None


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint whose best one is complete too: what a run goes on from. `None`: there is none."""
    complete = complete_checkpoints(folder)
    whole = [path for path in complete if best_of(path) in (None, *complete)]
    if len(whole) < len(complete):
        logger.warning(f"Checkpoints of {folder} whose best checkpoint is not complete are ignored.")
    return whole[-1] if whole else None


def checkpoint_to_go_on_from(folder: Path) -> Path | None:
    """As [`last_checkpoint`], but what was trained is not silently trained again where it cannot be used.

    Raises:
        ValueError: if there are checkpoints, and none from which to go on.
    """
    chosen = last_checkpoint(folder)
    found = [path.name for path in _checkpoints(folder)]
    if chosen is None and found:
        raise ValueError(
            f"{folder} holds checkpoints ({', '.join(found[:3])}), but a run can go on from none of them: each, or the "
            f"best one that it refers to, is not complete. Put what is missing back, or remove {folder} to start over."
        )
    return chosen


def check_best(checkpoint: Path) -> None:
    """Refuses a checkpoint whose best one is gone: its run would end without the weights that it is to give.

    Raises:
        ValueError: naming the one that is missing.
    """
    best = best_of(checkpoint)
    if best is not None and not is_complete(best):
        raise ValueError(
            f"{checkpoint} refers to {best.name} as the best one so far, which is not complete. Put it back, or name "
            "another checkpoint."
        )


def holds_optimizer(checkpoint: Path) -> bool:
    """Whether optimizer and schedule were saved too: `optimizer.pt`, or what FSDP (`optimizer.bin`, `optimizer_0/`),
    XLA (`rank0-of-8-optimizer.pt`) and DeepSpeed (whose `latest` names a folder of all) make of it."""
    names = {path.name for path in checkpoint.iterdir()}
    return "latest" in names or ("scheduler.pt" in names and any("optimizer" in name for name in names))


def check_optimizer(checkpoint: Path) -> None:
    """Refuses a checkpoint of `save_only_model`, after which transformers would begin the schedule anew.

    Raises:
        ValueError: if there is no optimizer in it.
    """
    if not holds_optimizer(checkpoint):
        raise ValueError(
            f"{checkpoint} has no optimizer and schedule (save_only_model=True), so training cannot go on from it. "
            "Begin a new run in another output_dir; its model may be the one of this checkpoint."
        )


def remove_later(checkpoint: Path) -> None:
    """Removes the checkpoints beside this one that have more steps."""
    step = load_state(checkpoint).global_step
    for later in reversed(complete_checkpoints(checkpoint.parent)):
        if load_state(later).global_step > step:
            remove_folder(later)


def asked_to_resume(resume: str | bool | None) -> str | bool | None:
    """What `resume_from_checkpoint` says, from a command line too, where booleans are words."""
    return {"true": True, "false": False}.get(str(resume).lower(), resume)


def is_complete(checkpoint: Path) -> bool:
    """Whether a folder holds every file of a checkpoint at its full size, and a state that can be read."""
    try:
        sizes = json.loads((checkpoint / SIZES_FILE).read_text("utf-8"))
        load_state(checkpoint)
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, TypeError, AttributeError):
        return False


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def load_state(checkpoint: Path) -> TrainerState:
    return TrainerState.load_from_json(str(checkpoint / STATE_FILE))


def rotate_checkpoints(folder: Path, limit: int | None, best: Path | None) -> None:
    """Removes all but the newest `limit` checkpoints, the best one, and what was the best one at those that stay, from
    which nobody could go on without it; `None` keeps all."""
    if limit is None:
        return
    checkpoints = complete_checkpoints(folder)
    oldest_kept = max(len(checkpoints) - limit, 0)
    bests = [best, *map(best_of, checkpoints[oldest_kept:])]
    kept = {path.name for path in bests if path is not None}
    for path in checkpoints[:oldest_kept]:
        if path.name not in kept:
            remove_folder(path)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a file that is there whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
