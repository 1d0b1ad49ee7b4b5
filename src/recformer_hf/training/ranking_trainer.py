"""What a trainer of a recommender adds: validation and tests that rank the whole catalogue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast, get_args

import torch
from accelerate.data_loader import DataLoaderShard
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput, EvalPrediction

from ..data.dataset import SequentialDataset
from ..data.masking import IGNORED
from ..data.sequences import Sequences
from ..evaluation.metrics import metric_names
from ..evaluation.ranking import Ranking, RankingProtocol, protocol_of
from ..items.catalog import ItemCatalog
from .arguments import RecformerTrainingArguments
from .batches import Batch, EvaluationBatches
from .metric_values import plain_metrics
from .model_ranking import RankingLoader
from .run_settings import split_fingerprint
from .trainer import RecformerTrainer
from .validation_sample import sample_users


class RankingArguments(Protocol):
    """The arguments that validation depends on."""

    eval_strategy: Any
    seed: int
    max_validation_users: int | None


class RankingTrainer(RecformerTrainer):
    """A trainer whose model has a catalogue, which every evaluation ranks for every user of a split.

    The loss is the sum over targets / the number of targets of the whole optimizer step.
    """

    eval_dataset: Sequences | None
    catalog: ItemCatalog

    @property
    def ranked_catalog(self) -> ItemCatalog:
        """The items that evaluations rank: by default the model's own."""
        return self.catalog

    @property
    def eval_collator(self) -> EvaluationBatches:
        """Batches of histories to rank for the model as it is."""
        raise NotImplementedError

    def rank_loader(
        self, loader: RankingLoader, protocols: Sequence[RankingProtocol]
    ) -> tuple[dict[RankingProtocol, Ranking], float]:
        """The ranking of each protocol, and the mean cross-entropy over users."""
        raise NotImplementedError

    def validation_users(self, args: RankingArguments, split: Sequences | None) -> Sequences | None:
        """The users to validate on: at most `args.max_validation_users` of a split.

        Raises:
            ValueError: if there is no split, but the arguments ask for evaluations.
        """
        if split is None:
            if args.eval_strategy != "no":
                raise ValueError(
                    "The dataset has no validation split, which early stopping and the choice of the best model need. "
                    "Split it (recformer_hf.data.splits), pass eval_dataset, or set eval_strategy='no' and a fitting "
                    "num_train_epochs: the last weights are then the result."
                )
            return None
        sample = sample_users(split, args.max_validation_users, args.seed)
        if sample is not split:
            self.validation_sample = {"users": len(sample), "of": len(split)}
        return sample

    # Loss

    def num_targets(self, batch: Batch) -> Any:
        """Targets of a batch: with one label a row, its rows; otherwise the labels that are not -100."""
        labels: Tensor = batch["labels"]
        return len(labels) if labels.ndim == 1 else (labels != IGNORED).sum()

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> Tensor:
        """Targets of an optimizer step, over accumulation and processes."""
        return self.global_counts([sum(self.num_targets(batch) for batch in batch_samples)], device)[0]

    def outputs(self, model: nn.Module, batch: Batch) -> Any:
        """What the model returns for a batch, with its `loss`."""
        return model(**batch)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The sum over targets / the targets of the optimizer step, times the number of processes: DDP then averages
        over processes, which gives the mean over all targets."""
        outputs = self.outputs(model, inputs)
        loss = outputs.loss
        if num_items_in_batch is not None:
            loss = loss * (self.num_targets(inputs) * self.args.world_size / num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    # Evaluation

    def validation_fingerprint(self) -> str | None:
        return None if self.eval_dataset is None else split_fingerprint(self.eval_dataset)

    def get_eval_dataloader(self, eval_dataset: object = None) -> DataLoaderShard:
        split = self.eval_dataset if eval_dataset is None else self.split_of(eval_dataset, "validation")
        if split is None:
            raise ValueError("There is no validation split to evaluate on: name a split, such as dataset.test.")
        return self.ranking_loader(split, self.eval_collator, len(self.ranked_catalog))

    def get_test_dataloader(self, test_dataset: object) -> DataLoaderShard:
        """Batches of a test split, or of a dataset's test split."""
        return self.get_eval_dataloader(self.split_of(test_dataset, "test"))

    def split_of(self, data: object, name: str) -> Sequences:
        """A split of this catalogue that can be ranked: `data` itself, or a dataset's split of that name.

        Raises:
            TypeError: if it is neither.
            ValueError: if it has no targets, or items of another catalogue.
        """
        split = getattr(self._of_this_catalog(data), name) if isinstance(data, SequentialDataset) else data
        if isinstance(data, SequentialDataset) and split is None:
            raise ValueError(f"The dataset has no {name} split; it has {', '.join(data.splits)}.")
        if not isinstance(split, Sequences):
            raise TypeError(
                f"Evaluation takes a validation or test split, such as dataset.test, got {type(split).__name__}."
            )
        if split.targets is None:
            raise ValueError(
                "Evaluation takes a validation or test split, such as dataset.test; these sequences have no targets."
            )
        catalog = self.ranked_catalog
        highest = max((int(rows.max()) for rows in (split.items, split.targets) if len(rows)), default=-1)
        if highest >= len(catalog):
            raise ValueError(
                f"The split has row {highest:,} of a catalogue, but the catalogue has {len(catalog):,} items: the "
                "split belongs to another dataset."
            )
        return split

    def _of_this_catalog(self, dataset: SequentialDataset) -> SequentialDataset:
        catalog = self.ranked_catalog
        if dataset.catalog.fingerprint != catalog.fingerprint:
            raise ValueError(
                f"The dataset has another catalogue ({len(dataset.catalog):,} items) than the model's item matrix "
                f"({len(catalog):,} items), whose rows would stand for other items. "
                "recformer evaluate --encode_items ranks a model on other items."
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
        protocol = protocol_of(self.args.exclude_history)
        with self.records.off_the_clock():
            rankings, loss = self.rank_loader(cast(RankingLoader, dataloader), [protocol])
        ranking = rankings[protocol]
        metrics = {"loss": loss, **ranking.metrics(self.args.ranking_ks)}
        if self.compute_metrics is not None:
            found = self.compute_metrics(EvalPrediction(predictions=ranking.ranks, label_ids=ranking.targets))
            metrics |= plain_metrics(found, taken=metrics, prefix=metric_key_prefix)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        return EvalLoopOutput(ranking.ranks, ranking.targets, metrics, len(ranking))

    def rank(self, split: Sequences, *, exclude_history: bool | None = None) -> Ranking:
        """Ranks a split with the model and its item matrix as they are; items without vectors are encoded first.

        Args:
            split: validation or test.
            exclude_history: overrides `args.exclude_history`.
        """
        protocol = protocol_of(self.args.exclude_history if exclude_history is None else exclude_history)
        return self.rank_loader(self.get_eval_dataloader(split), [protocol])[0][protocol]

    def rank_protocols(self, split: Sequences) -> dict[RankingProtocol, Ranking]:
        """Like `rank`, but both with the history kept and with it excluded; histories are encoded once for both."""
        return self.rank_loader(self.get_eval_dataloader(split), get_args(RankingProtocol))[0]


def check_metric(args: RecformerTrainingArguments, compute_metrics: Callable[..., Any] | None) -> None:
    """Refuses a metric for the best model that no evaluation gives.

    Raises:
        ValueError: the message lists those that there are.
    """
    metric = (args.metric_for_best_model or "").removeprefix("eval_")
    known = ["loss", *metric_names(args.ranking_ks)]
    if metric and metric not in known and compute_metrics is None and args.eval_strategy != "no":
        raise ValueError(
            f"metric_for_best_model is {metric!r}, but evaluation gives {', '.join(known)}. Add its k to ranking_ks, "
            "choose another, or compute it in compute_metrics."
        )


__all__ = ["RankingTrainer", "check_metric"]
