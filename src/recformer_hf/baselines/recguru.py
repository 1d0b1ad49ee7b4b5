"""`RecGURU`: user vectors that are alike in several domains, by an adversary (Li et al., WSDM 2022).

g_t = encoder(x_1 .. x_t)                                     the user vector of a history, of one shared encoder
pretraining:  p(x_1 .. x_n) = decoder_k(start, x_1 .. x_{n-1}; g_n)    reconstruction, a decoder for each domain k
              max_encoder min_D CE(D(g_t), k)                          the adversary D names the domain
finetuning:   p(x_{t+1}) = decoder_k(x_1 .. x_t; g_1 .. g_t)           the same decoder recommends

One domain alone has no adversary: that is a sequence autoencoder, finetuned to recommend.
"""

# No `from __future__ import annotations` here: `@strict` checks values against the annotations, and skips strings.

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import initialization
from transformers.activations import ACT2FN

from .shared.collators import WindowCollator, packed_rows
from .shared.configuration import BaselineConfig
from .shared.histories import PackedHistories
from .shared.losses import full_cross_entropy
from .shared.model import BaselineModel
from .shared.transformer import ItemTransformer, SelfAttention

if TYPE_CHECKING:
    from ..data.dataset import SequentialDataset
    from ..data.torch_datasets import SequenceBatch
    from ..items.catalog import ItemCatalog


@strict
class RecGURUConfig(BaselineConfig):
    r"""Configuration of [`RecGURU`], beside the fields of [`BaselineConfig`].

    Args:
        dropout (`float`, defaults to 0.5): in [0, 1).
        loss (`str`, defaults to `"ce"`): of finetuning. Reconstruction is a full cross-entropy.
        num_layers (`int`, defaults to 2), num_heads (`int`, defaults to 1): of the encoder, and of each decoder; the
            heads must divide `hidden_size`.
        intermediate_size (`int`, *optional*): width of the feed-forward networks, by default 4 `hidden_size`.
        activation (`str`, defaults to `"relu"`): of the feed-forward networks.
        adversary_weight (`float`, defaults to 1.0): of the adversary's reversed gradient in the encoder's. 0 trains an
            autoencoder of several domains that nothing makes alike.
        domains (`dict[str, int]`, *optional*): the catalogues of a model that was pretrained on several, as
            fingerprint and number of items; set by the training.
    """

    model_type = "recguru"

    dropout: float | int = 0.5
    loss: Literal["ce", "bce", "sampled_softmax"] = "ce"
    num_layers: int = 2
    num_heads: int = 1
    intermediate_size: int | None = None
    activation: str = "relu"
    adversary_weight: float | int = 1.0
    domains: dict[str, int] | None = None

    def validate_architecture(self) -> None:
        self.check_transformer()
        if not 0 <= self.adversary_weight < float("inf"):
            raise ValueError(f"adversary_weight must not be negative or infinite, got {self.adversary_weight}.")
        super().validate_architecture()


