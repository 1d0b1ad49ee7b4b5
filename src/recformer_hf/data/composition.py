"""Composing packed sequences from the slices of a tokenized catalogue, without a Python loop over items or tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..tokenization_recformer import BOS_TYPE, RecformerTokenizer
from ..tokenizing.tokenizer_fingerprint import tokenizer_fingerprint
from .arrays import gather, offsets_from_lengths, slice_indices
from .tokenized_catalog import TokenizedCatalog
from .torch_datasets import EvaluationSequences, TrainingSequences

_ITEMS_AT_ONCE = 1 << 20
"""Number of interactions whose tokens are counted together; it bounds the memory that a large split takes."""


@dataclass(frozen=True, eq=False)
class PackedSequences:
    """Sequences end to end, as numpy arrays.

    Args:
        input_ids, token_type_ids, item_position_ids: int64 `[total_tokens]`.
        bounds: sequence i is `[bounds[i], bounds[i + 1])`, int64 `[num_sequences + 1]`.
        word_starts: where a word begins, bool `[total_tokens]`; `<s>` is a word of its own. `None` if not requested.
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray
    item_position_ids: np.ndarray
    bounds: np.ndarray
    word_starts: np.ndarray | None

    def to_batch(self) -> dict[str, Any]:
        """The packed batch that a model accepts."""
        return {
            "input_ids": torch.from_numpy(self.input_ids)[None],
            "token_type_ids": torch.from_numpy(self.token_type_ids)[None],
            "item_position_ids": torch.from_numpy(self.item_position_ids)[None],
            "cu_seqlens": torch.from_numpy(self.bounds.astype(np.int32)),  # the type that flash attention requires
            "max_seqlen": int(np.diff(self.bounds).max()),
        }


