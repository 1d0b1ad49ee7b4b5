"""RecformerModel against transformers' LongformerEncoder on the same weights, in every form, path and dtype."""

from __future__ import annotations

import pytest
import torch

from recformer_hf import modeling_recformer
from recformer_hf.encoder import kernels
from recformer_hf.encoder.cpu import onednn
from recformer_hf.encoder.layers import RecformerDropout
from recformer_hf.modeling_recformer import RecformerModel
from tests.support.longformer_oracle import oracle_encoder, oracle_states
from tests.support.models import assert_parity, enliven, pack, random_batch, small_config

# window 8: below, at, one above and far above half of it and all of it
LENGTHS = [[1], [2], [3, 4, 5], [7, 8, 9], [16, 17], [100], [1, 3, 7, 8, 9, 13, 40, 1, 25], [128, 1, 60], [6] * 12]
IMPLEMENTATIONS = ["unset", "eager", "sdpa", "sdpa without private operators", "flex_attention"]


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request, monkeypatch) -> str | None:
    """Each implementation; the flex kernel uncompiled, because there is no GPU to compile it for."""
    if request.param == "unset":
        return None
    if "private" in request.param:
        monkeypatch.setattr(kernels, "flash_kernel", lambda: None)
        monkeypatch.setattr(onednn, "is_exact", lambda: False)
        return "sdpa"
    if request.param == "flex_attention":
        # Its backward exists for CPUs in this form, behind a check that refuses it.
        monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *_: None, raising=False)
        monkeypatch.setattr(modeling_recformer, "select_implementation", lambda *_: "flex_attention")
        return None
    return request.param


class TestHiddenStates:
    @pytest.mark.parametrize("lengths", LENGTHS, ids=str)
    def test_equal_longformer(self, model, implementation, lengths):
        model.set_attn_implementation(implementation)
        batch = random_batch(lengths, model.config)
        real = batch["attention_mask"].bool()
        with torch.no_grad():
            expected = oracle_states(model, oracle_encoder(model), batch)
            padded = model(**batch, output_hidden_states=True)
            packed = model(**pack(batch), output_hidden_states=True)
            pooled = model(**batch, pooled_only=True)
        assert len(padded.hidden_states) == len(expected)
        for ours, ours_packed, theirs in zip(padded.hidden_states, packed.hidden_states, expected, strict=True):
            assert_parity(ours[real], theirs[real])
            assert_parity(ours_packed[0], theirs[real])
        assert (padded.last_hidden_state[~real] == 0).all()
        assert pooled.last_hidden_state is None
        for output in (padded, packed, pooled):
            assert_parity(output.pooler_output, expected[-1][:, 0])

    def test_different_windows_by_layer(self, implementation):
        model = enliven(RecformerModel(small_config(attention_window=[4, 8, 16]))).eval()
        model.set_attn_implementation(implementation)
        # Longformer pads to the largest window, which it requires to be a multiple of every other.
        batch = random_batch([33, 8, 50, 1], model.config)
        real = batch["attention_mask"].bool()
        with torch.no_grad():
            expected = oracle_states(model, oracle_encoder(model), batch)[-1]
            assert_parity(model(**batch).last_hidden_state[real], expected[real])

    def test_smallest_window(self):
        """transformers' Longformer fails for a window of 2; `eager` is the definition."""
        model = enliven(RecformerModel(small_config(attention_window=2))).eval()
        batch = random_batch([33, 8, 2, 1], model.config)
        with torch.no_grad():
            blocked = model(**batch).last_hidden_state
            model.set_attn_implementation("eager")
            assert_parity(blocked, model(**batch).last_hidden_state)

    def test_a_row_alone_equals_the_row_in_a_batch(self, model, implementation):
        model.set_attn_implementation(implementation)
        batch = random_batch([40, 3, 17, 128, 9], model.config)
        with torch.no_grad():
            together = model(**batch).last_hidden_state
            for row, length in enumerate(batch["attention_mask"].sum(1)):
                alone = model(**{name: value[row : row + 1, :length] for name, value in batch.items()})
                assert_parity(alone.last_hidden_state[0], together[row, :length])

    @pytest.mark.parametrize("missing", ["use_token_type_embeddings", "use_item_position_embeddings"])
    def test_ablated_embeddings(self, missing):
        model = enliven(RecformerModel(small_config(**{missing: False}))).eval()
        batch = random_batch([20, 5], model.config)
        with torch.no_grad():
            expected = oracle_states(model, oracle_encoder(model), batch)[-1]
            output = model(**batch).last_hidden_state
        assert_parity(output[batch["attention_mask"].bool()], expected[batch["attention_mask"].bool()])

    def test_mean_pooling_counts_every_real_token_once(self):
        model = enliven(RecformerModel(small_config(pooler_type="avg"))).eval()
        batch = random_batch([20, 5, 1], model.config)
        with torch.no_grad():
            output = model(**batch)
            only = model(**batch, pooled_only=True)
        for row, length in enumerate([20, 5, 1]):
            assert_parity(output.pooler_output[row], output.last_hidden_state[row, :length].mean(0))
        assert_parity(only.pooler_output, output.pooler_output)

    def test_embedded_words_in_place_of_ids(self, model):
        batch = random_batch([20, 5], model.config)
        with torch.no_grad():
            expected = model(**batch).last_hidden_state
            batch["inputs_embeds"] = model.get_input_embeddings()(batch.pop("input_ids"))
            assert torch.equal(model(**batch).last_hidden_state, expected)

    def test_padding_may_stand_anywhere(self, model):
        batch = random_batch([20, 5], model.config)
        moved = {name: torch.stack([value[0], value[1].roll(15)]) for name, value in batch.items()}
        with torch.no_grad():
            expected = model(**batch).last_hidden_state[1, :5]
            assert_parity(model(**moved).last_hidden_state[1, 15:], expected)

    @pytest.mark.slow
    def test_base_size(self):
        model = enliven(RecformerModel(small_config(
            vocab_size=2000, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
            attention_window=64, max_token_num=1024,
        ))).eval()  # fmt: skip
        batch = random_batch([1, 20, 32, 33, 64, 65, 300, 1024], model.config)
        real = batch["attention_mask"].bool()
        with torch.no_grad():
            expected = oracle_states(model, oracle_encoder(model), batch)[-1]
            for implementation in (None, "eager"):
                model.set_attn_implementation(implementation)
                assert_parity(model(**batch).last_hidden_state[real], expected[real])


