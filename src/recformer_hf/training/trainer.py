"""What pretraining and finetuning share: planned batches, safe checkpoints, stopping at a loss that is not finite."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from accelerate.data_loader import DataLoaderShard
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import TrainOutput
from transformers.utils import logging

from ..data.collators import EvaluationCollator
from ..data.dataset import SequentialDataset
from ..data.sampling import Mixing, SequenceSampler
from ..data.sequences import Sequences
from ..data.torch_datasets import EvaluationSequences, TrainingSequences
from ..items.catalog import ItemCatalog
from .arguments import RecformerTrainingArguments
from .checkpoints import (
    STATE_FILE,
    clear_write_errors,
    last_checkpoint,
    load_state,
    rotate_checkpoints,
    staged_files,
    staged_folder,
)
from .kept_memory import kept_memory
from .model_ranking import RankingBatches
from .publishing.runs import PublishesRuns
from .sharding import load_whole_weights

logger = logging.get_logger(__name__)

_NEVER = 2**48
"""More batches than any run has; times the processes it still is an int64."""


class LossNotFiniteError(FloatingPointError):
    """The loss of a batch, or its gradient, is NaN or infinite."""


class RecformerTrainer(PublishesRuns, Trainer):
    """A `Trainer` of packed batches that `SequenceSampler` plans.

    Args:
        model: with the head of the task.
        args: its arguments.
        datasets: what trains.
        collator: from `INDEX` arrays to packed batches.
        processing_class: the `RecformerTokenizer`; saved beside the model.
        dataset_weights, mixing: as in `SequenceSampler`.
        kwargs: as in `transformers.Trainer`.

    Raises:
        ValueError: for several visible GPUs in one process, or accelerate settings that cut packed batches up.
    """

    args: RecformerTrainingArguments
    model: Any
    train_dataset: Any
    data_collator: Any
    processing_class: Any
    catalog: ItemCatalog | None = None
    """Saved beside the model, where the model has items."""
    give_back_memory: Callable[[], None]
    """Called after every step of `train`; see [`kept_memory`]."""
    _sums: dict[str, Tensor]
    _counts: dict[str, Tensor]
    _first_bad: Tensor

    def __init__(
        self,
        model: nn.Module,
        args: RecformerTrainingArguments,
        *,
        datasets: Sequence[SequentialDataset],
        collator: Any,
        processing_class: Any,
        dataset_weights: Sequence[float] | None = None,
        mixing: Mixing = "sequences",
        **kwargs: Any,
    ) -> None:
        refuse_what_cuts_batches(args)
        self.datasets = list(datasets)
        self.collator = collator
        self.dataset_weights, self.mixing = dataset_weights, mixing
        sequences = TrainingSequences([dataset.train for dataset in self.datasets])
        super().__init__(
            model=model,
            args=args,
            data_collator=collator,
            train_dataset=sequences,
            processing_class=processing_class,
            **kwargs,
        )
        # The losses of both trainers are sums over global counts.
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = True
        # Older versions of transformers have accelerate divide such losses by the accumulated batches once more.
        self.accelerator.gradient_accumulation_steps = 1
        self.sampler = self._sampler(args.seed if args.data_seed is None else args.data_seed)
        # Elsewhere a look makes the host wait: there it is at log lines, before evaluating and before saving.
        self._looks_at_losses = args.device.type == "cpu"
        self.forget_the_last_run()
        self.add_callback(_EpochCallback(self))

    # Batches

    def _sampler(self, seed: int) -> SequenceSampler:
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
        """Optimizer steps."""
        return -(-len(self.sampler) // self.args.gradient_accumulation_steps)

    @property
    def next_epoch(self) -> tuple[int, int]:
        """The epoch that the next step belongs to, and how many of its steps are done."""
        return divmod(self.state.global_step, self.steps_per_epoch)

    def get_train_dataloader(self) -> DataLoader[Any]:
        return self.loader(self.train_dataset, self.sampler, self.collator)

    def loader(self, data: Any, batch_sampler: Any, collate_fn: Any) -> DataLoader[Any]:
        """A loader that moves batches to the device. The sampler is rank-aware: accelerate must not shard it again."""
        workers = self.args.dataloader_num_workers
        # With a generator of its own it does not move torch's global one, which dropout draws from.
        return DataLoaderShard(
            data,
            device=self.accelerator.device,
            batch_sampler=batch_sampler,
            collate_fn=collate_fn,
            num_workers=workers,
            pin_memory=self.args.dataloader_pin_memory and self.accelerator.device.type == "cuda",
            persistent_workers=self.args.dataloader_persistent_workers and workers > 0,
            prefetch_factor=self.args.dataloader_prefetch_factor if workers else None,
            generator=torch.Generator().manual_seed(self.args.seed),
            _non_blocking=True,
        )

    def ranking_loader(self, split: Sequences, collator: EvaluationCollator, num_items: int) -> DataLoader[Any]:
        """Batches of histories to rank `num_items` for ([`rank_sequences`]); its `split` is the split."""
        data = EvaluationSequences(split)
        batches = RankingBatches(
            collator.lengths(data), self.args.eval_batch_tokens, num_items,
            self.args.process_index, self.args.world_size,
        )  # fmt: skip
        loader = self.loader(data, batches, collator)
        loader.split = split
        return loader

    def begin_epoch(self) -> None:
        """Called before the batches of an epoch, or of the rest of one."""
        epoch, _ = self.next_epoch
        self.sampler.set_epoch(epoch)

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        begin = time.perf_counter()
        result = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._waited += time.perf_counter() - begin
        self._micro_step = 0
        return result

    def global_counts(self, counts: Sequence[int | Tensor], device: Any) -> Tensor:
        """Sums over all processes, float32 `[len(counts)]`."""
        total = torch.stack([torch.as_tensor(count, dtype=torch.float32).to(device) for count in counts])
        return self.accelerator.reduce(total, reduction="sum") if self.args.world_size > 1 else total

    # Steps

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        with kept_memory(self.args.device.type == "cpu") as self.give_back_memory:
            return super().train(*args, **kwargs)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        self._tokens += inputs["input_ids"].numel()
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._note_unless(torch.isfinite(loss), self._micro_step)
        self._micro_step += 1
        return loss

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        """Scaling by a norm that is not finite would spoil all weights, though every loss was finite."""
        norm = super()._clip_grad_norm(model)
        if torch.is_tensor(norm) and self.accelerator.scaler is None:  # a scaler skips such steps itself
            self._note_unless(torch.isfinite(norm), self._micro_step - 1)
        return norm

    def _note_unless(self, fine: Tensor, micro_step: int) -> None:
        number = self.state.global_step * self.args.gradient_accumulation_steps + micro_step
        self._first_bad = torch.where(fine, self._first_bad, self._first_bad.clamp_max(number))
        if self._looks_at_losses:
            self.stop_at_bad_loss()

    def stop_at_bad_loss(self) -> None:
        """Raises if the loss of a batch since the start, or the gradient of a step, was not finite.

        Raises:
            LossNotFiniteError: naming step, users, and the last good checkpoint.
        """
        first, rank = self._first_bad, self.args.process_index
        if self.args.world_size > 1 and not self._looks_at_losses:
            # The others have it from the next step on, by the gradient: the first to have had it tells whose it was.
            first = first * self.args.world_size + rank
            dist.all_reduce(first, op=dist.ReduceOp.MIN)
            first, rank = first // self.args.world_size, int(first % self.args.world_size)
        number = int(first)
        if number >= _NEVER:
            return
        step, micro_step = divmod(number, self.args.gradient_accumulation_steps)
        epoch, steps = divmod(step, self.steps_per_epoch)
        sampler = copy.copy(self.sampler)
        sampler.rank = rank
        batch = sampler.plan(epoch)[steps * self.args.gradient_accumulation_steps + micro_step]
        checkpoint = last_checkpoint(Path(self.args.output_dir or ""))
        good = "no checkpoint had been written yet" if checkpoint is None else f"{checkpoint}, the last one, is good"
        raise LossNotFiniteError(
            f"The loss of step {step + 1} (epoch {epoch}, batch {micro_step + 1} of the step), or its gradient, is not "
            f"finite. Its {len(batch)} users begin with {self._user_ids(batch[:5])}. Training stops here; {good}. Look "
            "at these users' items, lower learning_rate, or with fp16 try bf16."
        )

    def _user_ids(self, index: np.ndarray) -> list[str]:
        return [str(self.datasets[dataset].train.user_ids[int(user)].as_py()) for _, dataset, user in index.tolist()]

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Item vectors only ever matter by their direction: they are never decayed."""
        return [name for name in super().get_decay_parameter_names(model) if not name.endswith("item_embeddings")]

    def _evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        self.stop_at_bad_loss()
        if kwargs.get("skip_scheduler") and self.state.global_step:
            return {}  # `eval_on_start` of a run that goes on: a run never stopped has no evaluation here
        return super()._evaluate(*args, **kwargs)

    # Logs

    def record(self, name: str, total: Tensor, count: Tensor | float) -> None:
        """Adds to a mean that the next log line shows, over all processes; nothing waits for the device."""
        total = total.detach().float()
        count = torch.as_tensor(count, dtype=torch.float32, device=total.device)
        self._sums[name] = self._sums[name] + total if name in self._sums else total
        self._counts[name] = self._counts[name] + count if name in self._counts else count

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and "eval_loss" not in logs:  # a line of training
            self.stop_at_bad_loss()
            logs |= self._drain_records()
        super().log(logs, start_time)

    def _drain_records(self) -> dict[str, float]:
        now = time.perf_counter()
        seconds = max(now - self._logged_at, 1e-9)
        names = sorted(self._sums)
        values = [self._sums[name] for name in names] + [self._counts[name] for name in names] + [self._tokens]
        totals = self.global_counts(values, self.args.device).tolist()
        drained = {
            name: total / count
            for name, total, count in zip(names, totals, totals[len(names) :], strict=False)
            if count
        }
        drained["tokens_per_second"] = round(totals[-1] / seconds, 1)
        drained["data_wait"] = round(self._waited / seconds, 4)
        self._begin_records(now)
        return drained

    def _begin_records(self, now: float) -> None:
        self._sums, self._counts = {}, {}
        self._tokens, self._waited, self._logged_at = 0, 0.0, now

    def forget_the_last_run(self) -> None:
        """Of another stage, or of a run that was stopped: what was counted since its last log line, and its end."""
        self._begin_records(time.perf_counter())
        self._micro_step = 0
        self._in_epoch = self._save_after_epoch = False
        self._first_bad = torch.full((), _NEVER, device=self.args.device)

    @contextmanager
    def off_the_clock(self) -> Iterator[None]:
        """What happens here does not count into `tokens_per_second` and `data_wait`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._logged_at += time.perf_counter() - began

    # Checkpoints

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self.stop_at_bad_loss()
        if self._in_epoch and (
            self.state.global_step % self.steps_per_epoch == 0
            or self.control.should_training_stop
            or self.control.should_epoch_stop
        ):
            # What the end of the epoch brings, its evaluation above all, belongs into this checkpoint: a run that
            # goes on from it begins with the next epoch.
            self._save_after_epoch = True
            return
        self.store_flos()
        folder = Path(self.args.output_dir or "", f"checkpoint-{self.state.global_step}")
        with (
            clear_write_errors(f"The checkpoint of step {self.state.global_step} ({folder})"),
            self.off_the_clock(),
            staged_folder(folder, self.accelerator) as staging,
        ):
            self._write_checkpoint(str(staging))
        if self.args.should_save:
            rotate_checkpoints(folder.parent, self.args.save_total_limit, self.best_checkpoint)
        self.accelerator.wait_for_everyone()

    @property
    def best_checkpoint(self) -> Path | None:
        """Checkpoint of the best metric so far. (`state.best_model_checkpoint` stays empty: transformers deletes all
        other checkpoints by it when training ends.)"""
        step = self.state.best_global_step
        return Path(self.args.output_dir or "", f"checkpoint-{step}") if step else None

    def save_result(self) -> None:
        """The model with all that belongs to it, in `output_dir`: every file of it whole or not there.

        Raises:
            OSError: if it cannot be written (a full disk).
        """
        folder = Path(self.args.output_dir or "")
        with clear_write_errors(f"The result ({folder})"), staged_files(folder, self.accelerator) as staging:
            self.save_model(str(staging), _internal_call=True)

    def _write_checkpoint(self, folder: str) -> None:
        self.save_model(folder, _internal_call=True)
        if not self.args.save_only_model:
            self._save_optimizer_and_scheduler(folder)
            self._save_scaler(folder)
            self._save_rng_state(folder)
        if self.args.should_save:
            stateful: Any = self.state.stateful_callbacks
            for callback in [*self.callback_handler.callbacks, self.control]:
                if isinstance(callback, ExportableState):
                    stateful[type(callback).__name__] = callback.state()
            self.state.save_to_json(str(Path(folder, STATE_FILE)))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.catalog is not None and self.args.should_save:
            self.catalog.save_pretrained(output_dir or self.args.output_dir or "")

    def _restore(self, checkpoint: Path) -> None:
        """Weights of a checkpoint, item vectors too where the model has them, in place."""
        if self.is_fsdp_enabled:
            load_whole_weights(self.model, checkpoint)
        else:
            self._load_from_checkpoint(str(checkpoint), self.model)

    def _is_done(self, checkpoint: Path) -> bool:
        """Whether training ends there, by the present settings: a run may go back to a checkpoint under others."""
        state, steps = load_state(checkpoint), self.args.max_steps
        if steps <= 0:
            steps = math.ceil(self.args.num_train_epochs * self.steps_per_epoch)
        return state.global_step >= steps or self.out_of_patience(state)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        improved = super()._determine_best_metric(metrics, trial)
        if improved:
            self.state.best_global_step = self.state.global_step
            self.control.should_save = True
        if self.out_of_patience(self.state):
            self.control.should_training_stop = True
        return improved

    def out_of_patience(self, state: Any) -> bool:
        """Whether the metric has not improved for `patience` evaluations; counted from the log, so that it resumes."""
        patience = self.patience
        if patience is None or self.args.metric_for_best_model is None:
            return False
        key = self.args.metric_for_best_model
        key = key if key.startswith("eval_") else f"eval_{key}"
        since = state.best_global_step or 0
        return sum(key in entry and entry["step"] > since for entry in state.log_history) >= patience

    @property
    def patience(self) -> int | None:
        """Evaluations without a better metric after which training stops; `None`: never."""
        return None


class _EpochCallback(TrainerCallback):
    def __init__(self, trainer: RecformerTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.forget_the_last_run()
        if args.eval_on_start and state.global_step == 0:
            self.trainer.begin_epoch()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.begin_epoch()
        self.trainer._in_epoch = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.give_back_memory()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer._in_epoch = False
        if self.trainer._save_after_epoch:
            self.trainer._save_after_epoch = False
            control.should_save = True


def metrics_of_step(log_history: list[dict[str, Any]], step: int) -> dict[str, float]:
    """What was evaluated at a step, as `best_eval_...`."""
    return {
        f"best_{name}": value
        for entry in log_history
        if entry.get("step") == step
        for name, value in entry.items()
        if name.startswith("eval_") and not name.endswith(("_runtime", "_per_second"))
    }


def refuse_what_cuts_batches(args: RecformerTrainingArguments) -> None:
    """Refuses what would tear packed batches apart, before any work.

    Raises:
        ValueError: saying what to do instead.
    """
    if args.n_gpu > 1:
        raise ValueError(
            f"This process sees {args.n_gpu} GPUs, and torch's DataParallel cannot cut packed batches. Start one "
            f"process a GPU: `accelerate launch --num_processes {args.n_gpu} --multi_gpu YOUR_SCRIPT.py ...`; or show "
            "it one GPU: `CUDA_VISIBLE_DEVICES=0 python YOUR_SCRIPT.py ...`."
        )
    config: Any = args.accelerator_config
    if config.split_batches or config.dispatch_batches:
        raise ValueError(
            "accelerator_config asks for split_batches or dispatch_batches, which would cut packed batches: leave both "
            "out. Batches are planned for all processes by SequenceSampler."
        )
