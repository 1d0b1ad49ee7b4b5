"""`S3Rec`: self-attention pretrained with four mutual-information tasks (Zhou et al., CIKM 2020).

Pretraining is bidirectional. Some items of a sequence are masked; h_t is the state of place t, e an item's vector, A_k
an attribute's. The sum over places of

aap  attributes of an item:  at unmasked t, BCE over all k of sigma(<A_k, W1 h_t>)
mip  masked item:            at masked t, -log sigma(<W2 h_t, e+ - e->), with an item e- outside the sequence
map  masked attributes:      at masked t, BCE over all k of sigma(<A_k, W3 h_t>)
sp   segment:                -log sigma(<W4 c, s+ - s->), with c from the sequence without its segment s+

is weighted by .2, 1, 1 and .5. Finetuning is causal: h_t is trained to score what came at t + 1, as in SASRec.
"""

# No `from __future__ import annotations` here: `@strict` checks values against the annotations, and skips strings.

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import initialization

from ..data.arrays import slice_indices
from ..data.draws import Stream
from .shared.attributes import ItemAttributes
from .shared.collators import WindowCollator, packed_rows
from .shared.configuration import BaselineConfig
from .shared.histories import PackedHistories
from .shared.model import BaselineModel
from .shared.negatives import unseen_negatives
from .shared.transformer import ItemTransformer

if TYPE_CHECKING:
    from ..data.dataset import SequentialDataset
    from ..data.torch_datasets import SequenceBatch
    from ..items.catalog import ItemCatalog


@strict
class S3RecConfig(BaselineConfig):
    r"""Configuration of [`S3Rec`], beside the fields of [`BaselineConfig`].

    Args:
        dropout (`float`, defaults to 0.5): in [0, 1).
        loss (`str`, defaults to `"ce"`): of finetuning; `"bce"` is the paper's.
        num_layers (`int`, defaults to 2), num_heads (`int`, defaults to 2): of the transformer; the heads must divide
            `hidden_size`.
        intermediate_size (`int`, *optional*): width of the feed-forward networks, by default 4 `hidden_size`.
        activation (`str`, defaults to `"gelu"`): of the feed-forward networks.
        attribute_fields (`list[str]`, *optional*): fields of items whose values are attributes; see [`ItemAttributes`].
        min_attribute_items (`int`, defaults to 5): items that an attribute must have.
        num_attributes (`int`, defaults to 0): attributes of the catalogue; set when a model takes one.
        mask_probability (`float`, defaults to 0.2): share of items that are masked in pretraining, beside the newest.
        aap_weight (`float`, defaults to 0.2), mip_weight (`float`, defaults to 1.0), map_weight (`float`, defaults to
            1.0), sp_weight (`float`, defaults to 0.5): of the tasks, as published.
    """

    model_type = "s3rec"

    dropout: float | int = 0.5
    loss: Literal["ce", "bce", "gbce", "sampled_softmax"] = "ce"
    num_layers: int = 2
    num_heads: int = 2
    intermediate_size: int | None = None
    activation: str = "gelu"
    attribute_fields: list[str] | None = None
    min_attribute_items: int = 5
    num_attributes: int = 0
    mask_probability: float | int = 0.2
    aap_weight: float | int = 0.2
    mip_weight: float | int = 1.0
    map_weight: float | int = 1.0
    sp_weight: float | int = 0.5

    def validate_architecture(self) -> None:
        self.check_transformer()
        self.check_positive("min_attribute_items")
        self.check_shares("mask_probability")
        for name in ("aap_weight", "mip_weight", "map_weight", "sp_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must not be negative or infinite, got {getattr(self, name)}.")
        super().validate_architecture()


