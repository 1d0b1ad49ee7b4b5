"""How a run starts in its folder: from scratch, from the last complete checkpoint, or from one that the caller names.

A run never overwrites another one, and nothing is removed before everything that could be refused has been checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers.utils import logging

from ..storage.atomic_shared import Processes, remove_folder
from .checkpoints import (
    RUN_FILE,
    best_of,
    checkpoints_in,
    has_its_own_name,
    holds_optimizer,
    is_complete,
    last_checkpoint,
    remove_later,
)
from .run_files import check_contents

logger = logging.get_logger(__name__)


def asked_to_resume(resume: str | bool | None) -> str | bool:
    """Whether to resume, or the checkpoint to resume from. A command line gives booleans as words.

    >>> asked_to_resume("True"), asked_to_resume(None), asked_to_resume("run/checkpoint-40")
    (True, False, 'run/checkpoint-40')
    """
    if resume is None:
        return False
    return {"true": True, "false": False}.get(str(resume).lower(), resume)


@dataclass(frozen=True)
class RunFolder:
    """The `output_dir` of a run, and where in it the checkpoints lie.

    Args:
        path: the folder.
        parts: names of the folders in it that hold checkpoints, in the order in which they are trained; if empty, the
            checkpoints lie in `path` itself.
        traces: glob patterns of what a run that has begun leaves behind, besides `run.json`.
        part_file: name of a file that is in each part that is finished.
    """

    path: Path
    parts: Sequence[str] = ()
    traces: Sequence[str] = ()
    part_file: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the run in it is finished."""
        return (self.path / RUN_FILE).is_file()

    def start(
        self,
        resume: str | bool | None,
        processes: Processes,
        *,
        is_done: Callable[[Path], bool],
        removes: bool,
        check: Callable[[Path], None] | None = None,
    ) -> bool:
        """Decides whether the run begins or resumes. All processes call it.

        Args:
            resume: as the caller of `train` gave it (`resume_from_checkpoint`).
            processes: the processes of the run.
            is_done: tells whether training ends at a checkpoint, by the present settings.
            removes: whether this process removes what came after a checkpoint that the caller names.
            check: raises if the present settings and data do not fit a checkpoint that the caller names.

        Returns:
            Whether to continue with what the folder holds. What the run wrote after a named checkpoint is removed, so
            that it is the last one ([`checkpoint_to_resume_from`]).

        Raises:
            FileExistsError: if the folder holds a run already and the caller does not want to resume.
            ValueError: if the run cannot go back to the named checkpoint; the folder is then as it was.
        """
        resume = asked_to_resume(resume)
        if resume is False:
            self._refuse_used()
        if isinstance(resume, bool):
            return resume
        # Everything is checked before anything is removed.
        checkpoint = Path(resume)
        self._refuse_foreign(checkpoint)
        check_best(checkpoint)
        if check is not None:
            check(checkpoint)
        if not is_done(checkpoint):
            check_optimizer(checkpoint)
        check_contents(checkpoint)
        processes.wait_for_everyone()  # no process may still be checking when files are removed
        if removes:
            self._go_back_to(checkpoint)
        processes.wait_for_everyone()
        return True

    def _refuse_used(self) -> None:
        found = [path.name for pattern in (RUN_FILE, *self.traces) for path in sorted(self.path.glob(pattern))]
        if found:
            state = "a finished run" if RUN_FILE in found else "a run that was begun"
            raise FileExistsError(
                f"{self.path} holds {state} ({', '.join(found[:3])}). Choose another output_dir, resume the run "
                "(resume_from_checkpoint=True, on the command line --resume_from_checkpoint true), or remove it."
            )

    def _refuse_foreign(self, checkpoint: Path) -> None:
        # A run resumes from its last `checkpoint-N`: it would not find a renamed one, and begin elsewhere.
        if not is_complete(checkpoint) or self._part_of(checkpoint) < 0 or not has_its_own_name(checkpoint):
            expected = " or ".join(f"{folder}/checkpoint-N" for folder in self._folders)
            raise ValueError(
                f"{checkpoint} is not a complete checkpoint of this run: expected {expected}. "
                "resume_from_checkpoint=True finds the last one."
            )

    @property
    def _folders(self) -> list[Path]:
        return [self.path / part for part in self.parts] or [self.path]

    def _part_of(self, checkpoint: Path) -> int:
        """Which of the folders holds a checkpoint, from 0; -1 if none does."""
        # The caller may name the checkpoint by another path to the same folder.
        folders = [folder.resolve() for folder in self._folders]
        folder = checkpoint.parent.resolve()
        return folders.index(folder) if folder in folders else -1

    def _go_back_to(self, checkpoint: Path) -> None:
        """Removes what a run wrote after one of its checkpoints."""
        # First of all: this file says that everything else is there.
        (self.path / RUN_FILE).unlink(missing_ok=True)
        for later in self.parts[self._part_of(checkpoint) + 1 :]:
            remove_folder(self.path / later)
        if self.part_file is not None:
            (checkpoint.parent / self.part_file).unlink(missing_ok=True)
        remove_later(checkpoint)


def checkpoint_to_resume_from(folder: Path) -> Path | None:
    """The last usable checkpoint of a folder, or `None` if the folder has no checkpoint at all.

    Raises:
        ValueError: if there are checkpoints, but none is usable. Beginning again would silently repeat the work.
    """
    chosen = last_checkpoint(folder)
    found = [path.name for path in checkpoints_in(folder)]
    if chosen is None and found:
        raise ValueError(
            f"{folder} holds checkpoints ({', '.join(found[:3])}), but a run cannot resume from any of them: each, or "
            "the best one that it refers to, is not complete. Put the missing files back, or remove "
            f"{folder} to start over."
        )
    if chosen is not None:
        logger.info(f"Resuming from {chosen}.")
    return chosen


def check_best(checkpoint: Path) -> None:
    """Refuses a checkpoint whose best one is missing: its run could end without the weights that are its result.

    Raises:
        ValueError: if it is missing; the message names it.
    """
    best = best_of(checkpoint)
    if best is not None and not is_complete(best):
        raise ValueError(
            f"{checkpoint} refers to {best.name} as the best one so far, which is not complete. Put it back, or name "
            "another checkpoint."
        )


def check_optimizer(checkpoint: Path) -> None:
    """Refuses a checkpoint of `save_only_model`, with which transformers would silently restart the schedule.

    Raises:
        ValueError: if it has no optimizer.
    """
    if not holds_optimizer(checkpoint):
        raise ValueError(
            f"{checkpoint} has no optimizer and schedule (save_only_model=True), so training cannot continue from it. "
            "Start a new run in another output_dir, with the model of this checkpoint if you like."
        )
