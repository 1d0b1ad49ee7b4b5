"""The part of a trainer that saves checkpoints, knows the best one, and knows when training ends."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel, Trainer
from transformers.trainer_callback import ExportableState, TrainerState
from transformers.utils import logging

from ..items.catalog import ItemCatalog
from ..storage.atomic_shared import staged_files, staged_folder
from .arguments import RecformerTrainingArguments
from .checkpoints import (
    STATE_FILE,
    checkpoint_name,
    clear_write_errors,
    is_complete,
    load_state,
    rotate_checkpoints,
)
from .run_files import naming_damage
from .sharding import load_whole_weights
from .step_records import StepRecords


@contextmanager
def _without_bars() -> Iterator[None]:
    """Inside the block, transformers shows no bars: that of its weight files is drawn anew for every checkpoint."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


class SavesCheckpoints(Trainer):
    """A `Trainer` whose checkpoints appear whole, whose best one is always kept, and that stops by patience."""

    args: RecformerTrainingArguments
    model: PreTrainedModel
    records: StepRecords
    catalog: ItemCatalog | None = None
    """Saved beside the model, if the model has items."""
    in_epoch: bool
    """Whether the batches of an epoch are being trained on."""
    saves_after_epoch: bool
    """Whether a checkpoint is due as soon as the epoch has ended."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        raise NotImplementedError

    @property
    def patience(self) -> int | None:
        """Evaluations without a better metric after which training stops; `None`: never."""
        return None

    def stop_at_bad_loss(self) -> None:
        """Raises if the weights are spoiled, so that they never reach a checkpoint."""
        raise NotImplementedError

    @property
    def folder(self) -> Path:
        """`args.output_dir`."""
        return Path(self.args.output_dir or "")

    def _save_checkpoint(self, model: nn.Module | None, trial: object) -> None:
        self.stop_at_bad_loss()
        if self.in_epoch and (
            self.state.global_step % self.steps_per_epoch == 0
            or self.control.should_training_stop
            or self.control.should_epoch_stop
        ):
            # What happens at the end of the epoch, above all its evaluation, belongs in this checkpoint: a run that
            # resumes from it begins with the next epoch.
            self.saves_after_epoch = True
            return
        self.store_flos()
        folder = self.folder / checkpoint_name(self.state.global_step)
        with (
            clear_write_errors(f"The checkpoint of step {self.state.global_step} ({folder})", folder.parent),
            self.records.off_the_clock(),
            staged_folder(folder, self.accelerator) as staging,
        ):
            self._write_checkpoint(str(staging))
        if self.args.should_save:
            rotate_checkpoints(folder.parent, self.args.save_total_limit, self.best_checkpoint)
        self.accelerator.wait_for_everyone()

    def _write_checkpoint(self, folder: str) -> None:
        self.save_model(folder, _internal_call=True)
        if not self.args.save_only_model:
            self._save_optimizer_and_scheduler(folder)
            self._save_scaler(folder)
            self._save_rng_state(folder)
        if self.args.should_save:
            stateful: Any = self.state.stateful_callbacks
            for callback in [*self.callback_handler.callbacks, self.control]:
                if isinstance(callback, ExportableState):
                    stateful[type(callback).__name__] = callback.state()
            self.state.save_to_json(str(Path(folder, STATE_FILE)))

    @property
    def best_checkpoint(self) -> Path | None:
        """Checkpoint of the best metric so far.

        `state.best_model_checkpoint` stays empty, because transformers would delete all checkpoints but that one when
        training ends.
        """
        step = self.state.best_global_step
        return self.folder / checkpoint_name(step) if step else None

    def result_checkpoint(self) -> Path:
        """The checkpoint of the best weights after training. Without a metric that chooses, the last weights are the
        best ones, and are saved here if they are not yet.

        Raises:
            ValueError: if the best checkpoint is not complete.
        """
        best = self.best_checkpoint
        if best is None:
            last = self.folder / checkpoint_name(self.state.global_step)
            if not is_complete(last):
                self._save_checkpoint(self.model, None)
            return last
        if not is_complete(best):
            raise ValueError(f"{best} has the best weights of the run, but is not complete: put it back.")
        return best

    def save_result(self) -> None:
        """Saves the model and everything that belongs to it in `output_dir`; each file appears whole or not at all.

        Raises:
            OSError: if a file cannot be written (a full disk).
        """
        with (
            clear_write_errors(f"The result ({self.folder})", self.folder),
            staged_files(self.folder, self.accelerator) as staging,
        ):
            self.save_model(str(staging), _internal_call=True)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        with _without_bars():
            super()._save(output_dir, state_dict)
        if self.catalog is not None and self.args.should_save:
            self.catalog.save_pretrained(output_dir or self.args.output_dir or "")

    def restore(self, checkpoint: Path) -> None:
        """Loads a checkpoint's weights, item vectors included, into the model in place."""
        if self.is_fsdp_enabled:
            with naming_damage(checkpoint):
                load_whole_weights(self.model, checkpoint)
        else:
            self._load_from_checkpoint(str(checkpoint), self.model)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        with naming_damage(Path(resume_from_checkpoint)):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with naming_damage(Path(checkpoint or "")):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with naming_damage(Path(checkpoint or "")):
            super()._load_rng_state(checkpoint)

    # The end of training

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        self._check_best_metric(metrics)
        improved: bool = super()._determine_best_metric(metrics, trial)
        if improved:
            # transformers only sets it for some save strategies, and here a new best is saved whatever the strategy.
            self.state.best_global_step = self.state.global_step
            self.control.should_save = True
        if self.is_out_of_patience(self.state, self.patience):
            self.control.should_training_stop = True
        return improved

    def _check_best_metric(self, metrics: dict[str, float]) -> None:
        """Refuses to choose the best weights by a metric that has no value.

        Raises:
            ValueError: if it is missing or not finite; the message names it.
        """
        if self.args.metric_for_best_model is None:
            return
        name = f"eval_{self.args.metric_for_best_model.removeprefix('eval_')}"
        if not math.isfinite(metrics.get(name, math.nan)):
            names = ", ".join(key for key in metrics if not key.endswith(("_runtime", "_per_second", "epoch")))
            raise ValueError(
                f"metric_for_best_model is {self.args.metric_for_best_model!r}, but the evaluation of step "
                f"{self.state.global_step} gives it {'no finite value' if name in metrics else 'no value'}. It has "
                f"{names}."
            )

    def is_done(self, checkpoint: Path) -> bool:
        """Whether training ends at a checkpoint by the present settings, which may differ from those that it began
        with."""
        return self.ends_at(load_state(checkpoint), self.args, self.patience)

    def ends_at(self, state: TrainerState, args: RecformerTrainingArguments, patience: int | None) -> bool:
        """Whether training with these settings ends at a state."""
        steps = args.max_steps
        if steps <= 0:
            steps = math.ceil(args.num_train_epochs * self.steps_per_epoch)
        return state.global_step >= steps or self.is_out_of_patience(state, patience)

    def is_out_of_patience(self, state: TrainerState, patience: int | None) -> bool:
        """Whether the metric has not improved for `patience` evaluations.

        They are counted in the log, which checkpoints hold, so a resumed run counts on.
        """
        if patience is None or self.args.metric_for_best_model is None:
            return False
        key = self.args.metric_for_best_model
        key = key if key.startswith("eval_") else f"eval_{key}"
        since = state.best_global_step or 0
        return sum(key in entry and entry["step"] > since for entry in state.log_history) >= patience
