"""Arguments that are rows of a catalogue; more of them, through the model, in test_modeling_recformer.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from recformer_hf.encoder.item_arguments import check_item_arguments


def check(num_items: int = 9, batch_size: int | None = 2, **arguments: Any) -> None:
    names = ("candidates", "labels", "num_negatives", "negatives", "frequencies")
    check_item_arguments(num_items, batch_size, *(arguments.pop(name, None) for name in names))
    assert not arguments


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"labels": torch.tensor([8, 0])},
        {"labels": torch.tensor([8, 0]), "num_negatives": 3},
        {"labels": torch.tensor([8, 0]), "negatives": torch.tensor([[8], [1]])},  # taken as they are
        {"labels": torch.tensor([8, 0]), "negatives": torch.tensor([8, 1, 1]), "frequencies": torch.ones(9)},
        {"candidates": torch.tensor([[1, 2], [0, 0]])},
        {"candidates": torch.tensor([[1, 2], [0, 0]]), "labels": torch.tensor([2, 0])},
        {"labels": torch.tensor([8, 0, 1]), "batch_size": None},  # the encoder reports what is missing
    ],
    ids=str,
)
def test_good(arguments):
    check(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"labels": torch.tensor([8, 0]), "negatives": torch.tensor([[8], [1]]), "frequencies": torch.ones(9)},
            r"frequencies are for negatives that all histories share.* with negatives of shape \[2, 1\]",
        ),
        (
            {"labels": torch.tensor([8, 0]), "negatives": torch.tensor([8]), "frequencies": torch.ones(8)},
            r"one number for each of the 9 items; got shape \[8\]",
        ),
        (
            {"labels": torch.tensor([8, 0]), "frequencies": torch.ones(9)},
            r"frequencies are for negatives .* got shape \[9\]\.$",
        ),
        (
            {"negatives": torch.tensor([[1], [2]]), "num_negatives": 2, "labels": torch.tensor([0, 1])},
            "got num_negatives and neg",
        ),
        ({"negatives": torch.tensor([[1], [2]])}, "labels"),
        ({"num_negatives": 1, "num_items": 1, "labels": torch.tensor([0, 0])}, "num_negatives 1 and 1 items"),
        (
            {"labels": torch.tensor([0, 1]), "negatives": torch.zeros(2, 0, dtype=torch.long)},
            r"negatives must be \[batch, num_negatives\] or \[num_negatives\], the same for all, got shape \[2, 0\]",
        ),
        ({"labels": torch.tensor([0, 1]), "negatives": torch.tensor([1, 9])}, "negatives must lie between 0 and 8"),
        ({"candidates": torch.zeros(2, 0, dtype=torch.long)}, r"\[batch, num_candidates\]"),
        ({"labels": torch.tensor([0, 1, 2])}, "labels has 3 rows, but the batch has 2"),
        ({"labels": torch.tensor([0, 9])}, "labels must lie between 0 and 8 .*got 9"),
        ({"labels": torch.tensor([0.0, 1.0])}, "integers"),
        ({"candidates": torch.tensor([[1, 2], [0, 3]]), "labels": torch.tensor([2, 1])}, r"Row 1: the label \(1\)"),
    ],
)
def test_bad(arguments, message):
    with pytest.raises(ValueError, match=message):
        check(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": [0, 1]}, "labels must be a torch.Tensor, got list"),
        ({"candidates": [[0], [1]]}, "candidates must be a torch.Tensor, got list"),
        ({"labels": torch.tensor([0, 1]), "num_negatives": 2.5}, r"num_negatives must be a whole number, got 2\.5"),
        ({"labels": torch.tensor([0, 1]), "num_negatives": True}, "got True"),
    ],
)
def test_arguments_of_another_type(arguments, message):
    with pytest.raises(TypeError, match=message):
        check(**arguments)
