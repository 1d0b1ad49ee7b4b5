"""data/item_pairs.py: which pairs are drawn, and what a batch has of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recformer_hf.data.item_pairs import ItemPairCollator
from recformer_hf.data.torch_datasets import TrainingSequences
from tests.support.packed_batches import index, split

HISTORIES = [[4, 1, 7], [5], [2, 9], list(range(10, 20)), [3, 3]]
COUNTS = np.bincount(np.concatenate(HISTORIES), minlength=21)
DATA = TrainingSequences([split(HISTORIES)])


@pytest.fixture
def collator() -> ItemPairCollator:
    return ItemPairCollator(
        COUNTS, seed=0, item_collator=lambda rows: {"input_ids": torch.from_numpy(rows), "item_index": rows}
    )


def pairs_of(batch) -> list[tuple[int, int]]:
    texts = batch["input_ids"]
    return list(zip(texts[batch["first"]].tolist(), texts[batch["labels"]].tolist(), strict=True))


def test_a_pair_is_an_item_and_one_of_the_three_after_it(collator):
    found = []
    for epoch in range(600):
        batch = collator(DATA[index([0, 2, 3], epoch=epoch)])
        assert sorted(batch) == ["corrections", "first", "input_ids", "labels"]
        found.append(pairs_of(batch))
        assert batch["input_ids"].tolist() == sorted({item for pair in found[-1] for item in pair})
    first, second, third = ([pairs[user] for pairs in found] for user in range(3))
    assert {*first} == {(4, 1), (4, 7), (1, 7)}
    assert {*second} == {(2, 9)}
    assert {*third} == {(i, j) for i in range(10, 20) for j in range(i + 1, min(i + 4, 20))}
    for near in (1, 2, 3):
        assert abs(np.mean([j - i == near for i, j in third if i < 17]) - 1 / 3) < 0.08
    assert np.bincount([i - 10 for i, _ in third], minlength=9).min() > 40  # of 67 on average


def test_a_pair_depends_on_seed_epoch_and_user_alone(collator):
    assert pairs_of(collator(DATA[index([0, 2, 3], epoch=4)]))[2] == pairs_of(collator(DATA[index([3], epoch=4)]))[0]


def test_corrections_are_those_of_popularity(collator):
    batch = collator(DATA[index([0, 2, 3])])
    share = COUNTS[batch["input_ids"]] / COUNTS.sum()
    torch.testing.assert_close(batch["corrections"], torch.from_numpy(-np.log(1 - (1 - share) ** 6)).float())


def test_a_pair_of_the_same_item_is_left_out_unless_there_is_no_other(collator):
    assert pairs_of(collator(DATA[index([2, 4])])) == [(2, 9)]
    assert pairs_of(collator(DATA[index([4])])) == [(3, 3)]


def test_every_pair_has_two_items(collator):
    (lengths,) = collator.lengths(DATA)
    assert DATA.users[0].tolist() == [0, 2, 3, 4]
    assert lengths.tolist() == [2, 2, 2, 2]
