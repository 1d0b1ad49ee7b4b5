"""What a recommender learns beside the text encoder; each part is a field of the configuration and off by default."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization

from ..configuration_recformer import RecformerConfig
from ..encoder.losses import EPSILON
from ..encoder.plain_modules import is_plain_linear
from .history_items import PADDING, Histories
from .history_transformer import HistoryTransformer

WHITENING_POWER = 0.25
"""How much of the difference between the principal directions [`whitening`] removes: 0 nothing, 0.5 all of it."""

START_SCALE = 0.58
"""Root mean square of the numbers of an item's vector at first. The smaller, the faster training turns it."""


class ScoringHead(nn.Module):
    """The parts of a recommender's head that do not belong to single items. With all of them off it has no weights.

    Args:
        config: `item_projection`, `history_bias`, `learned_temperature`, `sequence_head`.
    """

    def __init__(self, config: RecformerConfig) -> None:
        super().__init__()
        self.config = config
        self.projection = nn.Linear(config.hidden_size, config.vector_size) if config.item_projection else None
        self.history_bias = nn.Parameter(torch.zeros(config.max_item_embeddings - 1)) if config.history_bias else None
        self.log_temperature = nn.Parameter(torch.zeros(())) if config.learned_temperature else None
        self.history_transformer = HistoryTransformer(config) if config.sequence_head == "two_level" else None

    @torch.no_grad()
    def init_weights(self) -> None:
        """Starts every part, where it has no loaded weights, so that it changes nothing.

        A projection to another width starts orthogonal, which keeps angles as well as it can.
        """
        if self.projection is not None:
            initialization.zeros_(self.projection.bias)
            if self.projection.in_features == self.projection.out_features:
                initialization.eye_(self.projection.weight)
            else:
                initialization.orthogonal_(self.projection.weight)
        if self.history_bias is not None:
            initialization.zeros_(self.history_bias)
        if self.log_temperature is not None:
            initialization.constant_(self.log_temperature, math.log(float(self.config.temperature)))
        if self.history_transformer is not None:
            self.history_transformer.init_weights()

    def shared_with(self, config: RecformerConfig) -> ScoringHead:
        """A head with the same weights for another model, whose configuration has a temperature of its own."""
        head = copy.copy(self)
        head.config = config
        return head

    @property
    def temperature(self) -> Tensor | float:
        """What cosines are divided by."""
        return float(self.config.temperature) if self.log_temperature is None else self.log_temperature.exp()

    @property
    def temperature_now(self) -> float:
        """The temperature as a number, without a graph."""
        temperature = self.temperature
        return float(temperature.detach()) if isinstance(temperature, Tensor) else temperature

    def changes_items(self, residuals: Tensor | None) -> bool:
        """Whether [`item_vectors`] differs from the vectors of the texts in more than length."""
        return self.projection is not None or residuals is not None

    def item_weights(self) -> list[Tensor] | None:
        """The weights that [`item_vectors`] depends on; None if it depends on more (LoRA, quantisation)."""
        if self.projection is None:
            return []
        return [self.projection.weight, self.projection.bias] if is_plain_linear(self.projection) else None

    def item_vectors(self, embeddings: Tensor, residuals: Tensor | None, drop_residuals: bool = False) -> Tensor:
        """The vectors of items that histories are compared with.

        The vector of the text is scaled to the length sqrt(hidden_size), so that its numbers are about 1 and a residual
        grows at the same pace whatever the text encoder.

        Args:
            embeddings (`Tensor` `[num_items, hidden_size]`): vectors of the texts.
            residuals (`Tensor` `[num_items, vector_size]`, *optional*): what is added for each item.
            drop_residuals (`bool`): whether some items, drawn at random, get no residual (`residual_dropout`).

        Returns:
            float32 `[num_items, vector_size]`; `embeddings` themselves if neither projection nor residuals are on.
        """
        if not self.changes_items(residuals):
            return embeddings
        vectors: Tensor = F.normalize(embeddings.float(), dim=-1, eps=EPSILON) * math.sqrt(embeddings.shape[-1])
        if self.projection is not None:
            vectors = self.projection(vectors).float()
        if residuals is None:
            return vectors
        share = self.config.residual_dropout
        if drop_residuals and share:
            kept = torch.rand(len(residuals), 1, device=residuals.device) >= share
            residuals = residuals * kept
        return vectors + residuals

    def read(self, items: Tensor, histories: Histories) -> Tensor:
        """The vectors of histories by the two-level head.

        Args:
            items (`Tensor` `[num_items, vector_size]`): [`item_vectors`] of the catalogue.
            histories: what is read; of histories longer than `max_item_embeddings - 1` items, the newest.

        Returns:
            `[num_queries, vector_size]`.
        """
        assert self.history_transformer is not None
        histories = histories.newest(self.history_transformer.most_items)
        if histories.rows.device.type != "cpu":
            return self._read_padded(items, histories)
        # A CPU spends most of its time on padding, so histories of similar lengths are read together.
        owners, newest = histories.places.unbind(1)
        lengths = (histories.rows != PADDING).sum(1)
        sizes = lengths.clamp_min(4).log2().ceil().long()
        found, order = [], []
        for size in sizes.unique():
            members, queries = (sizes == size).nonzero()[:, 0], (sizes[owners] == size).nonzero()[:, 0]
            rows = histories.rows[members, : int(lengths[members].max())]
            places = torch.stack([torch.searchsorted(members, owners[queries]), newest[queries]], 1)
            found.append(self._read_padded(items, Histories(rows, places)))
            order.append(queries)
        return torch.cat(found)[torch.cat(order).argsort()]

    def _read_padded(self, items: Tensor, histories: Histories) -> Tensor:
        assert self.history_transformer is not None
        # Padding takes the vector of any item: it comes last, and no item sees a later one.
        states: Tensor = self.history_transformer(F.embedding(histories.rows.clamp_min(0), items))
        return states[histories.places[:, 0], histories.places[:, 1]]

    @property
    def projection_is_new(self) -> bool:
        """Whether there is a projection that is as [`init_weights`] makes it: a rotation, or the identity."""
        if self.projection is None or bool(self.projection.bias.any()):
            return False
        weight = self.projection.weight.detach()
        small = weight @ weight.T if len(weight) <= weight.shape[1] else weight.T @ weight
        return bool(torch.allclose(small, torch.eye(len(small), device=small.device), atol=1e-4))

    @torch.no_grad()
    def start_from(self, embeddings: Tensor) -> None:
        """Starts the projection from the whitening of a catalogue's vectors; see [`whitening`]."""
        assert self.projection is not None
        weight, bias = whitening(embeddings, len(self.projection.weight))
        self.projection.weight.copy_(weight * START_SCALE)
        self.projection.bias.copy_(bias * START_SCALE)


