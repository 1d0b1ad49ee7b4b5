"""Loaders of batches that are planned for all processes in advance, and settings that would cut such batches up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from accelerate.data_loader import DataLoaderShard
from torch.utils.data import Dataset
from transformers.trainer_pt_utils import AcceleratorConfig

from ..data.torch_datasets import EvaluationSequences
from .arguments import RecformerTrainingArguments

Row = TypeVar("Row")
Batch = dict[str, Any]
"""What collators give: tensors by the name of a model's argument, and `max_seqlen`, an int."""


class EvaluationBatches(Protocol):
    """A collator of histories with their targets: batches with `labels` and `user_index`."""

    def lengths(self, data: EvaluationSequences) -> np.ndarray: ...

    def __call__(self, batch: Any) -> Batch: ...


def planned_loader(
    data: Dataset[Row],
    batches: Iterable[Any],
    collator: Callable[[Row], Mapping[str, Any]],
    args: RecformerTrainingArguments,
    device: torch.device,
) -> DataLoaderShard:
    """A loader that moves batches to the device.

    Args:
        data: looked up a batch at a time.
        batches: this process's batches as indices of `data`. accelerate must not deal them out to processes again, so
            the loader does not go through `accelerator.prepare`.
        collator: turns what `data` gives into a batch.
        args: number of workers and the like.
        device: where the batches go.
    """
    workers = args.dataloader_num_workers
    return DataLoaderShard(
        data,
        device=device,
        batch_sampler=batches,
        collate_fn=collator,
        num_workers=workers,
        pin_memory=args.dataloader_pin_memory and device.type == "cuda",
        persistent_workers=args.dataloader_persistent_workers and workers > 0,
        prefetch_factor=args.dataloader_prefetch_factor if workers else None,
        # Older versions of transformers do not have this setting.
        multiprocessing_context=getattr(args, "dataloader_multiprocessing_context", None) if workers else None,
        # Without a generator of its own, a loader draws from torch's global one and so changes dropout.
        generator=torch.Generator().manual_seed(args.seed),
        _non_blocking=True,
    )


def refuse_what_cuts_batches(args: RecformerTrainingArguments) -> None:
    """Refuses settings that would tear packed batches apart, before any work.

    Raises:
        ValueError: if there is such a setting; the message says what to do instead.
    """
    if args.n_gpu > 1:
        raise ValueError(
            f"This process sees {args.n_gpu} GPUs, and torch's DataParallel cannot cut packed batches. Start one "
            f"process per GPU: `accelerate launch --num_processes {args.n_gpu} --multi_gpu YOUR_SCRIPT.py ...`; or "
            "show it one GPU: `CUDA_VISIBLE_DEVICES=0 python YOUR_SCRIPT.py ...`."
        )
    config = args.accelerator_config
    if not isinstance(config, AcceleratorConfig):
        return
    if config.split_batches or config.dispatch_batches:
        raise ValueError(
            "accelerator_config sets split_batches or dispatch_batches, which would cut packed batches: unset both. "
            "SequenceSampler plans the batches of all processes."
        )
    if not config.even_batches or not config.use_seedable_sampler:
        raise ValueError(
            "accelerator_config unsets even_batches or use_seedable_sampler, which has no effect: SequenceSampler "
            "plans the batches of all processes, as many for each, from the seed."
        )
