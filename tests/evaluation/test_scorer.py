"""What a scorer returns is checked before it is ranked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recformer_hf.data.sequences import Sequences
from recformer_hf.evaluation.scorer import checked_scores
from tests.support.ranking import Table

SPLIT = Sequences.from_lists(["a", "b", "c"], [[0], [0, 2], [1]], [1, 0, 3])
TABLE = np.arange(16.0).reshape(4, 4)


def test_scores_belong_to_the_given_users_in_their_order() -> None:
    assert checked_scores(Table(TABLE), SPLIT, np.array([2, 0])).tolist() == TABLE[[1, 0]].tolist()


def test_arrays_that_torch_cannot_share_are_copied() -> None:
    class Awkward(Table):
        def scores(self, histories) -> np.ndarray:
            scores = super().scores(histories)[:, ::-1]
            scores.flags.writeable = False
            return scores

    found = checked_scores(Awkward(TABLE), SPLIT, np.arange(3))
    assert torch.equal(found, torch.from_numpy(TABLE[[0, 2, 1], ::-1].copy()))


@pytest.mark.parametrize("shape", [(3,), (2, 4), (3, 4, 1)])
def test_refuses_another_shape(shape: tuple[int, ...]) -> None:
    class Wrong(Table):
        def scores(self, histories) -> np.ndarray:
            return np.zeros(shape)

    with pytest.raises(ValueError, match=r"Wrong\.scores gave the shape .* for 3 histories; expected \[3, num_items\]"):
        checked_scores(Wrong(TABLE), SPLIT, np.arange(3))


@pytest.mark.parametrize(
    "returned",
    [[["a"] * 4] * 3, np.zeros((3, 4), complex), np.full((3, 4), None), {"scores": 1}, torch.zeros(3, 4).to_sparse()],
)
def test_refuses_what_is_not_numbers(returned) -> None:
    class Wrong(Table):
        def scores(self, histories) -> object:
            return returned

    with pytest.raises(TypeError, match=r"Wrong\.scores gave a .*; expected .*numbers"):
        checked_scores(Wrong(TABLE), SPLIT, np.arange(3))


@pytest.mark.parametrize("kind", [">f8", "float16", "int8", "uint8", "bool", list])
def test_numbers_of_any_kind(kind) -> None:
    class Other(Table):
        def scores(self, histories) -> object:
            found = super().scores(histories)
            return found.tolist() if kind is list else found.astype(kind)

    expected = TABLE if kind in (">f8", "float16", list) else TABLE.astype(kind)
    assert checked_scores(Other(TABLE), SPLIT, np.arange(3)).tolist() == expected[[0, 2, 1]].tolist()


def test_refuses_fewer_items_than_the_split_has() -> None:
    with pytest.raises(ValueError, match="Table scores 3 items, but the split has the catalogue row 3"):
        checked_scores(Table(TABLE[:, :3]), SPLIT, np.arange(3))
    assert checked_scores(Table(TABLE[:, :3]), SPLIT, np.arange(2)).shape == (2, 3)
