"""Finetuning in one stage: an ordinary `train()` in one folder, evaluated by ranking the whole catalogue."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate.utils import broadcast
from torch import nn
from transformers import EarlyStoppingCallback, set_seed
from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import TrainOutput
from transformers.utils import logging

from ...configuration_recformer import RecformerConfig
from ...data.collators import EvaluationCollator, FinetuningCollator, ItemCollator
from ...data.dataset import SequentialDataset
from ...data.item_pairs import ItemPairCollator
from ...data.row_collators import TwoLevelCollator, TwoLevelEvaluationCollator
from ...data.sequences import Sequences
from ...data.tokenized_catalog import TokenizedCatalog
from ...encoder.losses import item_pair_loss
from ...evaluation.ranking import Ranking, RankingProtocol
from ...memory.memory import Memory
from ...memory.weights import MOST_USERS
from ...modeling_recformer import RecformerForSeqRec
from ...tokenization_recformer import RecformerTokenizer
from ...tokenizing.check_tokenizer import check_tokenizer
from ..arguments import RecformerTrainingArguments
from ..batches import Batch
from ..expected_kinds import check_arguments_class, check_dataset, check_model
from ..freezing import frozen, plain_name, without_gradient
from ..item_matrix import encode_item_matrix
from ..learning_rates import set_rate
from ..model_ranking import RankingLoader, rank_sequences
from ..ranking_trainer import RankingTrainer, check_metric
from ..resume import asked_to_resume, checkpoint_to_resume_from
from ..sharding import copy_into, reshard, set_up_fsdp
from ..supported_arguments import REFUSED_IN_STAGES, check_trainer_arguments
from .arguments import HEAD_ARGUMENTS, RecformerFinetuningArguments
from .memory import fit_memory
from .stages import Stage

logger = logging.get_logger(__name__)

NEW_HEAD_SIZE = 128
"""Width of a new two-level head with a projection, if its text encoder is wider."""

BIAS_RATE = 10.0
"""Learning rate of the history bias, as a multiple of the head's: it moves by several units, weights by hundredths."""


