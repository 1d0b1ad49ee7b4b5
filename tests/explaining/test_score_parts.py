"""The parts of scores, against plain definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from recformer_hf.explaining.score_parts import Targets, additions, residuals_of, similarities
from recformer_hf.heads.history_items import HistoryItems, biased
from tests.support.explanations import KINDS, recommender


def targets_of(model, rows: list[int]) -> Targets:
    return Targets(np.array(rows), model.item_vectors.detach()[rows], residuals_of(model, rows))


@pytest.mark.parametrize("kind", KINDS)
def test_similarities_sum_up_to_the_cosine_over_the_temperature(kind):
    model, rows = recommender(kind), [5, 0, 17]
    users = torch.randn(4, model.config.vector_size, generator=torch.Generator().manual_seed(0)) * 7
    found = similarities(model, users, targets_of(model, rows))
    items = model.item_vectors.detach()[rows].double()
    cosines = F.cosine_similarity(users[:, None].double(), items[None], dim=-1)
    torch.testing.assert_close(sum(found.values()), cosines / model.scoring_head.temperature_now)
    assert list(found) == (["text"] if model.item_residuals is None else ["text", "residual"])


def test_the_residual_part_is_that_of_the_residual():
    model = recommender("narrow")
    rows = [3, 8]
    targets = targets_of(model, rows)
    users = torch.randn(2, model.config.vector_size, generator=torch.Generator().manual_seed(1))
    found = similarities(model, users, targets)["residual"]
    expected = (F.normalize(users, dim=1) @ model.item_residuals.detach()[rows].T) / (
        model.item_vectors.detach()[rows].norm(dim=1) * model.scoring_head.temperature_now
    )
    torch.testing.assert_close(found.float(), expected)


def test_residuals_of_rows_and_of_none():
    model = recommender("flat")
    found = residuals_of(model, [2, -1])
    assert torch.equal(found[0], model.item_residuals[2])
    assert not found[1].any()
    assert residuals_of(recommender("paper"), [2]) is None


@pytest.mark.parametrize("history", [[4, 1, 2], [1, 4, 1, 1, 0], [-1, 1, -1, 2], [1]], ids=str)
def test_biases_with_and_without_each_item(history):
    model, rows = recommender("flat"), [1, 2, 30, -1]
    bias = model.scoring_head.history_bias.detach()
    found = additions(model, np.array(history), targets_of(model, rows)).gains()["history_bias"]

    def plain(places: list[int]) -> list[float]:
        known = [(row, age) for age, row in enumerate(reversed(places)) if row >= 0]
        items = HistoryItems(*torch.tensor([[0, row, age] for row, age in known]).view(-1, 3).long().T)
        scores = biased(torch.zeros(1, model.config.num_items), items, bias)[0]
        return [float(scores[row]) if row >= 0 else 0.0 for row in rows]

    assert found[0].tolist() == pytest.approx(plain(history))
    for place in range(len(history)):
        assert found[1 + place].tolist() == pytest.approx(plain(history[:place] + history[place + 1 :]))


def test_a_bias_of_items_older_than_the_last_that_it_knows():
    model = recommender("flat")
    bias = model.scoring_head.history_bias.detach().double()
    history = [7] + [1] * (len(bias) + 2)
    found = additions(model, np.array(history), targets_of(model, [7])).bias[:, 0]
    assert found[0] == pytest.approx(float(bias[-1]))
    assert found[1] == 0
    assert found[2:].tolist() == pytest.approx([float(bias[-1])] * (len(history) - 1))


def test_models_without_additions():
    found = additions(recommender("paper"), np.array([1, 2]), targets_of(recommender("paper"), [3]))
    assert found.gains() == {}


def test_gains_of_the_memory_come_first_whole_then_without_each_item():
    found = additions(recommender("narrow"), np.array([1, 2]), targets_of(recommender("narrow"), [3, 4]))
    gains = found.gains()["memory"]
    assert gains.shape == (3, 2)
    assert np.array_equal(gains[0], found.memory.gain())
    assert np.array_equal(gains[1:], found.memory.gain_without())


def test_one_of_several_targets():
    model = recommender("narrow")
    found = targets_of(model, [5, 6]).one(1)
    assert found.rows.tolist() == [6]
    assert torch.equal(found.vectors, model.item_vectors[[6]])
    assert torch.equal(found.residuals, model.item_residuals[[6]])
    assert targets_of(recommender("paper"), [5, 6]).one(0).residuals is None
