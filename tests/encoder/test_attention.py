"""The returned probabilities, dropout, and the choice of implementation."""

from __future__ import annotations

import pytest
import torch

from recformer_hf.encoder.attention import ALL_ATTENTION_FUNCTIONS, select_implementation
from recformer_hf.encoder.packing import SequenceLayout
from recformer_hf.modeling_recformer import RecformerModel
from tests.support.models import enliven, random_batch, small_config


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_dropout_keeps_the_expectation(implementation):
    """The mean over many draws nears the result without dropout, `<s>` with its value bias included."""
    config = small_config(num_hidden_layers=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5)
    model = enliven(RecformerModel(config))
    self_attention = model.encoder.layer[0].attention.self
    layout = SequenceLayout(torch.tensor([0, 12, 16]), 16, torch.device("cpu"))
    ends = torch.arange(0, 1600, 16)[:, None] + torch.tensor([12, 16])
    copies = SequenceLayout(torch.cat([torch.tensor([0]), ends.flatten()]), 1600, torch.device("cpu"))
    hidden = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = self_attention.eval()(hidden, layout, implementation)[0]
    self_attention.train()
    torch.manual_seed(0)
    with torch.no_grad():  # dropout does not depend on whether a gradient is recorded
        draws = [self_attention(hidden.repeat(100, 1), copies, implementation)[0] for _ in range(30)]
    draws = torch.cat(draws).view(3000, 16, 64)
    assert not torch.equal(draws[0], draws[1])
    error = (draws.mean(0) - expected).abs() / (draws.std(0) / 3000**0.5 + 1e-4)
    assert error.max() < 6  # standard errors, over 1,024 numbers


def test_returned_probabilities_are_who_sees_whom(model):
    batch = random_batch([30, 6], model.config)
    with torch.no_grad():
        output = model(**batch, output_attentions=True)
    assert len(output.attentions) == 3
    place = torch.arange(30)
    near = ((place[:, None] - place).abs() <= 4) | (place == 0)
    near[0] = True  # <s> sees everything
    for probabilities in output.attentions:
        assert probabilities.shape == (2, 4, 30, 30)
        assert (probabilities[0][:, ~near] == 0).all()
        assert (probabilities[0][:, near] > 0).all()
        torch.testing.assert_close(probabilities[0].sum(-1), torch.ones(4, 30))
        assert (probabilities[1, :, :, 6:] == 0).all()
        assert (probabilities[1, :, 6:] == 0).all()


class TestSelection:
    def test_sdpa_refuses_to_return_them(self, model):
        model.set_attn_implementation("sdpa")
        with pytest.raises(ValueError, match='"eager"'):
            model(**random_batch([5], model.config), output_attentions=True)

    def test_flex_attention_without_a_gpu_says_why_not(self, config):
        model = RecformerModel._from_config(config, attn_implementation="flex_attention")
        with pytest.raises(ValueError, match="needs a CUDA device"):
            model(**random_batch([5], config))

    def test_unknown_implementation(self, config, model):
        with pytest.raises(ValueError, match="eager, sdpa, flex_attention"):
            RecformerModel._from_config(config, attn_implementation="flash_attention_2")
        with pytest.raises(ValueError, match="eager, sdpa, flex_attention"):
            model.set_attn_implementation("paged|eager")

    def test_nothing_is_registered_globally(self):
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS as everyones

        assert everyones["sdpa"] is not ALL_ATTENTION_FUNCTIONS["sdpa"]

    @pytest.mark.parametrize(
        ("device", "dtype", "head_dim", "dropout", "reason"),
        [
            ("cpu", torch.float32, 64, 0.0, "CUDA device"),
            ("cuda", torch.float32, 64, 0.1, "attention_probs_dropout_prob, now 0.1"),
            ("cuda", torch.float64, 64, 0.0, "float64"),
            ("cuda", torch.bfloat16, 8, 0.0, "narrower than 16"),
        ],
    )
    def test_flex_attention_where_it_cannot_serve(self, device, dtype, head_dim, dropout, reason):
        arguments = torch.device(device), dtype, head_dim, dropout, False
        assert select_implementation(None, *arguments) == "sdpa"
        with pytest.raises(ValueError, match=reason):
            select_implementation("flex_attention", *arguments)

    def test_flex_attention_where_it_can_serve(self, monkeypatch):
        arguments = torch.device("cuda"), torch.bfloat16, 64, 0.0
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
        assert select_implementation(None, *arguments, False) == "flex_attention"
        assert select_implementation(None, *arguments, True) == "eager"
        assert select_implementation("sdpa", *arguments, False) == "sdpa"
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
        assert select_implementation(None, *arguments, False) == "sdpa"
