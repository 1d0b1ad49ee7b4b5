"""Collators: sequences of catalogue rows -> packed batches.

The tokenizer is never called: a history is a concatenation of slices of a [`TokenizedCatalog`]. Every draw is keyed by
(seed, epoch, dataset, user), so what a user gets does not depend on the batch, worker or process.

All batches hold `input_ids`, `token_type_ids` and `item_position_ids` (int64 `[1, total_tokens]`), `cu_seqlens` (int32
`[num_sequences + 1]`) and `max_seqlen` (`int`: with it the model need not wait for an accelerator to tell).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..recommending.vectors import first_of_equal
from .composition import Composer
from .draws import Draws, Stream
from .masking import IGNORED, WholeWordMasking
from .sampling import EvaluationSequences, SequenceBatch, TrainingSequences
from .tokenized_catalog import TokenizedCatalog

if TYPE_CHECKING:
    from ..tokenization_recformer import RecformerTokenizer


class ItemCollator:
    """Items, each alone behind `<s>`: what item embeddings are made from.

    Called with catalogue rows (int `[batch]`), it gives a packed batch with `item_index` (int64 `[batch]`, the rows).

    Args:
        catalog: the tokenized catalogue.
        tokenizer: what it was tokenized with; gives `<s>` and the limits of a sequence.

    Raises:
        ValueError: if the catalogue was tokenized by another tokenizer or with other limits of an item.
    """

    def __init__(self, catalog: TokenizedCatalog, tokenizer: RecformerTokenizer) -> None:
        self.composer = Composer([catalog], tokenizer)

    def lengths(self) -> np.ndarray:
        """Tokens of each item's sequence, int64 `[num_items]`."""
        return np.minimum(self.composer.catalogs[0].lengths + 1, self.composer.max_tokens)

    @cached_property
    def first_of_equal(self) -> np.ndarray:
        """For each item the first one whose sequence is the same, int64 `[num_items]`; seconds for a million items."""
        return first_of_equal(self.composer.catalogs[0], self.composer.max_tokens)

    def __call__(self, rows: Sequence[int] | np.ndarray) -> dict[str, Any]:
        items = np.array(rows, dtype=np.int64)
        places = np.arange(len(items))
        packed = self.composer.compose(np.zeros_like(places), items, places, places + 1)
        return packed.to_batch() | {"item_index": torch.from_numpy(items)}


class EvaluationCollator:
    """Histories, and the item that came next.

    Called with what [`EvaluationSequences`] gives, it returns a packed batch with `labels` (int64 `[batch]`, catalogue
    rows) and `user_index` (int64 `[batch]`, rows of the split). Arguments and errors as in [`ItemCollator`].
    """

    def __init__(self, catalog: TokenizedCatalog, tokenizer: RecformerTokenizer) -> None:
        self.composer = Composer([catalog], tokenizer)

    def lengths(self, data: EvaluationSequences) -> np.ndarray:
        """Tokens of each history, int64 `[num_users]`."""
        return self.composer.history_tokens(data)

    def __call__(self, batch: SequenceBatch) -> dict[str, Any]:
        if batch.targets is None:
            raise ValueError("Evaluation needs the item that came next: take the rows from EvaluationSequences.")
        packed = self.composer.compose(batch.index["dataset"], batch.items, batch.offsets[:-1], batch.offsets[1:])
        return packed.to_batch() | {
            "labels": torch.from_numpy(batch.targets.astype(np.int64)),
            "user_index": torch.from_numpy(batch.index["user"].copy()),
        }


class FinetuningCollator:
    """Histories with one random target a user an epoch, and at least one item of history before it.

    Called with what [`TrainingSequences`] gives, it returns a packed batch with `labels` (int64 `[batch]`, catalogue
    rows) and, where asked for, `negatives` (int64 `[batch, num_negatives]`: drawn uniformly, repetition allowed, from
    the catalogue without the row's own label).

    Args:
        catalog: the tokenized catalogue.
        tokenizer: what it was tokenized with; gives `<s>` and the limits of a sequence.
        seed (`int`): in [0, 2^64).
        num_negatives (`int`, defaults to 0): negatives a row; 0 leaves them out (full softmax).

    Raises:
        ValueError: as in [`ItemCollator`], and if there are fewer than 0 negatives or no second item to draw.
    """

    def __init__(
        self, catalog: TokenizedCatalog, tokenizer: RecformerTokenizer, *, seed: int, num_negatives: int = 0
    ) -> None:
        if num_negatives < 0 or (num_negatives and len(catalog) < 2):
            raise ValueError(
                f"num_negatives must be at least 0, and above 0 the catalogue must hold a second item; got "
                f"{num_negatives} and {len(catalog)} items."
            )
        self.composer = Composer([catalog], tokenizer)
        self.draws = Draws(seed)
        self.num_negatives = num_negatives

    def lengths(self, data: TrainingSequences) -> list[np.ndarray]:
        """Most tokens that a draw can give each of `data.users`, int64 `[num_users]` a dataset."""
        return self.composer.most_tokens(data, np.ones_like, with_target=False)

    def __call__(self, batch: SequenceBatch) -> dict[str, Any]:
        epoch, dataset, user = _keys(batch)
        starts, target = _draw_targets(self.draws, batch, np.ones(len(batch), dtype=np.int64))
        labels = batch.items[target].astype(np.int64)
        result = self.composer.compose(dataset, batch.items, starts, target).to_batch()
        result["labels"] = torch.from_numpy(labels)
        if self.num_negatives:
            last = len(self.composer.catalogs[0]) - 1
            drawn = self.draws.integers(Stream.NEGATIVES, epoch, dataset, user, 0, last, size=self.num_negatives)
            result["negatives"] = torch.from_numpy(drawn + (drawn >= labels[:, None]))
        return result


