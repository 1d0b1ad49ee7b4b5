"""heads/head_changes.py: another head in place, with the weights that both have."""

from __future__ import annotations

import pytest
import torch

from tests.support.training import same_state, small_model, state_of

ALL = {
    "sequence_head": "two_level", "item_projection": True, "item_residuals": True, "history_bias": True,
    "learned_temperature": True,
}  # fmt: skip


def test_a_new_head_is_that_of_a_model_that_is_made_with_it():
    model, made = small_model(num_items=7), small_model(num_items=7, **ALL)
    model.item_embeddings.data.normal_()
    assert model.set_head(**ALL)
    assert model.config.to_dict() == made.config.to_dict()
    found, expected = state_of(model), state_of(made)
    assert found.keys() == expected.keys()
    for name in ("item_residuals", "scoring_head.projection.weight", "scoring_head.projection.bias",
                 "scoring_head.history_bias", "scoring_head.log_temperature",
                 "scoring_head.history_transformer.layers.0.linear2.weight"):  # fmt: skip
        assert torch.equal(found[name], expected[name]), name
    drawn = "scoring_head.history_transformer.layers.1.linear1.weight"
    assert float(found[drawn].std()) == pytest.approx(float(expected[drawn].std()), rel=0.1)


def test_it_is_drawn_by_the_seed():
    models = [small_model(num_items=7), small_model(seed=1, num_items=7)]
    for model in models:
        torch.manual_seed(5)
        model.set_head(**ALL)
    first, second = (model.scoring_head.state_dict() for model in models)
    assert same_state(dict(first), dict(second))


def test_weights_that_both_heads_have_stay():
    model = small_model(num_items=7, item_projection=True, item_residuals=True, history_bias=True)
    for weight in (model.item_residuals, *model.scoring_head.parameters()):
        weight.data.normal_()
    model.scoring_head.history_bias.requires_grad_(False)
    before = state_of(model)
    assert model.set_head(sequence_head="two_level", learned_temperature=True)
    after = state_of(model)
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert not model.scoring_head.history_bias.requires_grad
    assert model.scoring_head.log_temperature.requires_grad
    assert model.set_head(head_size=16)  # nothing of another width can stay
    assert model.item_residuals.shape == (7, 16)
    assert not model.item_residuals.any()
    assert torch.equal(model.scoring_head.history_bias, before["scoring_head.history_bias"])
    assert model.set_head(item_residuals=False)
    assert model.item_residuals is None


def test_vectors_of_the_old_head_are_forgotten():
    """The memory of an old weight may be given to a new one, which then looks like the old one unchanged."""
    model = small_model(num_items=7)
    model.item_embeddings.data.normal_()
    model.set_head(item_residuals=True)
    model.item_residuals.data.normal_()
    before, values = model.item_vectors.clone(), model.item_residuals.data
    model.set_head(item_residuals=False)
    model.set_head(item_residuals=True)
    model.item_residuals.data = values.zero_()  # where the old one was
    assert not torch.equal(model.item_vectors, before)


def test_nothing_happens_to_a_model_that_has_the_head():
    model = small_model(num_items=7, **ALL)
    head, state = model.scoring_head, torch.random.get_rng_state()
    assert not model.set_head(**ALL)
    assert not model.set_head()
    assert model.scoring_head is head
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_cannot_be_leaves_the_model_as_it_was():
    model = small_model(num_items=7)
    with pytest.raises(TypeError, match=r"hidden_size cannot be set by set_head\. These can: sequence_head"):
        model.set_head(hidden_size=16)
    with pytest.raises(ValueError, match="needs sequence_head='two_level'"):
        model.set_head(head_size=16, item_projection=True)
    assert model.config.head_size is None
    assert model.scoring_head.projection is None
