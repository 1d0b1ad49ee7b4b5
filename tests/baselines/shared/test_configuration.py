"""baselines/shared/configuration.py: defaults that depend on the loss, and values that no model can have."""

from __future__ import annotations

import pytest
from huggingface_hub.errors import StrictDataclassClassValidationError

from recformer_hf.baselines import NEURAL
from recformer_hf.baselines.shared.configuration import BaselineConfig


@pytest.mark.parametrize(
    ("settings", "drawn"),
    [
        ({"loss": "ce"}, 0), ({"loss": "ce", "num_negatives": 5}, 0), ({"loss": "bce"}, 1), ({"loss": "gbce"}, 256),
        ({"loss": "bce", "num_negatives": 3}, 3), ({"loss": "bpr_max", "num_negatives": 2048}, 2048),
        ({"loss": "bpr_max", "num_negatives": 0, "batch_negatives": True}, 0),
    ],
)  # fmt: skip
def test_negatives_drawn(settings, drawn):
    assert BaselineConfig(**settings).negatives_drawn == drawn


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 0}, "hidden_size must be positive and finite, got 0"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        ({"calibration": 1.5}, r"calibration must lie in \[0, 1\], got 1.5"),
        ({"num_items": -1}, "num_items must not be negative or infinite, got -1"),
        ({"loss": "gbce", "num_negatives": 0}, "loss='gbce' needs negatives, but num_negatives is 0"),
    ],
)
def test_values_that_no_model_can_have_are_refused(settings, message):
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        BaselineConfig(**settings)


TRANSFORMERS = sorted(name for name, model in NEURAL.items() if hasattr(model.config_class, "num_heads"))


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_fields_that_fit_no_transformer_are_refused(name):
    config = NEURAL[name].config_class
    wrong = [
        ({"num_heads": 5}, r"hidden_size \(64\) must be a multiple of num_heads \(5\)"),
        ({"num_layers": 0}, "num_layers"),
    ]
    wrong += [({"intermediate_size": 0}, "intermediate_size must be positive")] * hasattr(config, "intermediate_size")
    wrong += [({"activation": "sine"}, "activation 'sine' is unknown; transformers has .*relu")] * hasattr(
        config, "activation"
    )
    for settings, message in wrong:
        with pytest.raises(StrictDataclassClassValidationError, match=message):
            config(hidden_size=64, **settings)
