"""The item matrix: all processes together encode every item of a catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..data.collators import ItemCollator
from ..encoder.packing import length_sorted_batches
from ..modeling_recformer import RecformerForSeqRec
from ..recommending.vectors import evaluating

if TYPE_CHECKING:
    from accelerate import Accelerator

_PROGRESS_FROM = 2_000
"""Number of items from which a progress bar is shown."""


@torch.no_grad()
def encode_item_matrix(
    model: RecformerForSeqRec,
    collator: ItemCollator,
    accelerator: Accelerator,
    *,
    max_tokens: int,
    progress: bool | None = None,
) -> Tensor:
    """Vectors of all items, the same on every process and for any number of processes.

    Items are sorted by length and packed into batches that do not depend on the number of processes, which take them in
    turn. Every process runs the model equally often, because the processes of a sharded model must do so together.
    Items with equal tokens are encoded once, so their vectors are equal to the last bit.

    Args:
        model: with at least one item; its item vectors are not used.
        collator: collator of the tokenized catalogue.
        accelerator: accelerator of the run.
        max_tokens: tokens of one forward pass.
        progress: whether to show a bar on the main process; by default only for larger catalogues.

    Returns:
        float32 `[num_items, hidden_size]` on the accelerator's device. They are not normalised.
    """
    firsts = collator.first_of_equal
    is_first = firsts == np.arange(len(firsts))
    items = np.flatnonzero(is_first)
    device = accelerator.device
    matrix = torch.zeros(len(firsts), model.config.hidden_size, dtype=torch.float32, device=device)
    batches = [items[places] for places in length_sorted_batches(collator.lengths()[items], max_tokens)]
    show = len(items) >= _PROGRESS_FROM if progress is None else progress
    bar = tqdm(
        total=len(items), desc="Encoding items", unit="item", leave=False,
        disable=not (show and accelerator.is_local_main_process),
    )  # fmt: skip
    with bar, evaluating(model), accelerator.autocast():
        for first in range(0, len(batches), accelerator.num_processes):
            turn = first + accelerator.process_index
            # A process without a batch of its own in the last turn encodes the last one too, and drops the result.
            rows = batches[min(turn, len(batches) - 1)]
            batch = collator(rows)
            del batch["item_index"]
            on_device = {name: value.to(device) if torch.is_tensor(value) else value for name, value in batch.items()}
            # FSDP gathers weights in the forward pass of the whole model, so the encoder cannot be called by itself.
            vectors = model(**on_device, encode_only=True).user_embeds
            if turn < len(batches):
                matrix[torch.from_numpy(rows).to(device)] = vectors.float()
            bar.update(sum(len(batch) for batch in batches[first : first + accelerator.num_processes]))
    if accelerator.num_processes > 1:
        torch.distributed.all_reduce(matrix)  # each row is 0 except on the process that encoded it
    copies = np.flatnonzero(~is_first)
    matrix[torch.from_numpy(copies).to(device)] = matrix[torch.from_numpy(firsts[copies]).to(device)]
    return matrix
