"""Pretraining on several shops at once: item-item contrastive learning and masked language modelling.

output_dir/
  checkpoint-400/            complete or absent; the best one is kept
  zero_shot.jsonl, .png      zero-shot quality against steps
  model.safetensors, ...     the finished model: weights, tokenizer
  run.json                   the run is finished
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, cast

import torch
from accelerate.data_loader import DataLoaderShard
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput
from transformers.utils import logging

from ...data.collators import PretrainingCollator
from ...data.dataset import SequentialDataset
from ...data.tokenized_catalog import TokenizedCatalog
from ...evaluation.ranking import Ranking, protocol_of
from ...modeling_recformer import RecformerForPretraining
from ...tokenization_recformer import RecformerTokenizer
from ...tokenizing.check_tokenizer import check_tokenizer
from ..batches import Batch
from ..expected_kinds import check_arguments_class, check_dataset, check_model
from ..freezing import Freeze, frozen, without_gradient
from ..item_matrix import encode_item_matrix
from ..model_ranking import rank_sequences
from ..sharding import set_up_fsdp
from ..single_run import SingleRunTrainer
from ..supported_arguments import REFUSED_IN_PRETRAINING, check_trainer_arguments
from .arguments import RecformerPretrainingArguments
from .contrastive import loss_at_once, loss_counts, loss_in_chunks
from .evaluation import EvaluationLoader, PretrainingEvaluation, with_metric
from .zero_shot import PLOT_FILE, ROWS_FILE, ZeroShotLog, ZeroShotTarget, scoring_head

logger = logging.get_logger(__name__)


class RecformerPretrainingTrainer(SingleRunTrainer):
    """Pretrains a Recformer on the training sequences of several datasets together.

    A step draws a target in the later half of every sequence of the batch. Its loss is
    `contrastive + mlm_weight * (MLM of contexts + MLM of items)`: every context is compared with the items of the batch
    on all processes, in one packed pass with the masked copies. Every term is a mean over the whole optimizer step. So
    neither several processes nor accumulation change anything, except that a micro-batch has only its own negatives.

    The best weights of the run are restored at its end.

    Args:
        model: with its language-modelling head.
        args: settings.
        train_datasets: it pretrains on their `train` splits.
        processing_class: the tokenizer.
        eval_dataset: a domain kept apart. Its `train` split is validated on, with the same draws and batches every
            time: contrastive loss, MLM loss, in-batch accuracy.
        zero_shot_datasets: datasets by name, ranked at every evaluation, including step 0, with the encoder as it is
            then.
        dataset_weights: how often an epoch goes through each of `train_datasets`; once by default.
        kwargs: `callbacks`, `optimizers`, `model_init` instead of a model, and the like, as in `transformers.Trainer`.
            docs/training.md lists what is not supported.

    Raises:
        ValueError: if there is nothing to evaluate, if the metric for the best model is not evaluated, for
            `compute_metrics`, and the like.
        TypeError: if the model, the arguments, the tokenizer or a dataset is of another kind.
    """

    args: RecformerPretrainingArguments
    model: RecformerForPretraining
    eval_dataset: PretrainingEvaluation | None
    pictures = (*SingleRunTrainer.pictures, PLOT_FILE)
    traces = (*SingleRunTrainer.traces, ROWS_FILE)

    def __init__(
        self,
        model: RecformerForPretraining | None,
        args: RecformerPretrainingArguments,
        *,
        train_datasets: Sequence[SequentialDataset],
        processing_class: RecformerTokenizer,
        eval_dataset: SequentialDataset | None = None,
        zero_shot_datasets: Mapping[str, SequentialDataset] | None = None,
        dataset_weights: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        check_arguments_class(args, RecformerPretrainingArguments)
        check_trainer_arguments(kwargs, REFUSED_IN_PRETRAINING)
        targets = dict(zero_shot_datasets or {})
        if isinstance(train_datasets, SequentialDataset) or not train_datasets:
            raise TypeError("train_datasets must be a list of SequentialDatasets, with at least one: [dataset].")
        for dataset in train_datasets:
            check_dataset(dataset, "Each of train_datasets")
        if eval_dataset is not None:
            check_dataset(eval_dataset, "eval_dataset")
        for name, dataset in targets.items():
            check_dataset(dataset, f"zero_shot_datasets[{name!r}]")
        check_tokenizer(processing_class)
        args = with_metric(args, eval_dataset is not None, list(targets))
        self.tokenized_catalogs = [
            TokenizedCatalog.build(dataset.catalog, processing_class, args.tokenized_cache_dir)
            for dataset in train_datasets
        ]
        evaluates = eval_dataset is not None or bool(targets)
        super().__init__(
            model,
            args,
            datasets=train_datasets,
            collator=self._train_collator(args, processing_class),
            processing_class=processing_class,
            dataset_weights=dataset_weights,
            mixing=args.mixing,
            eval_dataset=PretrainingEvaluation.build(args, processing_class, eval_dataset, targets)
            if evaluates
            else None,
            **kwargs,
        )  # fmt: skip
        if self.is_fsdp_enabled:
            set_up_fsdp(self.accelerator)
        if args.contrastive_chunk_size is not None and self.is_fsdp_enabled:
            raise ValueError(
                "contrastive_chunk_size runs the model several times before gradients are synchronized, which FSDP "
                "does not support. Use DDP, or unset it."
            )
        self.zero_shot_log = ZeroShotLog(self.folder, protocol_of(args.exclude_history))

    def adopt(self, model: object) -> None:
        check_model(
            model, RecformerForPretraining, " recformer_hf.conversion.from_text_encoder starts from a text encoder."
        )

    def _train_collator(
        self, args: RecformerPretrainingArguments, tokenizer: RecformerTokenizer
    ) -> PretrainingCollator:
        return PretrainingCollator(
            self.tokenized_catalogs, tokenizer, seed=args.seed if args.data_seed is None else args.data_seed,
            mlm_probability=args.mlm_probability,
        )  # fmt: skip

    def begin_run(self, args: RecformerPretrainingArguments) -> None:
        super().begin_run(args)
        self.zero_shot_log = ZeroShotLog(self.folder, protocol_of(args.exclude_history))

    def new_collator(self) -> PretrainingCollator:
        return self._train_collator(self.args, self.processing_class)

    def extra_metrics(self) -> dict[str, Any]:
        if not (self.folder / ROWS_FILE).is_file():
            return {}
        protocol = {"exclude_history": self.args.exclude_history, "ties": self.args.ranking_ties}
        return {"zero_shot": self.zero_shot_log.rows, "zero_shot_protocol": protocol}

    @property
    def validation_dataset(self) -> SequentialDataset | None:
        return None if self.eval_dataset is None else self.eval_dataset.validation

    # The run

    def trainable_weights(self) -> ExitStack:
        """Freezes what must not train, and what no gradient reaches, until the stack is closed."""
        model = self.accelerator.unwrap_model(self.model)
        freeze: Freeze = "word_embeddings" if self.args.freeze_word_embeddings else "none"
        masking = self.args.mlm_probability > 0
        words = model.recformer.get_input_embeddings().weight
        with ExitStack() as stack:
            if not masking:  # no loss reaches the head; a decoder tied to the word embeddings trains with them
                head = [weight for weight in model.lm_head.parameters() if weight is not words]
                stack.enter_context(without_gradient(model, head))
            stack.enter_context(frozen(model, model.recformer, freeze, pooled_only=not masking))
            return stack.pop_all()

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        # Checkpoints hold tied weights once, under one of their names.
        tied = set(self.accelerator.unwrap_model(self.model).all_tied_weights_keys)
        missing = [name for name in load_result.missing_keys if name not in tied]
        super()._issue_warnings_after_load(load_result._replace(missing_keys=missing))

    # Loss

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> Tensor:
        """How many pairs and masked tokens the terms of the loss are means over, in the whole optimizer step."""
        counts = torch.stack([loss_counts(batch) for batch in batch_samples]).sum(0)
        return self.global_counts(list(counts), device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Every term as sum / count over all processes and accumulation, times the number of processes, because DDP
        averages over them.

        With `contrastive_chunk_size`, the backward pass of all chunks but the last has run when this returns. The
        result has the value of the whole batch's loss, and the gradient of the last chunk's.
        """
        counts = loss_counts(inputs)
        totals = self.global_counts(list(counts), counts.device) if num_items_in_batch is None else num_items_in_batch
        config, chunk_size = self.model.config, self.args.contrastive_chunk_size
        scales = self.args.world_size / torch.as_tensor(totals, device=counts.device).clamp_min(1)
        scales[1:] *= config.mlm_weight
        if chunk_size is not None and torch.is_grad_enabled():
            loss = loss_in_chunks(
                model, inputs, scales, config.temperature, chunk_size=chunk_size, accelerator=self.accelerator
            )
        else:
            loss = loss_at_once(model, inputs, scales, config.temperature)
        self.records.add("contrastive_loss", loss.sums[0], counts[0])
        self.records.add("accuracy", loss.correct, counts[0])
        if "mlm_labels" in inputs:
            self.records.add("mlm_context_loss", loss.sums[1], counts[1])
            self.records.add("mlm_item_loss", loss.sums[2], counts[2])
            self.records.add("mlm_loss", loss.sums[1:].sum(), counts[1:].sum())
        return (loss.value, loss.outputs) if return_outputs else loss.value

    # Evaluation

    def validation_fingerprint(self) -> dict[str, object] | None:
        if self.eval_dataset is None:
            return None
        return self.eval_dataset.fingerprint((self.args.metric_for_best_model or "").removeprefix("eval_"))

    def get_eval_dataloader(self, eval_dataset: object = None) -> DataLoaderShard:
        evaluation = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(evaluation, SequentialDataset):
            evaluation = PretrainingEvaluation.build(self.args, self.processing_class, evaluation, {})
        if not isinstance(evaluation, PretrainingEvaluation):
            raise TypeError(f"Evaluation takes a SequentialDataset to validate on, got {type(evaluation).__name__}.")
        domain = evaluation.domain
        if domain is None:
            loader = self.loader(self.train_dataset, [], self.collator)  # only targets, which have their own loaders
        else:
            turns = domain.turns(self.args.process_index, self.args.world_size)
            loader = self.loader(domain.data, [domain.batch_of(turn) for turn in turns], domain.collator)
        loader.evaluation = evaluation
        return loader

    def get_test_dataloader(self, test_dataset: object) -> DataLoaderShard:
        """The same as for validation; `predict` then returns metrics, but no predictions."""
        return self.get_eval_dataloader(test_dataset)

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Validates on the domain, and ranks the zero-shot datasets."""
        with self.records.off_the_clock():
            metrics, sequences = self._measure(cast(EvaluationLoader, dataloader))
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        return EvalLoopOutput(None, None, metrics, sequences)  # type: ignore[arg-type]

    def _measure(self, loader: EvaluationLoader) -> tuple[dict[str, float], int]:
        """All metrics, and how many sequences they were measured on."""
        evaluation = loader.evaluation
        metrics: dict[str, float] = {}
        sequences = 0
        if evaluation.domain is not None:
            metrics, sequences = evaluation.domain.measure(self.model, loader, self.accelerator)
        zero_shot: dict[str, float] = {}
        for target in evaluation.targets:
            for name, ranking in self.rank_zero_shot(target).items():
                scores = ranking.metrics(self.args.ranking_ks)
                zero_shot |= {f"{name}_{metric}": value for metric, value in scores.items()}
                sequences += len(ranking)
        # After training the weights are those of the best step, but the state is that of the last one.
        if zero_shot and self.is_in_train and self.is_world_process_zero():
            self.zero_shot_log.write(self.state.global_step, round(self.state.epoch or 0.0, 4), zero_shot)
            self.zero_shot_log.plot(f"ndcg@{self.args.ranking_ks[0]}")
        return metrics | zero_shot, sequences

    def rank_zero_shot(self, target: ZeroShotTarget) -> dict[str, Ranking]:
        """Ranks the splits of a dataset with the encoder as it is; by the label that their metrics begin with."""
        encoder = self.accelerator.unwrap_model(self.model).recformer
        head = scoring_head(encoder, target.num_items)
        matrix = encode_item_matrix(
            head,
            target.item_collator,
            self.accelerator,
            max_tokens=self.args.eval_batch_tokens,
            progress=False if self.args.disable_tqdm else None,
        )
        head.item_embeddings.data.copy_(matrix)
        protocol = protocol_of(self.args.exclude_history)
        rankings = {}
        for name, split in target.splits.items():
            loader = self.ranking_loader(split, target.collator, target.num_items)
            ranked, _ = rank_sequences(
                head, loader, self.accelerator, [protocol], ties=self.args.ranking_ties, top_k=10
            )
            rankings[name] = ranked[protocol]
        return rankings
