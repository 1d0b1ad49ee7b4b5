"""Ragged batches like those of a shop: items of 15 to 60 tokens (mean 34), histories of 31 to 1,024 (mean 296, 90th
percentile 542).

Token ids are random: speed does not depend on which words they are. Everything is seeded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

NUM_ITEMS = 5000
ITEM_TOKENS = (15, 60)
MAX_ITEMS = 50
PAD_ID, FIRST_WORD_ID = 1, 4
MAX_ITEM_EMBEDDINGS = MAX_ITEMS + 1
PADDING = {"input_ids": PAD_ID, "token_type_ids": 3, "item_position_ids": MAX_ITEM_EMBEDDINGS - 1}


@dataclass
class Workload:
    """Items as pairs of token ids and types, and users as arrays of item rows, oldest first."""

    items: list[tuple[np.ndarray, np.ndarray]]
    users: list[np.ndarray]
    max_tokens: int

    def item(self, row: int) -> dict[str, np.ndarray]:
        return self.history(np.array([row]))

    def history(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """`<s>` and the items, newest first, truncated to `max_tokens`."""
        newest = [self.items[row] for row in rows[::-1][:MAX_ITEMS]]
        lengths = [len(ids) for ids, _ in newest]
        columns = {
            "input_ids": np.concatenate([[0], *(ids for ids, _ in newest)]),
            "token_type_ids": np.concatenate([[0], *(types for _, types in newest)]),
            "item_position_ids": np.repeat(np.arange(len(newest) + 1), [1, *lengths]),
        }
        return {name: column[: self.max_tokens] for name, column in columns.items()}


def make_workload(vocab_size: int, max_tokens: int = 1024, num_users: int = 4000, seed: int = 0) -> Workload:
    generator = np.random.default_rng(seed)
    sizes = np.clip(np.exp(generator.normal(np.log(32), 0.38, NUM_ITEMS)).round().astype(int), *ITEM_TOKENS)
    items = []
    for size in sizes:
        # A long title and two short attributes, each with one key token and then value tokens.
        types = np.full(size, 2)
        types[[0, size * 3 // 5, size * 4 // 5]] = 1
        items.append((generator.integers(FIRST_WORD_ID, vocab_size, size), types))
    lengths = np.clip(np.exp(generator.normal(np.log(7.3), 0.62, num_users)).round().astype(int), 2, MAX_ITEMS)
    return Workload(items, [generator.integers(0, NUM_ITEMS, length) for length in lengths], max_tokens)


def typical_users(workload: Workload, count: int, window: int, seed: int = 0) -> list[np.ndarray]:
    """The one of 3,000 random batches that is nearest to their average in tokens, and in padding up to the window."""
    generator = np.random.default_rng(seed)
    lengths = np.array([len(workload.history(user)["input_ids"]) for user in workload.users])
    draws = np.stack([generator.choice(len(lengths), count, replace=False) for _ in range(3000)])
    tokens = lengths[draws].sum(1)
    padded = count * -(-lengths[draws].max(1) // window) * window
    distance = np.abs(tokens / tokens.mean() - 1) + np.abs(padded / tokens / (padded.sum() / tokens.sum()) - 1)
    return [workload.users[user] for user in draws[distance.argmin()]]


def fill(sequences: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """Pad every sequence at its end to the length of the longest."""
    width = max(len(sequence["input_ids"]) for sequence in sequences)
    return [
        {
            name: np.pad(sequence[name], (0, width - len(sequence[name])), constant_values=value)
            for name, value in PADDING.items()
        }
        for sequence in sequences
    ]


def pad(sequences: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """A padded batch in the given order."""
    filled = fill(sequences)
    batch = {name: torch.from_numpy(np.stack([each[name] for each in filled])).long() for name in PADDING}
    lengths = torch.tensor([len(sequence["input_ids"]) for sequence in sequences])
    batch["attention_mask"] = (torch.arange(batch["input_ids"].shape[1]) < lengths[:, None]).long()
    return batch


def mask_words(batch: dict[str, Tensor], mask_id: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Mask 15 % of the words; returns the masked ids, and labels that are -100 elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(batch["input_ids"].shape, generator=generator) < 0.15
    chosen &= (batch["token_type_ids"] == 1) | (batch["token_type_ids"] == 2)  # neither <s> nor padding
    return batch["input_ids"].masked_fill(chosen, mask_id), batch["input_ids"].masked_fill(~chosen, -100)
