"""RecformerModel against transformers' LongformerEncoder on the same weights, in every form, path and dtype."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask

from recformer_hf import modeling_recformer
from recformer_hf.encoder import attention, cpu_linear, layers
from recformer_hf.encoder.cpu_dropout import RecformerDropout, keep_mask
from recformer_hf.encoder.packing import SequenceLayout
from recformer_hf.modeling_recformer import RecformerModel
from tests.support.longformer_oracle import oracle_encoder, oracle_states
from tests.support.models import enliven, pack, random_batch, small_config

# window 8: below, at, one above and far above half of it and all of it
LENGTHS = [[1], [2], [3, 4, 5], [7, 8, 9], [16, 17], [100], [1, 3, 7, 8, 9, 13, 40, 1, 25], [128, 1, 60], [6] * 12]
IMPLEMENTATIONS = ["unset", "eager", "sdpa", "sdpa without private operators", "flex_attention"]


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request, monkeypatch) -> str | None:
    """Each implementation; the flex kernel uncompiled, because there is no GPU to compile it for."""
    if request.param == "unset":
        return None
    if "private" in request.param:
        monkeypatch.setattr(attention, "_cpu_flash_attention", lambda: None)
        monkeypatch.setattr(cpu_linear, "_onednn_is_exact", lambda: False)
        return "sdpa"
    if request.param == "flex_attention":
        # Its backward exists for CPUs in this form, behind a check that refuses it.
        monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *_: None, raising=False)
        monkeypatch.setattr(modeling_recformer, "select_implementation", lambda *_: "flex_attention")
        return None
    return request.param


def assert_parity(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    assert (found - expected).abs().max() <= tolerance * max(1.0, float(expected.abs().max()))


class TestFlexBlocks:
    """The compiled kernel skips the blocks that the mask leaves out; the uncompiled one of the tests above does not."""

    @pytest.mark.parametrize("half", [1, 32, 128, 256])
    @pytest.mark.parametrize("lengths", [[1], [128], [129, 3, 1000, 64, 64, 5], [700], [37] * 40], ids=str)
    def test_no_block_with_a_visible_token_is_left_out(self, lengths, half):
        cu_seqlens = torch.tensor([0, *lengths]).cumsum(0)
        total = int(cu_seqlens[-1])
        mask = attention._flex_block_mask(SequenceLayout(cu_seqlens, total, torch.device("cpu")), half)
        defined = create_block_mask(mask.mask_mod, None, None, total, total, device="cpu")
        assert mask.shape == defined.shape
        taken, needed = mask.to_dense().bool(), defined.to_dense().bool()
        assert not (needed & ~taken).any()
        if half <= attention.FLEX_BLOCK:
            assert torch.equal(taken, needed)


@pytest.mark.parametrize("by_shape", [False, True])
def test_rows_are_rounded_up_to_few_sizes_and_few_rows(by_shape):
    sizes = {total: layers.rows_to_run(total, by_shape) for total in range(1, 5000)}
    assert all(total <= rows <= total * (1 + 1 / 32) for total, rows in sizes.items())
    assert len({rows for total, rows in sizes.items() if total >= 2048}) <= (70 if by_shape else 100)
    assert sizes[2367] == 2368
    assert sizes[4100] == (4224 if by_shape else 4128)


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

    def test_blocked_window_has_the_gradient_of_its_function(self):
        config = small_config(hidden_size=8, num_attention_heads=2, intermediate_size=8, num_hidden_layers=2)
        model = enliven(RecformerModel(config)).double().eval()
        batch = random_batch([11, 3], config)
        batch["inputs_embeds"] = torch.randn(2, 11, 8, dtype=torch.float64, requires_grad=True)
        del batch["input_ids"]

        def states(embeds: torch.Tensor) -> torch.Tensor:
            return model(**{**batch, "inputs_embeds": embeds}).last_hidden_state

        assert torch.autograd.gradcheck(states, batch["inputs_embeds"])

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
        monkeypatch.setattr(layers, "serves_by_shape", lambda *_, rounds=rounds: rounds)
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
    @pytest.mark.parametrize("implementation", ["eager", "sdpa"])
    def test_attention_dropout_keeps_the_expectation(self, implementation):
        """The mean over many draws nears the result without dropout, `<s>` with its value bias included."""
        config = small_config(num_hidden_layers=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5)
        model = enliven(RecformerModel(config))
        self_attention = model.encoder.layer[0].attention.self
        layout = attention.SequenceLayout(torch.tensor([0, 12, 16]), 16, torch.device("cpu"))
        hidden = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected = self_attention.eval()(hidden, layout, implementation)[0]
        self_attention.train()
        torch.manual_seed(0)
        with torch.no_grad():  # dropout does not depend on whether a gradient is recorded
            draws = torch.stack([self_attention(hidden, layout, implementation)[0] for _ in range(3000)])
        assert not torch.equal(draws[0], draws[1])
        error = (draws.mean(0) - expected).abs() / (draws.std(0) / 3000**0.5 + 1e-4)
        assert error.max() < 6  # standard errors, over 1,024 numbers

    @pytest.mark.parametrize("half", [1, 4])
    def test_gradients_of_the_blocked_window_are_exact_with_dropout(self, half):
        """Against finite differences, the draws held still by a seed."""
        lengths = torch.tensor([0, 9, 10, 16])
        layout = attention.SequenceLayout(lengths, 16, torch.device("cpu"))
        blocks = attention.WindowBlocks.of(layout, half, 16)
        generator = torch.Generator().manual_seed(0)
        rows = [torch.randn(16, 6, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(3)]

        def window(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            torch.manual_seed(1)
            return attention._BlockedWindow.apply(query, key, value, blocks, 2, 0.4)

        assert torch.autograd.gradcheck(window, rows)

    @pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
    def test_a_mask_drops_its_share(self, probability):
        torch.manual_seed(0)
        keep, factor = keep_mask((1000, 999), probability, torch.device("cpu"))
        assert keep.dtype == torch.uint8
        assert keep.max() == 1
        dropped = 1 - keep.double().mean().item()
        assert abs(dropped - probability) < 5 * (probability * (1 - probability) / keep.numel()) ** 0.5
        assert factor == pytest.approx(1 / (1 - probability), rel=1e-3)

    def test_a_mask_whatever_the_default_device(self):
        with torch.device("meta"):
            assert keep_mask((3, 5), 0.5, torch.device("cpu"))[0].device.type == "cpu"

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


class TestAttentions:
    def test_returned_probabilities_are_who_sees_whom(self, model):
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

        assert everyones["sdpa"] is not attention.ALL_ATTENTION_FUNCTIONS["sdpa"]

    def test_the_projections_of_s_may_be_wrapped(self, model):
        """Wrapped projections (LoRA, quantised) take the ordinary way and give the same result."""

        class Wrapped(torch.nn.Module):
            def __init__(self, inner: torch.nn.Module) -> None:
                super().__init__()
                self.inner = inner

            def forward(self, hidden: torch.Tensor) -> torch.Tensor:
                return self.inner(hidden)

        batch = random_batch([30, 6, 1], model.config)
        with torch.no_grad():
            expected = model(**batch).last_hidden_state
            for layer in model.encoder.layer:
                attention = layer.attention.self
                for name in ("query_global", "key_global", "value_global", "query", "key", "value"):
                    setattr(attention, name, Wrapped(getattr(attention, name)))
            assert_parity(model(**batch).last_hidden_state, expected)
            assert_parity(model(**batch, pooled_only=True).pooler_output, expected[:, 0])


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"input_ids": None}, "either input_ids or inputs_embeds"),
            ({"input_ids": torch.zeros(5, dtype=torch.long)}, r"\[batch, seq_len\]"),
            ({"input_ids": torch.zeros(1, 0, dtype=torch.long)}, "not empty"),
            ({"input_ids": torch.full((1, 6), 320)}, "input_ids must lie between 0 and 319 .*got 320"),
            ({"input_ids": torch.full((1, 6), -1)}, "got -1"),
            ({"input_ids": torch.zeros(1, 6)}, "integers"),
            ({"token_type_ids": torch.full((1, 6), 4)}, "token_type_size is 4.*got 4"),
            ({"item_position_ids": torch.full((1, 6), 51)}, "max_item_embeddings is 51.*got 51"),
            ({"token_type_ids": torch.zeros(1, 5, dtype=torch.long)}, r"token_type_ids has shape \[1, 5\]"),
            ({"attention_mask": torch.ones(2, 6)}, r"attention_mask has shape \[2, 6\]"),
            ({"attention_mask": torch.zeros(1, 6)}, "row 0 has no real token"),
            ({"position_ids": torch.full((1, 6), 130)}, "position_ids must lie between 0 and 129"),
            ({"cu_seqlens": torch.tensor([0, 6])}, "attention_mask left out"),
        ],
    )
    def test_padded(self, model, change, message):
        batch = {**random_batch([6], model.config), **change}
        with pytest.raises(ValueError, match=message):
            model(**batch)

    @pytest.mark.parametrize(
        ("bounds", "message"),
        [
            ([1, 6], "must start at 0, got 1"),
            ([0, 5], r"must end at the number of packed tokens \(6\), got 5"),
            ([0, 7], "got 7"),
            ([0, 3, 3, 6], "must grow: sequence 1 would run from 3 to 3"),
            ([0, 4, 2, 6], "must grow: sequence 1"),
            ([0], "at least one sequence"),
            ([[0, 6]], r"\[batch \+ 1\]"),
            ([0.0, 6.0], "integer"),
        ],
    )
    def test_packed(self, model, bounds, message):
        batch = random_batch([6], model.config)
        del batch["attention_mask"]
        with pytest.raises(ValueError, match=message):
            model(**batch, cu_seqlens=torch.tensor(bounds))

    def test_packed_batches_have_one_row(self, model):
        batch = random_batch([6, 6], model.config)
        del batch["attention_mask"]
        with pytest.raises(ValueError, match=r"\[1, total_tokens\]"):
            model(**batch, cu_seqlens=torch.tensor([0, 6]))

    def test_too_long(self, model):
        with pytest.raises(ValueError, match=r"129 tokens, but the position table ends at 128.*max_token_num"):
            model(**random_batch([129], model.config))


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