class RecGURU(BaselineModel):
    """A sequence autoencoder whose user vectors do not tell their domain, finetuned to recommend.

    From Li et al. (WSDM 2022). States and item vectors are `[n, hidden_size]`, and scores their products.
    `pretraining_datasets=[a, b]` of [`train_baseline`] pretrains on several domains; `fit(dataset)` alone pretrains on
    that dataset. A domain has item vectors and a decoder of its own, and all share the encoder. Finetuning on one of
    the domains goes on from what belongs to it; a new domain gets new item vectors and a new decoder.

    Args:
        config, settings: a [`RecGURUConfig`], or its fields; see [`BaselineModel`] for all else.
    """

    config: RecGURUConfig
    config_class = RecGURUConfig
    paper = "[Li et al., 2022](https://arxiv.org/abs/2111.10093)"
    pretraining_defaults = {"num_train_epochs": 10}
    pretrains_first = True

    def build(self) -> None:
        config = self.config
        sizes = list((config.domains or {}).values()) or [config.num_items]
        # The items of all domains, one domain behind the other.
        self.item_embeddings = nn.Embedding(sum(sizes), config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_length + 1, config.hidden_size)
        self.start = nn.Parameter(torch.empty(config.hidden_size))
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = ItemTransformer(
            config.hidden_size, config.num_layers, config.num_heads, config.intermediate_size or 4 * config.hidden_size,
            config.dropout, activation=config.activation, eps=config.layer_norm_eps,
        )  # fmt: skip
        self.decoders = nn.ModuleList(Decoder(config) for _ in sizes)
        self.discriminator = Discriminator(config.hidden_size, len(sizes)) if len(sizes) > 1 else None

    # Recommending

    def user_vectors(self, histories: PackedHistories, items: Tensor) -> Tensor:
        """The vector of the user at every place, from the items up to there: `[total, hidden_size]`.

        Args:
            histories: what is read.
            items (`Tensor` `[total, hidden_size]`): vectors of their items.
        """
        users: Tensor = self.encoder(self._placed(items, histories.positions), histories)
        return users

    def encode(self, histories: PackedHistories) -> Tensor:
        items = self._vectors_of(histories.rows)
        users = self.user_vectors(histories, items)
        states: Tensor = self.decoders[0](self._placed(items, histories.positions + 1), users, histories)
        return states

    def _vectors_of(self, rows: Tensor) -> Tensor:
        vectors: Tensor = self.item_embeddings(rows) * math.sqrt(self.config.hidden_size)
        return vectors

    def _placed(self, vectors: Tensor, positions: Tensor) -> Tensor:
        placed: Tensor = self.dropout(vectors + self.position_embeddings(positions))
        return placed

    # Pretraining

    def pretraining_collator(self, datasets: "Sequence[SequentialDataset]", seed: int) -> "DomainCollator":
        known = list(self.config.domains or {})
        numbers = [known.index(dataset.catalog.fingerprint) if known else 0 for dataset in datasets]
        return DomainCollator(self.config.max_length, seed, numbers)

    def pretraining_loss(self, histories: PackedHistories, domains: Tensor) -> Tensor:  # type: ignore[override]
        """Reconstruction, and the adversary's cross-entropy if there are several domains.

        Args:
            histories: what is read, in rows of the catalogue of each one's domain.
            domains (`Tensor`, int64 `[batch]`): the domain of each history.
        """
        sizes = list((self.config.domains or {}).values()) or [self.config.num_items]
        firsts = torch.tensor([0, *sizes[:-1]], device=domains.device).cumsum(0)
        items = self._vectors_of(histories.rows + firsts[domains][histories.owners])
        users = self.user_vectors(histories, items)
        losses = [
            self.reconstruction_loss(number, _chosen(histories, chosen), items[places], users[places], table)
            for number, table in enumerate(self.item_embeddings.weight.split(sizes))
            for chosen in [domains == number]
            for places in [chosen[histories.owners]]
        ]
        loss = torch.stack(losses).sum() / len(histories.rows)
        if self.discriminator is None:
            return loss
        judged = self.discriminator(reversed_gradient(users, self.config.adversary_weight))
        return loss + F.cross_entropy(judged.float(), domains[histories.owners])

    def reconstruction_loss(
        self, number: int, histories: PackedHistories, items: Tensor, users: Tensor, table: Tensor
    ) -> Tensor:
        """The sum over all items of the cross-entropy of an item, given those before it and the user of the whole
        history.

        Args:
            number: of the domain.
            histories: of this domain. There may be none: the loss then is 0.
            items, users (`Tensor` `[total, hidden_size]`): the vectors of each place.
            table (`Tensor` `[num_items, hidden_size]`): of the domain's items.
        """
        before = torch.where((histories.positions == 0)[:, None], self.start, items.roll(1, 0))
        whole = users[histories.newest][histories.owners]
        states = self.decoders[number](self._placed(before, histories.positions), whole, histories)
        if not len(histories):
            nothing: Tensor = states.sum()
            return nothing  # 0, and every parameter has a gradient, which processes wait for
        return full_cross_entropy(states, table, histories.rows) * len(states)

    @staticmethod
    def num_targets(batch: Mapping[str, Any]) -> int:
        return len(batch["labels"] if "labels" in batch else batch["history_rows"])

    # Domains

    def take_datasets(self, datasets: "Sequence[SequentialDataset]", pretraining: bool) -> None:
        # A domain's place says which rows and decoder are its own, and a saved configuration sorts its keys.
        domains = dict(sorted((dataset.catalog.fingerprint, len(dataset.catalog)) for dataset in datasets))
        if not pretraining:
            super().take_datasets(datasets, pretraining)
        elif len(domains) == 1:
            self.take_catalog(datasets[0].catalog)
        elif domains != self.config.domains:
            self._take_domains(domains)
        self.start.requires_grad_(pretraining)  # recommending does not begin before the first item

    def take_catalog(self, catalog: "ItemCatalog") -> None:
        """Makes one domain that of the model; one of those that it was pretrained on keeps its items and decoder."""
        if self._catalog is not None and self._catalog.fingerprint == catalog.fingerprint:
            return
        domains, sizes = list(self.config.domains or {}), list((self.config.domains or {}).values())
        kept = self.decoders, self.item_embeddings.weight
        self.config.domains, self.discriminator = None, None
        super().take_catalog(catalog)
        self._new_decoders(1)
        if catalog.fingerprint in domains:
            number = domains.index(catalog.fingerprint)
            self.decoders = nn.ModuleList([kept[0][number]])
            with torch.no_grad():
                self.item_embeddings.weight.copy_(kept[1].split(sizes)[number])

    def _take_domains(self, domains: dict[str, int]) -> None:
        """Makes several domains those of the model. The encoder stays; the rest starts anew."""
        self.config.num_items, self.config.domains, self._catalog = 0, domains, None
        width, device = self.config.hidden_size, self.device
        self.item_embeddings = nn.Embedding(sum(domains.values()), width, device=device)
        self.discriminator = Discriminator(width, len(domains)).to(device)
        self._new_decoders(len(domains))
        for module in (self.item_embeddings, *self.discriminator.modules()):
            self._init_weights(module)

    def _new_decoders(self, count: int) -> None:
        device = self.device
        self.decoders = nn.ModuleList(Decoder(self.config).to(device) for _ in range(count))
        for module in self.decoders.modules():
            self._init_weights(module)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            initialization.normal_(self.start, std=self.config.initializer_range)


