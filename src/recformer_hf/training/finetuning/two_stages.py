"""Two-stage finetuning (Recformer, Algorithm 1): the stage trainer runs twice, each time in a folder of its own.

output_dir/
  stage-1/checkpoint-40/     a checkpoint of the stage: complete or absent; the best one is kept
  stage-1/stage.json         the stage is finished: its best checkpoint and its log
  stage-2/...
  model.safetensors, ...     the finished recommender: weights, item vectors, tokenizer, catalogue
  run.json                   the run is finished
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from transformers.trainer_utils import TrainOutput
from transformers.utils import logging

from ...configuration_recformer import RecformerConfig
from ...data.dataset import SequentialDataset
from ...data.sequences import Sequences
from ...data.tokenized_catalog import TokenizedCatalog
from ...items.catalog import ItemCatalog
from ...memory.memory import MEMORY_FILE
from ...modeling_recformer import RecformerForSeqRec
from ...storage.atomic_shared import remove_partial_folders
from ...tokenization_recformer import RecformerTokenizer
from ..checkpoints import RUN_FILE, load_state, rotate_checkpoints, write_json
from ..expected_kinds import check_arguments_class
from ..resume import RunFolder, checkpoint_to_resume_from
from ..run_settings import check_run
from ..trainer import metrics_of_step
from .arguments import HEAD_ARGUMENTS, RecformerFinetuningArguments
from .stages import STAGE_FILE, Stage, StageResult, load_stage
from .trainer import StageTrainer

logger = logging.get_logger(__name__)

STAGES = ("stage-1", "stage-2")


class RecformerFinetuningTrainer(StageTrainer):
    """Finetunes a Recformer on one dataset in the two stages of Algorithm 1.

    Stage 1 re-encodes the item matrix with the model at the start of every epoch. Stage 2 continues from its best model
    with its best matrix frozen, and counts only what is better than that. The result of the run is the best model with
    its item matrix; if stage 2 never improves, it is exactly that of stage 1.

    Args:
        model: its items, if it has any, are replaced by the dataset's.
        args: settings.
        train_dataset: the dataset, whose `train` split is trained on and whose `catalog` is recommended from.
        processing_class: the tokenizer.
        eval_dataset: histories with targets; `train_dataset.validation` by default. At most
            `args.max_validation_users` of them are used.
        tokenized_catalog: `train_dataset.catalog` as the tokenizer sees it; tokenized here by default.
        kwargs: `compute_metrics` (gets ranks `[num_users]` as predictions, targets as label_ids, and returns numbers by
            name), `callbacks`, `optimizer_cls_and_kwargs`, and `model_init` instead of a model, as in
            `transformers.Trainer`. docs/training.md lists what is not supported.

    Raises:
        ValueError: without a validation split to evaluate on, for several GPUs without a launcher, for an argument that
            would have no effect, and the like.
        TypeError: if the model, the arguments, the tokenizer or a dataset is of another kind.
    """

    results: list[StageResult]

    def __init__(
        self,
        model: RecformerForSeqRec | None,
        args: RecformerFinetuningArguments,
        *,
        train_dataset: SequentialDataset,
        processing_class: RecformerTokenizer,
        eval_dataset: Sequences | None = None,
        tokenized_catalog: TokenizedCatalog | None = None,
        **kwargs: Any,
    ) -> None:
        check_arguments_class(args, RecformerFinetuningArguments)
        super().__init__(
            model,
            args,
            stage=args.stages()[0],
            train_dataset=train_dataset,
            processing_class=processing_class,
            eval_dataset=eval_dataset,
            tokenized_catalog=tokenized_catalog,
            **kwargs,
        )
        self.run_args = args  # while a stage trains, `args` are the stage's
        self.results = []

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: object = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Runs the stages; the model then holds the best weights and their item matrix, saved in `output_dir`.

        Args:
            resume_from_checkpoint: `True` continues from the last complete checkpoint of either stage (from the start
                if there is none; a finished run is only loaded). A path goes back to that checkpoint: what the run
                wrote after it is removed.
            trial: of a hyperparameter search; the run then has the trial's settings, in a folder of its own.
            ignore_keys_for_eval: ignored; it keeps the signature of `Trainer`.

        Returns:
            `TrainOutput`: steps and time of all stages; `metrics` has the best validation metrics as `best_*`.

        Raises:
            FileExistsError: if `output_dir` holds a run already and `resume_from_checkpoint` is not set.
            ValueError: for a checkpoint of another run or another catalogue, or from which training cannot continue;
                the folder then stays as it was.
            LossNotFiniteError: if a loss or gradient is not finite; the message names the batch.
        """
        of_search = self.run_args
        if trial is not None:
            self.run_args = cast(RecformerFinetuningArguments, self.arguments_of(trial, of_search))
        try:
            with self.new_model(self.run_args, trial):
                return self._train_run(resume_from_checkpoint)
        finally:
            self.args = self.run_args = of_search

    def _train_run(self, resume_from_checkpoint: str | bool | None) -> TrainOutput:
        run = RunFolder(Path(self.run_args.output_dir or ""), STAGES, traces=STAGES, part_file=STAGE_FILE)
        resume = run.start(
            resume_from_checkpoint, self.accelerator, check=self._check_named, is_done=self._ends_stage,
            removes=self.run_args.should_save,
        )  # fmt: skip
        self.take_head()
        check_run(self, self.run_args, resume_from_checkpoint)
        logger.info(self.run_args.plan())
        if resume:
            self._check_not_removed(run)
        self.results = []
        outputs: list[TrainOutput] = []
        for stage in self.run_args.stages():
            if resume and self.args.should_save:
                remove_partial_folders(run.path / stage.name)
            result = self._finished(run.path / stage.name) if resume else None
            if result is None:
                result, output = self._run_stage(stage, resume)
                outputs.append(output)
            self.results.append(result)
        return self._finish(outputs)

    @property
    def best_result(self) -> StageResult:
        """The stage that the run's result is from: the last one that improved."""
        return [result for result in self.results if result.improved][-1]

    def _best_checkpoint_of_run(self) -> Path:
        best = self.best_result
        return Path(self.run_args.output_dir or "", f"stage-{best.stage}", best.checkpoint)

    def _run_stage(self, stage: Stage, resume: bool) -> tuple[StageResult, TrainOutput]:
        """Trains a stage on the result of those before it."""
        # Whatever this stage makes worse, the run falls back to the best stage before it.
        mark = self.best_result.best_metric if self.results else None
        self.begin_stage(stage, self.run_args.of_stage(stage), has_item_matrix=bool(self.results), to_beat=mark)
        if self.results:
            self.restore(self._best_checkpoint_of_run())
        checkpoint = checkpoint_to_resume_from(self.folder) if resume else None
        if checkpoint is not None:
            self._check_catalog(checkpoint)
        output = super().train(None if checkpoint is None else str(checkpoint))
        chooses = self.args.eval_strategy != "no" and self.args.metric_for_best_model is not None
        improved = bool(self.state.best_global_step) or not self.results or not chooses
        result = StageResult(
            stage=stage.number,
            checkpoint=self.result_checkpoint().name,
            best_metric=self.state.best_metric if improved else mark,
            improved=improved,
            global_step=self.state.global_step,
            train_loss=output.training_loss,
            log_history=[{"stage": stage.number, **entry} for entry in self.state.log_history],
        )
        if self.args.should_save:
            result.save(self.folder)
            if self.args.save_total_limit == 1:  # a finished stage is never resumed
                rotate_checkpoints(self.folder, 0, self.folder / result.checkpoint)
        self.accelerator.wait_for_everyone()
        return result, output

    def _finish(self, outputs: list[TrainOutput]) -> TrainOutput:
        """Loads and saves the result of the run, once all stages are finished."""
        self.restore(self._best_checkpoint_of_run())
        self.args = self.run_args
        self.encode_items_once()
        if self.args.memory:
            self._head.memory = self.fit_memory()
        # `finish` and the model card read the log of the whole run.
        self.state.log_history = [entry for result in self.results for entry in result.log_history]
        self.save_result()
        if self.args.should_save and self._head.memory is None:  # the run may have had one, and resumes without
            (self.folder / MEMORY_FILE).unlink(missing_ok=True)
        best = self.best_result
        summary = {
            name: sum(output.metrics.get(name, 0.0) for output in outputs) for name in ("train_runtime", "total_flos")
        }
        summary |= metrics_of_step(best.log_history, best.step) | {"best_stage": best.stage}
        if self.args.should_save:  # last of all: this file says that everything else is there
            write_json(self.folder / RUN_FILE, {"best_stage": best.stage, "best_checkpoint": best.checkpoint})
        self.accelerator.wait_for_everyone()
        return TrainOutput(sum(result.global_step for result in self.results), self.results[-1].train_loss, summary)

    # Resuming

    def _finished(self, folder: Path) -> StageResult | None:
        """The result of a stage that an earlier start of the run finished."""
        result = load_stage(folder)
        if result is not None:
            self._check_catalog(folder / result.checkpoint)
        return result

    def _check_named(self, checkpoint: Path) -> None:
        """Refuses a checkpoint that the run cannot go back to."""
        stages = {stage.name: stage for stage in self.run_args.stages()}
        if checkpoint.parent.name not in stages:
            raise ValueError(
                f"{checkpoint} belongs to a stage that these settings skip (only {', '.join(stages)} is run)."
            )
        self._check_catalog(checkpoint)
        self._check_same_head(checkpoint)
        for name in stages:
            if name < checkpoint.parent.name and self._finished(checkpoint.parent.with_name(name)) is None:
                raise ValueError(f"{name} is not finished, so the run cannot continue from {checkpoint}.")

    def _ends_stage(self, checkpoint: Path) -> bool:
        """Whether a stage ends at one of its checkpoints."""
        stage = next(stage for stage in self.run_args.stages() if stage.name == checkpoint.parent.name)
        return self.ends_at(load_state(checkpoint), self.run_args.of_stage(stage), stage.patience)

    def _check_not_removed(self, run: RunFolder) -> None:
        """Refuses a finished run whose stages were removed to save space: it would be trained again, over its
        result."""
        removed = [stage.name for stage in self.run_args.stages() if not (run.path / stage.name / STAGE_FILE).is_file()]
        if removed and run.is_finished:
            raise ValueError(
                f"The run in {run.path} is finished, but it has no {' or '.join(removed)} left: there is nothing to "
                f"resume. Its result is in {run.path}; from_pretrained loads it. To train again, choose another "
                f"output_dir, or remove {RUN_FILE}."
            )

    def _check_same_head(self, checkpoint: Path) -> None:
        """Refuses a checkpoint with another head: its weights and its optimizer would not fit."""
        before, taken = RecformerConfig.from_pretrained(checkpoint), self.head_to_take()
        now = {name: taken.get(name, getattr(self._head.config, name)) for name in HEAD_ARGUMENTS}
        changed = [
            f"{name} was {getattr(before, name)!r}, is {value!r}"
            for name, value in now.items()
            if getattr(before, name) != value
        ]
        if changed:
            raise ValueError(
                f"{checkpoint} has another head: {'; '.join(changed)}. Resume with the head of that run, or start a "
                "new run in another output_dir."
            )

    def _check_catalog(self, checkpoint: Path) -> None:
        """Refuses a checkpoint with other items. If there are as many, nothing else would notice: every vector would
        silently belong to another item."""
        catalog = ItemCatalog.from_pretrained(checkpoint)
        if catalog.fingerprint != self.catalog.fingerprint:
            raise ValueError(
                f"{checkpoint} was trained on another catalogue ({len(catalog):,} items) than the dataset's "
                f"({len(self.catalog):,} items). Resume with the dataset of that run, or start a new run in another "
                "output_dir."
            )
