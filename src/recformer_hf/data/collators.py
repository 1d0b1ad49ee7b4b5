"""Collators: from sequences of catalogue rows to packed batches.

They never call the tokenizer: a history is a concatenation of slices of a [`TokenizedCatalog`]. Every draw is keyed by
(seed, epoch, dataset, user), so a user's draws do not depend on the batch, worker or process.

All batches hold `input_ids`, `token_type_ids` and `item_position_ids` (int64 `[1, total_tokens]`), `cu_seqlens` (int32
`[num_sequences + 1]`) and `max_seqlen` (`int`; the model would have to wait for the accelerator to compute it).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ..recommending.vectors import first_of_equal
from ..tokenization_recformer import RecformerTokenizer
from .arrays import integers, offsets_from_lengths, slice_indices
from .composition import Composer
from .draws import Draws, Stream
from .masking import IGNORED, WholeWordMasking
from .row_collators import padded_slices
from .tokenized_catalog import TokenizedCatalog
from .torch_datasets import EvaluationSequences, SequenceBatch, TrainingSequences


class ItemCollator:
    """Items, each alone behind `<s>`: the input for item embeddings.

    Called with catalogue rows (int `[batch]`), it returns a packed batch with `item_index` (int64 `[batch]`, the rows).

    Args:
        catalog: the tokenized catalogue.
        tokenizer: the tokenizer of that catalogue; provides `<s>` and the limits of a sequence.

    Raises:
        ValueError: if the catalogue was tokenized by another tokenizer or with other limits of an item.
    """

    def __init__(self, catalog: TokenizedCatalog, tokenizer: RecformerTokenizer) -> None:
        self.composer = Composer([catalog], tokenizer)

    def lengths(self) -> np.ndarray:
        """Tokens of each item's sequence, int64 `[num_items]`."""
        tokens: np.ndarray = np.minimum(self.composer.catalogs[0].lengths + 1, self.composer.max_tokens)
        return tokens

    @cached_property
    def first_of_equal(self) -> np.ndarray:
        """For each item the first one whose sequence is the same, int64 `[num_items]`.

        Computed once, because it takes seconds for a million items.
        """
        return first_of_equal(self.composer.catalogs[0], self.composer.max_tokens)

    def __call__(self, rows: Sequence[int] | np.ndarray) -> dict[str, Any]:
        items = integers(rows, "Rows").astype(np.int64)  # a copy, because the batch's `item_index` shares its memory
        places = np.arange(len(items))
        packed = self.composer.compose(np.zeros_like(places), items, places, places + 1)
        return packed.to_batch() | {"item_index": torch.from_numpy(items)}


class EvaluationCollator:
    """Histories, and the item that came next.

    Called with a batch of [`EvaluationSequences`], it returns a packed batch with `labels` (int64 `[batch]`, catalogue
    rows) and `user_index` (int64 `[batch]`, rows of the split). Arguments and errors are those of [`ItemCollator`].

    Args:
        history_rows (`bool`, defaults to `False`): also return `history_rows` (int64 `[batch, length]`), the items of
            each history as a history bias needs them: catalogue rows, oldest first, padded with -1.
    """

    def __init__(self, catalog: TokenizedCatalog, tokenizer: RecformerTokenizer, *, history_rows: bool = False) -> None:
        self.composer = Composer([catalog], tokenizer)
        self.history_rows = history_rows

    def lengths(self, data: EvaluationSequences) -> np.ndarray:
        """Tokens of each history, int64 `[num_users]`."""
        return self.composer.history_tokens(data)

    def __call__(self, batch: SequenceBatch) -> dict[str, Any]:
        if batch.targets is None:
            raise ValueError("The batch has no targets, which evaluation needs. Take it from EvaluationSequences.")
        starts, stops = batch.offsets[:-1], batch.offsets[1:]
        result = self.composer.compose(batch.index["dataset"], batch.items, starts, stops).to_batch() | {
            "labels": torch.from_numpy(batch.targets.astype(np.int64)),
            "user_index": torch.from_numpy(batch.index["user"].copy()),
        }
        if self.history_rows:
            result["history_rows"] = padded_slices(batch.items, starts, stops - starts)
        return result


