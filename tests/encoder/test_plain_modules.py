"""Which modules need not be called."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch
from packaging.version import Version
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from recformer_hf.encoder.plain_modules import is_plain_linear, is_plain_tensor, is_untouched
from recformer_hf.modeling_recformer import RecformerForPretraining, RecformerModel
from tests.support.models import assert_parity, enliven, random_batch, small_config
from tests.support.quantized import OnlyMultiplies, linear_layers, multiplying_only


class Scaled(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_a_linear_layer_as_it_was_made():
    assert is_plain_linear(nn.Linear(3, 4))
    assert is_plain_linear(nn.Linear(3, 4).bfloat16())


@pytest.mark.parametrize("module", [Scaled(3, 4), nn.Linear(3, 4, bias=False), nn.GELU()], ids=repr)
def test_other_modules(module):
    assert not is_plain_linear(module)


def test_a_weight_of_integers():
    layer = nn.Linear(3, 4)
    layer.weight = nn.Parameter(torch.zeros(4, 3, dtype=torch.int8), requires_grad=False)
    assert is_untouched(layer, nn.Linear)
    assert not is_plain_linear(layer)


@pytest.mark.parametrize(
    "register",
    [
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
    ],
)
def test_a_hook_until_it_is_removed(register):
    layer = nn.Linear(3, 4)
    handle = getattr(layer, register)(lambda *_: None)
    assert not is_untouched(layer, nn.Linear)
    handle.remove()
    assert is_untouched(layer, nn.Linear)


def test_a_forward_of_the_instance():
    layer = nn.Linear(3, 4)
    layer.forward = lambda x: x  # as offloading does
    assert not is_untouched(layer, nn.Linear)


def test_a_subclass_is_another_kind():
    assert is_untouched(Scaled(3, 4), Scaled)
    assert not is_untouched(Scaled(3, 4), nn.Linear)


def test_plain_tensors():
    assert is_plain_tensor(torch.zeros(2))
    assert is_plain_tensor(nn.Parameter(torch.zeros(2, dtype=torch.bfloat16)))
    assert not is_plain_tensor(None)
    assert not is_plain_tensor(torch.zeros(2).as_subclass(OnlyMultiplies))
    assert not is_plain_tensor(torch.zeros(2, device="meta"))
    assert not is_plain_tensor(torch.eye(2).to_sparse())
    assert not is_plain_tensor(torch.zeros(2, dtype=torch.int8))


def parametrized(model: nn.Module) -> nn.Module:
    for layer in linear_layers(model):
        parametrize.register_parametrization(layer, "weight", nn.Identity())
    return model


def weight_normed(model: nn.Module) -> nn.Module:
    for layer in linear_layers(model):
        parametrizations.weight_norm(layer)
    return model


def pruned(model: nn.Module) -> nn.Module:
    for layer in linear_layers(model):
        prune.l1_unstructured(layer, "weight", 0.0)
    return model


def with_adapter(model: nn.Module) -> nn.Module:
    peft = pytest.importorskip("peft")
    return peft.inject_adapter_in_model(
        peft.LoraConfig(target_modules=["query", "key_global", "value_global", "dense"]), model
    )


def with_merged_adapter(model: nn.Module) -> nn.Module:
    model = with_adapter(model)
    for module in model.modules():
        if hasattr(module, "merge"):
            module.merge()
    return model


KINDS = {
    "multiplies only": multiplying_only,
    "parametrized": parametrized,
    "weight norm": weight_normed,
    "pruned": pruned,
    "LoRA": with_adapter,
    "merged LoRA": with_merged_adapter,
}


class TestModelsWithOtherWeights:
    """Weights that may only be used through their module give what plain ones give."""

    @pytest.mark.parametrize("implementation", ["eager", "sdpa"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_encoder(self, model, kind, implementation):
        batch = random_batch([30, 6, 1], model.config)
        model.config._attn_implementation = implementation
        with torch.no_grad():
            expected = model(**batch).last_hidden_state
        other = KINDS[kind](copy.deepcopy(model))
        for gradient in (False, True):
            with torch.set_grad_enabled(gradient):
                assert_parity(other(**batch).last_hidden_state, expected)
                assert_parity(other(**batch, pooled_only=True).pooler_output, expected[:, 0])
        if kind not in ("multiplies only", "pruned"):  # torch cannot copy these
            with torch.no_grad():
                assert_parity(copy.deepcopy(other)(**batch).last_hidden_state, expected)

    def test_training_on_quantised_weights(self, config):
        model = enliven(RecformerForPretraining(config))
        batch = random_batch([9, 7], config)
        labels = torch.where(torch.arange(9) == 3, batch["input_ids"], -100)
        expected = model.eval()(**batch, mlm_input_ids=batch["input_ids"], mlm_labels=labels).loss
        other = multiplying_only(model)
        loss = other(**batch, mlm_input_ids=batch["input_ids"], mlm_labels=labels).loss
        assert_parity(loss, expected)
        loss.backward()
        assert other.recformer.embeddings.word_embeddings.weight.grad.abs().sum() > 0

    def test_weights_quantised_by_torch(self, model):
        batch = random_batch([30, 6, 1], model.config)
        with torch.no_grad():
            expected = model(**batch).pooler_output
            deprecated = Version(torch.__version__) >= Version("2.10")  # 2.6 says nothing
            with pytest.warns(DeprecationWarning, match="torchao") if deprecated else nullcontext():
                other = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
            found = other(**batch).pooler_output
        assert torch.cosine_similarity(found, expected).min() > 0.95

    @pytest.mark.parametrize("config_name", ["Int8WeightOnlyConfig", "Int8DynamicActivationInt8WeightConfig"])
    def test_weights_quantised_by_torchao(self, config_name, tmp_path):
        quantization = pytest.importorskip("torchao.quantization")
        model = enliven(RecformerModel(small_config())).eval()
        batch = random_batch([30, 6, 1], model.config)
        other = copy.deepcopy(model)
        quantization.quantize_(other, getattr(quantization, config_name)())
        with torch.no_grad():
            expected, found = model(**batch).pooler_output, other(**batch).pooler_output
            assert torch.cosine_similarity(found, expected).min() > 0.95
            torch.save(other.state_dict(), tmp_path / "weights.pt")
            again = RecformerModel(small_config()).eval()
            again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=False), assign=True)
            assert torch.equal(again(**batch).pooler_output, found)
