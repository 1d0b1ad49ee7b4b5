"""`UniSRec`: universal sequence representations from texts (Hou et al., KDD 2022).

v = sum_k g_k W_k (x - b_k);  g = softmax(x W_g + noise * softplus(x W_n))
h = transformer(Dropout(LN(v + P)));  s_t(i) = cos(h_t, v_i) / tau

x is the frozen vector of an item's text. Whitening experts W_k (x - b_k), mixed by a gate whose noise is drawn in
training, adapt it to a shop. With `use_ids`, the embedding of the item's id is added to v at both ends (the paper's
transductive setting). Pretraining contrasts histories with the items that came next, and with augmented copies of
themselves, in batches of several shops.
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
from ..data.torch_datasets import SequenceBatch
from ..training.pretraining.contrastive import pair_loss, rows_of_processes
from .shared.collators import WindowCollator, packed_rows
from .shared.histories import PackedHistories
from .shared.text_model import GIVEN, ShopRows, TextConfig, TextModel
from .shared.text_vectors import without_words
from .shared.transformer import ItemTransformer

if TYPE_CHECKING:
    from ..data.dataset import SequentialDataset
    from ..training.trainer import TrainingCollator

_WORDS_SEED = 0
"""Of the texts with words left out, which are encoded once and so are the same in every run."""


@strict
class UniSRecConfig(TextConfig):
    r"""Configuration of [`UniSRec`], beside the fields of [`~baselines.shared.text_model.TextConfig`].

    Args:
        hidden_size (`int`, defaults to 128), dropout (`float`, defaults to 0.5): as there, with other defaults.
        loss (`str`, defaults to `"ce"`): full cross-entropy, or `"sampled_softmax"`.
        num_experts (`int`, defaults to 8): whitening experts.
        expert_dropout (`float`, defaults to 0.2): of the text vectors, in [0, 1).
        gate_noise (`float`, defaults to 1.0): factor of the gate's noise in training.
        num_layers (`int`, defaults to 2), num_heads (`int`, defaults to 2): of the transformer; the heads must divide
            `hidden_size`.
        intermediate_size (`int`, *optional*): width of the feed-forward networks, by default twice `hidden_size`.
        use_ids (`bool`, defaults to `False`): whether training adds an embedding of each item's id; pretraining never
            does.
        trained (`"all"` or `"adaptor"`, defaults to `"all"`): what trains after pretraining: all weights, or the
            adaptor (and the id embeddings) while the transformer stays.
        sequence_weight (`float`, defaults to 0.001): of the sequence-sequence loss in pretraining.
        item_drop (`float`, defaults to 0.2), word_drop (`float`, defaults to 0.15): chance of each item, or word, to be
            left out of an augmented history, in [0, 1).
        word_drop_share (`float`, defaults to 0.1): share of the augmented histories that lack words, not items. Text
            vectors that a caller gives cannot lack words.
    """

    model_type = "unisrec"

    hidden_size: int = 128
    dropout: float | int = 0.5
    loss: Literal["ce", "sampled_softmax"] = "ce"
    num_experts: int = 8
    expert_dropout: float | int = 0.2
    gate_noise: float | int = 1.0
    num_layers: int = 2
    num_heads: int = 2
    intermediate_size: int | None = None
    use_ids: bool = False
    trained: Literal["all", "adaptor"] = "all"
    sequence_weight: float | int = 1e-3
    item_drop: float | int = 0.2
    word_drop: float | int = 0.15
    word_drop_share: float | int = 0.1

    def validate_architecture(self) -> None:
        self.check_transformer()
        self.check_positive("num_experts")
        for name in ("gate_noise", "sequence_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must not be negative or infinite, got {getattr(self, name)}.")
        self.check_shares("expert_dropout", "item_drop", "word_drop", below_one=True)
        self.check_shares("word_drop_share")
        super().validate_architecture()


class WhiteningExperts(nn.Module):
    """The adaptor: a gated sum of W_k (x - b_k) over k experts."""

    def __init__(self, config: UniSRecConfig) -> None:
        super().__init__()
        self.shape, self.noise = (config.num_experts, config.hidden_size), config.gate_noise
        self.weights = nn.Linear(config.text_size, config.num_experts * config.hidden_size, bias=False)
        self.biases = nn.Parameter(torch.zeros(config.num_experts, config.text_size))
        self.gate = nn.Linear(config.text_size, config.num_experts, bias=False)
        self.gate_noise = nn.Linear(config.text_size, config.num_experts, bias=False)
        self.dropout = nn.Dropout(config.expert_dropout)

    def forward(self, texts: Tensor) -> Tensor:
        """`[n, text_size]` to `[n, hidden_size]`."""
        logits = self.gate(texts)
        if self.training and self.noise:
            logits = logits + self.noise * torch.randn_like(logits) * F.softplus(self.gate_noise(texts))
        whitened = self.weights(self.dropout(texts)).unflatten(1, self.shape)
        # W_k (x - b_k) = W_k x - W_k b_k: the second part is one vector of each expert.
        shifts = torch.einsum("kdt,kt->kd", self.weights.weight.unflatten(0, self.shape), self.biases)
        gates = logits.softmax(1)
        mixed: Tensor = torch.einsum("nk,nkd->nd", gates, whitened) - gates @ shifts
        return mixed


class UniSRec(TextModel):
    """Universal sequence representation learning over frozen text vectors.

    From Hou et al. (KDD 2022). States and item vectors are `[n, hidden_size]`, and scores their cosines over
    `temperature`. Taking a catalogue raises `OSError` for a `text_encoder` that cannot be loaded.

    Args:
        config, settings: a [`UniSRecConfig`], or its fields; see [`BaselineModel`] for all else.
    """

    config: UniSRecConfig
    config_class = UniSRecConfig
    paper = "[Hou et al., 2022](https://arxiv.org/abs/2206.05941)"
    item_tables = ("item_embeddings",)
    training_defaults = {"per_device_train_batch_size": 256}
    pretraining_defaults = {"per_device_train_batch_size": 512, "num_train_epochs": 30}

    def build(self) -> None:
        super().build()
        config = self.config
        self.adaptor = WhiteningExperts(config)
        self.item_embeddings = self.new_item_table() if config.use_ids else None
        self.position_embeddings = nn.Embedding(config.max_length, config.hidden_size)
        self.input_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        self.transformer = ItemTransformer(
            config.hidden_size, config.num_layers, config.num_heads, config.intermediate_size or 2 * config.hidden_size,
            config.dropout, norm="post", eps=config.layer_norm_eps,
        )  # fmt: skip

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, WhiteningExperts):
            for weight in (module.gate.weight, module.gate_noise.weight, module.biases):
                initialization.zeros_(weight)  # all experts count alike at first

    def states(self, vectors: Tensor, histories: PackedHistories) -> Tensor:
        """The transformer's states of items' vectors, `[total, hidden_size]` to `[total, hidden_size]`."""
        hidden = self.dropout(self.input_norm(vectors + self.position_embeddings(histories.positions)))
        states: Tensor = self.transformer(hidden, histories)
        return states

    def adapted(self, rows: Tensor | None = None) -> Tensor:
        """v of some rows of the catalogue or of all, with what their ids add, `[n, hidden_size]`."""
        vectors: Tensor = self.adaptor(self.text_vectors if rows is None else self.text_vectors[rows])
        if self.item_embeddings is None:
            return vectors
        return vectors + (self.item_embeddings.weight if rows is None else self.item_embeddings(rows))

    def encode(self, histories: PackedHistories) -> Tensor:
        return self.states_to_score(self.states(self.adapted(histories.rows), histories))

    def item_vectors_of(self, rows: Tensor | None = None) -> Tensor:
        return self.items_to_score(self.adapted(rows))

    # Pretraining on several shops

    def take_datasets(self, datasets: "Sequence[SequentialDataset]", pretraining: bool) -> None:
        config = self.config
        frozen = config.trained == "adaptor" and not pretraining
        if frozen and self.is_new:
            raise ValueError(
                "trained='adaptor' trains a pretrained UniSRec, but this one is new: pretrain it on other datasets "
                "before, or set trained='all'."
            )
        super().take_datasets(datasets, pretraining)
        for part in (self.transformer, self.position_embeddings, self.input_norm):
            part.requires_grad_(not frozen)
        if pretraining and self._drops_words:
            catalogs = [without_words(dataset.catalog, config.word_drop, _WORDS_SEED) for dataset in datasets]
            self.shop_vectors = torch.cat([self.shop_vectors, *map(self.vectors_of_texts, catalogs)])

    @property
    def _drops_words(self) -> bool:
        config = self.config
        return config.text_encoder != GIVEN and config.word_drop_share > 0 and config.word_drop > 0

    def pretraining_collator(self, datasets: "Sequence[SequentialDataset]", seed: int) -> "TrainingCollator":
        return ContrastiveCollator(self.config, datasets, seed, self._drops_words)

    def pretraining_loss(  # type: ignore[override]
        self, histories: PackedHistories, labels: Tensor
    ) -> Tensor:
        """Sequence-item plus `sequence_weight` times sequence-sequence contrast.

        A history is compared with the next items, and with the augmented histories, of the batches of all processes;
        those with the same next item are no negatives.

        Args:
            histories: `[2 * batch]`, the histories and then the augmented ones.
            labels (`Tensor`, int64 `[batch]`): the next items, rows of `shop_vectors`.
        """
        states = self.states(self.adaptor(self.shop_vectors[histories.rows]), histories)[histories.newest]
        users, augmented = states.split(len(labels))
        items, tau = self.adaptor(self.shop_vectors[labels]), self.config.temperature or 1.0
        sizes = rows_of_processes(len(labels), labels.device)
        of_items, _ = pair_loss(users, items, labels, tau, sizes)
        of_sequences, _ = pair_loss(users, augmented, labels, tau, sizes)
        return (of_items + self.config.sequence_weight * of_sequences) / len(labels)


class ContrastiveCollator(WindowCollator):
    """Of every training sequence a history, the item that came next, and an augmented copy of the history.

    Where the history ends is drawn. A copy lacks some items, but never all, or its items' texts lack words.

    Returns:
        `history_rows`, `lengths` and `longest` of the histories and then of their copies, `labels` (int64 `[batch]`);
        rows count through all shops, then once more through those without words.

    Args:
        config: of the model.
        datasets: the shops.
        seed (`int`): in [0, 2^64).
        drops_words: whether there are texts without words.
    """

    def __init__(
        self, config: UniSRecConfig, datasets: "Sequence[SequentialDataset]", seed: int, drops_words: bool
    ) -> None:
        super().__init__(config.max_length, seed, extra=1)
        self.config, self.word_share = config, config.word_drop_share if drops_words else 0.0
        self.rows = ShopRows([len(dataset.catalog) for dataset in datasets])

    def __call__(self, batch: SequenceBatch) -> dict[str, Any]:
        keys = batch.index["epoch"], batch.index["dataset"], batch.index["user"]
        starts, counts = self.windows(batch)
        lengths = self.draws.integers(Stream.TARGET, *keys, 1, counts)
        rows = self.rows(batch)
        histories = rows[slice_indices(starts, lengths)]
        copies, copy_lengths = self._augmented(histories, lengths, keys)
        both, both_lengths = np.concatenate([histories, copies]), np.concatenate([lengths, copy_lengths])
        return packed_rows(both, np.cumsum(both_lengths) - both_lengths, both_lengths) | {
            "pretraining": True,
            "labels": torch.from_numpy(rows[starts + lengths].astype(np.int64)),
        }

    def _augmented(
        self, histories: np.ndarray, lengths: np.ndarray, keys: tuple[np.ndarray, np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        longest = int(lengths.max())
        numbers = self.draws.uniform(Stream.AUGMENTATION, *keys, size=longest + 1)
        lacks_words = numbers[:, 0] < self.word_share
        places = np.arange(longest)
        kept = (numbers[:, 1:] >= self.config.item_drop) | lacks_words[:, None]
        kept &= places < lengths[:, None]
        kept[~kept.any(1), 0] = True
        chosen = kept[places < lengths[:, None]]
        owners = np.repeat(np.arange(len(lengths)), lengths)
        copies = np.where(lacks_words[owners], histories + self.rows.starts[-1], histories)[chosen]
        return copies, kept.sum(1)


__all__ = ["ContrastiveCollator", "UniSRec", "UniSRecConfig", "WhiteningExperts"]
