"""The example on the card: which user it is of, and where the next item stands."""

from __future__ import annotations

import ast
import json
import re

import numpy as np
import pytest

from recformer_hf import ItemCatalog
from recformer_hf.evaluation import Ranking
from recformer_hf.training.publishing.card_usage import (
    Example,
    choose_example,
    example_text,
    loading_encoder,
    loading_recommender,
)
from tests.support.training import small_dataset


@pytest.mark.parametrize(
    ("recommended", "target", "rank", "said"),
    [
        ([1, 2], 2, 2.0, "2. C **(what came next)**"),
        ([1, 2], 3, 7.5, "What came next is in place 7.5: D"),
        ([1, 2], 0, float("inf"), "What came next was already in the history: A"),
    ],
)
def test_the_example_says_where_what_came_next_stands(recommended, target, rank, said):
    catalog = ItemCatalog.from_items({name: {"title": name} for name in "ABCD"})
    assert example_text(Example(catalog, [0], recommended, target, rank)).endswith(said)


def test_the_example_is_the_first_user_with_a_history_of_usual_length():
    split = small_dataset().test
    lengths = split.lengths.tolist()
    row = next(row for row, length in enumerate(lengths) if 3 <= length <= 10)
    recommended = np.full((len(split), 4), -1, dtype=np.int32)
    recommended[:, :2] = [5, 7]
    ranking = Ranking(np.arange(1.0, len(split) + 1), np.full(len(split), 50), recommended, split.targets)
    example = choose_example(small_dataset(), split, ranking)
    assert example.history == split.history(row).tolist()
    assert (example.target, example.rank) == (split.targets[row], row + 1)
    assert example.recommended == [5, 7]  # -1 stands for no more candidates


def test_without_such_a_user_the_example_is_the_first():
    split = small_dataset().test
    unusual = split.select(np.flatnonzero((split.lengths < 3) | (split.lengths > 10)))
    ranking = Ranking(np.ones(len(unusual)), np.full(len(unusual), 50), np.full((len(unusual), 1), 5), unusual.targets)
    assert choose_example(small_dataset(), unusual, ranking).history == unusual.history(0).tolist()


@pytest.mark.parametrize("code", [loading_encoder('shops/a"b'), loading_recommender('shops/a"b', ['x"y'])])
def test_names_and_ids_are_quoted_in_the_code(code):
    for block in re.findall(r"```python\n(.*?)```", code, re.DOTALL):
        ast.parse(block)
    assert json.dumps('shops/a"b') in code
