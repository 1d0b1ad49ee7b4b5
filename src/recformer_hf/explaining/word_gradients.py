"""Gradient times input of the tokens of a text, through the encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..encoder.packing import pack_sequences
from ..recommending.protocols import EncodingModel
from ..tokenizing.encoded_items import BOS_TYPE
from .words import ReadItem


def token_gradients(
    model: EncodingModel,
    items: Sequence[ReadItem],
    first_token: int,
    scores: Callable[[Tensor], Tensor],
) -> np.ndarray:
    """What the word embedding of each token adds to some scores to first order: its gradient times itself.

    Args:
        model: in evaluation mode.
        items: oldest first; either all stand in one sequence of a history, or all alone. Each is read in part at least.
        first_token: the id of `<s>`.
        scores: from the vectors of the sequences, `[num_sequences, hidden_size]`, to scores `[num_targets]`.

    Returns:
        float64 `[num_targets, total_tokens]`, of the tokens that are read, item after item in the order of `items`.
    """
    alone = items[0].alone
    groups = [[item] for item in items] if alone else [list(reversed(items))]
    batch = pack_sequences([_sequence(group, first_token) for group in groups])
    ids = batch.pop("input_ids").to(model.device)
    encoder: Any = model.recformer
    bounds = batch.pop("cu_seqlens")
    on_device = {name: value.to(model.device) for name, value in batch.items()}
    with torch.inference_mode(False), torch.enable_grad():
        embedded = encoder.get_input_embeddings()(ids).detach().clone().requires_grad_()
        output = encoder(inputs_embeds=embedded, cu_seqlens=bounds, pooled_only=True, return_dict=True, **on_device)
        found = [
            torch.autograd.grad(score, embedded, retain_graph=True)[0] for score in scores(output.pooler_output.float())
        ]
    products = torch.stack([(gradient.double() * embedded.double()).sum(-1)[0] for gradient in found]).detach().cpu()
    columns = [products[:, start + 1 : stop] for start, stop in pairwise(bounds.tolist())]
    if not alone:  # a history's sequence has the newest item first
        columns = list(reversed(columns[0].split([len(item.tokens()[0]) for item in reversed(items)], dim=1)))
    return np.concatenate([each.numpy() for each in columns], axis=1)


def _sequence(items: Sequence[ReadItem], first_token: int) -> dict[str, Sequence[int]]:
    """`<s>` and the tokens of items, in this order."""
    ids, types, places = [first_token], [BOS_TYPE], [0]
    for place, item in enumerate(items, 1):
        item_ids, item_types = item.tokens()
        ids += item_ids.tolist()
        types += item_types.tolist()
        places += [place] * len(item_ids)
    return {"input_ids": ids, "token_type_ids": types, "item_position_ids": places}


__all__ = ["token_gradients"]
