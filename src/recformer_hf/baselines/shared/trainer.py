"""`BaselineTrainer`: trains any [`BaselineModel`], and ranks the whole catalogue to choose the best epoch.

output_dir/
  checkpoint-400/            complete or absent; the best one is kept
  model.safetensors, ...     the finished model: weights, catalogue
  run.json                   the run is finished
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import Tensor
from transformers import set_seed
from transformers.trainer_utils import TrainOutput

from ...data.dataset import SequentialDataset
from ...data.sequences import Sequences
from ...evaluation.ranking import Ranking, RankingProtocol
from ...items.catalog import CATALOG_FILE, ItemCatalog
from ...recommending.vectors import evaluating
from ...training.batches import Batch, EvaluationBatches
from ...training.expected_kinds import check_arguments_class, check_dataset, check_model
from ...training.model_ranking import RankingLoader, rank_scored
from ...training.ranking_trainer import RankingTrainer, check_metric
from ...training.single_run import SingleRunTrainer
from ...training.supported_arguments import REFUSED_IN_PRETRAINING, check_trainer_arguments
from ...training.trainer import TrainingCollator
from .arguments import BaselineTrainingArguments
from .card import BaselineTexts
from .model import BaselineModel

_ARGUMENTS = {name: reason for name, reason in REFUSED_IN_PRETRAINING.items() if name == "train_dataset"}
_NOT_COMPARED = ("num_items", "only_pretrained", "transformers_version", "architectures", "dtype", "_name_or_path")


class BaselineTrainer(RankingTrainer, SingleRunTrainer):
    """Trains a baseline on one dataset, or pretrains it on several.

    What differs between baselines is theirs: the batches (`training_collator`, `pretraining_collator`) and the loss
    (`loss`, `pretraining_loss`). The best weights of the run are restored at its end.

    Args:
        model: a new one, or one to go on with. A new model's weights are drawn from `args.seed`.
        args: settings.
        train_datasets: it trains on their `train` splits.
        pretraining: whether to pretrain. Then nothing is evaluated unless there is an `eval_dataset`, and the last
            weights are the result.
        eval_dataset: a split with targets to validate on. By default, and never in pretraining, `validation` of the
            only dataset.
        dataset_weights: how often an epoch goes through each dataset; once by default.
        kwargs: `compute_metrics` (gets ranks and targets), `callbacks`, `optimizers`, `model_init` instead of a model,
            and the like, as in `transformers.Trainer`. docs/training.md lists what is not supported.

    Raises:
        ValueError: without a validation split to evaluate on, for an argument that would have no effect, and the like.
        TypeError: if the model, the arguments or a dataset is of another kind.
    """

    args: BaselineTrainingArguments
    model: BaselineModel

    def __init__(
        self,
        model: BaselineModel | None,
        args: BaselineTrainingArguments,
        *,
        train_datasets: Sequence[SequentialDataset],
        pretraining: bool = False,
        eval_dataset: SequentialDataset | Sequences | None = None,
        dataset_weights: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        check_arguments_class(args, BaselineTrainingArguments)
        check_trainer_arguments(kwargs, _ARGUMENTS)
        if isinstance(train_datasets, SequentialDataset) or not train_datasets:
            raise TypeError("train_datasets must be a list of SequentialDatasets, with at least one: [dataset].")
        for dataset in train_datasets:
            check_dataset(dataset, "Each of train_datasets")
        check_metric(args, kwargs.get("compute_metrics"))
        self.pretraining, self.train_datasets = pretraining, list(train_datasets)
        self.seed = args.seed
        # Batches depend on the model, so one has to be there before `Trainer` asks `model_init` for it.
        model_init = kwargs.get("model_init")
        example = cast(BaselineModel, model if model_init is None or model is not None else model_init())
        self.adopt(example)
        self.eval_target = eval_dataset if pretraining and isinstance(eval_dataset, SequentialDataset) else None
        super().__init__(
            model,
            args,
            datasets=self.train_datasets,
            collator=self._collator_of(example, args),
            dataset_weights=dataset_weights,
            mixing=args.mixing,
            eval_dataset=self.validation_users(args, self._split_to_validate_on(eval_dataset)),
            **kwargs,
        )
        self.label_names = ["labels"]

    def adopt(self, model: object) -> None:
        """Makes the datasets' items those of a model, and draws the weights of a new one."""
        check_model(model, BaselineModel)
        baseline = cast(BaselineModel, model)
        set_seed(self.seed)  # the same new weights, whatever was drawn before
        baseline.take_datasets(self.train_datasets, self.pretraining)
        baseline.config.only_pretrained = self.pretraining
        if baseline.is_new:
            baseline.draw_weights()
        self._num_targets = baseline.num_targets
        self.card_texts = BaselineTexts(type(baseline).__name__, baseline.paper)
        self.catalog = baseline.catalog  # type: ignore[assignment]

    def _check_distribution(self) -> None:
        super()._check_distribution()
        if self.is_fsdp_enabled:
            raise ValueError("FSDP is not supported for baselines, which are small. Use DDP (examples/configs).")

    def _split_to_validate_on(self, given: SequentialDataset | Sequences | None) -> Sequences | None:
        if given is not None:
            return self.split_of(given, "validation")
        return None if self.pretraining else self.train_datasets[0].validation

    # The run

    def call_model_init(self, trial: Any = None) -> Any:
        model = super().call_model_init(trial)
        if hasattr(self, "sampler"):  # `Trainer` has been made; a trial may have another loss
            self.collator = self.data_collator = self._collator_of(model, self.args)
        return model

    def _collator_of(self, model: BaselineModel, args: BaselineTrainingArguments) -> TrainingCollator:
        seed = args.seed if args.data_seed is None else args.data_seed
        if self.pretraining:
            return model.pretraining_collator(self.train_datasets, seed)
        return model.training_collator(self.train_datasets, seed)

    def new_collator(self) -> TrainingCollator:
        # A search has no model between its trials; `call_model_init` follows.
        return self.collator if self.model is None else self._collator_of(self._baseline, self.args)

    @property
    def _baseline(self) -> BaselineModel:
        if self.model is None:
            raise RuntimeError("A hyperparameter search leaves no model: call train() with the best settings.")
        model: BaselineModel = self.accelerator.unwrap_model(self.model)
        return model

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        output = super().train(*args, **kwargs)
        if self.model is not None:
            self._baseline.is_new = False
        return output

    def model_settings(self) -> dict[str, Any]:
        config = self._baseline.config.to_dict()
        settings = {name: value for name, value in config.items() if name not in _NOT_COMPARED}
        return {"baseline": type(self._baseline).__name__, "pretraining": self.pretraining, **settings}

    def check_checkpoint(self, checkpoint: Path) -> None:
        """Refuses a checkpoint with other items: each vector would silently belong to another one."""
        if self.catalog is not None and (checkpoint / CATALOG_FILE).is_file():
            catalog = ItemCatalog.from_pretrained(checkpoint)
            if catalog.fingerprint != self.catalog.fingerprint:
                raise ValueError(
                    f"{checkpoint} was trained on another catalogue ({len(catalog):,} items) than the dataset's "
                    f"({len(self.catalog):,} items). Resume with the dataset of that run, or start a new run in "
                    "another output_dir."
                )

    # Loss

    def num_targets(self, batch: Batch) -> int:
        return self._num_targets(batch)

    # Evaluation

    @property
    def ranked_catalog(self) -> ItemCatalog:
        return self.catalog if self.eval_target is None else self.eval_target.catalog

    @property
    def eval_collator(self) -> EvaluationBatches:
        return self._baseline.evaluation_collator

    def rank_loader(
        self, loader: RankingLoader, protocols: Sequence[RankingProtocol]
    ) -> tuple[dict[RankingProtocol, Ranking], float]:
        model = self._baseline if self.eval_target is None else self._baseline.zero_shot(self.eval_target)

        def scored() -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
            with evaluating(model), self.accelerator.autocast():
                for batch in loader:
                    users, labels = batch.pop("user_index").cpu().numpy(), batch.pop("labels")
                    yield users, labels, model(**batch).scores

        return rank_scored(scored(), loader.split, self.accelerator, protocols, ties=self.args.ranking_ties, top_k=10)


__all__ = ["BaselineTrainer"]
