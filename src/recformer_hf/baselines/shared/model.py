"""`BaselineModel`: what a neural baseline is, whatever its network: items, scores, loss, files."""

from __future__ import annotations

import copy
import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging
from transformers.utils.generic import ModelOutput

from ...encoder.checkpoint import check_names, check_numbers, readable_checkpoint, remove_older_weights
from ...items.catalog import CATALOG_FILE, ItemCatalog
from ...items.text import shown
from ...recommending.item_store import CheckpointSource, check_catalog, read_catalog
from ...recommending.recommend import Recommendations
from ...recommending.vectors import evaluating
from .collators import HistoryCollator, NextItemCollator
from .configuration import BaselineConfig
from .histories import PackedHistories
from .losses import binary_cross_entropy, bpr_max, full_cross_entropy, gbce_beta, sampled_softmax, top1_max
from .recommend import recommend

if TYPE_CHECKING:
    from typing_extensions import Self

    from ...data.dataset import SequentialDataset
    from ...training.batches import EvaluationBatches
    from ...training.trainer import TrainingCollator

logger = logging.get_logger(__name__)

_MOST_SCORES = 2**25
"""Scores of one forward pass: 128 MiB in float32."""
_PUSH_OPTIONS = ("commit_message", "private", "token", "revision", "create_pr", "tags", "max_shard_size")


@dataclass
class BaselineOutput(ModelOutput):
    """What a baseline's forward pass gives.

    Args:
        loss (`Tensor` `[]`): mean over the targets; only if there are any.
        scores (float32 `[batch, num_items]`): of the whole catalogue; only without targets.
        history_vectors (`Tensor` `[batch, width]`): what items are compared with; only without targets.
    """

    loss: Tensor | None = None
    scores: Tensor | None = None
    history_vectors: Tensor | None = None