class Composer:
    """Puts the items of histories behind `<s>`, newest first, as `RecformerTokenizer.encode_history` does.

    Args:
        catalogs: the tokenized catalogue of each dataset.
        tokenizer: what they were tokenized with; gives `<s>` and the limits of a sequence.

    Raises:
        ValueError: if there is no catalogue, one was tokenized by another tokenizer or with other limits of an item, or
            the tokenizer has neither a BOS nor a CLS token.
    """

    def __init__(self, catalogs: Sequence[TokenizedCatalog], tokenizer: RecformerTokenizer) -> None:
        if not catalogs:
            raise ValueError("There is no tokenized catalogue; give one for each dataset.")
        expected = tokenizer_fingerprint(tokenizer)
        for number, catalog in enumerate(catalogs):
            if catalog.tokenizer_fingerprint != expected:
                raise ValueError(
                    f"The catalogue of dataset {number} was tokenized by another tokenizer, or with another "
                    f"max_attr_num or max_attr_length (fingerprint {catalog.tokenizer_fingerprint!r}, expected "
                    f"{expected!r}). Create it with TokenizedCatalog.build(catalog, tokenizer)."
                )
            largest = int(catalog.input_ids.max(initial=0))
            if largest >= len(tokenizer):
                raise ValueError(
                    f"The catalogue of dataset {number} has the token {largest}, but the tokenizer only has "
                    f"{len(tokenizer):,} tokens: the catalogue's files are damaged. Remove its folder, and create it "
                    "again with TokenizedCatalog.build(catalog, tokenizer)."
                )
        bos = tokenizer.cls_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        if bos is None:
            raise ValueError(
                "The tokenizer has neither a BOS nor a CLS token, but every sequence starts with one. Set bos_token."
            )
        self.catalogs = list(catalogs)
        self.bos_token_id: int = bos
        self.max_items: int = tokenizer.max_item_embeddings - 1
        """Most items of a history; one position embedding belongs to `<s>`."""
        self.max_tokens: int = tokenizer.max_token_num
        """Most tokens of a sequence, `<s>` included."""

    def compose(
        self, dataset: np.ndarray, items: np.ndarray, starts: np.ndarray, stops: np.ndarray, words: bool = False
    ) -> PackedSequences:
        """Sequence i is `<s>` and then the items `items[starts[i] : stops[i]]`, the last one first.

        Args:
            dataset (int `[num_sequences]`): number of the dataset whose catalogue has the items.
            items (int `[num_items]`): catalogue rows.
            starts, stops (int `[num_sequences]`): slices of `items`, none of them empty.
            words: whether to return where words begin, too.

        Raises:
            ValueError: if an item is not a row of its catalogue.
        """
        # Every sequence is a row of slots: `<s>` (slot 0, one token), then its items from the newest on. Slot 0 looks
        # up the newest item as well, so that all slots can be treated alike; `<s>` overwrites its token below.
        num_slots = np.minimum(stops - starts, self.max_items) + 1
        first_slots = offsets_from_lengths(num_slots)[:-1]
        position = slice_indices(np.zeros_like(num_slots), num_slots)
        rows = items[np.repeat(stops, num_slots) - np.maximum(position, 1)]
        slot_dataset = np.repeat(dataset, num_slots)
        slot_starts, lengths = self._slices(slot_dataset, rows)
        lengths[first_slots] = 1
        lengths = self._cut(lengths, num_slots)

        places = slice_indices(slot_starts, lengths)
        # `gather` does not read it if there is one catalogue, so the repetition over all tokens can be saved.
        token_dataset = np.repeat(slot_dataset, lengths) if len(self.catalogs) > 1 else slot_dataset
        input_ids, token_type_ids = (
            gather([getattr(catalog, name) for catalog in self.catalogs], token_dataset, places).astype(np.int64)
            for name in ("input_ids", "token_type_ids")
        )
        bounds = offsets_from_lengths(np.add.reduceat(lengths, first_slots))
        bos = bounds[:-1]
        input_ids[bos], token_type_ids[bos] = self.bos_token_id, BOS_TYPE
        word_starts = None
        if words:
            word_starts = gather([catalog.word_starts for catalog in self.catalogs], token_dataset, places)
            word_starts[bos] = True
        return PackedSequences(input_ids, token_type_ids, np.repeat(position, lengths), bounds, word_starts)

    def _cut(self, lengths: np.ndarray, num_slots: np.ndarray) -> np.ndarray:
        """Tokens of each slot that fit into its sequence, int64 `[num_slots]`; the oldest items are cut first."""
        first_slots = offsets_from_lengths(num_slots)[:-1]
        before = offsets_from_lengths(lengths)[:-1]
        room = self.max_tokens - (before - np.repeat(before[first_slots], num_slots))
        kept: np.ndarray = np.minimum(lengths, np.maximum(room, 0))
        return kept

    def most_tokens(
        self, data: TrainingSequences, first_target: Callable[[np.ndarray], np.ndarray], with_target: bool
    ) -> list[np.ndarray]:
        """Most tokens that any draw of a target can give a training sequence.

        Args:
            data: the sequences.
            first_target: maps numbers of items (int `[num_users]`) to the position of each sequence's earliest target,
                from 1.
            with_target: whether to count the target's own sequence as well.

        Returns:
            int64 `[num_users]` for the `users` of each dataset.

        Raises:
            ValueError: if there are more or fewer datasets than catalogues, or an item is not a row of its catalogue.
        """
        if len(data.users) != len(self.catalogs):
            raise ValueError(
                f"{len(data.users)} datasets and {len(self.catalogs)} catalogues; give one catalogue for each dataset."
            )
        most = [np.zeros(users.size, dtype=np.int64) for users in data.users]
        for dataset, (items, offsets, users) in enumerate(zip(data.items, data.offsets, data.users, strict=True)):
            for chunk in _chunks(np.diff(offsets)[users]):
                starts = offsets[users[chunk]]
                num_items = offsets[users[chunk] + 1] - starts
                rows = items[slice_indices(starts, num_items)]
                total = self._tokens_by_target(dataset, rows, num_items, with_target)
                position = slice_indices(np.zeros_like(starts), num_items)
                total[position < np.repeat(first_target(num_items), num_items)] = 0
                most[dataset][chunk] = np.maximum.reduceat(total, offsets_from_lengths(num_items)[:-1])
        return most

    def _tokens_by_target(self, dataset: int, rows: np.ndarray, num_items: np.ndarray, with_target: bool) -> np.ndarray:
        """Tokens of each sequence if this item is its target and its history the items before it, int64 `[num_rows]`.

        Args:
            rows (int `[num_rows]`): catalogue rows of the sequences, end to end.
            num_items (int `[num_sequences]`): items of each sequence.
        """
        position = slice_indices(np.zeros_like(num_items), num_items)
        _, tokens = self._slices(np.full(len(rows), dataset), rows)
        before = offsets_from_lengths(tokens)[:-1]
        # A target's history is the `max_items` newest items before it, so its tokens are a difference of running sums.
        history = before - before[np.arange(len(rows)) - np.minimum(position, self.max_items)]
        total: np.ndarray = np.minimum(history + 1, self.max_tokens)
        if with_target:
            total += np.minimum(tokens + 1, self.max_tokens)
        return total

    def history_tokens(self, data: EvaluationSequences) -> np.ndarray:
        """Tokens of each history of a validation or test split, int64 `[num_users]`."""
        counted = np.zeros(len(data), dtype=np.int64)
        for chunk in _chunks(np.diff(data.offsets)):
            starts, stops = data.offsets[:-1][chunk], data.offsets[1:][chunk]
            kept = np.minimum(stops - starts, self.max_items)
            items = data.items[slice_indices(stops - kept, kept)]
            _, tokens = self._slices(np.zeros(len(items), dtype=np.int64), items)
            counted[chunk] = np.add.reduceat(tokens, offsets_from_lengths(kept)[:-1])
        return np.minimum(counted + 1, self.max_tokens)

    def _slices(self, dataset: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the tokens of catalogue rows begin and how many there are, int64 `[num_rows]` each."""
        # One catalogue, as in finetuning, needs neither the search for its number nor a masked copy of the rows.
        for number in [0] if len(self.catalogs) == 1 else np.unique(dataset).tolist():
            own = rows if len(self.catalogs) == 1 else rows[dataset == number]
            if own.size and not 0 <= own.min() <= own.max() < len(self.catalogs[number]):
                raise ValueError(
                    f"Items {own.min()} to {own.max()} are not all rows of the tokenized catalogue of dataset "
                    f"{number}, which has {len(self.catalogs[number]):,} items. Tokenize the catalogue that the "
                    "sequences belong to."
                )
        offsets = [catalog.offsets for catalog in self.catalogs]
        starts = gather(offsets, dataset, rows)
        return starts, gather(offsets, dataset, rows + 1) - starts


def _chunks(num_items: np.ndarray) -> list[slice]:
    """Consecutive sequences that together have about `_ITEMS_AT_ONCE` items."""
    bounds = offsets_from_lengths(num_items)
    cuts = np.searchsorted(bounds, np.arange(0, bounds[-1], _ITEMS_AT_ONCE))
    edges = np.unique(np.append(cuts, len(num_items)))
    return [slice(start, stop) for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]