class FinetuningCollator:
    """Histories with random targets, by default one per user and epoch, and at least one item of history before each.

    Called with a batch of [`TrainingSequences`], it returns a packed batch with `labels` (int64 `[batch]`, catalogue
    rows) and, if `num_negatives` is above 0, `negatives` (int64 `[batch, num_negatives]`: drawn uniformly with
    replacement from the catalogue without the row's own label).

    Args:
        catalog: the tokenized catalogue.
        tokenizer: the tokenizer of that catalogue; provides `<s>` and the limits of a sequence.
        seed (`int`): in [0, 2^64).
        num_negatives (`int`, defaults to 0): negatives per row; 0 for none (full softmax).
        history_rows (`bool`, defaults to `False`): as in [`EvaluationCollator`].
        targets_per_user (`int`, defaults to 1): how many different targets each user has in an epoch, or all if there
            are fewer; 0 for all. `[batch]` above is then the number of targets, user after user.
        scored (int `[num_scored]`, *optional*): the items that the loss is taken over if there are no negatives, such
            as those that occur in training; they are then the batch's `negatives`. By default the whole catalogue.

    Raises:
        ValueError: as in [`ItemCollator`], and if `num_negatives` or `targets_per_user` is negative or the catalogue
            has only one item to draw.
    """

    def __init__(
        self,
        catalog: TokenizedCatalog,
        tokenizer: RecformerTokenizer,
        *,
        seed: int,
        num_negatives: int = 0,
        history_rows: bool = False,
        targets_per_user: int = 1,
        scored: np.ndarray | None = None,
    ) -> None:
        if targets_per_user < 0:
            raise ValueError(f"targets_per_user must be at least 0 (0: all), got {targets_per_user}.")
        if num_negatives < 0 or (num_negatives and len(catalog) < 2):
            raise ValueError(
                "num_negatives must be at least 0, and if it is above 0, the catalogue must hold at least 2 items; "
                f"got {num_negatives} and {len(catalog)} items."
            )
        self.composer = Composer([catalog], tokenizer)
        self.draws = Draws(seed)
        self.num_negatives, self.history_rows, self.targets_per_user = num_negatives, history_rows, targets_per_user
        self.scored = scored

    def lengths(self, data: TrainingSequences) -> list[np.ndarray]:
        """Most tokens that a draw can give each of `data.users`, int64 `[num_users]` for each dataset."""
        most = self.composer.most_tokens(data, np.ones_like, with_target=False)
        if self.targets_per_user == 1:
            return most
        targets = [np.diff(offsets)[users] - 1 for offsets, users in zip(data.offsets, data.users, strict=True)]
        return [each * self._kept(count) for each, count in zip(most, targets, strict=True)]

    def _kept(self, targets: np.ndarray) -> np.ndarray:
        """How many of its possible targets each user has in an epoch, int64 `[num_users]`."""
        return np.minimum(targets, self.targets_per_user) if self.targets_per_user else targets

    def __call__(self, batch: SequenceBatch) -> dict[str, Any]:
        epoch, dataset, user = _keys(batch)
        if self.targets_per_user == 1:
            starts, target = _draw_targets(self.draws, batch, np.ones(len(batch), dtype=np.int64))
            number = np.zeros(len(batch), dtype=np.int64)
        else:
            owner, number, target = self._several_targets(batch)
            starts, epoch, dataset, user = batch.offsets[owner], epoch[owner], dataset[owner], user[owner]
        labels = batch.items[target].astype(np.int64)
        result = self.composer.compose(dataset, batch.items, starts, target).to_batch()
        result["labels"] = torch.from_numpy(labels)
        if self.history_rows:
            result["history_rows"] = padded_slices(batch.items, starts, target - starts)
        if self.num_negatives:
            last = len(self.composer.catalogs[0]) - 1
            size = self.num_negatives
            drawn = self.draws.integers(Stream.NEGATIVES, epoch, dataset, user, 0, last, size=(number.max() + 1) * size)
            # Each target of a user has the next numbers of the user's line.
            drawn = np.take_along_axis(drawn, number[:, None] * size + np.arange(size), axis=1)
            # Drawn from one item fewer, then moved past the label: uniform over all items but the label.
            result["negatives"] = torch.from_numpy(drawn + (drawn >= labels[:, None]))
        elif self.scored is not None:
            result["negatives"] = torch.from_numpy(self.scored.copy())
        return result

    def _several_targets(self, batch: SequenceBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Different targets of each user: which row of the batch, the how manieth of the user, and its place in
        `batch.items`; int64 `[num_targets]` each."""
        possible = np.diff(batch.offsets) - 1
        owner = np.repeat(np.arange(len(batch)), possible)
        places = slice_indices(batch.offsets[:-1] + 1, possible)
        keys = self.draws.ragged(Stream.TARGET, *_keys(batch), possible)
        order = np.lexsort((keys, owner))
        number = slice_indices(np.zeros_like(possible), possible)
        chosen = np.flatnonzero(number < self._kept(possible)[owner])
        return owner[chosen], number[chosen], places[order[chosen]]


class PretrainingCollator:
    """Contexts and their target items, with masked copies of both.

    The target is drawn from the later half of the sequence, from positions [max(1, (n-1)//2), n-1] of n items
    (0-based); the context is the items before it. Called with a batch of [`TrainingSequences`], it returns a packed
    batch of contexts, then target items in the same order (`cu_seqlens` `[2 * batch + 1]`), with `mlm_input_ids`,
    `mlm_labels` (int64 `[1, total_tokens]`, [`WholeWordMasking`]), `masked_rows` (int64 `[num_masked]`, positions of
    the labels) and `target_ids` (int64 `[batch]`: catalogue rows, numbered consecutively over the datasets, so that
    items of different catalogues have different ids).

    Args:
        catalogs: the tokenized catalogue of each dataset.
        tokenizer: the tokenizer of these catalogues; provides `<s>`, the limits of a sequence and the mask token.
        seed (`int`): in [0, 2^64).
        mlm_probability (`float`, in [0, 1), defaults to 0.15): share of tokens to mask; 0 for no masked copies.

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
        self.first_target_ids = offsets_from_lengths([len(catalog) for catalog in catalogs])
        """`target_ids` of the first row of each catalogue."""

    def lengths(self, data: TrainingSequences) -> list[np.ndarray]:
        """Most tokens that a draw can give each of `data.users`, int64 `[num_users]` for each dataset.

        This counts context and target item together; their masked copies add as many tokens again in the encoder.
        """
        return self.composer.most_tokens(data, _later_half, with_target=True)

    def __call__(self, batch: SequenceBatch) -> dict[str, Any]:
        starts, target = _draw_targets(self.draws, batch, _later_half(np.diff(batch.offsets)))
        dataset = batch.index["dataset"]
        # Contexts and target items are one packed batch, so that a single forward encodes both.
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
            # The streams differ, so that an item is masked differently in the context and as the target.
            masked, labels = self.masking(
                packed,
                (np.tile(epoch, 2), np.tile(dataset, 2), np.tile(user, 2)),
                word_streams=np.repeat([Stream.CONTEXT_WORDS, Stream.ITEM_WORDS], len(batch)),
                token_streams=np.repeat([Stream.CONTEXT_TOKENS, Stream.ITEM_TOKENS], len(batch)),
            )
            result["mlm_input_ids"] = torch.from_numpy(masked)[None]
            result["mlm_labels"] = torch.from_numpy(labels)[None]
            # Found here, because finding them on an accelerator would make the model wait for it.
            result["masked_rows"] = torch.from_numpy(np.flatnonzero(labels != IGNORED))
        result["target_ids"] = torch.from_numpy(self.first_target_ids[dataset] + batch.items[target])
        return result


def _later_half(num_items: np.ndarray) -> np.ndarray:
    """Position of the earliest target of a pretraining sequence; at least one item comes before it."""
    first: np.ndarray = np.maximum(1, (num_items - 1) // 2)
    return first


def _keys(batch: SequenceBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return batch.index["epoch"], batch.index["dataset"], batch.index["user"]


def _draw_targets(draws: Draws, batch: SequenceBatch, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each sequence begins in `batch.items`, and where its target is, int64 `[batch]` each.

    Raises:
        ValueError: if a sequence has no item at position `first` or later.
    """
    epoch, dataset, user = _keys(batch)
    num_items = np.diff(batch.offsets)
    return batch.offsets[:-1], batch.offsets[:-1] + draws.integers(
        Stream.TARGET, epoch, dataset, user, low=first, high=num_items
    )
