"""The public replication's numbers: hidden states, scores, losses and gradients (tests/fixtures/README.md)."""

from __future__ import annotations

import pytest
import torch

from tests.support.models import GOLDEN, golden_case

IMPLEMENTATIONS = [None, "eager", "sdpa"]
CASES = [
    "above_window", "empty_history", "eq_window", "half_window", "longest", "multiple", "no_attention_mask", "one_item",
    "position_ids", "ragged",
]  # fmt: skip
TOLERANCE = {"atol": 1e-5, "rtol": 0}
STRIDE = 7


def packed_form(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    inputs = dict(inputs)
    real = inputs.pop("attention_mask", torch.ones_like(inputs["input_ids"])).bool()
    packed = {name: value[real][None] for name, value in inputs.items()}
    packed["cu_seqlens"] = torch.nn.functional.pad(real.sum(1).cumsum(0), (1, 0))
    return packed


@pytest.mark.parametrize("training_path", [False, True])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("case", CASES)
def test_hidden_states(golden, golden_pretraining_model, case, implementation, training_path):
    model = golden_pretraining_model.recformer
    model.set_attn_implementation(implementation)
    inputs, expected = golden_case(golden, f"encoder.{case}.in."), golden_case(golden, f"encoder.{case}.out.")
    real = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).bool()
    with torch.set_grad_enabled(training_path):
        padded = model(**inputs, output_hidden_states=True)
        packed = model(**packed_form(inputs))
        pooled = model(**inputs, pooled_only=True).pooler_output
    torch.testing.assert_close(padded.last_hidden_state[real], expected["last_hidden_state"], **TOLERANCE)
    torch.testing.assert_close(packed.last_hidden_state[0], expected["last_hidden_state"], **TOLERANCE)
    assert (padded.last_hidden_state[~real] == 0).all()
    first = padded.last_hidden_state[:, 0]
    for vector in (padded.pooler_output, packed.pooler_output, pooled):
        torch.testing.assert_close(vector, expected.get("pooler_output", first), **TOLERANCE)
    for layer in range(4):
        if f"hidden_states.{layer}" in expected:
            torch.testing.assert_close(
                padded.hidden_states[layer][real], expected[f"hidden_states.{layer}"], **TOLERANCE
            )


def check_gradients(model, expected: dict[str, torch.Tensor]) -> None:
    scale = max(value.abs().max() for value in expected.values())
    weights = dict(model.named_parameters())
    for name, reference in expected.items():
        weight = weights[name]
        found = torch.zeros_like(weight) if weight.grad is None else weight.grad
        found = found.flatten()[::STRIDE]
        allowed = 1e-4 * reference.abs().max().clamp_min(1e-6 * scale)
        if name.endswith(("key.bias", "key_global.bias")):
            # The softmax does not see what is the same for all keys: the true gradient is 0, the rest is rounding.
            assert max(found.abs().max(), reference.abs().max()) <= 1e-6 * scale
            continue
        worst = (found - reference).abs().max()
        assert worst <= allowed, f"{name}: {worst:.2e} > {allowed:.2e}"


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
class TestSequentialRecommendation:
    def test_scores(self, golden, golden_seqrec_model, implementation):
        golden_seqrec_model.set_attn_implementation(implementation)
        inputs, expected = golden_case(golden, "seqrec.in."), golden_case(golden, "seqrec.out.")
        candidates, labels, negatives = (inputs.pop(name) for name in ("candidates", "labels", "negatives"))
        with torch.no_grad():
            full = golden_seqrec_model(**inputs, labels=labels)
            few = golden_seqrec_model(**inputs, candidates=candidates)
            sampled = golden_seqrec_model(**inputs, labels=labels, negatives=negatives)
        torch.testing.assert_close(full.scores, expected["scores"], atol=1e-5, rtol=0)
        torch.testing.assert_close(full.user_embeds, expected["pooler_output"], **TOLERANCE)
        torch.testing.assert_close(few.scores, expected["scores_candidates"], atol=1e-5, rtol=0)
        torch.testing.assert_close(full.loss, expected["loss_full"], **TOLERANCE)
        torch.testing.assert_close(sampled.loss, expected["loss_sampled"], **TOLERANCE)
        assert (full.scores[:, 11] == 0).all()  # an item without a vector
        assert (full.scores[:, 3] == full.scores[:, 7]).all()  # items of equal text tie exactly

    def test_one_history(self, golden, golden_seqrec_model, implementation):
        golden_seqrec_model.set_attn_implementation(implementation)
        with torch.no_grad():
            scores = golden_seqrec_model(**golden_case(golden, "seqrec_one.in.")).scores
        torch.testing.assert_close(scores, golden_case(golden, "seqrec_one.out.")["scores"], **TOLERANCE)

    def test_gradients(self, golden, golden_seqrec_model, implementation):
        golden_seqrec_model.set_attn_implementation(implementation)
        inputs = golden_case(golden, "seqrec.in.")
        labels = inputs.pop("labels")
        del inputs["candidates"], inputs["negatives"]
        golden_seqrec_model(**inputs, labels=labels).loss.backward()
        check_gradients(golden_seqrec_model.recformer, golden_case(golden, "seqrec.full.grad."))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
