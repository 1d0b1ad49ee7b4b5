"""What pretraining evaluates: its losses on a domain kept apart, and the ranking of other datasets."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...data.dataset import SequentialDataset
from ...data.tokenized_catalog import TokenizedCatalog
from ...evaluation.metrics import metric_names
from ...tokenization_recformer import RecformerTokenizer
from ..batches import Batch
from ..run_settings import dataset_fingerprint, split_fingerprint
from .arguments import RecformerPretrainingArguments
from .validation import DomainValidation
from .zero_shot import ZeroShotTarget, split_label

DOMAIN_METRICS = ("accuracy", "loss", "contrastive_loss", "mlm_loss", "mlm_context_loss", "mlm_item_loss")
"""What validation on a domain measures; the MLM losses only if tokens are masked."""


@dataclass(frozen=True)
class PretrainingEvaluation:
    """A domain to validate on, and datasets to rank."""

    domain: DomainValidation | None
    targets: list[ZeroShotTarget]

    @classmethod
    def build(
        cls,
        args: RecformerPretrainingArguments,
        tokenizer: RecformerTokenizer,
        domain: SequentialDataset | None,
        targets: Mapping[str, SequentialDataset],
    ) -> PretrainingEvaluation:
        """Tokenizes the domain and the zero-shot datasets, which are given by name."""
        cache_dir = args.tokenized_cache_dir
        ranked = [
            ZeroShotTarget.build(name, dataset, tokenizer, args.zero_shot_splits, args.zero_shot_max_users, cache_dir)
            for name, dataset in targets.items()
        ]
        if domain is None:
            return cls(None, ranked)
        catalog = TokenizedCatalog.build(domain.catalog, tokenizer, cache_dir)
        validation = DomainValidation(
            domain, catalog, tokenizer, batch_size=args.per_device_eval_batch_size,
            mlm_probability=args.mlm_probability, max_sequences=args.max_validation_sequences,
        )  # fmt: skip
        return cls(validation, ranked)

    @property
    def validation(self) -> SequentialDataset | None:
        """The domain's dataset."""
        return None if self.domain is None else self.domain.dataset

    def fingerprint(self, metric: str) -> dict[str, object]:
        """Fingerprint of the data by which a metric chooses the best weights, as JSON: the domain, and the ranked
        splits of the dataset that the metric is measured on."""
        domain = self.validation
        targets = [target for target in self.targets if metric.startswith(f"{target.name}_")]
        return {
            "domain": None if domain is None else dataset_fingerprint(domain),
            "ranked": {name: split_fingerprint(split) for target in targets for name, split in target.splits.items()},
        }


class EvaluationLoader(Protocol):
    """Composed batches of the domain, with what is evaluated."""

    evaluation: PretrainingEvaluation

    def __iter__(self) -> Iterator[Batch]: ...


def with_metric(
    args: RecformerPretrainingArguments, validates: bool, targets: Sequence[str]
) -> RecformerPretrainingArguments:
    """A copy of the arguments with the metric that chooses the best weights.

    Args:
        args: as the caller gave them.
        validates: whether there is a domain to validate on.
        targets: names of the zero-shot datasets.

    Raises:
        ValueError: if nothing is evaluated, or if the metric that should choose is not.
    """
    args = copy.copy(args)
    if args.eval_strategy == "no":
        args.metric_for_best_model = None
        return args
    if not validates and not targets:
        raise ValueError(
            "There is nothing to evaluate: pass a validation domain (eval_dataset) or zero_shot_datasets, or set "
            "eval_strategy='no' and a fitting num_train_epochs: the last weights are then the result."
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