class Decoder(nn.Module):
    """Causal pre-norm blocks that also read the vector of the user; a layer norm is behind the last one."""

    def __init__(self, config: RecGURUConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, hidden: Tensor, users: Tensor, histories: PackedHistories) -> Tensor:
        """`[total, hidden_size]`, from that of the places and of their users."""
        for block in self.blocks:
            hidden = block(hidden, users, histories)
        normed: Tensor = self.norm(hidden)
        return normed


class DecoderBlock(nn.Module):
    """x + attention(LN(x)), then x + W g, then x + FFN(LN(x)).

    The paper's decoder attends to copies of g. Whatever its weights, attention over copies of one vector gives the
    value of that vector: so that sub-layer is a linear map of g.
    """

    def __init__(self, config: RecGURUConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size or 4 * config.hidden_size
        self.attention = SelfAttention(width, config.num_heads, config.dropout)
        self.attention_norm = nn.LayerNorm(width, config.layer_norm_eps)
        self.user = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width, config.layer_norm_eps)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, inner), ACT2FN[config.activation], nn.Dropout(config.dropout), nn.Linear(inner, width)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, users: Tensor, histories: PackedHistories) -> Tensor:
        hidden = hidden + self.dropout(self.attention(self.attention_norm(hidden), histories, True))
        hidden = hidden + self.dropout(self.user(users))
        added: Tensor = hidden + self.dropout(self.feed_forward(self.feed_forward_norm(hidden)))
        return added


class Discriminator(nn.Sequential):
    """D: scores of the domains that a user vector may be from, `[total, width]` to `[total, num_domains]`."""

    def __init__(self, width: int, num_domains: int) -> None:
        super().__init__(nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, num_domains))


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradient, None


def reversed_gradient(values: Tensor, weight: float) -> Tensor:
    """The values themselves, whose gradient is multiplied by -weight.

    What is below then maximises what is above minimises, in the same step (Ganin and Lempitsky 2015).
    """
    result: Tensor = _Reversed.apply(values, weight)  # type: ignore[no-untyped-call]
    return result


def _chosen(histories: PackedHistories, chosen: Tensor) -> PackedHistories:
    """Some of the histories, bool `[batch]`."""
    return PackedHistories(histories.rows[chosen[histories.owners]], histories.lengths[chosen], histories.longest)


class DomainCollator(WindowCollator):
    """Sequences to reconstruct, with the number of each one's domain: `domains` (int64 `[batch]`).

    Args:
        max_length (`int`): items that the model reads.
        seed (`int`): in [0, 2^64).
        numbers: the domain of each dataset.
    """

    def __init__(self, max_length: int, seed: int, numbers: Sequence[int]) -> None:
        super().__init__(max_length, seed)
        self.numbers = np.array(numbers)

    def __call__(self, batch: "SequenceBatch") -> dict[str, Any]:
        domains = torch.from_numpy(self.numbers[batch.index["dataset"]])
        return packed_rows(batch.items, *self.windows(batch)) | {"domains": domains, "pretraining": True}


__all__ = ["RecGURU", "RecGURUConfig"]
