"""data/row_collators.py: sequences as rows of the catalogue."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recformer_hf.data.row_collators import TwoLevelCollator, TwoLevelEvaluationCollator, padded_slices
from recformer_hf.data.torch_datasets import EvaluationSequences, TrainingSequences
from tests.support.packed_batches import index, split

HISTORIES = [[4, 1, 7], [5], [2, 9], list(range(10, 20))]
COUNTS = np.bincount(np.concatenate(HISTORIES), minlength=20)
DATA = TrainingSequences([split(HISTORIES)])


def test_every_item_but_the_first_is_a_target():
    batch = TwoLevelCollator(COUNTS, max_items=9, seed=0)(DATA[index([0, 2, 3])])
    assert sorted(batch) == ["history_rows", "labels"]
    rows, labels = batch["history_rows"], batch["labels"]
    assert rows.dtype == labels.dtype == torch.int64
    assert rows[:2].tolist() == [[4, 1] + 7 * [-1], [2] + 8 * [-1]]
    assert labels[:2].tolist() == [[1, 7] + 7 * [-100], [9] + 8 * [-100]]
    assert rows[2].tolist() == list(range(10, 19))
    assert labels[2].tolist() == list(range(11, 20))


def test_a_batch_is_as_wide_as_its_longest_history():
    assert TwoLevelCollator(COUNTS, max_items=9, seed=0)(DATA[index([0, 2])])["history_rows"].shape == (2, 2)


def test_of_a_long_sequence_a_window_is_drawn_every_epoch():
    collator = TwoLevelCollator(COUNTS, max_items=3, seed=5)
    starts = []
    for epoch in range(200):
        (rows,), (labels,) = (
            collator(DATA[index([3], epoch=epoch)])[name].tolist() for name in ("history_rows", "labels")
        )
        assert rows == list(range(rows[0], rows[0] + 3))
        assert labels == [row + 1 for row in rows]
        starts.append(rows[0])
    assert set(starts) == set(range(10, 17))  # every window, up to the last one, whose last target is 19
    assert np.bincount(np.array(starts) - 10).min() >= 10


def test_a_window_depends_on_seed_epoch_and_user_alone():
    batch = TwoLevelCollator(COUNTS, max_items=3, seed=5)(DATA[index([0, 3], epoch=4)])
    alone = TwoLevelCollator(COUNTS, max_items=3, seed=5)(DATA[index([3], epoch=4)])
    assert torch.equal(batch["history_rows"][1], alone["history_rows"][0])
    seeds = [
        TwoLevelCollator(COUNTS, max_items=3, seed=s)(DATA[index([3])])["history_rows"][0, 0].item() for s in range(20)
    ]
    assert len(set(seeds)) > 3


def test_lengths_are_items_of_histories():
    (lengths,) = TwoLevelCollator(COUNTS, max_items=4, seed=0).lengths(DATA)
    assert DATA.users[0].tolist() == [0, 2, 3]
    assert lengths.tolist() == [2, 1, 4]


def test_negatives_are_drawn_for_the_whole_batch_from_what_occurs():
    counts = np.zeros(30, np.int64)
    counts[:20] = COUNTS
    counts[2:] *= 3
    collator = TwoLevelCollator(counts, max_items=9, seed=0, num_negatives=15)
    batch = collator(DATA[index([0, 2])])
    torch.testing.assert_close(batch["frequencies"], torch.from_numpy(counts / counts.sum()).float())
    drawn = [collator(DATA[index([0, 2], epoch=epoch)])["negatives"] for epoch in range(300)]
    assert all(each.dtype == torch.int64 and each.shape == (15,) for each in drawn)
    found = torch.bincount(torch.cat(drawn), minlength=30)
    assert found[counts > 0].min() > 200  # of 281 on average, whatever the counts
    assert not found[counts == 0].any()
    assert torch.equal(collator(DATA[index([0, 3])])["negatives"], drawn[0])  # the first user's
    assert not torch.equal(drawn[1], drawn[0])


def test_all_items_that_occur_are_the_negatives_where_they_are_few():
    batch = TwoLevelCollator(COUNTS, max_items=9, seed=0, num_negatives=16)(DATA[index([0, 2])])
    assert batch["negatives"].tolist() == np.flatnonzero(COUNTS).tolist()
    assert "frequencies" not in batch


def test_the_texts_of_the_batch_come_in_the_order_of_the_catalogue():
    collator = TwoLevelCollator(
        COUNTS, max_items=2, seed=0, num_negatives=5,
        item_collator=lambda rows: {"input_ids": torch.from_numpy(rows), "item_index": rows},
    )  # fmt: skip
    batch = collator(DATA[index([0, 2, 3])])
    window = {*batch["history_rows"][2].tolist(), *batch["labels"][2].tolist()}
    assert len(window) == 3
    assert batch["input_ids"].tolist() == [1, 2, 4, 7, 9, *sorted(window)]
    assert batch["negatives"].tolist() == []  # the batch is compared with its own items alone
    assert "frequencies" in batch
    assert "item_index" not in batch


@pytest.mark.parametrize("wrong", [{"num_negatives": -1, "max_items": 3}, {"max_items": 0}])
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="num_negatives must be at least 0 and max_items at least 1"):
        TwoLevelCollator(COUNTS, seed=0, **wrong)


def test_evaluation_takes_whole_histories_and_the_target():
    data = EvaluationSequences(split(HISTORIES, [8, 6, 3, 0]))
    collator = TwoLevelEvaluationCollator()
    batch = collator(data[[3, 1]])
    assert batch["history_rows"].tolist() == [list(range(10, 20)), [5] + 9 * [-1]]
    assert batch["labels"].tolist() == [0, 6]
    assert batch["user_index"].tolist() == [3, 1]
    assert collator.lengths(data).tolist() == [3, 1, 2, 10]
    with pytest.raises(ValueError, match="no targets"):
        collator(DATA[index([0])])


def test_slices_as_rows_of_a_matrix():
    found = padded_slices(np.arange(10), np.array([1, 4]), np.array([3, 2]), -7)
    assert found.tolist() == [[1, 2, 3], [4, 5, -7]]
