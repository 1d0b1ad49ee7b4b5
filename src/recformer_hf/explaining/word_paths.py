"""What the words of texts add to a score: gradient times input, averaged on the way from no words to all of them.

These are integrated gradients (Sundararajan, Taly and Yan 2017). Word embeddings are scaled from 0 to 1, and the
gradient times the embedding is averaged over the way. So the estimates sum up to the difference between the score and
that of the same texts without words. The gradient at the end of the way alone has no such rule, and it agrees less with
what leaving a word out does (docs/explaining.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from ..encoder.packing import length_sorted_batches, pack_sequences
from ..recommending.protocols import EncodingModel
from ..tokenizing.encoded_items import BOS_TYPE
from .words import ReadItem

POINTS = 4
"""Gradients on the way, at the points of the Gauss-Legendre rule."""

Scores = Callable[[Tensor], Tensor]
"""From the vectors of sequences, `[num_sequences, hidden_size]`, to scores `[num_targets]`."""


class TokenEffects(NamedTuple):
    """What tokens add to scores.

    Args:
        estimates: float64 `[num_targets, total_tokens]`, of the tokens that are read, item after item.
        blank: float64 `[num_targets]`, the scores without words: the embeddings of all tokens but `<s>` are zeros, and
            their positions, types and items stay. With the estimates of a target it sums up to its score.
    """

    estimates: np.ndarray
    blank: np.ndarray


def token_effects(
    model: EncodingModel, items: Sequence[ReadItem], first_token: int, scores: Scores, max_tokens: int
) -> TokenEffects:
    """The effects of the tokens of some items.

    Args:
        model: in evaluation mode.
        items: oldest first; either all stand in one sequence of a history, or all alone. Each is read in part at least.
        first_token: the id of `<s>`.
        scores: what the tokens add to.
        max_tokens: tokens of one pass; a longer sequence gets its own.
    """
    alone = items[0].alone
    groups = [[item] for item in items] if alone else [list(reversed(items))]
    sequences = [_sequence(group, first_token) for group in groups]
    lengths = np.array([len(sequence["input_ids"]) for sequence in sequences])
    with torch.no_grad():
        chunks = [_Chunk(model, places, sequences) for places in length_sorted_batches(lengths, max_tokens)]
        products: Any = 0.0
        points, weights = np.polynomial.legendre.leggauss(POINTS)
        for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
            products = products + weight * _products(chunks, float(point), scores)
        blank, whole = (scores(_vectors(chunks, scale)).double().cpu().numpy() for scale in (0.0, 1.0))
    estimates = _completed(products, whole - blank)
    if not alone:  # a history's sequence has the newest item first
        ends = np.cumsum([len(item.tokens()[0]) for item in reversed(items)])
        estimates = np.concatenate(list(reversed(np.split(estimates, ends[:-1], axis=1))), axis=1)
    return TokenEffects(estimates, blank)


def _completed(products: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Estimates `[num_targets, total_tokens]` that sum up to the totals: the error of the average, of a few points, is
    divided in proportion to their sizes."""
    sizes = np.abs(products)
    sums = sizes.sum(1, keepdims=True)
    error = totals[:, None] - products.sum(1, keepdims=True)
    found: np.ndarray = products + error * np.divide(sizes, sums, out=np.zeros_like(sizes), where=sums > 0)
    return found


class _Chunk:
    """Sequences that are encoded together, with their word embeddings scaled.

    Args:
        model: with the encoder.
        places: which of the sequences.
        sequences: all of them.
    """

    def __init__(self, model: EncodingModel, places: np.ndarray, sequences: Sequence[dict[str, Sequence[int]]]) -> None:
        self.places = places
        batch = pack_sequences([sequences[place] for place in places])
        self.bounds = batch.pop("cu_seqlens")
        self.encoder = cast(Any, model.recformer)
        ids = batch.pop("input_ids").to(model.device)
        self.batch = {name: value.to(model.device) for name, value in batch.items()}
        self.words = self.encoder.get_input_embeddings()(ids).detach().clone()
        self.is_word = self.words.new_ones(self.words.shape[:2], dtype=torch.bool)
        self.is_word[0, self.bounds[:-1].long()] = False

    def encode(self, scale: float, graph: bool = False) -> tuple[Tensor, Tensor]:
        """Scaled embeddings, `[1, total_tokens, hidden_size]`, and the vectors, `[num_sequences, hidden_size]`."""
        embedded = torch.where(self.is_word[..., None], self.words * scale, self.words).requires_grad_(graph)
        with torch.set_grad_enabled(graph):
            output = self.encoder(
                inputs_embeds=embedded, cu_seqlens=self.bounds, pooled_only=True, return_dict=True, **self.batch
            )
        return embedded, output.pooler_output.float()


def _in_order(chunks: Sequence[_Chunk], outputs: Sequence[Tensor]) -> Tensor:
    """The vectors of all sequences in their order, `[num_sequences, hidden_size]`, without a graph."""
    found = torch.cat([output.detach() for output in outputs])
    order = torch.from_numpy(np.argsort(np.concatenate([chunk.places for chunk in chunks])))
    return found[order.to(found.device)]


def _vectors(chunks: Sequence[_Chunk], scale: float) -> Tensor:
    """The vectors of all sequences, `[num_sequences, hidden_size]`."""
    return _in_order(chunks, [chunk.encode(scale)[1] for chunk in chunks])


def _products(chunks: Sequence[_Chunk], scale: float, scores: Scores) -> np.ndarray:
    """Gradient times embedding at a point of the way, float64 `[num_targets, total_tokens]`, sequence after sequence.

    The gradients by the vectors come first, so that the graph of one chunk exists at a time.
    """
    single = len(chunks) == 1
    runs = [chunk.encode(scale, graph=single) for chunk in chunks]
    vectors = _in_order(chunks, [output for _, output in runs]).requires_grad_()
    with torch.enable_grad():
        by_vector = [torch.autograd.grad(score, vectors, retain_graph=True)[0] for score in scores(vectors)]
    found: dict[int, np.ndarray] = {}
    for chunk, run in zip(chunks, runs, strict=True):
        embedded, output = run if single else chunk.encode(scale, graph=True)
        places = torch.from_numpy(chunk.places).to(output.device)
        gradients = [
            torch.autograd.grad(output, embedded, each[places].to(output.dtype), retain_graph=True)[0]
            for each in by_vector
        ]
        products = torch.stack([(each.double() * chunk.words.double()).sum(-1)[0] for each in gradients]).cpu().numpy()
        for place, start, stop in zip(chunk.places, chunk.bounds[:-1], chunk.bounds[1:], strict=True):
            found[int(place)] = products[:, start + 1 : stop]
    return np.concatenate([found[place] for place in range(len(found))], axis=1)


def _sequence(items: Sequence[ReadItem], first_token: int) -> dict[str, Sequence[int]]:
    """`<s>` and the tokens of items, in this order."""
    ids, types, places = [first_token], [BOS_TYPE], [0]
    for place, item in enumerate(items, 1):
        item_ids, item_types = item.tokens()
        ids += item_ids.tolist()
        types += item_types.tolist()
        places += [place] * len(item_ids)
    return {"input_ids": ids, "token_type_ids": types, "item_position_ids": places}


__all__ = ["TokenEffects", "token_effects"]