class PretrainingCollator:
    """Contexts and their target items, with masked copies of both.

    The target is drawn in the later half of the sequence, from positions [max(1, (n-1)//2), n-1] of n items (0-based);
    the context is what comes before it. Called with what [`TrainingSequences`] gives, it returns a packed batch of
    contexts, then target items in the same order (`cu_seqlens` `[2 * batch + 1]`), with `mlm_input_ids`, `mlm_labels`
    (int64 `[1, total_tokens]`, [`WholeWordMasking`]), `masked_rows` (int64 `[num_masked]`, where the labels are) and
    `target_ids` (int64 `[batch]`: catalogue rows, counted on from dataset to dataset so that those of different
    catalogues differ).

    Args:
        catalogs: the tokenized catalogue of each dataset.
        tokenizer: what they were tokenized with; gives `<s>`, the limits of a sequence and the mask token.
        seed (`int`): in [0, 2^64).
        mlm_probability (`float`, in [0, 1), defaults to 0.15): share of tokens to mask; 0 leaves the masked copies out.

    Raises:
        ValueError: as in [`ItemCollator`], and for a tokenizer without a mask token.
    """

    def __init__(
        self,
        catalogs: Sequence[TokenizedCatalog],
        tokenizer: RecformerTokenizer,
        *,
        seed: int,
        mlm_probability: float = 0.15,
    ) -> None:
        self.composer = Composer(catalogs, tokenizer)
        self.draws = Draws(seed)
        self.masking = WholeWordMasking(tokenizer, self.draws, mlm_probability) if mlm_probability else None
        self.first_target_ids = np.cumsum([0, *(len(catalog) for catalog in catalogs)])
        """What the rows of each catalogue are counted from."""

    def lengths(self, data: TrainingSequences) -> list[np.ndarray]:
        """Most tokens that a draw can give each of `data.users`, int64 `[num_users]` a dataset.

        Context and target item together; their masked copies are as many again in the encoder.
        """
        return self.composer.most_tokens(data, _later_half, with_target=True)

    def __call__(self, batch: SequenceBatch) -> dict[str, Any]:
        starts, target = _draw_targets(self.draws, batch, _later_half(np.diff(batch.offsets)))
        dataset = batch.index["dataset"]
        packed = self.composer.compose(
            np.tile(dataset, 2),
            batch.items,
            np.concatenate([starts, target]),
            np.concatenate([target, target + 1]),
            words=self.masking is not None,
        )
        result = packed.to_batch()
        if self.masking is not None:
            epoch, dataset, user = _keys(batch)
            masked, labels = self.masking(
                packed,
                (np.tile(epoch, 2), np.tile(dataset, 2), np.tile(user, 2)),
                word_streams=np.repeat([Stream.CONTEXT_WORDS, Stream.ITEM_WORDS], len(batch)),
                token_streams=np.repeat([Stream.CONTEXT_TOKENS, Stream.ITEM_TOKENS], len(batch)),
            )
            result["mlm_input_ids"] = torch.from_numpy(masked)[None]
            result["mlm_labels"] = torch.from_numpy(labels)[None]
            result["masked_rows"] = torch.from_numpy(np.flatnonzero(labels != IGNORED))
        result["target_ids"] = torch.from_numpy(self.first_target_ids[dataset] + batch.items[target])
        return result


def _later_half(num_items: np.ndarray) -> np.ndarray:
    """Earliest target of a pretraining sequence: at least one item stands before it."""
    return np.maximum(1, (num_items - 1) // 2)


def _keys(batch: SequenceBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return batch.index["epoch"], batch.index["dataset"], batch.index["user"]


def _draw_targets(draws: Draws, batch: SequenceBatch, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each sequence begins in `batch.items`, and where its target stands, int64 `[batch]` each.

    Raises:
        ValueError: if a sequence has no item after position `first`.
    """
    epoch, dataset, user = _keys(batch)
    num_items = np.diff(batch.offsets)
    return batch.offsets[:-1], batch.offsets[:-1] + draws.integers(
        Stream.TARGET, epoch, dataset, user, low=first, high=num_items
    )