def whitening(embeddings: Tensor, width: int, power: float = WHITENING_POWER) -> tuple[Tensor, Tensor]:
    """The linear map that partly evens out the principal directions of vectors.

    The vectors of a text encoder share a few strong directions, which say little about the difference between the items
    of one shop. The map subtracts the mean and divides the coordinate in each principal direction by its variance to
    the `power`. It is scaled so that the images of the vectors have the mean square 1 in each of their numbers.

    Args:
        embeddings (`Tensor`, float `[num_items, hidden_size]`): vectors of any length; they are scaled as
            [`ScoringHead.item_vectors`] scales them.
        width (`int`): of the result, at most `hidden_size`. With `hidden_size` itself, the directions keep their places
            (ZCA), so the map is close to the identity; otherwise the `width` strongest directions are kept (PCA).
        power (`float`): in [0, 0.5].

    Returns:
        weight `[width, hidden_size]` and bias `[width]`, float32.
    """
    vectors = F.normalize(embeddings.detach().double(), dim=-1, eps=EPSILON) * math.sqrt(embeddings.shape[1])
    mean = vectors.mean(0)
    variances, directions = torch.linalg.eigh(torch.cov((vectors - mean).T, correction=0))
    variances = variances.flip(0).clamp_min(0)[:width]
    directions = directions.flip(1)[:, :width]
    # Directions in which the vectors hardly differ would be magnified without limit.
    weight = directions.T * (variances + 1e-4 * variances[0] + EPSILON).pow(-power)[:, None]
    if width == embeddings.shape[1]:
        weight = directions @ weight
    images = (vectors - mean) @ weight.T
    weight = weight / images.square().mean().sqrt().clamp_min(EPSILON)
    return weight.float(), -(weight @ mean).float()


__all__ = ["ScoringHead", "whitening"]
