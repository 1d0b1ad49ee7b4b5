"""What pretraining and finetuning share: planned batches, safe checkpoints, stopping at a loss that is not finite."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate.data_loader import DataLoaderShard
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.trainer_utils import TrainOutput
from transformers.utils import logging

from ..data.dataset import SequentialDataset
from ..data.sampling import Mixing, SequenceSampler
from ..data.sequences import Sequences
from ..data.torch_datasets import EvaluationSequences, TrainingSequences
from ..tokenization_recformer import RecformerTokenizer
from .arguments import RecformerTrainingArguments
from .batches import Batch, EvaluationBatches, planned_loader, refuse_what_cuts_batches
from .checkpoints import last_checkpoint, load_state
from .finite_loss import FiniteLossWatch, LossNotFiniteError
from .kept_memory import kept_memory
from .model_ranking import RankingBatches
from .publishing.runs import PublishesRuns
from .resume import check_optimizer
from .run_settings import recformer_settings
from .saving import SavesCheckpoints
from .step_records import StepRecords
from .supported_arguments import REFUSED, check_fields, check_optimizer_and_schedule
from .trials import SearchesSettings

logger = logging.get_logger(__name__)


class TrainingCollator(Protocol):
    """From rows of training sequences to a packed batch."""

    def lengths(self, data: TrainingSequences) -> list[Any]: ...

    def __call__(self, batch: Any) -> Batch: ...  # a `SequenceBatch`; `Trainer` types it as a list


class RecformerTrainer(SearchesSettings, SavesCheckpoints, PublishesRuns, Trainer):
    """A `Trainer` of packed batches that `SequenceSampler` plans.

    Args:
        model: with the head of the task; `None` if `model_init` is given.
        args: its arguments.
        datasets: what it trains on.
        collator: from rows of training sequences to packed batches.
        processing_class: the `RecformerTokenizer`, saved beside the model; `None` for a model that reads no text.
        dataset_weights, mixing: as in `SequenceSampler`.
        kwargs: as in `transformers.Trainer`.

    Raises:
        ValueError: if one process sees several GPUs, or if the settings of accelerate would cut up packed batches.
    """

    args: RecformerTrainingArguments
    model: PreTrainedModel
    train_dataset: TrainingSequences
    data_collator: TrainingCollator
    processing_class: RecformerTokenizer
    give_back_memory: Callable[[], None]
    """Called after every step of `train`; see [`kept_memory`]."""

    def __init__(
        self,
        model: PreTrainedModel | None,
        args: RecformerTrainingArguments,
        *,
        datasets: Sequence[SequentialDataset],
        collator: TrainingCollator,
        processing_class: RecformerTokenizer | None = None,
        dataset_weights: Sequence[float] | None = None,
        mixing: Mixing = "sequences",
        **kwargs: Any,
    ) -> None:
        check_fields(args, args.refused_fields())  # again: they may have been changed since
        refuse_what_cuts_batches(args)
        if model is not None or kwargs.get("model_init") is None:
            self.adopt(model)
        self.datasets = list(datasets)
        self.collator = collator
        self.dataset_weights, self.mixing = dataset_weights, mixing
        super().__init__(
            model=model,
            args=args,
            data_collator=collator,
            train_dataset=TrainingSequences([dataset.train for dataset in self.datasets]),
            processing_class=processing_class,
            **kwargs,
        )
        self._check_distribution()
        if self.optimizer is None and self.optimizer_cls_and_kwargs is None:
            check_optimizer_and_schedule(
                args, args.eval_strategy != "no", lambda: self.get_optimizer_cls_and_kwargs(args, self.model)
            )
        # The losses of both trainers are sums over global counts, so `Trainer` must not scale them again.
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = True
        # Otherwise older versions of transformers have accelerate divide such losses by the accumulated batches again.
        self.accelerator.gradient_accumulation_steps = 1
        self.sampler = self.sampler_of_seed(args.seed if args.data_seed is None else args.data_seed)
        self.loss_watch = FiniteLossWatch(args.device)
        self.records = StepRecords()
        self.forget_the_last_run()
        self.add_callback(_EpochCallback(self))

    def adopt(self, model: object) -> None:
        """Checks a model before it becomes that of the trainer, and gives it what it needs.

        Raises:
            TypeError: if the trainer cannot train it.
        """
        raise NotImplementedError

    def model_settings(self) -> dict[str, Any]:
        """What of the model decides the result of a run, besides arguments and data, as JSON."""
        return recformer_settings(self.model.config, self.processing_class)

    def _check_distribution(self) -> None:
        """Refuses what a launcher may choose besides the arguments."""
        if self.is_deepspeed_enabled:
            raise ValueError(f"DeepSpeed is not supported: {REFUSED['deepspeed'].reason}.")
        if self.is_fsdp_enabled and self.model_init is not None:
            raise ValueError("model_init is not supported with FSDP, which shards one model for the whole run.")

    # Batches

    def sampler_of_seed(self, seed: int) -> SequenceSampler:
        """The plan of this process's batches that a seed gives."""
        by_tokens = self.args.max_batch_tokens is not None
        return SequenceSampler(
            self.train_dataset.users,
            self.collator.lengths(self.train_dataset),
            seed=seed,
            batch_size=None if by_tokens else self.args.per_device_train_batch_size,
            max_tokens=self.args.max_batch_tokens,
            rank=self.args.process_index,
            world_size=self.args.world_size,
            weights=self.dataset_weights,
            mixing=self.mixing,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps; the last one of an epoch may have fewer batches."""
        return -(-len(self.sampler) // self.args.gradient_accumulation_steps)

    @property
    def next_epoch(self) -> tuple[int, int]:
        """The epoch of the next step, and how many steps of that epoch are done."""
        return divmod(self.state.global_step, self.steps_per_epoch)

    def get_train_dataloader(self) -> DataLoaderShard:
        return self.loader(self.train_dataset, self.sampler, self.collator)

    def loader(self, data: Dataset[Any], batches: Iterable[Any], collator: Callable[[Any], Batch]) -> DataLoaderShard:
        """Like [`planned_loader`], for the device of the run."""
        return planned_loader(data, batches, collator, self.args, self.accelerator.device)

    def ranking_loader(self, split: Sequences, collator: EvaluationBatches, num_items: int) -> DataLoaderShard:
        """Batches of the split's histories, to rank `num_items` for; a [`RankingLoader`]."""
        data = EvaluationSequences(split)
        batches = RankingBatches(
            collator.lengths(data), self.args.eval_batch_tokens, num_items,
            self.args.process_index, self.args.world_size,
        )  # fmt: skip
        loader = self.loader(data, batches, collator)
        loader.split = split
        return loader

    def begin_epoch(self) -> None:
        """Called before the batches of an epoch, or of the rest of an epoch."""
        epoch, _ = self.next_epoch
        self.sampler.set_epoch(epoch)

    def get_batch_samples(self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device) -> Any:
        with self.records.waiting_for_data():
            result = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._micro_step = 0
        return result

    def global_counts(self, counts: Sequence[Tensor | float], device: torch.device) -> Tensor:
        """Sums over all processes, float32 `[len(counts)]`."""
        total = torch.stack([torch.as_tensor(count, dtype=torch.float32).to(device) for count in counts])
        if self.args.world_size > 1:
            total = self.accelerator.reduce(total, reduction="sum")
        return total

    # Steps

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """As in `transformers.Trainer`."""
        # The best weights are always loaded, if a metric chooses them; EarlyStoppingCallback reads this field. Set
        # earlier, transformers would demand settings that only its own way of loading them needs.
        self.args.load_best_model_at_end = self.args.eval_strategy != "no" and bool(self.args.metric_for_best_model)
        with kept_memory(self.args.device.type == "cpu") as self.give_back_memory:
            return super().train(*args, **kwargs)

    def train_from(self, checkpoint: Path | None, **kwargs: Any) -> TrainOutput:
        """Trains in `args.output_dir` and does nothing else: in subclasses, a run has steps before and after this.

        Args:
            checkpoint: checkpoint to continue from; if training ends there, it is only loaded. `None`: train the model
                as it is.
            kwargs: arguments of `transformers.Trainer.train`.

        Raises:
            ValueError: if the checkpoint has no optimizer to continue with.
        """
        if checkpoint is not None and self.is_done(checkpoint):
            self.restore(checkpoint)
            self.state = load_state(checkpoint)
            return TrainOutput(self.state.global_step, float("nan"), {})
        if checkpoint is not None:
            check_optimizer(checkpoint)
        # Not `self.train`, which in subclasses is the whole run.
        return RecformerTrainer.train(self, None if checkpoint is None else str(checkpoint), **kwargs)

    def training_step(self, model: nn.Module, inputs: Batch, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        self.records.add_tokens(_size(inputs))
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._note(torch.isfinite(loss), self._micro_step)
        self._micro_step += 1
        return loss

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        # Scaling by a norm that is not finite would spoil all weights, even if every loss was finite.
        norm = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
        if torch.is_tensor(norm) and self.accelerator.scaler is None:  # a scaler skips such steps itself
            self._note(torch.isfinite(norm), self._micro_step - 1)
        return norm

    def _note(self, is_finite: Tensor, micro_step: int) -> None:
        # The number identifies step and batch, and is not a count: the last step of an epoch may have fewer batches.
        batch = self.state.global_step * self.args.gradient_accumulation_steps + micro_step
        self.loss_watch.note(is_finite, batch)
        if self.loss_watch.reads_every_batch:
            self.stop_at_bad_loss()

    def stop_at_bad_loss(self) -> None:
        """Raises if the loss of a batch since the start, or the gradient of a step, was not finite.

        Raises:
            LossNotFiniteError: if one was not; the message names step, users, and the last good checkpoint.
        """
        found = self.loss_watch.first_bad(self.args.process_index, self.args.world_size)
        if found is None:
            return
        number, rank = found
        step, micro_step = divmod(number, self.args.gradient_accumulation_steps)
        epoch, steps = divmod(step, self.steps_per_epoch)
        sampler = copy.copy(self.sampler)
        sampler.rank = rank  # another process may have had the batch
        batch = sampler.plan(epoch)[steps * self.args.gradient_accumulation_steps + micro_step]
        users = [str(self.datasets[dataset].train.user_ids[user].as_py()) for _, dataset, user in batch[:5].tolist()]
        checkpoint = last_checkpoint(self.folder)
        good = "no checkpoint had been written yet" if checkpoint is None else f"{checkpoint}, the last one, is good"
        raise LossNotFiniteError(
            f"The loss of step {step + 1} (epoch {epoch}, batch {micro_step + 1} of the step), or its gradient, is not "
            f"finite. Its {len(batch)} users begin with {users}. Training stops here; {good}. Look at these users' "
            "items, lower learning_rate, or use bf16 instead of fp16."
        )

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Leaves out item vectors, of which only the direction matters, so that decay would not regularize them; what
        the loss adds to them; and the temperature, which decay would draw to 1."""
        left_out = ("item_embeddings", "item_residuals", "log_temperature")
        return [name for name in super().get_decay_parameter_names(model) if not name.endswith(left_out)]

    def _evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        self.stop_at_bad_loss()
        if kwargs.get("skip_scheduler") and self.state.global_step:
            return {}  # `eval_on_start` of a resumed run: a run that was never stopped has no evaluation here
        return super()._evaluate(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and "eval_loss" not in logs:  # a line of training
            self.stop_at_bad_loss()
            logs |= self.records.drain(lambda numbers: self.global_counts(numbers, self.args.device))
        super().log(logs, start_time)

    def open_new_logs(self) -> None:
        """Lets TensorBoard write the next steps, which count from 0 again, to a new folder in `output_dir`."""
        for callback in self.callback_handler.callbacks:
            if type(callback).__name__ == "TensorBoardCallback" and "TENSORBOARD_LOGGING_DIR" not in os.environ:
                callback.logging_dir = None

    def forget_the_last_run(self) -> None:
        """Forgets what is left of another stage, or of a run that was stopped."""
        self.records.reset()
        self.loss_watch.reset()
        self._micro_step = 0
        self.in_epoch = self.saves_after_epoch = False


class _EpochCallback(TrainerCallback):
    """Calls a trainer at those points of transformers' loop that have no method to override."""

    def __init__(self, trainer: RecformerTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.forget_the_last_run()
        if args.eval_on_start and state.global_step == 0:
            self.trainer.begin_epoch()

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.begin_epoch()
        self.trainer.in_epoch = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.trainer.give_back_memory()

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.in_epoch = False
        if self.trainer.saves_after_epoch:
            self.trainer.saves_after_epoch = False
            control.should_save = True


def _size(batch: Batch) -> int:
    """Tokens of a batch; for a two-level head, places of its histories."""
    return int(batch["input_ids" if "input_ids" in batch else "history_rows"].numel())


def metrics_of_step(log_history: Iterable[dict[str, Any]], step: int) -> dict[str, float]:
    """The evaluation at a step, as `best_eval_...`."""
    return {
        f"best_{name}": value
        for entry in log_history
        if entry.get("step") == step
        for name, value in entry.items()
        if name.startswith("eval_") and not name.endswith(("_runtime", "_per_second"))
    }
