"""`ZESRec`: zero-shot recommendation from frozen texts (Ding et al. 2021).

v_j = f_e(x_j) + eps_j;  u_t = f_seq(v_1, ..., v_t);  p(j | u_t) = softmax_j <u_t, v_j>

x_j is the vector of item j's text, f_e a linear layer, and eps_j ~ N(0, 1/lambda) what the text does not say of an
item. The maximum of the posterior minimises the cross-entropy of all targets plus lambda/2 sum_j ||eps_j||^2. Items of
another shop have no offset, so the same network ranks them: zero-shot.
"""

# No `from __future__ import annotations` here: `@strict` checks values against the annotations, and skips strings.

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import initialization

from ..data.arrays import slice_indices
from ..data.torch_datasets import SequenceBatch
from .shared.collators import NextItemCollator, WindowCollator, packed_rows
from .shared.histories import PackedHistories
from .shared.losses import full_cross_entropy
from .shared.text_model import ShopRows, TextConfig, TextModel
from .shared.transformer import ItemTransformer

if TYPE_CHECKING:
    from ..data.dataset import SequentialDataset
    from ..training.trainer import TrainingCollator


@strict
class ZESRecConfig(TextConfig):
    r"""Configuration of [`ZESRec`], beside the fields of [`~baselines.shared.text_model.TextConfig`].

    Args:
        hidden_size (`int`, defaults to 128), dropout (`float`, defaults to 0.5): as there, with other defaults.
        loss (`str`, defaults to `"ce"`): full cross-entropy, or `"sampled_softmax"`.
        network (`"gru"` or `"transformer"`, defaults to `"gru"`): f_seq.
        num_layers (`int`, defaults to 1): of f_seq.
        num_heads (`int`, defaults to 2): of a transformer; the heads must divide `hidden_size`.
        prior_precision (`float`, defaults to 1.0): lambda, of the offsets' prior.
        item_offsets (`bool`, defaults to `True`): whether there are offsets at all; without, only texts count.
        num_source_items (`int`, defaults to 0): items of the shops that it was pretrained on, which have offsets of
            their own; set by pretraining.
        source_catalogs (`list[str]`, *optional*): fingerprints of these shops' catalogues, in the order of the offsets;
            set by pretraining.
    """

    model_type = "zesrec"

    hidden_size: int = 128
    dropout: float | int = 0.5
    loss: Literal["ce", "sampled_softmax"] = "ce"
    network: Literal["gru", "transformer"] = "gru"
    num_layers: int = 1
    num_heads: int = 2
    prior_precision: float | int = 1.0
    item_offsets: bool = True
    num_source_items: int = 0
    source_catalogs: list[str] | None = None

    def validate_architecture(self) -> None:
        self.check_transformer()
        for name in ("prior_precision", "num_source_items"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must not be negative or infinite, got {getattr(self, name)}.")
        super().validate_architecture()


class ZESRec(TextModel):
    """Zero-shot recommendation over frozen text vectors.

    From Ding et al. (arXiv 2105.08318). States and item vectors are `[n, hidden_size]`, and scores their cosines over
    `temperature`. Taking a catalogue raises `OSError` for a `text_encoder` that cannot be loaded.

    Args:
        config, settings: a [`ZESRecConfig`], or its fields; see [`BaselineModel`] for all else.
    """

    config: ZESRecConfig
    config_class = ZESRecConfig
    paper = "[Ding et al., 2021](https://arxiv.org/abs/2105.08318)"
    item_tables = ("item_embeddings",)
    training_defaults = {"per_device_train_batch_size": 256}

    def build(self) -> None:
        super().build()
        config = self.config
        self.universal = nn.Linear(config.text_size, config.hidden_size)
        self.item_embeddings = self.new_item_table() if config.item_offsets else None
        self.source_embeddings: nn.Embedding | None = None
        if config.item_offsets and config.num_source_items:
            self.source_embeddings = nn.Embedding(config.num_source_items, config.hidden_size)
        self.input_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        if config.network == "gru":
            self.network: nn.Module = nn.GRU(
                config.hidden_size, config.hidden_size, config.num_layers, batch_first=True
            )
            return
        self.position_embeddings = nn.Embedding(config.max_length, config.hidden_size)
        self.network = ItemTransformer(
            config.hidden_size, config.num_layers, config.num_heads, 4 * config.hidden_size, config.dropout,
            eps=config.layer_norm_eps,
        )  # fmt: skip

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Embedding) and module is not getattr(self, "position_embeddings", None):
            initialization.zeros_(module.weight)  # offsets begin where the prior has its maximum

    def states(self, vectors: Tensor, histories: PackedHistories) -> Tensor:
        """f_seq of the items' vectors, `[total, hidden_size]` to `[total, hidden_size]`."""
        hidden = self.input_norm(vectors)
        if isinstance(self.network, nn.GRU):
            padded = histories.padded(self.dropout(hidden))
            steps = pack_padded_sequence(padded, histories.lengths.cpu(), batch_first=True, enforce_sorted=False)
            found = histories.packed(pad_packed_sequence(self.network(steps)[0], batch_first=True)[0])
        else:
            found = self.network(self.dropout(hidden + self.position_embeddings(histories.positions)), histories)
        return self.states_to_score(found)

    def latent(self, texts: Tensor, offsets: nn.Embedding | None, rows: Tensor | None = None) -> Tensor:
        """v of some rows, or of all: `[num_items, text_size]` to `[n, hidden_size]`."""
        if rows is not None:
            texts = texts[rows]
        vectors: Tensor = self.universal(texts)
        if offsets is None:
            return vectors
        return vectors + (offsets.weight if rows is None else offsets(rows))

    def encode(self, histories: PackedHistories) -> Tensor:
        return self.states(self.latent(self.text_vectors, self.item_embeddings, histories.rows), histories)

    def item_vectors_of(self, rows: Tensor | None = None) -> Tensor:
        return self.items_to_score(self.latent(self.text_vectors, self.item_embeddings, rows))

    # Training: on one dataset, or on several shops

    def prior(self, offsets: nn.Embedding | None, epoch_targets: int) -> Tensor | float:
        """lambda/2 sum_j ||eps_j||^2, as a part of the mean over all targets of an epoch."""
        if offsets is None:
            return 0.0
        return 0.5 * self.config.prior_precision / epoch_targets * offsets.weight.float().square().sum()

    def loss(
        self, histories: PackedHistories, labels: Tensor, *args: Any, epoch_targets: int = 1, **more: Any
    ) -> Tensor:
        return super().loss(histories, labels, *args, **more) + self.prior(self.item_embeddings, epoch_targets)

    def training_collator(self, datasets: "Sequence[SequentialDataset]", seed: int) -> "TrainingCollator":
        counts = np.bincount(datasets[0].train.items, minlength=self.config.num_items)
        return _NextItems(self.config, counts, seed, _targets(datasets, self.config.max_length))

    def take_datasets(self, datasets: "Sequence[SequentialDataset]", pretraining: bool) -> None:
        super().take_datasets(datasets, pretraining)
        sources = self.shop_starts[-1] if pretraining else 0
        catalogs = [dataset.catalog.fingerprint for dataset in datasets] if pretraining else None
        if catalogs != self.config.source_catalogs or not pretraining:  # otherwise pretraining goes on with its offsets
            self.config.num_source_items, self.config.source_catalogs = sources, catalogs
            self.source_embeddings = None
            if sources and self.config.item_offsets:
                self.source_embeddings = nn.Embedding(sources, self.config.hidden_size, device=self.device)
                self._init_weights(self.source_embeddings)

    def pretraining_collator(self, datasets: "Sequence[SequentialDataset]", seed: int) -> "TrainingCollator":
        return _ShopItems(self.config, datasets, seed)

    def pretraining_loss(  # type: ignore[override]
        self, histories: PackedHistories, labels: Tensor, shop_targets: Sequence[int], epoch_targets: int
    ) -> Tensor:
        """The same loss, in which each target is scored among the items of its own shop.

        Args:
            histories: of one shop after the other.
            labels (`Tensor`, int64 `[num_targets]`): rows of `shop_vectors`.
            shop_targets: how many of the targets each shop has.
            epoch_targets: of all shops.
        """
        texts, offsets, starts = self.shop_vectors, self.source_embeddings, self.shop_starts
        states = self.states(self.latent(texts, offsets, histories.rows), histories)
        sums = []
        parts = zip(states.split(list(shop_targets)), labels.split(list(shop_targets)), strict=True)
        for shop, (of_shop, own) in enumerate(parts):
            if len(own):
                rows = torch.arange(starts[shop], starts[shop + 1], device=labels.device)
                items = self.items_to_score(self.latent(texts, offsets, rows))
                sums.append(full_cross_entropy(of_shop, items, own - starts[shop]) * len(own))
        return torch.stack(sums).sum() / len(labels) + self.prior(offsets, epoch_targets)