class TestGradients:
    @pytest.mark.parametrize("lengths", [[1], [3, 4, 5], [16, 17, 9], [1, 40, 7, 8, 100]], ids=str)
    @pytest.mark.parametrize("pooled_only", [False, True])
    def test_equal_longformer(self, model, implementation, lengths, pooled_only):
        model.set_attn_implementation(implementation)
        batch = random_batch(lengths, model.config)
        real = batch["attention_mask"].bool()
        oracle = oracle_encoder(model)
        expected = oracle_states(model, oracle, batch)[-1]
        weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
        (expected * weights)[:, 0].sum().backward() if pooled_only else (expected * weights)[real].sum().backward()
        reference = {f"encoder.{name}": weight.grad for name, weight in oracle.named_parameters()}
        reference |= {f"embeddings.{name}": weight.grad for name, weight in model.embeddings.named_parameters()}
        reference = {name: value.clone() for name, value in reference.items() if value is not None}
        model.zero_grad()

        if pooled_only:
            (model(**batch, pooled_only=True).pooler_output * weights[:, 0]).sum().backward()
        else:
            (model(**pack(batch)).last_hidden_state[0] * weights[real]).sum().backward()
        largest = max(value.norm() for value in reference.values())
        ours = dict(model.named_parameters())
        for name, expected_gradient in reference.items():
            gradient = ours[name].grad if ours[name].grad is not None else torch.zeros_like(ours[name])
            if name.endswith(("key.bias", "key_global.bias")):
                # What is the same for all keys leaves the softmax unchanged: the true gradient is 0.
                assert max(gradient.norm(), expected_gradient.norm()) <= 1e-6 * largest
                continue
            allowed = 1e-4 * max(expected_gradient.norm(), 1e-6 * largest)
            assert (gradient - expected_gradient).norm() <= allowed, name

    @pytest.mark.parametrize("use_reentrant", [False, True])
    def test_gradient_checkpointing_gives_the_same_gradients(self, use_reentrant):
        config = small_config(attention_probs_dropout_prob=0.3)
        model = enliven(RecformerModel(config)).train()
        batch = random_batch([40, 3, 17], config)

        def gradients() -> list[torch.Tensor]:
            model.zero_grad()
            torch.manual_seed(0)  # the same dropout
            model(**batch).last_hidden_state.square().sum().backward()
            return [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]

        plain = gradients()
        model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
        assert all(layer.gradient_checkpointing for layer in model.encoder.layer)
        for ours, theirs in zip(gradients(), plain, strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("pooler_type", ["cls", "avg"])
def test_rows_rounded_up_for_the_kernels_change_nothing(pooler_type, monkeypatch):
    config = small_config(pooler_type=pooler_type, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = enliven(RecformerModel(config)).double().train()
    batch = pack(random_batch([40, 3, 17], config))
    results = []
    for rounds in (False, True):
        monkeypatch.setattr(kernels, "compiles_by_shape", lambda *_, rounds=rounds: rounds)
        model.zero_grad()
        output = model(**batch, output_hidden_states=True)
        pooled = model(**batch, pooled_only=True).pooler_output
        (output.last_hidden_state.square().sum() + pooled.sum()).backward()
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        with torch.no_grad():
            inference = model.eval()(**batch).last_hidden_state
        model.train()
        results.append([*output.hidden_states, output.pooler_output, pooled, inference, *gradients])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected)


class TestDropout:
    def test_a_dropped_sum_is_dropout_and_a_sum(self):
        dropout = RecformerDropout(0.3)
        hidden, residual = (torch.randn(50, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
        results = []
        for together in (True, False):
            torch.manual_seed(0)
            total = dropout(hidden, residual) if together else dropout(hidden) + residual
            results.append((total, *torch.autograd.grad(total.square().sum(), [hidden, residual])))
        assert (results[0][0] == residual).any()  # something was dropped
        for ours, expected in zip(*results, strict=True):
            torch.testing.assert_close(ours, expected)

    def test_training_is_reproducible_from_torchs_seed(self, config):
        model = enliven(RecformerModel(config)).train()
        batch = random_batch([20, 5], config)
        torch.manual_seed(3)
        first = model(**batch).last_hidden_state
        torch.manual_seed(3)
        assert torch.equal(model(**batch).last_hidden_state, first)
        assert not torch.equal(model(**batch).last_hidden_state, first)


class TestDtypes:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("implementation", ["eager", "sdpa"])
    def test_half_precision_is_near_float32(self, model, dtype, implementation):
        model.set_attn_implementation(implementation)
        batch = random_batch([100, 3, 17], model.config)
        with torch.no_grad():
            expected = model(**batch).last_hidden_state
            output = model.to(dtype)(**batch).last_hidden_state
        assert output.dtype == torch.float32  # the residual stream
        assert (output - expected).abs().max() < (0.15 if dtype == torch.bfloat16 else 0.02)

    def test_autocast(self, model):
        batch = random_batch([100, 3, 17], model.config)
        model.train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            model(**batch, pooled_only=True).pooler_output.sum().backward()
        assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)
        model.eval()
        with torch.no_grad():
            expected = model(**batch).pooler_output
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert (model(**batch).pooler_output - expected).abs().max() < 0.15

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_training_under_cudas_autocast_whose_softmax_is_float32(self, model, dtype, monkeypatch):
        softmax = torch.softmax

        def wide(scores: torch.Tensor, dim: int) -> torch.Tensor:
            return softmax(scores.float() if torch.is_autocast_enabled("cpu") else scores, dim=dim)

        monkeypatch.setattr(torch, "softmax", wide)
        model.config._attn_implementation = "sdpa"
        model.train()
        with torch.autocast("cpu", dtype=dtype):
            loss = model(**random_batch([100, 3, 17], model.config)).last_hidden_state.square().mean()
        loss.backward()  # out of autocast, as trainers do
        assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)

    def test_training_in_bfloat16(self, model):
        model.to(torch.bfloat16).train()
        model(**random_batch([30, 3], model.config)).last_hidden_state.square().mean().backward()
        assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)


