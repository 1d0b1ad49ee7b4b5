"""What a scorer returns is checked before it is ranked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from recformer_hf.data.sequences import Sequences
from recformer_hf.evaluation import rank_split
from recformer_hf.evaluation.scorer import checked_scores, num_scored
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


def test_a_scorer_may_change_the_histories_that_it_gets() -> None:
    class Shifting(Table):
        def scores(self, histories) -> np.ndarray:
            found = super().scores(histories)
            for history in histories:
                history += 1  # as for an embedding with a row for padding
            return found

    split = Sequences.from_lists(["a", "b", "c"], [[0], [0, 2], [1]], [1, 0, 3])
    checked_scores(Shifting(TABLE), split, np.arange(3))
    assert num_scored(Shifting(TABLE), split) == 4
    assert [split.history(row).tolist() for row in range(3)] == [[0], [0, 2], [1]]


@pytest.mark.parametrize("kind", ["longdouble", "frame", "list of tensors", "float8"])
def test_numbers_of_kinds_that_torch_does_not_take(kind: str) -> None:
    class Other(Table):
        def scores(self, histories) -> object:
            found = super().scores(histories)
            if kind == "float8":
                return torch.from_numpy(found).to(torch.float8_e4m3fn)
            if kind == "list of tensors":
                return list(torch.from_numpy(found))
            return pd.DataFrame(found) if kind == "frame" else found.astype(np.longdouble)

    assert checked_scores(Other(TABLE), SPLIT, np.arange(3)).tolist() == TABLE[[0, 2, 1]].tolist()
    assert num_scored(Other(TABLE), SPLIT) == 4


@pytest.mark.parametrize(
    "returned", [None, [[1.0] * 4] * 2 + [[1.0]], torch.zeros(3, 4, device="meta"), np.float64(1.0), torch.tensor(1.0)]
)
def test_what_is_no_array_is_named_before_anything_is_ranked(returned) -> None:
    class Wrong(Table):
        def scores(self, histories) -> object:
            return returned

    with pytest.raises((TypeError, ValueError), match=r"Wrong\.scores gave"):
        rank_split(Wrong(TABLE), SPLIT)


def test_masked_scores_are_refused() -> None:
    class Masked(Table):
        def scores(self, histories) -> object:
            found = super().scores(histories)
            return np.ma.masked_where(found > 3, found)

    with pytest.raises(TypeError, match=r"gave masked scores; fill them"):
        checked_scores(Masked(TABLE), SPLIT, np.arange(3))
