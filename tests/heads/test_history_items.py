import numpy as np
import pytest
import torch

from recformer_hf import RecformerConfig
from recformer_hf.heads.history_items import (
    Histories,
    bias_of_candidates,
    biased,
    checked_histories,
    items_of,
    padded,
    whole_histories,
)

CONFIG = RecformerConfig(num_items=10, max_item_embeddings=5)  # histories of at most 4 items
ROWS = torch.tensor([[3, 7, 3, -1], [5, -1, -1, -1], [0, 1, 2, 9]])


def test_the_newest_items():
    histories = whole_histories(ROWS)
    assert histories.newest(4) is histories
    newest = histories.newest(2)
    assert newest.rows.tolist() == [[7, 3], [5, -1], [2, 9]]
    assert newest.places.tolist() == [[0, 1], [1, 0], [2, 1]]


def test_padded():
    assert torch.equal(padded([[3, 7, 3], np.array([5], np.int32), [0, 1, 2, 9]]), ROWS)
    assert padded([]).shape == (0, 0)


def test_one_query_for_each_history():
    histories, labels = checked_histories(ROWS, None, CONFIG)
    assert labels is None
    assert histories.rows is ROWS
    assert histories.places.tolist() == [[0, 2], [1, 0], [2, 3]]


def test_a_long_history_is_kept_whole():
    """A bias is for all of its items, although a head reads only the newest."""
    rows = torch.tensor([[0, 1, 2, 3, 4, 5], [6, 7, -1, -1, -1, -1]])
    histories, labels = checked_histories(rows, torch.tensor([1, 2]), CONFIG)
    assert histories.rows is rows
    assert histories.places.tolist() == [[0, 5], [1, 1]]
    assert labels.tolist() == [1, 2]


def test_one_query_for_each_target():
    labels = torch.tensor([[7, 3, -100, -100], [8, -100, -100, -100], [-100, -100, -100, 4]])
    histories, targets = checked_histories(ROWS, labels, CONFIG)
    assert histories.places.tolist() == [[0, 0], [0, 1], [1, 0], [2, 3]]
    assert targets.tolist() == [7, 3, 8, 4]


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        (None, None, "missing"),
        (torch.tensor([1, 2]), None, r"\[batch, length\], got shape \[2\]"),
        (torch.tensor([[1, 10]]), None, "10"),
        (torch.tensor([[1, -2]]), None, "-2"),
        (torch.tensor([[1, 2], [-1, -1]]), None, "History 1 of history_rows has no items"),
        (torch.tensor([[1, -1, 2]]), None, r"after padding \(\[1, -1, 2\]\)"),
        (torch.tensor([[1, 2]]), torch.tensor([[3]]), r"labels are \[1, 1\], but history_rows \[1, 2\]"),
        (torch.tensor([[1, 2]]), torch.tensor([[-100, -100]]), "all labels are -100"),
        (torch.tensor([[1, -1]]), torch.tensor([[-100, 2]]), "no item"),
        (torch.tensor([[1, 2, 3, 4, 5]]), torch.tensor([[2, 3, 4, 5, 6]]), "at most 4"),
    ],
)
def test_bad_histories(rows, labels, message):
    with pytest.raises(ValueError, match=message):
        checked_histories(rows, labels, CONFIG)


def test_a_bias_by_age_for_every_occurrence():
    bias = torch.tensor([1.0, 10.0, 100.0])  # the last one is for all older items
    histories = Histories(ROWS, torch.tensor([[0, 2], [0, 1], [1, 0], [2, 3]]))
    gains = biased(torch.zeros(4, 10), items_of(histories), bias)
    assert gains[0].nonzero()[:, 0].tolist() == [3, 7]
    assert gains[0, [3, 7]].tolist() == [101.0, 10.0]  # row 3 is newest, and two items ago
    assert gains[1, [3, 7]].tolist() == [10.0, 1.0]
    assert gains[2, 5] == 1.0
    assert gains[3, [0, 1, 2, 9]].tolist() == [100.0, 100.0, 10.0, 1.0]
    candidates = torch.arange(10).expand(4, 10)
    assert torch.equal(bias_of_candidates(candidates, histories, bias), gains)
    chosen = torch.tensor([[7, 3], [3, 0], [5, 4], [9, 9]])
    assert torch.equal(bias_of_candidates(chosen, histories, bias), gains.gather(1, chosen))


def test_the_bias_learns():
    bias = torch.zeros(3, requires_grad=True)
    histories, _ = checked_histories(ROWS, None, CONFIG)
    biased(torch.zeros(3, 10), items_of(histories), bias)[:, 3].sum().backward()
    assert bias.grad.tolist() == [1.0, 0.0, 1.0]