class TestHooks:
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize(
        "name", ["attention", "attention.self", "attention.output", "intermediate", "intermediate.activation", "output"]
    )
    def test_every_module_of_a_layer_is_called(self, model, name, training):
        seen = []
        model.train(training)
        model.encoder.layer[1].get_submodule(name).register_forward_hook(lambda *_: seen.append(name))
        with torch.set_grad_enabled(training):
            model(**random_batch([20, 5], model.config))
        assert seen == [name]

    @pytest.mark.parametrize("training", [True, False])
    def test_an_activation_put_in_place_of_another_serves(self, model, training):
        batch = random_batch([20, 5], model.config)
        with torch.set_grad_enabled(training):
            before = model(**batch).last_hidden_state
            for layer in model.encoder.layer:
                layer.intermediate.activation = torch.nn.ReLU()
            assert (model(**batch).last_hidden_state - before).abs().max() > 1e-2


def test_tuple_output(model):
    batch = random_batch([6], model.config)
    with torch.no_grad():
        states, pooled = model(**batch, return_dict=False)
    assert states.shape == (1, 6, 64)
    assert pooled.shape == (1, 64)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_encoder(model, backend):
    batch = random_batch([40, 3, 17], model.config)

    def state_and_gradient() -> tuple[torch.Tensor, torch.Tensor]:
        model.zero_grad()
        output = model(**batch).last_hidden_state
        output.square().sum().backward()
        return output.detach(), model.encoder.layer[0].attention.self.query.weight.grad.clone()

    expected = state_and_gradient()
    with torch.no_grad():
        expected_without = model(**batch).last_hidden_state
    model.encoder.compile(backend=backend)
    for found, wanted in zip(state_and_gradient(), expected, strict=True):
        assert_parity(found, wanted)
    with torch.no_grad():
        assert_parity(model(**batch).last_hidden_state, expected_without)
    model.train()
    model(**batch).last_hidden_state.sum().backward()  # with dropout it runs, too


def test_weights_of_eight_bits_are_stored_and_not_computed_in(model):
    layer = model.encoder.layer[0]
    layer.output.dense.weight = torch.nn.Parameter(
        layer.output.dense.weight.detach().to(torch.float8_e4m3fn), requires_grad=False
    )
    assert layer.compute_dtype("cpu") == torch.float32
    assert model.encoder.layer[1].bfloat16().compute_dtype("cpu") == torch.bfloat16
