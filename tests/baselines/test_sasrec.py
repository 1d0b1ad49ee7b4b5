"""baselines/sasrec.py against the paper's equations with torch's own layers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError

from recformer_hf.baselines import SASRec, SASRecConfig
from tests.baselines.shared.test_transformer import torchs as torchs_encoder
from tests.support.neural_baselines import with_items

HISTORIES = [np.array([3, 0, 3, 7]), np.array([1])]


def test_scores_are_those_of_torchs_layers_with_the_same_weights():
    model = with_items("sasrec", num_layers=2, hidden_size=12, num_heads=3, intermediate_size=20, activation="gelu")
    encoder = torchs_encoder(model.transformer, "gelu", "pre").eval()
    table, positions = model.item_embeddings.weight, model.position_embeddings.weight
    for row, history in enumerate(HISTORIES):
        x = table[history] * math.sqrt(12) + positions[: len(history)]
        mask = torch.nn.Transformer.generate_square_subsequent_mask(len(history))
        h = encoder(x[None], mask)[0, -1]
        torch.testing.assert_close(model.scores(HISTORIES)[row], h @ table.T, atol=1e-6, rtol=1e-5)


def test_no_place_sees_a_later_one():
    model = with_items("sasrec")
    from tests.support.neural_baselines import packed

    whole = model.encode(packed([3, 0, 3, 7], [5, 6]))
    changed = model.encode(packed([3, 0, 9, 9], [5, 6]))
    torch.testing.assert_close(whole[[0, 1, 4, 5]], changed[[0, 1, 4, 5]])
    assert not torch.allclose(whole[2:4], changed[2:4])


@pytest.mark.parametrize("block", ["standard", "ligr"])
def test_blocks(block):
    assert with_items("sasrec", block=block).scores(HISTORIES).shape == (2, 60)


def test_defaults_are_the_papers_but_for_the_loss():
    config = SASRec().config
    assert (config.num_layers, config.num_heads, config.activation, config.loss) == (2, 1, "relu", "ce")
    assert SASRec(hidden_size=24).transformer.layers[0].feed_forward[0].out_features == 24


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_layers": 0}, "num_layers must be positive and finite, got 0"),
        ({"hidden_size": 10, "num_heads": 3}, r"hidden_size \(10\) must be a multiple of num_heads \(3\)"),
    ],
)
def test_unfit_settings_are_refused(settings, message):
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        SASRecConfig(**settings)
