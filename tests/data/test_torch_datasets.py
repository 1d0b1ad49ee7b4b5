"""Splits as torch datasets: a whole batch is looked up at once, and sequences without a target are dropped."""

from __future__ import annotations

import numpy as np
import pytest

from recformer_hf.data.torch_datasets import INDEX, EvaluationSequences, TrainingSequences
from tests.support.packed_batches import counted_sequences


class TestTrainingSequences:
    def test_a_batch_holds_the_sequences_of_its_index(self):
        data = TrainingSequences([counted_sequences([2, 3, 4]), counted_sequences([5, 2], first_item=100)])
        batch = data[np.array([(0, 1, 1), (0, 0, 2), (7, 0, 0)], dtype=INDEX)]
        parts = [part.tolist() for part in np.split(batch.items, batch.offsets[1:-1])]
        assert parts == [[105, 106], [5, 6, 7, 8], [0, 1]]
        assert batch.index["epoch"].tolist() == [0, 0, 7]
        assert data[0, 0, 1].items.tolist() == data[[(0, 0, 1)]].items.tolist() == [2, 3, 4]

    def test_sequences_under_two_items_are_dropped_and_counted(self, caplog):
        with caplog.at_level("WARNING", logger="recformer_hf"):
            import logging

            logger = logging.getLogger("recformer_hf.data.torch_datasets")
            logger.addHandler(caplog.handler)
            data = TrainingSequences([counted_sequences([2, 1, 4, 1, 1])])
            logger.removeHandler(caplog.handler)
        assert "3 of 5 training sequences have fewer than 2 items" in caplog.text
        assert data.users[0].tolist() == [0, 2]
        assert len(data) == 2

    def test_nothing_left_is_an_error(self):
        with pytest.raises(ValueError, match="None of the 2 training sequences of dataset 1 has 2 items"):
            TrainingSequences([counted_sequences([2]), counted_sequences([1, 1])])

    def test_other_splits_are_refused(self):
        with pytest.raises(ValueError, match="one of them with targets"):
            TrainingSequences([counted_sequences([2, 2], targets=True)])
        with pytest.raises(ValueError, match="got 0 splits"):
            TrainingSequences([])
        with pytest.raises(ValueError, match="without targets"):
            EvaluationSequences(counted_sequences([2, 2]))

    def test_a_bare_row_number_has_no_epoch(self):
        with pytest.raises(TypeError, match=r"addressed by \(epoch, dataset, user\)"):
            TrainingSequences([counted_sequences([2, 2])])[[0, 1]]

    @pytest.mark.parametrize("row", [(0, 1, 0), (0, -1, 0), (0, 0, 2), (0, 0, -1)])
    def test_rows_outside(self, row):
        with pytest.raises(IndexError, match="the datasets 0 to 0 have 2 sequences"):
            TrainingSequences([counted_sequences([2, 2])])[row]

    @pytest.mark.parametrize("row", [(0, 0, 1.5), (0, True, 0), (0.0, 0, 0)])
    def test_decimals_are_not_cast(self, row):
        with pytest.raises(TypeError, match="expected a whole number"):
            TrainingSequences([counted_sequences([2, 2])])[row]


def test_evaluation_rows_come_with_their_targets():
    batch = EvaluationSequences(counted_sequences([2, 1, 3], targets=True))[[2, 0]]
    assert [part.tolist() for part in np.split(batch.items, batch.offsets[1:-1])] == [[3, 4, 5], [0, 1]]
    assert batch.targets.tolist() == [3, 0]
    assert batch.index["user"].tolist() == [2, 0]


def test_evaluation_rows_are_rows_of_the_split():
    data = EvaluationSequences(counted_sequences([2, 1, 3], targets=True))
    for rows in (3, -1, [0, 3]):
        with pytest.raises(IndexError, match="requested from a split of 3 users"):
            data[rows]
    for rows in (1.0, [0.5], [True, False, True], [None]):
        with pytest.raises(TypeError, match="expected integers"):
            data[rows]