class StageTrainer(RankingTrainer):
    """Finetunes a recommender on one dataset in one stage, in the folder `args.output_dir`.

    A flat head has one target a user, a two-level head every item of a training sequence but the first. The stage
    decides what happens to the item matrix, which weights are frozen, and when training stops.

    Args:
        model: its items, if it has any, are replaced by the dataset's.
        args: settings.
        stage: what this stage trains.
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

    args: RecformerFinetuningArguments
    model: RecformerForSeqRec
    _knows_items: bool
    """Whether this trainer has encoded the items, or loaded their vectors."""
    _step_of_items: int | None = None
    """The step of the stage after which this trainer encoded the items last."""

    def __init__(
        self,
        model: RecformerForSeqRec | None,
        args: RecformerFinetuningArguments,
        *,
        stage: Stage,
        train_dataset: SequentialDataset,
        processing_class: RecformerTokenizer,
        eval_dataset: Sequences | None = None,
        tokenized_catalog: TokenizedCatalog | None = None,
        **kwargs: Any,
    ) -> None:
        check_arguments_class(args, RecformerFinetuningArguments)
        check_trainer_arguments(kwargs, REFUSED_IN_STAGES)
        check_dataset(train_dataset, "train_dataset")
        check_tokenizer(processing_class)
        check_metric(args, kwargs.get("compute_metrics"))
        self.dataset = train_dataset
        self.catalog = train_dataset.catalog
        self.stage = stage
        split = train_dataset.validation if eval_dataset is None else self.split_of(eval_dataset, "validation")
        validation = self.validation_users(args, split)
        self.tokenized_catalog = tokenized_catalog or TokenizedCatalog.build(self.catalog, processing_class)
        if self.tokenized_catalog.catalog_fingerprint != self.catalog.fingerprint:
            raise ValueError(
                f"tokenized_catalog ({len(self.tokenized_catalog):,} items) was not created from the dataset's "
                f"catalogue ({len(self.catalog):,} items). Omit it, or create it with TokenizedCatalog.build."
            )
        self.item_collator = ItemCollator(self.tokenized_catalog, processing_class)
        super().__init__(
            model,
            args,
            datasets=[train_dataset],
            collator=self._train_collator(args, stage, processing_class, getattr(model, "config", RecformerConfig())),
            processing_class=processing_class,
            eval_dataset=validation,
            **kwargs,
        )
        self.label_names = ["labels"]
        self._has_item_matrix = False
        self._to_beat: float | None = None
        if self.is_fsdp_enabled:
            # Weights are sharded once, for all stages that the model goes through.
            trains_items = any(each.item_matrix == "trainable" for each in args.stages())
            set_up_fsdp(self.accelerator, [] if trains_items else [self._item_embeddings])

    def adopt(self, model: object) -> None:
        """Makes the dataset's items those of a model; they are encoded when they are needed."""
        check_model(model, RecformerForSeqRec, " RecformerForPretraining has no items to recommend.")
        head = cast(RecformerForSeqRec, model)
        has_others = head.catalog is not None and head.catalog.fingerprint != self.catalog.fingerprint
        if head.config.num_items != len(self.catalog) or has_others:
            head.set_item_embeddings(torch.zeros(len(self.catalog), head.config.hidden_size))
        head.catalog = self.catalog
        self._knows_items = False

    def _train_collator(
        self,
        args: RecformerFinetuningArguments,
        stage: Stage,
        tokenizer: RecformerTokenizer,
        config: RecformerConfig,
    ) -> FinetuningCollator | TwoLevelCollator | ItemPairCollator:
        """Batches for a model of this configuration, once it has the head of the arguments."""
        seed = args.seed_of(stage)
        counts = np.bincount(self.dataset.train.items, minlength=len(self.catalog))
        if stage.item_pairs:
            most = tokenizer.max_item_embeddings - 1
            return ItemPairCollator(counts, max_items=most, seed=seed, item_collator=self.item_collator)
        if _chosen(args.sequence_head, config.sequence_head) == "two_level":
            return TwoLevelCollator(
                counts, max_items=tokenizer.max_item_embeddings - 1, seed=seed, num_negatives=args.num_negatives,
                item_collator=None if stage.freeze == "encoder" else self.item_collator,
            )  # fmt: skip
        return FinetuningCollator(
            self.tokenized_catalog, tokenizer, seed=seed, num_negatives=args.num_negatives,
            history_rows=_chosen(args.history_bias, config.history_bias), targets_per_user=args.targets_per_user,
            scored=np.flatnonzero(counts) if _chosen(args.item_residuals, config.item_residuals) else None,
        )  # fmt: skip

    @property
    def eval_collator(self) -> EvaluationCollator | TwoLevelEvaluationCollator:
        """Batches of histories to rank for the model as it is."""
        config = self._head.config
        if config.sequence_head == "two_level":
            return TwoLevelEvaluationCollator()
        return EvaluationCollator(self.tokenized_catalog, self.processing_class, history_rows=config.history_bias)

    def head_to_take(self) -> dict[str, Any]:
        """The fields of the head that the arguments give the model."""
        config, fields = self._head.config, self.args.head_fields()
        is_new = fields.get("sequence_head") == "two_level" != config.sequence_head
        if is_new and fields.get("item_projection") and config.hidden_size > NEW_HEAD_SIZE:
            fields.setdefault("head_size", NEW_HEAD_SIZE)
        return fields

    def take_head(self) -> None:
        """Gives the model the head of the arguments, in place; called at the beginning of a run, new or resumed.

        Raises:
            ValueError: for FSDP with a head that learns, or if a text encoder would train under a two-level head, but
                items would keep the vectors of its old weights. The model then keeps its own head.
        """
        head, fields = self._head, self.head_to_take()
        self._check_head({name: getattr(head.config, name) for name in HEAD_ARGUMENTS} | fields)
        if any(getattr(head.config, name) != value for name, value in fields.items()):
            set_seed(self.args.seed)  # the same new weights, whatever was drawn before
            head.set_head(**fields)
        head.memory = None  # one of other sequences would change what is validated; the run counts its own at its end

    def _check_head(self, fields: dict[str, Any]) -> None:
        """Raises ValueError for a head, the values of `HEAD_ARGUMENTS`, that this run cannot train."""
        two_level = fields["sequence_head"] == "two_level"
        learns = ("item_projection", "item_residuals", "history_bias", "learned_temperature")
        if self.is_fsdp_enabled and (two_level or any(fields[name] for name in learns)):
            raise ValueError(
                f"FSDP does not work with a head that learns (sequence_head, {', '.join(learns)}). Use DDP "
                "(examples/configs), or a recipe without them."
            )
        if self.args.stage1_item_pairs and not self.args.skip_stage1 and self.args.stage1_freeze == "encoder":
            raise ValueError(
                "stage1_item_pairs trains the text encoder in stage 1, but stage1_freeze is 'encoder'. Use "
                "'lower_layers', as the recipe hybrid-text does, or leave stage1_item_pairs out."
            )
        kept = [
            stage.name for stage in self.args.stages() if stage.freeze != "encoder" and stage.item_matrix != "reencode"
        ]
        if two_level and kept:
            raise ValueError(
                f"{' and '.join(kept)} would train the text encoder under a two-level head, but items would keep the "
                "vectors of its old weights. Set the stage's item matrix to 'reencode', or freeze the encoder "
                "(stage1_freeze='encoder', stage2_freeze='encoder'), as the recipe hybrid does."
            )

    # The stage

    def begin_stage(
        self, stage: Stage, args: RecformerFinetuningArguments, *, has_item_matrix: bool, to_beat: float | None
    ) -> None:
        """Makes this the trainer of another stage: its settings, batches and seeds, and no optimizer yet.

        A new `Trainer` instead would put another accelerator over a model that may be sharded already; it would also
        call `on_init_end` of the caller's callbacks a second time and open their loggers again.

        Args:
            stage: what to train.
            args: the arguments of the stage; `output_dir` is its folder.
            has_item_matrix: whether the model's item vectors are encoded already.
            to_beat: metric of an earlier stage; only better ones count as improvements.
        """
        self.stage, self.args = stage, args
        self._train_batch_size = args.train_batch_size
        self._has_item_matrix, self._to_beat = has_item_matrix, to_beat
        self._knows_items, self._step_of_items = self._knows_items or has_item_matrix, None
        # A stage then draws the same dropout whether the one before it ran in this process or before a restart.
        set_seed(args.seed)
        self.collator = self.data_collator = self._train_collator(args, stage, self.processing_class, self._head.config)
        self.sampler = self.sampler_of_seed(args.seed_of(stage))
        self.optimizer = self.lr_scheduler = None
        self.model_wrapped = self.model  # other weights train, so DDP has to wrap the model again
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, EarlyStoppingCallback):
                callback.early_stopping_patience_counter = 0  # its evaluations are those of one stage
        self.open_new_logs()

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: object = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Trains the stage. The model then has the weights of the last step; `result_checkpoint` has the best ones.

        Args:
            resume_from_checkpoint: a checkpoint of the stage to continue from, or `True` for its last one.
            trial, ignore_keys_for_eval: ignored; they keep the signature of `Trainer`.
        """
        resume = asked_to_resume(resume_from_checkpoint)
        if resume is True:
            checkpoint = checkpoint_to_resume_from(self.folder)
        else:
            checkpoint = Path(resume) if resume else None
        self.take_head()
        self.args = self._lengthened(self.args)
        with (
            frozen(self.model, self._head.recformer, self.stage.freeze, pooled_only=True),
            without_gradient(self.model, self._untrained_head()),
        ):
            self._train_item_embeddings(self.stage.item_matrix == "trainable")
            try:
                output = self.train_from(checkpoint)
                self._encode_items_of_step()
                self.encode_items_once()  # a stage of no epochs
                return output
            finally:
                self._train_item_embeddings(False)

    def _untrained_head(self) -> list[nn.Parameter]:
        """The weights that pairs of items leave as they are: all but those of the text encoder."""
        named = self._head.named_parameters() if self.stage.item_pairs else ()
        return [weight for name, weight in named if not plain_name(name).startswith("recformer.")]

    def outputs(self, model: nn.Module, batch: Batch) -> Any:
        if not self.stage.item_pairs:
            return super().outputs(model, batch)
        of_pairs = ("first", "labels", "together", "corrections")
        texts = {name: value for name, value in batch.items() if name not in of_pairs}
        self._head.recformer.eval()  # no dropout: a few hundred steps are too few to learn the shop by heart
        output = model(**texts, encode_only=True)
        first, second, together, corrections = (batch[name] for name in of_pairs)
        temperature = self._head.config.temperature
        output.loss = item_pair_loss(output.user_embeds, first, second, together, corrections, temperature)
        return output

    def _lengthened(self, args: Any) -> Any:
        """The arguments of a stage with as many epochs as `min_steps` needs.

        Those are steps of a head, which are cheap: a stage that trains the text encoder under it does not get longer.
        """
        epochs = 0 if self._trains_texts else -(-args.min_steps // self.steps_per_epoch)
        if args.num_train_epochs < epochs:
            args = copy.copy(args)
            args.num_train_epochs = epochs
        return args

    def ends_at(self, state: TrainerState, args: RecformerTrainingArguments, patience: int | None) -> bool:
        return super().ends_at(state, self._lengthened(args), patience)

    def begin_epoch(self) -> None:
        super().begin_epoch()
        epoch, step = self.next_epoch
        begins = epoch == 0 and step == 0
        reencodes = self.stage.item_matrix == "reencode" and not self._trains_texts
        # In the middle of an epoch, the matrix of the checkpoint is the one that the epoch began with.
        if step == 0 and (reencodes or (begins and not self._has_item_matrix)):
            self.encode_items()
        if begins and not self.stage.item_pairs:  # what comes after these starts it from their vectors
            self._start_projection()
        if begins and self.state.best_metric is None:
            self.state.best_metric = self._to_beat

    def _start_projection(self) -> None:
        """Starts a new projection of a two-level head from the whitening of the items.

        A flat head compares item vectors with those of texts, so there a new projection stays the identity.
        """
        head = self._head
        if head.config.sequence_head == "two_level" and head.scoring_head.projection_is_new:
            head.scoring_head.start_from(self._item_embeddings)
            # A principal direction has no sign, so processes on other hardware may have found its opposite.
            broadcast([weight.data for weight in head.scoring_head.item_weights() or ()])

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """As in `transformers.Trainer`, but weights of the head may have learning rates of their own."""
        is_new, rate = self.optimizer is None, self.args.head_learning_rate
        optimizer: torch.optim.Optimizer = super().create_optimizer(*args, **kwargs)
        if is_new:
            model = args[0] if args else kwargs.get("model") or self.model
            named = [(plain_name(name), weight) for name, weight in model.named_parameters()]
            own = ("scoring_head.", "item_residuals")
            if rate is not None:
                set_rate(optimizer, [weight for name, weight in named if name.startswith(own)], rate)
            biases = [weight for name, weight in named if name == "scoring_head.history_bias"]
            set_rate(optimizer, biases, BIAS_RATE * (self.args.learning_rate if rate is None else rate))
        return optimizer

    def encode_items(self) -> None:
        """Encodes all items with the model as it is, and makes that its item matrix, in place, on every process.

        Training and the first evaluation do so by themselves; call it after you changed the model's weights.
        """
        with self.records.off_the_clock():
            matrix = encode_item_matrix(
                self.model,
                self.item_collator,
                self.accelerator,
                max_tokens=self.args.eval_batch_tokens,
                progress=False if self.args.disable_tqdm else None,
            )
            reshard(self.model)
            copy_into(self._item_embeddings, matrix)
        self._knows_items, self._step_of_items = True, self.state.global_step

    def _encode_items_of_step(self) -> None:
        """Encodes all items if the stage has trained the text encoder since the last time, with items of batches.

        The histories of a two-level head are read as item vectors, so those of older weights fit neither it nor each
        other. A step needs only the items of its batch.
        """
        if self._trains_texts and self._step_of_items != self.state.global_step:
            self.encode_items()

    @property
    def _trains_texts(self) -> bool:
        """Whether the stage trains the text encoder with the items of its batches."""
        two_level = self._head.config.sequence_head == "two_level"
        return self.stage.item_pairs or (self.stage.freeze != "encoder" and two_level)

    def encode_items_once(self) -> None:
        """Encodes all items unless the model has vectors for them."""
        if not self._knows_items and not self._item_embeddings.any():
            self.encode_items()

    def _write_checkpoint(self, folder: str) -> None:
        if self.control.should_training_stop or self.state.global_step >= self.state.max_steps:
            self._encode_items_of_step()  # without evaluation, the last checkpoint is the result
        super()._write_checkpoint(folder)

    def restore(self, checkpoint: Path) -> None:
        super().restore(checkpoint)
        self._knows_items = True

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self._knows_items = True

    @property
    def patience(self) -> int | None:
        return self.stage.patience

    @property
    def _head(self) -> RecformerForSeqRec:
        if self.model is None:
            raise RuntimeError("A hyperparameter search leaves no model: call train() with the best settings.")
        head: RecformerForSeqRec = self.accelerator.unwrap_model(self.model)
        return head

    @property
    def _item_embeddings(self) -> nn.Parameter:
        return self._head.item_embeddings

    def _train_item_embeddings(self, trains: bool) -> None:
        reshard(self.model)  # parameters that FSDP has gathered are not the ones that train
        self._item_embeddings.requires_grad_(trains)

    # Evaluation

    def fit_memory(self) -> Memory:
        """A memory of the training sequences, with weights for the model as it is; see [`fit_memory`]."""
        loader = None
        if self.eval_dataset is not None:
            users = np.arange(0, len(self.eval_dataset), -(-len(self.eval_dataset) // MOST_USERS))
            loader = self.get_eval_dataloader(self.eval_dataset.select(users))
        return fit_memory(self._head, self.dataset.train, cast("RankingLoader | None", loader), self.accelerator)

    def rank_loader(
        self, loader: RankingLoader, protocols: Sequence[RankingProtocol]
    ) -> tuple[dict[RankingProtocol, Ranking], float]:
        self.encode_items_once()
        self._encode_items_of_step()
        return rank_sequences(self.model, loader, self.accelerator, protocols, ties=self.args.ranking_ties, top_k=10)


def _chosen(value: Any, own: Any) -> Any:
    """A setting of the model, unless the arguments have it."""
    return own if value is None else value
