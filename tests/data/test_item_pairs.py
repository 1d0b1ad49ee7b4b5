"""data/item_pairs.py: which pairs are drawn, and what a batch has of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recformer_hf.data.item_pairs import ItemPairCollator
from recformer_hf.data.torch_datasets import TrainingSequences
from tests.support.packed_batches import index, split

HISTORIES = [[4, 1, 7], [5], [2, 9], list(range(10, 20)), [7, 2]]
COUNTS = np.bincount(np.concatenate(HISTORIES), minlength=21)
DATA = TrainingSequences([split(HISTORIES)])


def collator(max_items: int = 9) -> ItemPairCollator:
    return ItemPairCollator(
        COUNTS, max_items=max_items, seed=0,
        item_collator=lambda rows: {"input_ids": torch.from_numpy(rows), "item_index": rows},
    )  # fmt: skip


def pairs_of(batch) -> list[tuple[int, int]]:
    texts = batch["input_ids"]
    return list(zip(texts[batch["first"]].tolist(), texts[batch["labels"]].tolist(), strict=True))


def test_every_item_but_the_last_is_paired_with_one_of_the_three_after_it():
    found = []
    for epoch in range(300):
        batch = collator()(DATA[index([0, 2, 3], epoch=epoch)])
        assert sorted(batch) == ["corrections", "first", "input_ids", "labels", "together"]
        assert batch["input_ids"].tolist() == [1, 2, 4, 7, 9, *range(10, 20)]
        pairs = pairs_of(batch)
        assert [first for first, _ in pairs] == [4, 1, 2, *range(10, 19)]
        found += pairs
    assert {*found} == {(4, 1), (4, 7), (1, 7), (2, 9)} | {
        (i, j) for i in range(10, 20) for j in range(i + 1, min(i + 4, 20))
    }
    for near in (1, 2, 3):
        assert np.mean([j - i == near for i, j in found if 10 <= i < 17]) == pytest.approx(1 / 3, abs=0.03)


def test_of_a_long_sequence_a_window_is_drawn_every_epoch():
    windows = [collator(max_items=2)(DATA[index([3], epoch=epoch)])["input_ids"].tolist() for epoch in range(200)]
    assert all(window == [window[0], window[0] + 1, window[0] + 2] for window in windows)
    assert {window[0] for window in windows} == set(range(10, 18))


def test_pairs_depend_on_seed_epoch_and_user_alone():
    batch, alone = (collator()(DATA[index(users, epoch=4)]) for users in ([0, 2, 3], [3]))
    assert pairs_of(batch)[3:] == pairs_of(alone)


def test_items_of_the_same_sequence_are_together():
    batch = collator()(DATA[index([0, 2, 4])])
    assert batch["input_ids"].tolist() == [1, 2, 4, 7, 9]
    assert batch["together"].int().tolist() == [
        [1, 0, 1, 1, 0],
        [0, 1, 0, 1, 1],
        [1, 0, 1, 1, 0],
        [1, 1, 1, 1, 0],
        [0, 1, 0, 0, 1],
    ]


def test_corrections_are_those_of_popularity():
    batch = collator()(DATA[index([0, 2, 4])])
    share = COUNTS[batch["input_ids"]] / COUNTS.sum()
    torch.testing.assert_close(batch["corrections"], torch.from_numpy(-np.log(1 - (1 - share) ** 7)).float())


def test_lengths_are_items_of_sequences():
    (lengths,) = collator(max_items=4).lengths(DATA)
    assert DATA.users[0].tolist() == [0, 2, 3, 4]
    assert lengths.tolist() == [3, 2, 5, 2]
