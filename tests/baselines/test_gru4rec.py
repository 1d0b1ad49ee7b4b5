"""baselines/gru4rec.py against `nn.GRU`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError

from recformer_hf.baselines import GRU4Rec, GRU4RecConfig
from tests.support.neural_baselines import packed, with_items

HISTORIES = [np.array([3, 0, 3, 7]), np.array([1]), np.array([5, 6])]


@pytest.mark.parametrize(
    "settings", [{}, {"gru_size": 16}, {"num_layers": 2, "gru_size": 20, "tie_item_embeddings": False}]
)
def test_scores_are_those_of_nn_gru_over_each_history(settings):
    model = with_items("gru4rec", **settings)
    model.output_bias.weight.data.normal_()
    table = model.item_embeddings.weight
    output = table if model.output_embeddings is None else model.output_embeddings.weight
    assert (output is table) == settings.get("tie_item_embeddings", True)
    for row, history in enumerate(HISTORIES):
        states, _ = model.gru(table[history])  # one sequence, unbatched
        vector = states[-1]
        if model.config.gru_size != 16:
            vector = vector @ model.projection.weight.T + model.projection.bias
        expected = output @ vector + model.output_bias.weight[:, 0]
        torch.testing.assert_close(model.scores(HISTORIES)[row], expected, atol=1e-6, rtol=1e-5)


def test_no_place_sees_a_later_one_or_another_history():
    model = with_items("gru4rec")
    whole, changed = model.encode(packed([3, 0, 3, 7], [5, 6])), model.encode(packed([3, 0, 9, 9], [5, 6]))
    torch.testing.assert_close(whole[[0, 1, 4, 5]], changed[[0, 1, 4, 5]])
    assert not torch.allclose(whole[2:4], changed[2:4])


def test_output_biases_start_at_zero():
    assert not with_items("gru4rec").output_bias.weight.any()


def test_defaults():
    model = GRU4Rec(hidden_size=24)
    assert model.gru.hidden_size == 24
    assert isinstance(model.projection, torch.nn.Identity)
    assert model.config.loss == "ce"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_layers": 0}, "num_layers must be positive and finite, got 0"),
        ({"gru_size": -1}, "gru_size must be positive and finite, got -1"),
    ],
)
def test_unfit_settings_are_refused(settings, message):
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        GRU4RecConfig(**settings)
