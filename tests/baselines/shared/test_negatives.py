"""baselines/shared/negatives.py: what is drawn, and that it depends on the key alone."""

from __future__ import annotations

import numpy as np
import pytest

from recformer_hf.baselines.shared.negatives import SharedNegatives, unseen_negatives
from recformer_hf.data.draws import Draws
from recformer_hf.data.sequences import Sequences
from recformer_hf.data.torch_datasets import SequenceBatch, TrainingSequences

DRAWS = Draws(0)


def batch(sequences: list[list[int]], epoch: int = 0) -> SequenceBatch:
    data = TrainingSequences([Sequences.from_lists([str(row) for row in range(len(sequences))], sequences)])
    return data[[(epoch, 0, row) for row in range(len(sequences))]]


class TestShared:
    @pytest.mark.parametrize(
        ("power", "expected"), [(0.0, [0.5, 0, 0.5, 0]), (1.0, [0.2, 0, 0.8, 0]), (0.5, [1 / 3, 0, 2 / 3, 0])]
    )
    def test_items_are_drawn_by_popularity_to_a_power(self, power, expected):
        negatives = SharedNegatives(np.array([5, 0, 20, 0]), power, DRAWS)
        assert negatives.chances == pytest.approx(expected)
        drawn = np.bincount(negatives.draw(batch([[0, 2]]), 20_000), minlength=4) / 20_000
        assert drawn == pytest.approx(expected, abs=0.02)

    def test_depend_on_the_epoch_and_the_first_user(self):
        negatives = SharedNegatives(np.ones(1000), 0.0, DRAWS)
        first = negatives.draw(batch([[0, 2], [1, 2]]), 50)
        assert np.array_equal(first, negatives.draw(batch([[0, 2]]), 50))
        assert not np.array_equal(first, negatives.draw(batch([[0, 2], [1, 2]], epoch=1), 50))
        assert not len(negatives.draw(batch([[0, 2]]), 0))

    def test_without_any_item_there_is_nothing_to_draw(self):
        with pytest.raises(ValueError, match="No item occurs in the training sequences"):
            SharedNegatives(np.zeros(4), 0.0, DRAWS)


class TestUnseen:
    SEQUENCES = [[0, 1, 2, 3, 4, 5, 6], [7, 8], [9, 0, 9]]

    def test_no_negative_is_of_the_targets_own_sequence_and_all_others_are_drawn_alike(self):
        lengths = np.array([6, 1, 2])
        drawn = np.concatenate(
            [unseen_negatives(batch(self.SEQUENCES, epoch), lengths, 50, 10, DRAWS) for epoch in range(40)]
        ).reshape(40, 9, 50)
        for rows, own in ((slice(0, 6), {0, 1, 2, 3, 4, 5, 6}), (slice(6, 7), {7, 8}), (slice(7, 9), {9, 0})):
            counts = np.bincount(drawn[:, rows].ravel(), minlength=10) / drawn[:, rows].size
            others = sorted(set(range(10)) - own)
            assert not counts[sorted(own)].any()
            assert counts[others] == pytest.approx(1 / len(others), abs=0.03)

    def test_a_user_has_the_same_negatives_in_any_batch(self):
        whole = unseen_negatives(batch(self.SEQUENCES), np.array([6, 1, 2]), 3, 10, DRAWS)
        alone = unseen_negatives(_only(2), np.array([2]), 3, 10, DRAWS)
        assert np.array_equal(whole[7:], alone)

    def test_a_sequence_of_all_items_gets_some_of_its_own(self):
        drawn = unseen_negatives(batch([[0, 1, 2]]), np.array([2]), 4, 3, DRAWS)
        assert drawn.shape == (2, 4)
        assert set(drawn.ravel()) <= {0, 1, 2}


def _only(row: int) -> SequenceBatch:
    data = TrainingSequences([Sequences.from_lists(["0", "1", "2"], TestUnseen.SEQUENCES)])
    return data[[(0, 0, row)]]
