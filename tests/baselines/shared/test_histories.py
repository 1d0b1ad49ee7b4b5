"""baselines/shared/histories.py: where the places of packed histories are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recformer_hf.baselines.shared.histories import PackedHistories
from tests.support.neural_baselines import packed

HISTORIES = packed([5, 6, 7], [8], [9, 4])


def test_places_by_hand():
    assert HISTORIES.rows.tolist() == [5, 6, 7, 8, 9, 4]
    assert HISTORIES.owners.tolist() == [0, 0, 0, 1, 2, 2]
    assert HISTORIES.positions.tolist() == [0, 1, 2, 0, 0, 1]
    assert HISTORIES.newest.tolist() == [2, 3, 5]
    assert HISTORIES.mask.tolist() == [[True, True, True], [True, False, False], [True, True, False]]
    assert len(HISTORIES) == 3 == HISTORIES.longest


def test_padding_and_packing_are_inverse():
    values = torch.arange(12.0).view(6, 2)
    padded = HISTORIES.padded(values)
    assert padded.tolist() == [
        [[0, 1], [2, 3], [4, 5]], [[6, 7], [0, 0], [0, 0]], [[8, 9], [10, 11], [0, 0]],
    ]  # fmt: skip
    assert torch.equal(HISTORIES.packed(padded), values)


def test_parts_have_histories_of_similar_lengths():
    lengths = [9, 2, 40, 8, 16]
    histories = packed(*([10 * number + place for place in range(length)] for number, length in enumerate(lengths)))
    assert histories.parts is not None
    parts, places = histories.parts
    assert [part.lengths.tolist() for part in parts] == [[2, 8], [9, 16], [40]]
    assert [part.longest for part in parts] == [8, 16, 40]
    assert torch.equal(torch.cat([part.rows for part in parts]), histories.rows[places])


@pytest.mark.parametrize("lengths", [[3, 1, 8], [9, 16, 12]])
def test_similar_histories_are_one_part(lengths):
    assert packed(*map(range, lengths)).parts is None


def test_of_longer_histories_the_newest_items_are_read():
    found = PackedHistories.of([np.array([1, 2, 3, 4]), np.array([5])], most=2)
    assert (found.rows.tolist(), found.lengths.tolist(), found.longest) == ([3, 4, 5], [2, 1], 2)


@pytest.mark.parametrize(
    ("histories", "message"), [([np.array([1]), np.array([])], "History 1 is empty"), ([], "There are no histories")]
)
def test_empty_histories_are_refused(histories, message):
    with pytest.raises(ValueError, match=message):
        PackedHistories.of(histories, 5)