class S3Rec(BaselineModel):
    """Self-supervised pretraining on items, attributes and segments, then sequential recommendation.

    From Zhou et al. (CIKM 2020). States and item vectors are `[n, hidden_size]`, and scores their products. `fit` of a
    new model pretrains it on the dataset first. Taking a catalogue raises `ValueError` for `attribute_fields` that no
    item has.

    Args:
        config, settings: a [`S3RecConfig`], or its fields; see [`BaselineModel`] for all else.
    """

    config: S3RecConfig
    config_class = S3RecConfig
    paper = "[Zhou et al., 2020](https://arxiv.org/abs/2008.07873)"
    pretraining_defaults = {"num_train_epochs": 20}
    pretrains_first = True

    def build(self) -> None:
        config, width = self.config, self.config.hidden_size
        self.item_embeddings = self.new_item_table()
        self.position_embeddings = nn.Embedding(config.max_length, width)
        self.norm, self.dropout = nn.LayerNorm(width, config.layer_norm_eps), nn.Dropout(config.dropout)
        self.transformer = ItemTransformer(
            width, config.num_layers, config.num_heads, config.intermediate_size or 4 * width, config.dropout,
            activation=config.activation, norm="post", eps=config.layer_norm_eps,
        )  # fmt: skip
        self.tasks = Tasks(config)

    def encode(self, histories: PackedHistories) -> Tensor:
        return self._states(self.item_embeddings(histories.rows), histories.positions, histories, causal=True)

    def _states(self, items: Tensor, positions: Tensor, histories: PackedHistories, causal: bool) -> Tensor:
        hidden = self.dropout(self.norm(items + self.position_embeddings(positions)))
        states: Tensor = self.transformer(hidden, histories, causal)
        return states

    def pretraining_collator(self, datasets: "Sequence[SequentialDataset]", seed: int) -> "MaskedCollator":
        attributes = self._attributes_of(datasets[0].catalog)
        return MaskedCollator(self.config, attributes, datasets[0].train.items, seed)

    def pretraining_loss(  # type: ignore[override]
        self,
        histories: PackedHistories,
        masked: Tensor,
        negatives: Tensor,
        attributes: Tensor,
        attribute_places: Tensor,
        in_segment: Tensor,
        segment_lengths: Tensor,
        other_rows: Tensor,
    ) -> Tensor:
        """The weighted sum of the four tasks, as a mean over histories.

        Args:
            histories: the true items.
            masked (`Tensor`, bool `[total]`): items that are masked.
            negatives (`Tensor`, int64 `[total]`): for each place an item outside its sequence.
            attributes, attribute_places (`Tensor`, int64 `[n]`): attributes of the items, and the place of each.
            in_segment (`Tensor`, bool `[total]`): items of the segment of each history.
            segment_lengths (`Tensor`, int64 `[batch]`): how many these are, at least 1.
            other_rows (`Tensor`, int64 `[segment_lengths.sum()]`): items of another segment for each history.
        """
        config, tasks, items = self.config, self.tasks, self.item_embeddings(histories.rows)
        # Four sequences of each history in one pass: with masked items, with a masked segment, and the two segments.
        places, within = histories.positions, histories.positions[in_segment]
        read = [
            torch.where(masked[:, None], tasks.mask, items), torch.where(in_segment[:, None], tasks.mask, items),
            items[in_segment], self.item_embeddings(other_rows),
        ]  # fmt: skip
        lengths = torch.cat([histories.lengths, histories.lengths, segment_lengths, segment_lengths])
        together = PackedHistories(lengths.new_zeros(sum(map(len, read))), lengths, histories.longest)
        positions = torch.cat([places, places, within, within])
        states = self._states(torch.cat(read), positions, together, causal=False)
        context, segment, other = states[together.newest].split(len(histories))[1:]
        states = states[: len(items)]

        scores = tasks.attribute_scores(states, masked)
        of_attributes = attribute_losses(scores, attributes, attribute_places)
        weights = torch.where(masked, config.map_weight, config.aap_weight)
        of_items = pair_losses(tasks.to_item(states), items, self.item_embeddings(negatives))
        of_segments = pair_losses(tasks.to_segment(context), segment, other)
        loss = (
            (weights * of_attributes).sum()
            + config.mip_weight * of_items.masked_fill(~masked, 0.0).sum()
            + config.sp_weight * of_segments.sum()
        )
        return loss / len(histories)

    def take_datasets(self, datasets: "Sequence[SequentialDataset]", pretraining: bool) -> None:
        super().take_datasets(datasets, pretraining)
        self.tasks.requires_grad_(pretraining)

    def take_catalog(self, catalog: "ItemCatalog") -> None:
        if self._catalog is None or self._catalog.fingerprint != catalog.fingerprint:
            self.config.num_attributes = len(self._attributes_of(catalog).names)
            self.tasks.attribute_embeddings = new = nn.Embedding(
                self.config.num_attributes, self.config.hidden_size, device=self.device
            )
            self._init_weights(new)
        super().take_catalog(catalog)

    def _attributes_of(self, catalog: "ItemCatalog") -> ItemAttributes:
        return ItemAttributes.of(catalog, self.config.attribute_fields, self.config.min_attribute_items)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Tasks):
            initialization.normal_(module.mask, std=self.config.initializer_range)


