"""baselines/shared/collators.py: batches by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recformer_hf.baselines.shared.collators import HistoryCollator, NextItemCollator, WindowCollator
from recformer_hf.baselines.shared.configuration import BaselineConfig
from recformer_hf.data.sequences import Sequences
from recformer_hf.data.torch_datasets import EvaluationSequences, TrainingSequences

SEQUENCES = [[0, 1, 2, 3, 4, 5, 6], [7, 8], [9, 0, 3]]
DATA = TrainingSequences([Sequences.from_lists(["a", "b", "c"], SEQUENCES)])
COUNTS = np.bincount(np.concatenate(SEQUENCES), minlength=12)
INDEX = [(0, 0, row) for row in range(3)]


def collator(**settings) -> NextItemCollator:
    return NextItemCollator(BaselineConfig(**settings), COUNTS, seed=0)


class TestNextItem:
    def test_every_item_but_the_first_is_a_target(self):
        batch = collator()(DATA[INDEX])
        assert batch.pop("longest") == 6
        assert {name: value.tolist() for name, value in batch.items()} == {
            "history_rows": [0, 1, 2, 3, 4, 5, 7, 9, 0], "lengths": [6, 1, 2], "labels": [1, 2, 3, 4, 5, 6, 8, 0, 3],
        }  # fmt: skip

    def test_of_a_longer_sequence_a_window_is_drawn_anew_in_each_epoch(self):
        found = set()
        for epoch in range(40):
            batch = collator(max_length=3)(DATA[[(epoch, 0, 0)]])
            rows, labels = batch["history_rows"].tolist(), batch["labels"].tolist()
            assert rows == list(range(rows[0], rows[0] + 3))
            assert labels == [row + 1 for row in rows]
            found.add(rows[0])
        assert found == {0, 1, 2, 3}

    def test_lengths(self):
        assert [each.tolist() for each in collator(max_length=3).lengths(DATA)] == [[3, 1, 2]]
        assert [each.tolist() for each in WindowCollator(3, seed=0).lengths(DATA)] == [[3, 2, 3]]

    def test_bce_has_negatives_of_each_target_from_outside_its_sequence(self):
        batch = collator(loss="bce", num_negatives=20)(DATA[INDEX])
        assert batch["negatives"].shape == (9, 20)
        owners = np.repeat([0, 1, 2], [6, 1, 2])
        for owner, negatives in zip(owners, batch["negatives"].tolist(), strict=True):
            assert not set(negatives) & set(SEQUENCES[owner])

    @pytest.mark.parametrize("loss", ["gbce", "sampled_softmax", "bpr_max", "top1_max"])
    def test_other_losses_share_negatives_that_occur_in_training(self, loss):
        batch = collator(loss=loss, num_negatives=200)(DATA[INDEX])
        assert set(batch["negatives"].tolist()) == set(range(10))
        assert len(batch["negatives"]) == 200
        assert "log_counts" not in batch

    def test_targets_of_the_batch_can_be_negatives_and_counts_are_expected_ones(self):
        settings = {"loss": "sampled_softmax", "num_negatives": 4, "batch_negatives": True, "logq_correction": True}
        batch = collator(**settings)(DATA[INDEX])
        negatives = batch["negatives"]
        assert negatives[:9].tolist() == batch["labels"].tolist()
        assert len(negatives) == 13
        expected = torch.from_numpy(9 * COUNTS / COUNTS.sum() + 4 * (COUNTS > 0) / 10)
        torch.testing.assert_close(batch["log_counts"], expected[negatives].log().float())


class TestHistory:
    SPLIT = Sequences.from_lists(["a", "b"], [[1, 2, 3, 4], [5]], [6, 7])

    def test_the_newest_items_and_what_came_next(self):
        data, collator = EvaluationSequences(self.SPLIT), HistoryCollator(3)
        batch = collator(data[[1, 0]])
        assert batch.pop("longest") == 3
        assert {name: value.tolist() for name, value in batch.items()} == {
            "history_rows": [5, 2, 3, 4], "lengths": [1, 3], "labels": [7, 6], "user_index": [1, 0],
        }  # fmt: skip
        assert collator.lengths(data).tolist() == [3, 1]

    def test_training_sequences_are_refused(self):
        with pytest.raises(ValueError, match="The batch has no targets, which evaluation needs"):
            HistoryCollator(3)(DATA[INDEX])
