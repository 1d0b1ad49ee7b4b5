"""A run of a single stage: a new or resumed `train()` in one folder, whose result is the best weights.

output_dir/
  checkpoint-400/            complete or absent; the best one is kept
  model.safetensors, ...     the finished model
  run.json                   the run is finished
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from transformers import set_seed
from transformers.trainer_utils import TrainOutput

from .checkpoints import RUN_FILE, is_checkpoint_name, is_complete, load_state, write_json
from .resume import RunFolder, checkpoint_to_resume_from
from .run_files import expect, is_loss, read_object
from .run_settings import check_run
from .trainer import RecformerTrainer, TrainingCollator, metrics_of_step


class SingleRunTrainer(RecformerTrainer):
    """A trainer whose `train()` is a whole run in `args.output_dir`."""

    traces: tuple[str, ...] = ("checkpoint-*",)
    """Patterns of the files that a run which has begun leaves behind."""

    @property
    def patience(self) -> int | None:
        patience: int | None = self.args.patience  # type: ignore[attr-defined]
        return patience

    def new_collator(self) -> TrainingCollator:
        """The collator of a run with the present arguments."""
        raise NotImplementedError

    def begin_run(self, args: Any) -> None:
        """Makes this the trainer of a run with other arguments."""
        self.args = args
        self.collator = self.data_collator = self.new_collator()
        self.sampler = self.sampler_of_seed(args.seed if args.data_seed is None else args.data_seed)
        self.open_new_logs()

    def validation_fingerprint(self) -> object:
        """Fingerprint of the data that choose the best weights, as JSON."""
        raise NotImplementedError

    def check_checkpoint(self, checkpoint: Path) -> None:
        """Raises `ValueError` if a checkpoint that the caller goes back to does not fit the model or the data."""

    def trainable_weights(self) -> AbstractContextManager[object]:
        """Freezes what must not train, and what no gradient reaches, inside the block."""
        return nullcontext()

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: object = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Runs the training; the model then holds the best weights, saved in `output_dir`.

        Args:
            resume_from_checkpoint: `True` continues from the last complete checkpoint (from the start if there is none;
                a finished run is only loaded). A path goes back to that checkpoint: later ones are removed.
            trial: of a hyperparameter search; the run then has the trial's settings, in a folder of its own.
            ignore_keys_for_eval: as in `transformers.Trainer`.

        Returns:
            `TrainOutput`; `metrics` has the evaluation of the best weights as `best_*`.

        Raises:
            FileExistsError: if `output_dir` holds a run already and `resume_from_checkpoint` is not set.
            ValueError: for a checkpoint of another run, or from which training cannot continue; the folder then stays
                as it was.
            LossNotFiniteError: if a loss or gradient is not finite; the message names the batch.
        """
        of_search = self.args
        if trial is not None:
            self.begin_run(self.arguments_of(trial, of_search))
        try:
            with self.new_model(self.args, trial):
                return self._train_run(resume_from_checkpoint, ignore_keys_for_eval)
        finally:
            if trial is not None:
                self.begin_run(of_search)

    def _train_run(
        self, resume_from_checkpoint: str | bool | None, ignore_keys_for_eval: list[str] | None
    ) -> TrainOutput:
        run = RunFolder(self.folder, traces=self.traces)
        resume = run.start(
            resume_from_checkpoint, self.accelerator, check=self.check_checkpoint, is_done=self.is_done,
            removes=self.args.should_save,
        )  # fmt: skip
        check_run(self, self.args, resume_from_checkpoint)
        if resume and run.is_finished:
            return self._load_finished()
        checkpoint = checkpoint_to_resume_from(self.folder) if resume else None
        if checkpoint is None:  # a checkpoint brings its own random state
            set_seed(self.args.seed)
        evaluate_first = self.args.eval_on_start
        with self.trainable_weights():
            # A resumed run already had its evaluation at the start.
            self.args.eval_on_start = evaluate_first and checkpoint is None
            try:
                output = self.train_from(checkpoint, ignore_keys_for_eval=ignore_keys_for_eval)
            finally:
                self.args.eval_on_start = evaluate_first
        best = self.result_checkpoint()
        self.restore(best)
        self.save_result()
        self.save_state()
        if self.args.should_save:  # last of all: this file says that everything else is there
            write_json(self.folder / RUN_FILE, {"best_checkpoint": best.name, "train_loss": output.training_loss})
        self.accelerator.wait_for_everyone()
        return TrainOutput(output.global_step, output.training_loss, output.metrics | self._best_metrics())

    def _load_finished(self) -> TrainOutput:
        """Loads the result of a finished run."""
        path = self.folder / RUN_FILE
        run = read_object(path)
        named = is_checkpoint_name(run.get("best_checkpoint"))
        expect(path, run, "best_checkpoint", named, "the name of a checkpoint beside it")
        expect(path, run, "train_loss", is_loss(run.get("train_loss")), "a number")
        best = self.folder / run["best_checkpoint"]
        self.restore(best if is_complete(best) else self.folder)  # the result has the same weights
        self.state = load_state(self.folder)
        return TrainOutput(self.state.global_step, run["train_loss"], self._best_metrics())

    def _best_metrics(self) -> dict[str, float]:
        return metrics_of_step(self.state.log_history, self.state.best_global_step or self.state.global_step)


__all__ = ["SingleRunTrainer"]