class Tasks(nn.Module):
    """What only pretraining needs: the mask, the attributes' vectors A, and W1 to W4."""

    def __init__(self, config: S3RecConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.mask = nn.Parameter(torch.empty(width))
        self.attribute_embeddings = nn.Embedding(config.num_attributes, width)
        self.to_attributes, self.to_item, self.to_masked_attributes, self.to_segment = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )

    def attribute_scores(self, states: Tensor, masked: Tensor) -> Tensor:
        """<A_k, W1 h_t> of unmasked places, <A_k, W3 h_t> of masked ones: `[total, num_attributes]`."""
        mapped = torch.where(masked[:, None], self.to_masked_attributes(states), self.to_attributes(states))
        return F.linear(mapped, self.attribute_embeddings.weight)


def attribute_losses(scores: Tensor, attributes: Tensor, places: Tensor) -> Tensor:
    """Binary cross-entropy summed over all attributes, `[total]`: sum_k log(1 + exp(s_k)) - the s_k of an item's own.

    Args:
        scores (`Tensor` `[total, num_attributes]`): before the sigmoid.
        attributes, places (`Tensor`, int64 `[n]`): the attributes that items have, and the place of each.
    """
    scores = scores.float()
    return F.softplus(scores).sum(1).index_add(0, places, -scores[places, attributes])


def pair_losses(vectors: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
    """-log sigma(<v, right - wrong>), `[n]`; all arguments `[n, width]`."""
    return F.softplus((vectors * (wrong - right)).float().sum(1))


class MaskedCollator(WindowCollator):
    """Sequences with masked items and segments: the arguments of `S3Rec.pretraining_loss`.

    Each item is masked with `mask_probability`, the newest always. The segment has 1 to n/2 of the n items; the other
    one, of the same length, is cut from all training sequences end to end.

    Args:
        config: `max_length` and `mask_probability`.
        attributes: of the catalogue.
        items (int `[total_items]`): all training sequences end to end.
        seed (`int`): in [0, 2^64).
    """

    def __init__(self, config: S3RecConfig, attributes: ItemAttributes, items: np.ndarray, seed: int) -> None:
        super().__init__(config.max_length, seed)
        self.probability, self.attributes, self.items = config.mask_probability, attributes, items
        self.num_items = len(attributes.offsets) - 1

    def __call__(self, batch: "SequenceBatch") -> dict[str, Any]:
        starts, lengths = self.windows(batch)
        keys, longest = [batch.index[name] for name in ("epoch", "dataset", "user")], int(lengths.max())
        rows = batch.items[slice_indices(starts, lengths)]
        owners, places = np.repeat(np.arange(len(lengths)), lengths), slice_indices(np.zeros_like(starts), lengths)
        chances = self.draws.uniform(Stream.MASKED_ITEMS, keys[0], keys[1], keys[2], longest)[owners, places]
        counts = np.diff(self.attributes.offsets)[rows]
        # Which items are of the segment, and where another one of its length begins.
        of_size, of_first, of_other = self.draws.uniform(Stream.SEGMENT, keys[0], keys[1], keys[2], 3).T
        sizes = 1 + (of_size * np.maximum(lengths // 2, 1)).astype(np.int64)
        firsts = (of_first * (lengths - sizes + 1)).astype(np.int64)
        others = (of_other * (len(self.items) - sizes + 1)).astype(np.int64)
        found = {
            "masked": (chances < self.probability) | (places == lengths[owners] - 1),
            "negatives": unseen_negatives(batch, lengths, 1, self.num_items, self.draws)[:, 0],
            "attributes": self.attributes.ids[slice_indices(self.attributes.offsets[rows], counts)],
            "attribute_places": np.repeat(np.arange(len(rows)), counts),
            "in_segment": (places >= firsts[owners]) & (places < (firsts + sizes)[owners]),
            "segment_lengths": sizes,
            "other_rows": self.items[slice_indices(others, sizes)].astype(np.int64),
        }
        tensors = {name: torch.from_numpy(values) for name, values in found.items()}
        return packed_rows(batch.items, starts, lengths) | tensors | {"pretraining": True}


__all__ = ["S3Rec", "S3RecConfig"]
