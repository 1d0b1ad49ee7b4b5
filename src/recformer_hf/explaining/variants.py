"""Vectors of a history and of its variants: without an item, and without an attribute of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..recommending.protocols import ItemTokenizer, RecommendingModel
from ..recommending.read_rows import read_rows
from ..recommending.vectors import encode_histories, encode_items, evaluating
from .score_parts import residuals_of


class Entry(NamedTuple):
    """An item as a variant of a history has it.

    Args:
        attributes: its text.
        row: of the catalogue, whose vector a two-level head looks up; -1: the text is encoded.
        residual_row: whose residual a vector of the text gets; -1: none.
    """

    attributes: dict[str, str]
    row: int = -1
    residual_row: int = -1


class HistoryVariants:
    """Collects variants of one history, and then encodes all of them together.

    Args:
        model: a `RecformerForSeqRec`.
        tokenizer: its tokenizer; None if a two-level head reads ids alone.
        entries: the history, oldest first.
        max_tokens: tokens of one forward pass.
    """

    def __init__(
        self, model: RecommendingModel, tokenizer: ItemTokenizer | None, entries: Sequence[Entry], max_tokens: int
    ) -> None:
        self.model, self.tokenizer, self.max_tokens = model, tokenizer, max_tokens
        self.entries = list(entries)
        self.length = len(entries)
        self.histories: list[list[int]] = []

    def without(self, place: int) -> int | None:
        """Adds the history without one of its items: its number, or None if nothing is left."""
        left = [each for each in range(self.length) if each != place]
        if not left:
            return None
        self.histories.append(left)
        return len(self.histories) - 1

    def replaced(self, place: int, entry: Entry) -> int:
        """Adds the history with another entry at a place: its number."""
        self.entries.append(entry)
        history = list(range(self.length))
        history[place] = len(self.entries) - 1
        self.histories.append(history)
        return len(self.histories) - 1

    def vectors(self) -> Tensor:
        """The vectors of the variants, float32 `[num_variants, vector_size]`, on the CPU."""
        model = self.model
        if model.config.sequence_head == "two_level":
            return self._read_vectors()
        texts = [[self.entries[each].attributes for each in history] for history in self.histories]
        blocks = encode_histories(model, None, texts, self.tokenizer, self.max_tokens, False)
        return torch.cat([torch.zeros(0, model.config.vector_size), *(block.vectors for block in blocks)])

    def _read_vectors(self) -> Tensor:
        model, head = self.model, self.model.scoring_head
        with evaluating(model):
            items = self._item_vectors()
            return read_rows(head, self.histories, items, self.max_tokens).cpu()

    def _item_vectors(self) -> Tensor:
        """The vector of each entry, float32 `[num_entries, vector_size]`."""
        model = self.model
        found = model.item_vectors.new_zeros(len(self.entries), model.config.vector_size)
        known = [place for place, entry in enumerate(self.entries) if entry.row >= 0]
        found[known] = model.item_vectors.detach()[[self.entries[place].row for place in known]]
        new = [place for place, entry in enumerate(self.entries) if entry.row < 0]
        if new:
            assert self.tokenizer is not None, "checked where the request was read"
            texts = [self.entries[place].attributes for place in new]
            encoded = encode_items(model, texts, self.tokenizer, self.max_tokens, False).to(found.device)
            residuals = residuals_of(model, [self.entries[place].residual_row for place in new])
            found[new] = model.scoring_head.item_vectors(encoded, residuals)
        return found


__all__ = ["Entry", "HistoryVariants"]