def _targets(datasets: "Sequence[SequentialDataset]", max_length: int) -> int:
    """Targets of an epoch."""
    return sum(
        int((np.minimum(np.diff(dataset.train.offsets), max_length + 1) - 1).clip(0).sum()) for dataset in datasets
    )


class _NextItems(NextItemCollator):
    """Batches with `epoch_targets` (`int`), the number of targets of an epoch."""

    def __init__(self, config: ZESRecConfig, counts: np.ndarray, seed: int, epoch_targets: int) -> None:
        super().__init__(config, counts, seed)
        self.epoch_targets = epoch_targets

    def __call__(self, batch: SequenceBatch) -> dict[str, Any]:
        return super().__call__(batch) | {"epoch_targets": self.epoch_targets}


class _ShopItems(WindowCollator):
    """Batches of several shops: what `pretraining_loss` takes."""

    def __init__(self, config: ZESRecConfig, datasets: "Sequence[SequentialDataset]", seed: int) -> None:
        super().__init__(config.max_length, seed, extra=1)
        self.rows = ShopRows([len(dataset.catalog) for dataset in datasets])
        self.num_shops, self.epoch_targets = len(datasets), _targets(datasets, config.max_length)

    def __call__(self, batch: SequenceBatch) -> dict[str, Any]:
        starts, lengths = self.windows(batch)
        order = np.argsort(batch.index["dataset"], kind="stable")
        starts, lengths, shops = starts[order], lengths[order] - 1, batch.index["dataset"][order]
        rows = self.rows(batch)
        labels = rows[slice_indices(starts + 1, lengths)].astype(np.int64)
        targets = np.bincount(shops, lengths, minlength=self.num_shops).astype(np.int64)
        return packed_rows(rows, starts, lengths) | {
            "pretraining": True,
            "labels": torch.from_numpy(labels),
            "shop_targets": targets.tolist(),
            "epoch_targets": self.epoch_targets,
        }


__all__ = ["ZESRec", "ZESRecConfig"]