class BaselineModel(PreTrainedModel):
    """A recommender that reads a history as the rows of its items in a catalogue.

    A model defines `encode`, the states of all places of some histories. It may also define other item vectors, another
    loss with its batches (`loss`, `training_collator`), and pretraining (`pretraining_loss`, `pretraining_collator`).
    It is a [`~recformer_hf.evaluation.Scorer`], and any trainer of transformers finds its loss in `forward`.

    ```python
    >>> model = SASRec(hidden_size=128, dropout=0.5).fit(dataset)
    >>> model.save_pretrained("sasrec")
    >>> SASRec.from_pretrained("sasrec").scores([np.array([3, 14, 15])])
    ```

    Args:
        config: by default one of `settings`.
        settings: fields of the configuration, if there is no `config`.

    Raises:
        TypeError: for settings beside a `config`, or one that the configuration does not have.
        StrictDataclassError: for a value that a field does not take.
    """

    config: BaselineConfig
    config_class: type[BaselineConfig] = BaselineConfig
    main_input_name = "history_rows"
    # `Trainer` must not take `forward(**targets)` for a loss that is already scaled for gradient accumulation.
    accepts_loss_kwargs = False

    paper: ClassVar[str] = ""
    """The paper that the model is from, as Markdown, for its card."""
    item_tables: ClassVar[tuple[str, ...]] = ("item_embeddings",)
    """Names of `nn.Embedding`s (None where the configuration has none) with a row for each item."""
    training_defaults: ClassVar[Mapping[str, Any]] = {}
    """Arguments of training whose defaults differ from those of [`BaselineTrainingArguments`]."""
    pretraining_defaults: ClassVar[Mapping[str, Any]] = {}
    """The same for pretraining."""
    pretrains_first: ClassVar[bool] = False
    """Whether `fit` pretrains a new model on the dataset before it is trained."""

    def __init__(self, config: BaselineConfig | None = None, **settings: Any) -> None:
        check_settings(type(self), config, settings)
        config = self.config_class(**settings) if config is None else copy.deepcopy(config)
        config.validate_architecture()  # again, because `from_pretrained(..., name=value)` sets values after the check
        super().__init__(config)
        self.is_new = True
        """Whether the weights are as they were drawn; a trainer then draws them anew, from its own seed."""
        self._catalog: ItemCatalog | None = None
        self.build()
        self.post_init()  # type: ignore[no-untyped-call]

    # What a model defines

    def build(self) -> None:
        """Makes the modules from `self.config`. Call `self.new_item_table()` for `item_embeddings`."""
        raise NotImplementedError

    def encode(self, histories: PackedHistories) -> Tensor:
        """The states of all places, `[total, hidden_size]`. The state of a place is compared with the items after
        it."""
        raise NotImplementedError

    def item_vectors(self) -> Tensor:
        """What states are compared with, `[num_items, hidden_size]`: by default the input embeddings (tied)."""
        table: nn.Embedding = self.item_embeddings  # type: ignore[assignment]
        return table.weight

    def item_vectors_of(self, rows: Tensor) -> Tensor:
        """The same of some items, rows `[n]`; a model that computes its item vectors overrides it."""
        return nn.functional.embedding(rows, self.item_vectors())

    def item_bias(self) -> Tensor | None:
        """What is added to the scores, `[num_items]`; by default nothing."""
        return None

    def history_vectors(self, histories: PackedHistories) -> Tensor:
        """The vector of each history that items are ranked by, `[batch, hidden_size]`: the state of its newest item."""
        return self.encode(histories).index_select(0, histories.newest)

    def loss(
        self,
        histories: PackedHistories,
        labels: Tensor,
        places: Tensor | None = None,
        negatives: Tensor | None = None,
        log_counts: Tensor | None = None,
    ) -> Tensor:
        """The mean loss over targets, of the kind `config.loss`.

        Args:
            histories: what is read.
            labels (`Tensor`, int64 `[num_targets]`): rows of the targets.
            places (`Tensor`, int64 `[num_targets]`): the place of each target; by default all places in turn.
            negatives (`Tensor`, int64 `[num_targets, k]` or `[n]`): of each target, or shared.
            log_counts (`Tensor` `[n]`): see [`sampled_softmax`].
        """
        states = self.encode(histories)
        states = states if places is None else states.index_select(0, places)
        if negatives is None:
            return full_cross_entropy(states, self.item_vectors(), labels, self.item_bias())
        # Only the vectors of items that count, because a catalogue may be large.
        of_targets = self._scores_of_some(states, labels[:, None])[:, 0]
        of_negatives = self._scores_of_some(states, negatives)
        accidental = labels[:, None] == negatives
        kind, config = self.config.loss, self.config
        if kind == "sampled_softmax":
            return sampled_softmax(of_targets, of_negatives, accidental, log_counts)
        if kind == "bpr_max":
            return bpr_max(of_targets, of_negatives, accidental, config.regularization)
        if kind == "top1_max":
            return top1_max(of_targets, of_negatives, accidental)
        beta = gbce_beta(of_negatives.shape[1], config.num_items, config.calibration) if kind == "gbce" else 1.0
        # At this score of all items a model that knows nothing is in its optimum. Otherwise tied item vectors first
        # turn into the one direction that lowers all scores, and with many negatives they hardly leave it.
        prior = math.log(beta / of_negatives.shape[1])
        return binary_cross_entropy(of_targets + prior, of_negatives + prior, accidental, beta)

    def _scores_of_some(self, states: Tensor, rows: Tensor) -> Tensor:
        """Scores of some items: of each state its own, rows `[num_states, k]`, or shared ones, rows `[k]`."""
        vectors, bias = self.item_vectors_of(rows.flatten()).unflatten(0, rows.shape), self.item_bias()
        added = None if bias is None else bias[rows]
        if rows.ndim == 1:
            return nn.functional.linear(states, vectors, added)
        scores = torch.einsum("td,tkd->tk", states, vectors)
        return scores if added is None else scores + added

    def training_collator(self, datasets: Sequence[SequentialDataset], seed: int) -> TrainingCollator:
        """Batches of training sequences: the arguments of `forward`, with targets that `loss` takes."""
        counts = np.bincount(datasets[0].train.items, minlength=self.config.num_items)
        return NextItemCollator(self.config, counts, seed)

    @property
    def evaluation_collator(self) -> EvaluationBatches:
        """Batches of histories to rank: the arguments of `forward`, `labels` and `user_index`."""
        return HistoryCollator(self.config.max_length)

    def pretraining_loss(self, histories: PackedHistories, **inputs: Any) -> Tensor:
        """The mean loss over what [`num_targets`] counts, in pretraining."""
        raise NotImplementedError

    def pretraining_collator(self, datasets: Sequence[SequentialDataset], seed: int) -> TrainingCollator:
        """Batches of pretraining: `history_rows`, `lengths`, `longest`, `pretraining=True`, what `pretraining_loss`
        takes."""
        raise ValueError(f"{type(self).__name__} has no pretraining.")

    @staticmethod
    def num_targets(batch: Mapping[str, Any]) -> int:
        """What the loss of a batch is a mean over: by default its labels or, if it has none, its histories."""
        return len(batch["labels"] if "labels" in batch else batch["lengths"])

    def take_datasets(self, datasets: Sequence[SequentialDataset], pretraining: bool) -> None:
        """Makes the model one of these datasets' items, before training.

        By default of the only dataset's; a model that pretrains on several shops overrides this.

        Raises:
            ValueError: for several datasets.
        """
        if len(datasets) != 1:
            raise ValueError(
                f"{type(self).__name__} knows items by their ids alone, so it trains on one dataset; got "
                f"{len(datasets)}."
            )
        self.take_catalog(datasets[0].catalog)

    def zero_shot(self, dataset: SequentialDataset) -> BaselineModel:
        """A model with the same weights over the items of another dataset; a model of texts overrides this.

        Raises:
            ValueError: if the model knows items by their ids alone.
        """
        if self._catalog is not None and self._catalog.fingerprint == dataset.catalog.fingerprint:
            return self
        raise ValueError(f"{type(self).__name__} knows items by their ids alone, so it cannot rank another catalogue.")

    # Items

    def new_item_table(self, width: int | None = None) -> nn.Embedding:
        """A table with a row for each item."""
        return nn.Embedding(self.config.num_items, width or self.config.hidden_size)

    @property
    def catalog(self) -> ItemCatalog | None:
        """The items, whose order is that of the scores; None if the model has not taken any yet."""
        return self._catalog

    @catalog.setter
    def catalog(self, catalog: ItemCatalog | None) -> None:
        check_catalog(catalog)
        if catalog is not None and len(catalog) != self.config.num_items:
            raise ValueError(
                f"The catalogue has {len(catalog):,} items, but the model has {self.config.num_items:,}. Train it on a "
                "dataset of that catalogue."
            )
        self._catalog = catalog

    def take_catalog(self, catalog: ItemCatalog) -> None:
        """Makes other items those of the model. Whatever has a row for each item starts anew, from the present seed.

        A model with the same catalogue stays as it is.
        """
        if self._catalog is not None and self._catalog.fingerprint == catalog.fingerprint:
            return
        if self._catalog is not None:
            logger.warning(
                f"The {type(self).__name__} had {len(self._catalog):,} other items. What it has learned of single "
                "items is dropped."
            )
        self.config.num_items = len(catalog)
        for name in self.item_tables:
            table = getattr(self, name)
            if table is not None:
                new = nn.Embedding(len(catalog), table.embedding_dim, device=table.weight.device)
                setattr(self, name, new)
                self._init_weights(new)
        self._catalog = catalog

    def draw_weights(self) -> None:
        """Draws all weights anew, from the present seed. Buffers stay: they say what items are, and are not learned."""
        fresh = dict(type(self)(self.config).named_parameters())
        with torch.no_grad():
            for name, weight in self.named_parameters():
                weight.copy_(fresh[name])
        self.is_new = True

    # Scoring and recommending

    reads_text = False
    """The pipeline needs no tokenizer."""

    def forward(
        self,
        history_rows: Tensor,
        lengths: Tensor,
        longest: int | None = None,
        pretraining: bool = False,
        return_dict: bool | None = None,
        **targets: Any,
    ) -> BaselineOutput | tuple[Any, ...]:
        """Scores the catalogue for histories or, with targets, computes the loss.

        Args:
            history_rows (`Tensor`, int `[total]`): rows of the catalogue of all histories, end to end, oldest first.
            lengths (`Tensor`, int64 `[batch]`): items of each history, from 1 to `config.max_length`.
            longest (`int`): the largest of `lengths`. Without it, an accelerator has to be asked.
            pretraining: whether the targets are those of `pretraining_loss`, otherwise of `loss`.
            return_dict: as in other transformers models.
            targets: the further arguments of the loss, such as `labels`.
        """
        if not pretraining:
            self.check_item_vectors()
        histories = PackedHistories(history_rows, lengths, int(lengths.max()) if longest is None else longest)
        if pretraining:
            output = BaselineOutput(loss=self.pretraining_loss(histories, **targets))
        elif targets:
            output = BaselineOutput(loss=self.loss(histories, **targets))
        else:
            vectors = self.history_vectors(histories)
            items, added = self.item_vectors(), self.item_bias()
            with torch.autocast(vectors.device.type, enabled=False):  # in 16 bits, many items would have equal scores
                added = None if added is None else added.float()
                scores = nn.functional.linear(vectors.float(), items.float(), added)
            output = BaselineOutput(scores=scores, history_vectors=vectors)
        return output.to_tuple() if return_dict is False else output

    @torch.no_grad()
    def scores(self, histories: Sequence[np.ndarray]) -> Tensor:
        """Scores every item of the catalogue for each history.

        Args:
            histories: `[batch]` int arrays of catalogue rows, oldest first, each with at least one item; the newest
                `config.max_length` are read.

        Returns:
            float32 `[batch, num_items]`, on the model's device.

        Raises:
            TypeError: for histories that are not rows; `recommend` takes ids.
            ValueError: for a model without items, an empty history, or rows outside the catalogue.
        """
        num_items = self.config.num_items
        arrays = [np.asarray(history) for history in histories]
        for number, history in enumerate(arrays):
            if history.ndim != 1 or (history.size and history.dtype.kind not in "iu"):
                problem = f"History {number} is {shown(histories[number])}; expected rows of the catalogue"
                raise TypeError(f"{problem}, which are whole numbers. model.recommend takes ids.")
        highest = max((int(np.max(history)) for history in arrays if len(history)), default=0)
        lowest = min((int(np.min(history)) for history in arrays if len(history)), default=0)
        if num_items and not 0 <= lowest <= highest < num_items:
            raise ValueError(
                f"The histories have rows from {lowest:,} to {highest:,}, but the model's catalogue has "
                f"{num_items:,} items."
            )
        step = max(1, min(512, _MOST_SCORES // max(num_items, 1)))
        blocks = [torch.zeros(0, num_items, device=self.device)]
        with evaluating(self):
            for first in range(0, len(arrays), step):
                packed = PackedHistories.of(arrays[first : first + step], self.config.max_length, self.device)
                blocks.append(self(packed.rows, packed.lengths, packed.longest).scores)
        return torch.cat(blocks)

    def check_item_vectors(self) -> None:
        """Raises `ValueError` for a model without items."""
        if self.config.num_items == 0:
            raise ValueError(f"This {type(self).__name__} has no items yet: fit(dataset) trains it on some.")

    def recommend(
        self,
        histories: Sequence[Any],
        tokenizer: object = None,
        top_k: int = 10,
        *,
        exclude_history: bool = True,
        candidates: Sequence[Any] | None = None,
        exclude: Sequence[Any] | None = None,
        number_from: int | None = None,
        return_tensors: str = "pt",
        max_tokens: int | None = None,
        progress: bool | None = None,
    ) -> Recommendations:
        """Finds the items with the highest scores for each history, as `RecformerForSeqRec.recommend` does.

        Args:
            histories: a list of histories, each a list of ids of the catalogue, oldest first. A dictionary stands for
                the item with its `item_id`, or for the first item with exactly its attributes.
            top_k: how many items, at least 1.
            exclude_history: leave out the items of the history itself.
            candidates: ids to choose from, for all histories; by default all items.
            exclude: ids that are not recommended for any history.
            number_from: the number that errors give the first history, if the histories are a part of more.
            return_tensors: `"pt"` for torch, `"np"` for numpy.
            tokenizer, max_tokens, progress: ignored; they keep the signature.

        Returns:
            [`Recommendations`], on the CPU.

        Raises:
            UnknownItemError: a `KeyError`, for ids that the catalogue does not have; it shows the closest ids.
            ValueError: for a model without items, a dictionary that is no item of the catalogue, an empty history, or a
                `top_k` larger than what is left.
            TypeError: for something that is not a history, an item or an id.
        """
        return recommend(
            self, histories, top_k, exclude_history=exclude_history, candidates=candidates, exclude=exclude,
            number_from=number_from, return_tensors=return_tensors,
        )  # fmt: skip

    def fit(self, dataset: SequentialDataset, output_dir: str | Path | None = None, **arguments: Any) -> Self:
        """Trains a model that is new or only pretrained; a trained one is only checked to have the dataset's items.

        The best epoch by NDCG@10 on `dataset.validation` is kept; a dataset without validation needs
        `eval_strategy="no"` and a fitting `num_train_epochs`.

        Args:
            dataset: what to train on.
            output_dir: folder of the run. By default nothing is kept but the model in memory.
            arguments: of [`BaselineTrainingArguments`].

        Returns:
            the model itself.

        Raises:
            ValueError: if a trained model has other items than the dataset.
        """
        if self.is_new or self.config.only_pretrained or self.config.num_items == 0:
            # Imported by name when it is needed: the trainer needs this class.
            steps = importlib.import_module(".training", __package__)
            steps.fit_baseline(self, dataset, output_dir, arguments)
            return self
        mine, theirs = self._catalog, dataset.catalog
        if mine is None or mine.fingerprint != theirs.fingerprint:
            found = "no catalogue that names its" if mine is None else "another catalogue, of"
            raise ValueError(
                f"The {type(self).__name__} has {found} {self.config.num_items:,} items, not the dataset's "
                f"{len(theirs):,}. Evaluate it on the dataset that it was trained on, or train a new one."
            )
        return self

    # Files

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *model_args: Any, output_loading_info: bool = False, **kwargs: Any
    ) -> Any:
        """Loads a model, and the catalogue beside it, from a folder or a Hub id.

        Raises:
            ValueError: if weights are missing, unexpected, of another shape or not finite, or a file is damaged; the
                message names them.
        """
        ignore_shapes = kwargs.pop("ignore_mismatched_sizes", False)
        name = pretrained_model_name_or_path
        with readable_checkpoint(name, kwargs.get("subfolder") or ""):
            # Other shapes are let through, because `check_names` names them.
            options = {**kwargs, "output_loading_info": True, "ignore_mismatched_sizes": True}
            loaded: Any = super().from_pretrained(name, *model_args, **options)
        model, info = loaded
        check_names(name, cls.__name__, info, (), (), ignore_shapes)
        check_numbers(name, model)
        model.is_new = False
        if name is not None and model.config.num_items:
            source = CheckpointSource.of(name, kwargs, getattr(model.config, "_commit_hash", None))
            model._catalog = read_catalog(source, model.config.num_items)
        return (model, info) if output_loading_info else model

    def save_pretrained(self, save_directory: Any, *args: Any, push_to_hub: bool = False, **kwargs: Any) -> Any:
        """Saves the model as transformers does, and its catalogue beside it."""
        kwargs.setdefault("save_original_format", False)
        folder = Path(save_directory)
        result = super().save_pretrained(save_directory, *args, **kwargs)
        if kwargs.get("is_main_process", args[0] if args else True):
            remove_older_weights(folder, kwargs.get("variant"))
            if self._catalog is not None:
                self._catalog.save_pretrained(folder)
            else:
                (folder / CATALOG_FILE).unlink(missing_ok=True)  # of the model that was saved here before
            if push_to_hub:  # last, so that the catalogue is pushed too
                options = {name: kwargs[name] for name in _PUSH_OPTIONS if kwargs.get(name) is not None}
                push: Any = self.push_to_hub
                push(kwargs.get("repo_id") or folder.name, **options)
        return result

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[no-untyped-call]


def check_settings(model: type[BaselineModel], config: BaselineConfig | None, settings: Mapping[str, Any]) -> None:
    """Raises `TypeError` for settings without an effect, which transformers' configurations would keep in silence."""
    name, known = model.config_class.__name__, [field.name for field in fields(model.config_class)]
    if config is not None and settings:
        raise TypeError(
            f"{model.__name__} got a configuration and, besides, {', '.join(settings)}. Set these in the {name}."
        )
    for unknown in (each for each in settings if each not in known):
        close = get_close_matches(unknown, known, 3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"help({name}) lists its fields."
        raise TypeError(f"{model.__name__} has no setting {unknown!r}; {hint}")


__all__ = ["BaselineModel", "BaselineOutput", "check_settings"]
