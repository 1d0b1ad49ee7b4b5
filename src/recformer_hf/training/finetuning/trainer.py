"""Two-stage finetuning (Recformer, Algorithm 1) as two ordinary `train()` runs in folders of their own.

output_dir/
  stage-1/checkpoint-40/     of a stage: whole or not there; the best one is kept
  stage-1/stage.json         the stage is done: its best checkpoint and its log
  stage-2/...
  model.safetensors, ...     the finished recommender: weights, item vectors, tokenizer, catalogue
  run.json                   the run is done
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import set_seed
from transformers.trainer_utils import EvalLoopOutput, EvalPrediction, TrainOutput
from transformers.utils import logging

from ...data.collators import EvaluationCollator, FinetuningCollator, ItemCollator
from ...data.dataset import SequentialDataset
from ...data.sequences import Sequences
from ...data.tokenized_catalog import TokenizedCatalog
from ...evaluation.metrics import metric_names
from ...evaluation.ranking import Ranking, RankingProtocol, protocol_of
from ...items.catalog import ItemCatalog
from ...modeling_recformer import RecformerForSeqRec
from ...tokenization_recformer import RecformerTokenizer
from ..checkpoints import (
    RUN_FILE,
    asked_to_resume,
    check_best,
    check_optimizer,
    checkpoint_to_go_on_from,
    holds_optimizer,
    is_complete,
    load_state,
    remove_leftovers,
    rotate_checkpoints,
    write_json,
)
from ..freezing import frozen
from ..item_matrix import encode_item_matrix
from ..model_ranking import rank_sequences
from ..pretraining.validation import sample_users
from ..run_settings import check_run
from ..sharding import copy_into, reshard, set_up_fsdp
from ..trainer import RecformerTrainer, metrics_of_step
from .arguments import RecformerFinetuningArguments, Stage, stage_seed
from .stages import STAGE_FILE, StageResult, go_back_to, load_stage

logger = logging.get_logger(__name__)


class RecformerFinetuningTrainer(RecformerTrainer):
    """Finetunes a Recformer on one dataset in the two stages of Algorithm 1.

    Stage 1 re-encodes the item matrix with the model at the start of every epoch; stage 2 goes on from its best model
    with its best matrix frozen, and counts only what is better than that. The run's result is the best model with its
    item matrix; if stage 2 never improves, exactly that of stage 1.

    Args:
        model: its items, if any, give way to the dataset's.
        args: settings.
        train_dataset: trains on `train`; `catalog` is what is recommended from.
        eval_dataset: histories with targets; `train_dataset.validation` if left out. Of a larger one
            `args.max_validation_users` are taken.
        processing_class: the tokenizer.
        tokenized_catalog: `train_dataset.catalog` through the tokenizer, where it is at hand.
        kwargs: `compute_metrics` (gets ranks `[num_users]` as predictions, targets as label_ids), `callbacks`,
            `optimizer_cls_and_kwargs` and the like, as in `transformers.Trainer`.

    Raises:
        ValueError: without a validation split to evaluate on, for several GPUs without a launcher, and the like.
        TypeError: if the dataset or the model is of another kind.
    """

    args: RecformerFinetuningArguments

    def __init__(
        self,
        model: RecformerForSeqRec,
        args: RecformerFinetuningArguments,
        *,
        train_dataset: SequentialDataset,
        processing_class: RecformerTokenizer,
        eval_dataset: Sequences | None = None,
        tokenized_catalog: TokenizedCatalog | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(train_dataset, SequentialDataset):
            raise TypeError(
                f"train_dataset must be a SequentialDataset, got {type(train_dataset).__name__}. "
                "SequentialDataset.load reads one; examples/prepare_data.py makes one."
            )
        validation = train_dataset.validation if eval_dataset is None else eval_dataset
        if validation is None and args.eval_strategy != "no":
            raise ValueError(
                "The dataset has no validation split, which early stopping and the choice of the best model rest on. "
                "Split it (recformer_hf.data.splits), pass eval_dataset, or set eval_strategy='no' and "
                "num_train_epochs to what is wanted: the last weights are then the result."
            )
        if validation is not None:
            sample = sample_users(validation, args.max_validation_users, args.seed)
            if sample is not validation:
                self.validation_sample = {"users": len(sample), "of": len(validation)}
            validation = sample
        metric = (args.metric_for_best_model or "").removeprefix("eval_")
        known = ["loss", *metric_names(args.ranking_ks)]
        if metric and metric not in known and kwargs.get("compute_metrics") is None and args.eval_strategy != "no":
            raise ValueError(
                f"metric_for_best_model is {metric!r}, and evaluation gives {', '.join(known)}. Add its k to "
                "ranking_ks, choose another, or compute it in compute_metrics."
            )
        if any(kwargs.get("optimizers", ())):
            raise ValueError(
                "An optimizer that is made already cannot serve both stages, which each begin with a new one. Choose "
                "it with args.optim, or pass optimizer_cls_and_kwargs."
            )
        self.dataset = train_dataset
        self.catalog: ItemCatalog = train_dataset.catalog
        self.tokenized_catalog = tokenized_catalog or TokenizedCatalog.build(self.catalog, processing_class)
        if self.tokenized_catalog.catalog_fingerprint != self.catalog.fingerprint:
            raise ValueError(
                f"tokenized_catalog ({len(self.tokenized_catalog):,} items) was not made from the dataset's catalogue "
                f"({len(self.catalog):,} items). Leave it out, or make it with TokenizedCatalog.build."
            )
        self.item_collator = ItemCollator(self.tokenized_catalog, processing_class)
        self.eval_collator = EvaluationCollator(self.tokenized_catalog, processing_class)
        self.run_args = args
        self.stage = args.stages()[0]
        of_others = model.catalog is not None and model.catalog.fingerprint != self.catalog.fingerprint
        if model.config.num_items != len(self.catalog) or of_others:  # the first epoch encodes the dataset's items
            model.set_item_embeddings(torch.zeros(len(self.catalog), model.config.hidden_size))
        model.catalog = self.catalog
        super().__init__(
            model,
            args,
            datasets=[train_dataset],
            collator=self._train_collator(processing_class, args, self.stage),
            processing_class=processing_class,
            eval_dataset=validation,
            **kwargs,
        )
        self.results: list[StageResult] = []
        self.label_names = ["labels"]
        self._mark: float | None = None
        if self.is_fsdp_enabled:
            trains = any(stage.item_matrix == "trainable" for stage in args.stages())
            set_up_fsdp(self.accelerator, [] if trains else [self._item_embeddings()])

    def _train_collator(
        self, tokenizer: RecformerTokenizer, args: RecformerFinetuningArguments, stage: Stage
    ) -> FinetuningCollator:
        return FinetuningCollator(
            self.tokenized_catalog, tokenizer, seed=stage_seed(args, stage), num_negatives=args.num_negatives
        )

    # The two stages

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Runs the stages; the model then holds the best weights and their item matrix, saved in `output_dir`.

        Args:
            resume_from_checkpoint: `True` goes on from the last complete checkpoint of either stage (from the start
                where there is none, and straight to the result of a run that is done). A path goes back to that
                checkpoint: what the run wrote after it is removed.

        Returns:
            `TrainOutput`: steps and time of all stages; `metrics` has the best validation metrics as `best_*`.

        Raises:
            FileExistsError: if `output_dir` holds a run already and this one shall not go on with it.
            ValueError: for a checkpoint that is not of this run, of another catalogue, or that cannot be gone on from;
                the folder then stays as it was.
            LossNotFiniteError: naming the batch.
        """
        folder = Path(self.run_args.output_dir or "")
        resume = self._resume_point(folder, resume_from_checkpoint)
        check_run(self, self.run_args, resume_from_checkpoint)
        if resume:
            self._check_not_removed(folder)
        self.results = []
        outputs: list[TrainOutput] = []
        for stage in self.run_args.stages():
            if resume and self.args.should_save:
                remove_leftovers(folder / f"stage-{stage.number}")
            result = load_stage(folder / f"stage-{stage.number}") if resume else None
            if result is not None:
                self._check_catalog(folder / f"stage-{stage.number}" / result.checkpoint)
            else:
                result, output = self._train_stage(stage, folder / f"stage-{stage.number}", resume)
                outputs.append(output)
            self.results.append(result)
        best = self.best_result
        self._restore(folder / f"stage-{best.stage}" / best.checkpoint)
        self.args = self.run_args
        self.state.log_history = [entry for result in self.results for entry in result.log_history]
        self.save_result()
        output = TrainOutput(
            sum(result.global_step for result in self.results), self.results[-1].train_loss, self._summary(outputs)
        )
        if self.args.should_save:
            write_json(folder / RUN_FILE, {"best_stage": best.stage, "best_checkpoint": best.checkpoint})
        self.accelerator.wait_for_everyone()
        return output

    @property
    def best_result(self) -> StageResult:
        """The stage that the run's result is from: the last one that improved."""
        return [result for result in self.results if result.improved][-1]

    def _train_stage(self, stage: Stage, folder: Path, resume: bool) -> tuple[StageResult, TrainOutput]:
        """One `Trainer.train()` in the stage's folder."""
        self._enter_stage(stage, folder)
        mark = None
        if self.results:
            before = self.best_result
            self._restore(folder.with_name(f"stage-{before.stage}") / before.checkpoint)
            mark = before.best_metric
        resumed = self._last_checkpoint(folder) if resume else None
        with ExitStack() as stack:
            stack.enter_context(frozen(self.model, self._encoder, stage.freeze, pooled_only=True))
            self._mark = mark
            self._train_item_embeddings(stage.item_matrix == "trainable")
            stack.callback(self._train_item_embeddings, False)
            if resumed is not None and self._is_done(resumed):
                self._restore(resumed)
                self.state = load_state(resumed)
                output = TrainOutput(self.state.global_step, float("nan"), {})
            else:
                if resumed is not None:
                    check_optimizer(resumed)
                output = super().train(resume_from_checkpoint=None if resumed is None else str(resumed))
        chooses = self.args.eval_strategy != "no" and self.args.metric_for_best_model is not None
        improved = bool(self.state.best_global_step) or not self.results or not chooses
        step = self.state.best_global_step or self.state.global_step
        if not is_complete(folder / f"checkpoint-{step}"):  # where nothing chooses, the last weights are the result
            self._save_checkpoint(self.model, None)
        result = StageResult(
            stage=stage.number,
            checkpoint=f"checkpoint-{step}",
            best_metric=self.state.best_metric if improved else mark,
            improved=improved,
            global_step=self.state.global_step,
            train_loss=output.training_loss,
            log_history=[{"stage": stage.number, **entry} for entry in self.state.log_history],
        )
        if self.args.should_save:
            write_json(folder / STAGE_FILE, vars(result))
            if self.args.save_total_limit == 1:  # nobody goes on from a stage that is done
                rotate_checkpoints(folder, 0, folder / result.checkpoint)
        self.accelerator.wait_for_everyone()
        return result, output

    def _enter_stage(self, stage: Stage, folder: Path) -> None:
        """The trainer becomes that of a stage: its settings, batches, seeds; no optimizer yet."""
        self.stage = stage
        self.args = copy.copy(self.run_args)
        self.args.output_dir = str(folder)
        self.args.num_train_epochs = stage.num_train_epochs
        self.args.learning_rate = stage.learning_rate
        self.args.push_to_hub = False  # checkpoints of stages stay here; the finished run is pushed
        set_seed(self.args.seed)
        self.collator = self.data_collator = self._train_collator(self.processing_class, self.args, stage)
        self.sampler = self._sampler(stage_seed(self.args, stage))
        self.optimizer = self.lr_scheduler = None
        self.model_wrapped = self.model  # wrapped anew, for what trains now
        for callback in self.callback_handler.callbacks:
            if type(callback).__name__ == "TensorBoardCallback" and "TENSORBOARD_LOGGING_DIR" not in os.environ:
                callback.logging_dir = None  # a folder a stage: both count their steps from 0

    def begin_epoch(self) -> None:
        super().begin_epoch()
        epoch, step = self.next_epoch
        first_of_run = epoch == 0 and step == 0 and not self.results
        # In the middle of an epoch the checkpoint's matrix is the epoch's.
        if step == 0 and (first_of_run or self.stage.item_matrix == "reencode"):
            self.encode_items()
        if epoch == 0 and step == 0 and self.state.best_metric is None:
            self.state.best_metric = self._mark

    def encode_items(self) -> None:
        """Makes the item matrix anew with the model, in place, on every process."""
        with self.off_the_clock():
            matrix = encode_item_matrix(
                self.model, self.item_collator, self.accelerator, max_tokens=self.args.eval_batch_tokens
            )
            reshard(self.model)
            copy_into(self._item_embeddings(), matrix)

    @property
    def patience(self) -> int | None:
        return self.stage.patience

    @property
    def _encoder(self) -> Any:
        return self.accelerator.unwrap_model(self.model).recformer

    def _train_item_embeddings(self, trains: bool) -> None:
        reshard(self.model)
        self._item_embeddings().requires_grad_(trains)

    def _item_embeddings(self) -> nn.Parameter:
        return self.accelerator.unwrap_model(self.model).item_embeddings

    def _summary(self, outputs: list[TrainOutput]) -> dict[str, float]:
        summary = {
            name: sum(output.metrics.get(name, 0.0) for output in outputs) for name in ("train_runtime", "total_flos")
        }
        best = self.best_result
        step = int(best.checkpoint.rpartition("-")[2])
        return summary | metrics_of_step(best.log_history, step) | {"best_stage": best.stage}

    # Going on with a run

    def _resume_point(self, folder: Path, resume: str | bool | None) -> bool:
        """Whether to go on with the run in the folder; what came after a checkpoint that is named is removed."""
        resume = asked_to_resume(resume)
        if resume is None or resume is False:
            begun = [each for each in (RUN_FILE, "stage-1", "stage-2") if (folder / each).exists()]
            if begun:
                state = "a finished run" if RUN_FILE in begun else "a run that was begun"
                raise FileExistsError(
                    f"{folder} holds {state} ({', '.join(begun)}). Name another output_dir, go on with it "
                    "(resume_from_checkpoint=True, on the command line --resume_from_checkpoint true), or remove it."
                )
            return False
        if resume is True:
            return True
        checkpoint = Path(resume)
        self._check_named(folder, checkpoint)  # before anything is removed
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            go_back_to(checkpoint)
        self.accelerator.wait_for_everyone()
        return True

    def _check_named(self, folder: Path, checkpoint: Path) -> None:
        """Refuses a checkpoint that the run in the folder cannot go back to."""
        if not is_complete(checkpoint) or checkpoint.parent.parent.resolve() != folder.resolve():
            raise ValueError(
                f"{checkpoint} is no complete checkpoint of this run: expected {folder}/stage-1/checkpoint-N or "
                f"{folder}/stage-2/checkpoint-N. resume_from_checkpoint=True finds the last one."
            )
        stages = {f"stage-{stage.number}": stage for stage in self.run_args.stages()}
        if checkpoint.parent.name not in stages:
            raise ValueError(f"{checkpoint} is of a stage that these settings leave out ({', '.join(stages)} is run).")
        check_best(checkpoint)
        self._check_catalog(checkpoint)
        for name in stages:
            if name < checkpoint.parent.name:
                result = load_stage(folder / name)
                if result is None:
                    raise ValueError(f"{folder / name} is not done, so the run cannot go on from {checkpoint}.")
                self._check_catalog(folder / name / result.checkpoint)
        if not holds_optimizer(checkpoint):
            self._enter_stage(stages[checkpoint.parent.name], checkpoint.parent)
            done = self._is_done(checkpoint)
            self.args = self.run_args
            if not done:
                check_optimizer(checkpoint)

    def _check_not_removed(self, folder: Path) -> None:
        """A run that is done, and whose stages were removed for their size, would train again over its result."""
        gone = [f"stage-{each.number}" for each in self.run_args.stages()]
        gone = [name for name in gone if not (folder / name / STAGE_FILE).is_file()]
        if gone and (folder / RUN_FILE).is_file():
            raise ValueError(
                f"The run in {folder} is done, and {' and '.join(gone)} removed: there is nothing to go on with. Its "
                f"result is in {folder}, from_pretrained loads it. To train again, name another output_dir, or remove "
                f"{RUN_FILE}."
            )

    def _last_checkpoint(self, folder: Path) -> Path | None:
        chosen = checkpoint_to_go_on_from(folder)
        if chosen is not None:
            self._check_catalog(chosen)
            logger.info(f"Going on from {chosen}.")
        return chosen

    def _check_catalog(self, checkpoint: Path) -> None:
        """Of as many items, another catalogue would be restored without a word, every vector under a wrong name."""
        catalog = ItemCatalog.from_pretrained(checkpoint)
        if catalog.fingerprint != self.catalog.fingerprint:
            raise ValueError(
                f"{checkpoint} was trained on another catalogue ({len(catalog):,} items) than the dataset's "
                f"({len(self.catalog):,} items). Go on with the dataset of that run, or start a new run in another "
                "output_dir."
            )

    # Loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Tensor:
        """Users of an optimizer step, over accumulation and processes."""
        return self.global_counts([sum(len(batch["labels"]) for batch in batch_samples)], device)[0]

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Sum over users / all users of the optimizer step: DDP's mean over processes then gives the global mean."""
        outputs = model(**inputs)
        users = len(inputs["labels"])
        loss = outputs.loss
        if num_items_in_batch is not None:
            loss = loss * (users * self.args.world_size / num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    # Evaluation

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        split = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(split, SequentialDataset):
            split = self._of_this_catalog(split).validation
        if not isinstance(split, Sequences):
            raise TypeError(
                f"Evaluation takes a validation or test split, such as dataset.test, got {type(split).__name__}."
            )
        return self.ranking_loader(split, self.eval_collator, len(self.catalog))

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader[Any]:
        """Of a test split, or of a dataset's."""
        if isinstance(test_dataset, SequentialDataset):
            test_dataset = self._of_this_catalog(test_dataset).test
        return self.get_eval_dataloader(test_dataset)

    def _of_this_catalog(self, dataset: SequentialDataset) -> SequentialDataset:
        if dataset.catalog.fingerprint != self.catalog.fingerprint:
            raise ValueError(
                f"The dataset has another catalogue ({len(dataset.catalog):,} items) than the model's item matrix "
                f"({len(self.catalog):,} items): its rows would be other items. examples/evaluate.py --encode_items "
                "ranks a model on other items."
            )
        return dataset

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Ranks the whole catalogue for every user; predictions are ranks, float `[num_users]`, from 1."""
        history = protocol_of(self.args.exclude_history)
        with self.off_the_clock():
            rankings, loss = self._rank(dataloader, [history])
        ranking = rankings[history]
        metrics = {"loss": loss, **ranking.metrics(self.args.ranking_ks)}
        if self.compute_metrics is not None:
            metrics |= self.compute_metrics(EvalPrediction(predictions=ranking.ranks, label_ids=ranking.targets))
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        return EvalLoopOutput(ranking.ranks, ranking.targets, metrics, len(ranking))

    def rank(self, split: Sequences, *, exclude_history: bool | None = None) -> Ranking:
        """Ranks a split with the model and its item matrix as they are.

        Args:
            split: validation or test.
            exclude_history: as in the arguments if left out.
        """
        history = protocol_of(self.args.exclude_history if exclude_history is None else exclude_history)
        return self._rank(self.get_eval_dataloader(split), [history])[0][history]

    def rank_protocols(self, split: Sequences) -> dict[RankingProtocol, Ranking]:
        """As [`~RecformerFinetuningTrainer.rank`], history kept and excluded, from one encoding of the histories."""
        return self._rank(self.get_eval_dataloader(split), get_args(RankingProtocol))[0]

    def _rank(
        self, dataloader: Any, histories: Sequence[RankingProtocol]
    ) -> tuple[dict[RankingProtocol, Ranking], float]:
        return rank_sequences(
            self.model, dataloader, dataloader.split, self.accelerator, histories, ties=self.args.ranking_ties, top_k=10
        )