class TestPretraining:
    def joined(self, golden) -> dict[str, torch.Tensor]:
        """The replication's two padded batches as one: contexts first."""
        inputs = golden_case(golden, "pretrain.in.")
        names = ("input_ids", "token_type_ids", "item_position_ids", "attention_mask", "mlm_input_ids", "mlm_labels")
        width = inputs["input_ids_a"].shape[1]
        pad = torch.nn.functional.pad
        return {
            name: torch.cat([inputs[f"{name}_a"], pad(inputs[f"{name}_b"], (0, width - inputs[f"{name}_b"].shape[1]))])
            for name in names
        }

    def test_losses(self, golden, golden_pretraining_model, implementation):
        model = golden_pretraining_model
        model.set_attn_implementation(implementation)
        inputs, expected = self.joined(golden), golden_case(golden, "pretrain.out.")
        with torch.no_grad():
            output = model(**inputs)
            packed = model(**packed_form(inputs))
        weight = model.config.mlm_weight
        for result in (output, packed):
            torch.testing.assert_close(result.loss, expected["loss"], **TOLERANCE)
            torch.testing.assert_close(result.contrastive_loss, expected["loss_contrastive"], **TOLERANCE)
            context_alone = result.contrastive_loss + weight * result.mlm_context_loss
            item_alone = result.contrastive_loss + weight * result.mlm_item_loss
            torch.testing.assert_close(context_alone, expected["loss_with_mlm_a"], **TOLERANCE)
            torch.testing.assert_close(item_alone, expected["loss_with_mlm_b"], **TOLERANCE)
            torch.testing.assert_close(result.logits, expected["logits"], atol=1e-5, rtol=0)
            in_contexts = result.mlm_logits[: len(expected["mlm_logits_a_at_masked"])]
            torch.testing.assert_close(in_contexts, expected["mlm_logits_a_at_masked"], **TOLERANCE)
        correct = (output.logits.argmax(1) == torch.arange(len(output.logits))).sum()
        assert (correct, len(output.logits)) == (expected["cl_correct_num"], expected["cl_total_num"])

    def test_gradients(self, golden, golden_pretraining_model, implementation):
        model = golden_pretraining_model
        model.set_attn_implementation(implementation)
        model(**self.joined(golden)).loss.backward()
        expected = golden_case(golden, "pretrain.grad.")
        expected.pop("lm_head.bias", None)
        head = {name: expected.pop(name) for name in list(expected) if name.startswith("lm_head.")}
        check_gradients(model.recformer, expected)
        check_gradients(model, head)


def test_replication_config_loads():
    from recformer_hf.configuration_recformer import RecformerConfig

    config = RecformerConfig.from_pretrained(GOLDEN)
    assert (config.temperature, config.num_items, config.attention_window) == (0.05, 40, [8, 8, 8])
