"""training/freezing.py: what is frozen, what no gradient reaches, and that it is undone."""

from __future__ import annotations

import pytest
from torch import nn

from recformer_hf.training.freezing import frozen, unreachable, without_gradient
from tests.support.models import enliven
from tests.support.training import small_dataset, small_model, small_trainer


def test_a_model_with_nothing_left_to_train(tmp_path):
    trainer = small_trainer(tmp_path / "run")
    trainer.model.requires_grad_(False)
    with pytest.raises(ValueError, match="Nothing is left to train"):
        trainer.train()


def trainable(model: nn.Module) -> set[str]:
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("pooler_type", ["cls", "avg"])
def test_unreachable_weights_are_those_without_a_gradient(tmp_path, pooler_type):
    model = enliven(small_model(pooler_type=pooler_type, num_items=len(small_dataset().catalog)))
    trainer = small_trainer(tmp_path, model)
    model.eval()(**trainer.collator(trainer.train_dataset[trainer.sampler.plan(0)[0]])).loss.backward()
    expected = {id(weight) for weight in unreachable(model.recformer, pooled_only=True)}
    for name, weight in model.recformer.named_parameters():
        assert (weight.grad is None) == (id(weight) in expected), name


@pytest.mark.parametrize(
    ("freeze", "prefix"),
    [
        ("none", ()),
        ("word_embeddings", "recformer.embeddings.word_embeddings"),
        ("embeddings", "recformer.embeddings"),
        ("lower_layers", ("recformer.embeddings", "recformer.encoder.layer.0.")),
        ("encoder", "recformer."),
    ],
)
def test_weights_are_frozen_inside_and_as_trainable_as_before_afterwards(freeze, prefix):
    model = small_model(history_bias=True, num_hidden_layers=3)
    model.recformer.encoder.layer[0].output.dense.weight.requires_grad_(False)  # the caller's own choice stays
    before = trainable(model)
    with frozen(model, model.recformer, freeze, pooled_only=False):
        lost = before - trainable(model)
        key_biases = {name for name in before if name.endswith("key_global.bias")}
        assert lost == key_biases | {name for name in before if prefix and name.startswith(prefix)}
    assert trainable(model) == before


def test_an_unknown_choice_is_refused():
    model = small_model()
    with pytest.raises(ValueError, match=r"must be one of none, .*lower_layers, encoder, got 'words'"):
        frozen(model, model.recformer, "words", pooled_only=True).__enter__()


def test_an_error_inside_undoes_it_too():
    model = nn.Linear(2, 2)
    with pytest.raises(ZeroDivisionError), without_gradient(model, [model.weight]):
        _ = 1 // 0
    assert trainable(model) == {"weight", "bias"}
