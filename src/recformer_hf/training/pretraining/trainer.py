"""Pretraining on several shops at once: item-item contrastive learning and masked language modelling.

output_dir/
  checkpoint-400/            whole or not there; the best one is kept
  zero_shot.jsonl, .png      zero-shot quality against steps
  model.safetensors, ...     the finished model: weights, tokenizer
  run.json                   the run is done
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import set_seed
from transformers.trainer_utils import EvalLoopOutput, TrainOutput
from transformers.utils import logging

from ...data.collators import PretrainingCollator
from ...data.dataset import SequentialDataset
from ...data.tokenized_catalog import TokenizedCatalog
from ...evaluation.metrics import metric_names
from ...evaluation.ranking import Ranking, protocol_of
from ...modeling_recformer import RecformerForPretraining
from ...tokenization_recformer import RecformerTokenizer
from ..checkpoints import (
    RUN_FILE,
    asked_to_resume,
    check_best,
    check_optimizer,
    checkpoint_to_go_on_from,
    is_complete,
    load_state,
    remove_later,
    write_json,
)
from ..freezing import Freeze, frozen, without_gradient
from ..item_matrix import encode_item_matrix
from ..model_ranking import rank_sequences
from ..run_settings import check_run
from ..sharding import set_up_fsdp
from ..trainer import RecformerTrainer, metrics_of_step
from .arguments import RecformerPretrainingArguments
from .contrastive import loss_at_once, loss_counts, loss_in_chunks
from .validation import DomainValidation
from .zero_shot import PLOT_FILE, ROWS_FILE, ZeroShotLog, ZeroShotTarget, scoring_head, split_label

logger = logging.get_logger(__name__)

DOMAIN_METRICS = ("accuracy", "loss", "contrastive_loss", "mlm_loss", "mlm_context_loss", "mlm_item_loss")


@dataclass(frozen=True)
class PretrainingEvaluation:
    """What is evaluated: a domain to validate on, and datasets to rank."""

    domain: DomainValidation | None
    targets: list[ZeroShotTarget]

    @property
    def validation(self) -> SequentialDataset | None:
        """The domain's dataset."""
        return None if self.domain is None else self.domain.dataset


class RecformerPretrainingTrainer(RecformerTrainer):
    """Pretrains a Recformer on the training sequences of several datasets together.

    A step draws a target in the later half of every sequence of the batch, and takes
    `contrastive + mlm_weight * (MLM of contexts + MLM of items)`: every context against the items of the batch on all
    processes, in one packed pass with the masked copies. Every term is a mean over the whole optimizer step, so that
    several processes, or (but for the negatives, which a micro-batch has to itself) accumulation, change nothing.

    The best weights of the run are restored at its end.

    Args:
        model: with its language-modelling head.
        args: settings.
        train_datasets: their `train` splits are pretrained on.
        processing_class: the tokenizer.
        eval_dataset: a domain kept apart, whose `train` split is validated on: contrastive loss, MLM loss, in-batch
            accuracy, with the same draws and batches every time.
        zero_shot_datasets: by name; ranked with the encoder as it is at every evaluation, step 0 included.
        dataset_weights: how often an epoch goes through each of `train_datasets`; once if left out.
        kwargs: `callbacks`, `optimizers` and the like, as in `transformers.Trainer`.

    Raises:
        ValueError: for nothing to evaluate, a metric for the best model that is not evaluated, `compute_metrics`, and
            the like.
        TypeError: if a dataset or the model is of another kind.
    """

    args: RecformerPretrainingArguments
    model: Any
    pictures = (*RecformerTrainer.pictures, PLOT_FILE)

    def __init__(
        self,
        model: RecformerForPretraining,
        args: RecformerPretrainingArguments,
        *,
        train_datasets: Sequence[SequentialDataset],
        processing_class: RecformerTokenizer,
        eval_dataset: SequentialDataset | None = None,
        zero_shot_datasets: Mapping[str, SequentialDataset] | None = None,
        dataset_weights: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("compute_metrics") is not None:
            raise ValueError(
                "Pretraining hands no predictions to compute_metrics: it would never be called. Losses, accuracy and "
                "zero-shot metrics are logged without it; for others, evaluate checkpoints with "
                "recformer_hf.evaluation."
            )
        targets = dict(zero_shot_datasets or {})
        _check_kinds(model, [*train_datasets, *targets.values(), *([] if eval_dataset is None else [eval_dataset])])
        args = _with_metric(args, eval_dataset is not None, list(targets))
        self._tokenizer = processing_class
        catalogs = [
            TokenizedCatalog.build(dataset.catalog, processing_class, args.tokenized_cache_dir)
            for dataset in train_datasets
        ]
        super().__init__(
            model,
            args,
            datasets=train_datasets,
            collator=PretrainingCollator(
                catalogs, processing_class, seed=args.seed if args.data_seed is None else args.data_seed,
                mlm_probability=args.mlm_probability,
            ),
            processing_class=processing_class,
            dataset_weights=dataset_weights,
            mixing=args.mixing,
            eval_dataset=self._evaluation_of(args, eval_dataset, targets) if eval_dataset or targets else None,
            **kwargs,
        )  # fmt: skip
        if self.is_fsdp_enabled:
            set_up_fsdp(self.accelerator)
        if args.contrastive_chunk_size is not None and (self.is_deepspeed_enabled or self.is_fsdp_enabled):
            raise ValueError(
                "contrastive_chunk_size goes through the model several times before it synchronizes gradients, which "
                "DeepSpeed and FSDP do not take part in. Use DDP, or leave it out."
            )
        self.zero_shot_log = ZeroShotLog(Path(args.output_dir or ""), protocol_of(args.exclude_history))

    def _evaluation_of(
        self,
        args: RecformerPretrainingArguments,
        domain: SequentialDataset | None,
        targets: Mapping[str, SequentialDataset],
    ) -> PretrainingEvaluation:
        cache_dir = args.tokenized_cache_dir
        ranked = [
            ZeroShotTarget.build(
                name, dataset, self._tokenizer, args.zero_shot_splits, args.zero_shot_max_users, cache_dir
            )
            for name, dataset in targets.items()
        ]
        if domain is None:
            return PretrainingEvaluation(None, ranked)
        catalog = TokenizedCatalog.build(domain.catalog, self._tokenizer, cache_dir)
        validation = DomainValidation(
            domain, catalog, self._tokenizer, batch_size=args.per_device_eval_batch_size,
            mlm_probability=args.mlm_probability, max_sequences=args.max_validation_sequences,
        )  # fmt: skip
        return PretrainingEvaluation(validation, ranked)

    @property
    def patience(self) -> int | None:
        return self.args.patience

    def extra_metrics(self) -> dict[str, Any]:
        if not (self.zero_shot_log.folder / ROWS_FILE).is_file():
            return {}
        protocol = {"exclude_history": self.args.exclude_history, "ties": self.args.ranking_ties}
        return {"zero_shot": self.zero_shot_log.rows, "zero_shot_protocol": protocol}

    @property
    def validation_dataset(self) -> SequentialDataset | None:
        evaluation: object = self.eval_dataset
        return evaluation.validation if isinstance(evaluation, PretrainingEvaluation) else None

    # The run

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Runs pretraining; the model then holds the best weights, saved in `output_dir`.

        Args:
            resume_from_checkpoint: `True` goes on from the last complete checkpoint (from the start where there is
                none, and straight to the result of a run that is done). A path goes back to that checkpoint: later
                ones are removed.

        Returns:
            `TrainOutput`; `metrics` has the evaluation of the best weights as `best_*`.

        Raises:
            FileExistsError: if `output_dir` holds a run already and this one shall not go on with it.
            ValueError: for a checkpoint that is not of this run, or that cannot be gone on from; the folder then stays
                as it was.
            LossNotFiniteError: naming the batch.
        """
        folder = Path(self.args.output_dir or "")
        resume = asked_to_resume(resume_from_checkpoint)
        checkpoint = None if resume is True and (folder / RUN_FILE).is_file() else self._resume_point(folder, resume)
        check_run(self, self.args, resume_from_checkpoint)
        if resume is True and (folder / RUN_FILE).is_file():
            return self._result_of(folder)
        if checkpoint is None:
            set_seed(self.args.seed)
        else:
            logger.info(f"Going on from {checkpoint}.")
        evaluate_first = self.args.eval_on_start
        with ExitStack() as stack:
            stack.enter_context(self._trainable_weights())
            # A resumed run has had its evaluations up to the checkpoint.
            self.args.eval_on_start = evaluate_first and checkpoint is None
            stack.callback(setattr, self.args, "eval_on_start", evaluate_first)
            if checkpoint is not None and self._is_done(checkpoint):
                self._restore(checkpoint)
                self.state = load_state(checkpoint)
                output = TrainOutput(self.state.global_step, float("nan"), {})
            else:
                resumed = None if checkpoint is None else str(checkpoint)
                output = super().train(resumed, trial, ignore_keys_for_eval)
            best = folder / f"checkpoint-{self.state.best_global_step or self.state.global_step}"
            if not is_complete(best):
                if self.state.best_global_step:
                    raise ValueError(f"{best} has the best weights of the run, but is not complete: put it back.")
                self._save_checkpoint(self.model, None)  # without evaluation the last weights are the result
        self._restore(best)
        self.save_result()
        self.save_state()
        if self.args.should_save:
            write_json(folder / RUN_FILE, {"best_checkpoint": best.name, "train_loss": output.training_loss})
        self.accelerator.wait_for_everyone()
        return TrainOutput(output.global_step, output.training_loss, output.metrics | self._best_metrics())

    def _result_of(self, folder: Path) -> TrainOutput:
        """Of a run that is done."""
        run = json.loads((folder / RUN_FILE).read_text("utf-8"))
        best = folder / run["best_checkpoint"]
        self._restore(best if is_complete(best) else folder)  # the result has the same weights
        self.state = load_state(folder)
        return TrainOutput(self.state.global_step, run["train_loss"], self._best_metrics())

    def _best_metrics(self) -> dict[str, float]:
        return metrics_of_step(self.state.log_history, self.state.best_global_step or self.state.global_step)

    def _resume_point(self, folder: Path, resume: str | bool | None) -> Path | None:
        if resume is True:
            chosen = checkpoint_to_go_on_from(folder)
            if chosen is not None and not self._is_done(chosen):
                check_optimizer(chosen)
            return chosen
        if resume is None or resume is False:
            begun = [path.name for pattern in (RUN_FILE, "checkpoint-*", ROWS_FILE) for path in folder.glob(pattern)]
            if begun:
                state = "a finished run" if RUN_FILE in begun else "a run that was begun"
                raise FileExistsError(
                    f"{folder} holds {state} ({', '.join(begun[:3])}). Name another output_dir, go on with it "
                    "(resume_from_checkpoint=True, on the command line --resume_from_checkpoint true), or remove it."
                )
            return None
        checkpoint = Path(resume)
        if not is_complete(checkpoint) or checkpoint.parent.resolve() != folder.resolve():
            raise ValueError(
                f"{checkpoint} is no complete checkpoint of this run: expected {folder}/checkpoint-N. "
                "resume_from_checkpoint=True finds the last one."
            )
        check_best(checkpoint)
        if not self._is_done(checkpoint):
            check_optimizer(checkpoint)
        self.accelerator.wait_for_everyone()  # all have looked before anything is removed
        if self.args.should_save:
            (folder / RUN_FILE).unlink(missing_ok=True)
            remove_later(checkpoint)
        self.accelerator.wait_for_everyone()
        return checkpoint

    def _trainable_weights(self) -> ExitStack:
        model = self.accelerator.unwrap_model(self.model)
        freeze: Freeze = "word_embeddings" if self.args.freeze_word_embeddings else "none"
        masking = self.args.mlm_probability > 0
        words = model.recformer.get_input_embeddings().weight
        with ExitStack() as stack:
            if not masking:  # the head predicts nothing; a decoder that is the word embedding trains as such
                head = [weight for weight in model.lm_head.parameters() if weight is not words]
                stack.enter_context(without_gradient(model, head))
            stack.enter_context(frozen(model, model.recformer, freeze, pooled_only=not masking))
            return stack.pop_all()

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Without the weights that are not in a checkpoint because they are others by another name."""
        tied = set(self.accelerator.unwrap_model(self.model).all_tied_weights_keys)
        missing = [name for name in load_result.missing_keys if name not in tied]
        super()._issue_warnings_after_load(load_result._replace(missing_keys=missing))

    # Loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Tensor:
        """What the terms of the loss are means over, in the whole optimizer step: see `loss_counts`."""
        counts = torch.stack([loss_counts(batch) for batch in batch_samples]).sum(0)
        return self.global_counts(list(counts), device)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Every term as sum / count over all processes and accumulation, times processes: DDP takes their mean.

        With `contrastive_chunk_size`, all chunks but the last have had their backward when it returns; the gradient of
        what it returns is the last one's, its value the loss of the whole batch.
        """
        counts = loss_counts(inputs)
        totals = self.global_counts(list(counts), counts.device) if num_items_in_batch is None else num_items_in_batch
        config, chunk_size = self.model.config, self.args.contrastive_chunk_size
        scales = self.args.world_size / totals.to(counts.device).clamp_min(1)
        scales[1:] *= config.mlm_weight
        if chunk_size is not None and torch.is_grad_enabled():
            loss = loss_in_chunks(
                model, inputs, scales, config.temperature, chunk_size=chunk_size, accelerator=self.accelerator
            )
        else:
            loss = loss_at_once(model, inputs, scales, config.temperature)
        self.record("contrastive_loss", loss.sums[0], counts[0])
        self.record("accuracy", loss.correct, counts[0])
        if "mlm_labels" in inputs:
            self.record("mlm_context_loss", loss.sums[1], counts[1])
            self.record("mlm_item_loss", loss.sums[2], counts[2])
            self.record("mlm_loss", loss.sums[1:].sum(), counts[1:].sum())
        return (loss.value, loss.outputs) if return_outputs else loss.value

    # Evaluation

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        evaluation = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(evaluation, SequentialDataset):
            evaluation = self._evaluation_of(self.args, evaluation, {})
        if not isinstance(evaluation, PretrainingEvaluation):
            raise TypeError(f"Evaluation takes a SequentialDataset to validate on, got {type(evaluation).__name__}.")
        domain = evaluation.domain
        turns = () if domain is None else domain.turns(self.args.process_index, self.args.world_size)
        batches = [] if domain is None else [domain.batch_of(turn) for turn in turns]
        data, collator = (None, None) if domain is None else (domain.data, domain.collator)
        loader: Any = self.loader(data, batches, collator)
        loader.evaluation = evaluation
        return loader

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """As of validation; `predict` then returns metrics, and no predictions."""
        return self.get_eval_dataloader(test_dataset)

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Validates on the domain, and ranks the zero-shot datasets."""
        with self.off_the_clock():
            metrics, sequences = self._measure(dataloader)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        return EvalLoopOutput(None, None, metrics, sequences)  # type: ignore[arg-type]

    def _measure(self, dataloader: Any) -> tuple[dict[str, float], int]:
        """All metrics, and how many sequences they are of."""
        evaluation: PretrainingEvaluation = dataloader.evaluation
        metrics: dict[str, float] = {}
        sequences = 0
        if evaluation.domain is not None:
            metrics, sequences = evaluation.domain.measure(self.model, dataloader, self.accelerator)
        zero_shot: dict[str, float] = {}
        for target in evaluation.targets:
            for name, ranking in self.rank_zero_shot(target).items():
                scores = ranking.metrics(self.args.ranking_ks)
                zero_shot |= {f"{name}_{metric}": value for metric, value in scores.items()}
                sequences += len(ranking)
        # After training the weights are those of the best step, not of the last.
        if zero_shot and self.is_in_train and self.is_world_process_zero():
            self.zero_shot_log.write(self.state.global_step, round(self.state.epoch or 0.0, 4), zero_shot)
            self.zero_shot_log.plot(f"ndcg@{self.args.ranking_ks[0]}")
        return metrics | zero_shot, sequences

    def rank_zero_shot(self, target: ZeroShotTarget) -> dict[str, Ranking]:
        """Ranks the splits of a dataset with the encoder as it is, by the beginning of their metrics' names."""
        encoder = self.accelerator.unwrap_model(self.model).recformer
        head = scoring_head(encoder, target.num_items)
        matrix = encode_item_matrix(
            head, target.item_collator, self.accelerator, max_tokens=self.args.eval_batch_tokens
        )
        head.item_embeddings.data.copy_(matrix)
        history = protocol_of(self.args.exclude_history)
        rankings = {}
        for name, split in target.splits.items():
            loader = self.ranking_loader(split, target.collator, target.num_items)
            ranked, _ = rank_sequences(
                head, loader, split, self.accelerator, [history], ties=self.args.ranking_ties, top_k=10
            )
            rankings[name] = ranked[history]
        return rankings


def _check_kinds(model: Any, datasets: Sequence[Any]) -> None:
    if not isinstance(model, RecformerForPretraining):
        raise TypeError(
            f"Pretraining takes a RecformerForPretraining, got {type(model).__name__}. "
            "RecformerForPretraining.from_pretrained loads any Recformer checkpoint; "
            "recformer_hf.conversion.from_text_encoder starts from a text encoder."
        )
    for dataset in datasets:
        if not isinstance(dataset, SequentialDataset):
            raise TypeError(
                f"Pretraining takes SequentialDatasets, got {type(dataset).__name__}. SequentialDataset.load reads "
                "one; examples/prepare_data.py makes one."
            )


def _with_metric(
    args: RecformerPretrainingArguments, validates: bool, targets: Sequence[str]
) -> RecformerPretrainingArguments:
    """The arguments with the metric that the best weights are chosen by; the caller's stay as they are."""
    args = copy.copy(args)
    if args.eval_strategy == "no":
        args.metric_for_best_model = None
        return args
    if not validates and not targets:
        raise ValueError(
            "There is nothing to evaluate: give a validation domain (eval_dataset), zero_shot_datasets, or set "
            "eval_strategy='no' and num_train_epochs to what is wanted: the last weights are then the result."
        )
    if args.metric_for_best_model is None:
        args.metric_for_best_model, args.greater_is_better = ("accuracy", True) if validates else (None, None)
        return args
    name = args.metric_for_best_model.removeprefix("eval_")
    masked = args.mlm_probability > 0
    known = [metric for metric in DOMAIN_METRICS if masked or not metric.startswith("mlm_")] if validates else []
    labels = [split_label(target, split) for target in targets for split in args.zero_shot_splits]
    known += [f"{label}_{metric}" for label in labels for metric in metric_names(args.ranking_ks)]
    if name not in known:
        raise ValueError(f"metric_for_best_model {name!r} is not evaluated. It can be {', '.join(known)}.")
    return args
