"""baselines/shared/losses.py against closed forms and the formulas written plainly."""

from __future__ import annotations

import math

import pytest
import torch

from recformer_hf.baselines.shared import losses
from recformer_hf.baselines.shared.losses import (
    binary_cross_entropy,
    bpr_max,
    full_cross_entropy,
    gbce_beta,
    sampled_softmax,
    top1_max,
)

GENERATOR = torch.Generator().manual_seed(0)
TARGETS = torch.randn(5, generator=GENERATOR)
NEGATIVES = torch.randn(5, 4, generator=GENERATOR)
NONE = torch.zeros(5, 4, dtype=torch.bool)
ACCIDENTAL = NONE.clone()
ACCIDENTAL[1, 2] = ACCIDENTAL[3, 0] = True


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def plainly(of_target) -> float:
    """The mean over targets of a formula of a target's score and the list of its negatives' scores."""
    rows = [
        of_target(float(s), [float(x) for x, out in zip(row, marks, strict=True) if not out])
        for s, row, marks in zip(TARGETS, NEGATIVES, ACCIDENTAL, strict=True)
    ]
    return sum(rows) / len(rows)


def weights(scores: list[float]) -> list[float]:
    total = sum(math.exp(each) for each in scores)
    return [math.exp(each) / total for each in scores]


class TestFullCrossEntropy:
    def test_uniform_scores_give_log_n(self):
        loss = full_cross_entropy(torch.zeros(3, 8), torch.randn(50, 8), torch.tensor([1, 2, 3]))
        assert float(loss) == pytest.approx(math.log(50))

    def test_without_targets_it_is_0(self):
        states = torch.zeros(0, 8, requires_grad=True)
        loss = full_cross_entropy(states, torch.randn(50, 8), torch.zeros(0, dtype=torch.int64))
        loss.backward()
        assert loss.item() == 0.0

    def test_is_torchs_and_counts_the_bias(self):
        states, items, bias = torch.randn(6, 8), torch.randn(50, 8), torch.randn(50)
        labels = torch.arange(6)
        expected = torch.nn.functional.cross_entropy(states @ items.T + bias, labels)
        torch.testing.assert_close(full_cross_entropy(states, items, labels, bias), expected)

    def test_chunks_change_neither_loss_nor_gradients(self, monkeypatch):
        def found() -> list[torch.Tensor]:
            torch.manual_seed(0)
            states, items, bias = (torch.randn(*shape, requires_grad=True) for shape in ((7, 8), (50, 8), (50,)))
            loss = full_cross_entropy(states, items, torch.arange(7), bias)
            loss.backward()
            return [loss.detach(), states.grad, items.grad, bias.grad]

        whole = found()
        monkeypatch.setattr(losses, "FEWEST_TARGETS", 1)
        monkeypatch.setitem(losses.MOST_SCORES, "cpu", 120)  # two targets at once
        for first, second in zip(whole, found(), strict=True):
            torch.testing.assert_close(first, second)

    @pytest.mark.parametrize("with_bias", [True, False])
    def test_gradients(self, with_bias, monkeypatch):
        states, items, bias = (
            torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((5, 3), (7, 3), (7,))
        )
        monkeypatch.setattr(losses, "FEWEST_TARGETS", 2)
        labels = torch.tensor([6, 0, 0, 3, 1])
        assert torch.autograd.gradcheck(
            lambda *args: full_cross_entropy(args[0], args[1], labels, *args[2:]),
            (states, items, *([bias] if with_bias else [])),
        )

    def test_frozen_items_get_no_gradient(self):
        states, items = torch.randn(4, 8, requires_grad=True), torch.randn(50, 8)
        full_cross_entropy(states, items, torch.arange(4)).backward()
        other = states.detach().clone().requires_grad_()
        torch.nn.functional.cross_entropy(other @ items.T, torch.arange(4)).backward()
        torch.testing.assert_close(states.grad, other.grad)

    def test_bfloat16_is_as_close_as_torchs(self):
        torch.manual_seed(0)
        states, items = torch.randn(40, 16, requires_grad=True), torch.randn(90, 16, requires_grad=True)
        labels = torch.arange(40)
        full_cross_entropy(states, items, labels).backward()
        exact = states.grad.clone(), items.grad.clone()

        def errors(loss_of) -> list[float]:
            states.grad = items.grad = None
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of()
            assert loss.dtype == torch.float32
            loss.backward()
            assert states.grad.dtype == items.grad.dtype == torch.float32
            grads = zip((states.grad, items.grad), exact, strict=True)
            return [float((found - right).norm()) for found, right in grads]

        ours = errors(lambda: full_cross_entropy(states, items, labels))
        theirs = errors(lambda: torch.nn.functional.cross_entropy((states @ items.T).float(), labels))
        assert max(ours[0] / theirs[0], ours[1] / theirs[1]) < 1.1

    def test_of_very_many_items_it_warns(self, caplog):
        full_cross_entropy(torch.zeros(1, 1), torch.zeros(2**18 + 1, 1), torch.tensor([5]))
        assert "loss='sampled_softmax' compares a target with a few hundred items" in caplog.text


class TestBinary:
    def test_by_hand(self):
        expected = plainly(
            lambda s, negatives: -(math.log(sigmoid(s)) + sum(math.log(1 - sigmoid(x)) for x in negatives))
        )
        assert float(binary_cross_entropy(TARGETS, NEGATIVES, ACCIDENTAL)) == pytest.approx(expected / 4)

    def test_gbce_raises_the_targets_probability_to_beta(self):
        expected = plainly(
            lambda s, negatives: -(math.log(sigmoid(s) ** 0.3) + sum(math.log(1 - sigmoid(x)) for x in negatives))
        )
        assert float(binary_cross_entropy(TARGETS, NEGATIVES, ACCIDENTAL, beta=0.3)) == pytest.approx(expected / 4)

    def test_beta(self):
        assert gbce_beta(64, 1001, calibration=0.0) == pytest.approx(1.0)  # plain BCE
        assert gbce_beta(64, 1001, calibration=1.0) == pytest.approx(0.064)  # the sampling rate
        assert gbce_beta(64, 1001, calibration=0.5) == pytest.approx((1 + 0.064) / 2)
        assert gbce_beta(2000, 1001, calibration=0.5) == 1.0  # nothing is left out
        assert gbce_beta(1, 1, calibration=0.5) == 1.0  # there is nothing else


class TestSampledSoftmax:
    def test_by_hand(self):
        expected = plainly(lambda s, negatives: math.log(math.exp(s) + sum(map(math.exp, negatives))) - s)
        assert float(sampled_softmax(TARGETS, NEGATIVES, ACCIDENTAL)) == pytest.approx(expected)

    def test_over_all_other_items_it_is_the_full_cross_entropy(self):
        states, items, labels = torch.randn(6, 8), torch.randn(50, 8), torch.arange(6)
        scores = states @ items.T
        accidental = labels[:, None] == torch.arange(50)
        found = sampled_softmax(scores[torch.arange(6), labels], scores, accidental, torch.zeros(50))
        torch.testing.assert_close(found, full_cross_entropy(states, items, labels))

    def test_the_correction_makes_the_sum_over_negatives_unbiased(self):
        scores, chances = torch.tensor([0.3, -1.0, 2.0, 0.1]), torch.tensor([0.4, 0.3, 0.2, 0.1])
        generator, count = torch.Generator().manual_seed(1), 200_000
        drawn = torch.multinomial(chances, count, replacement=True, generator=generator)
        found = sampled_softmax(
            torch.zeros(1), scores[drawn][None], torch.zeros(1, count, dtype=torch.bool), (chances * count).log()[drawn]
        )
        expected = math.log(1 + float(scores.exp().sum()))
        assert float(found) == pytest.approx(expected, rel=5e-3)


class TestMaxLosses:
    def test_bpr_max_by_hand(self):
        def of_target(s: float, negatives: list[float]) -> float:
            pairs = list(zip(weights(negatives), negatives, strict=True))
            return -math.log(sum(w * sigmoid(s - x) for w, x in pairs)) + 0.5 * sum(w * x * x for w, x in pairs)

        assert float(bpr_max(TARGETS, NEGATIVES, ACCIDENTAL, 0.5)) == pytest.approx(plainly(of_target))

    def test_top1_max_by_hand(self):
        def of_target(s: float, negatives: list[float]) -> float:
            return sum(
                w * (sigmoid(x - s) + sigmoid(x * x)) for w, x in zip(weights(negatives), negatives, strict=True)
            )

        assert float(top1_max(TARGETS, NEGATIVES, ACCIDENTAL)) == pytest.approx(plainly(of_target))


@pytest.mark.parametrize("loss", [binary_cross_entropy, sampled_softmax, bpr_max, top1_max])
class TestEdges:
    def test_scores_in_bfloat16_are_counted_in_float32(self, loss):
        found = loss(TARGETS.bfloat16(), NEGATIVES.bfloat16(), NONE)
        assert found.dtype == torch.float32
        assert float(found) == pytest.approx(float(loss(TARGETS, NEGATIVES, NONE)), rel=2e-2)

    def test_negatives_that_are_all_the_target_give_a_finite_loss(self, loss):
        targets = TARGETS.clone().requires_grad_()
        found = loss(targets, NEGATIVES, torch.ones(5, 4, dtype=torch.bool))
        found.backward()
        assert math.isfinite(found.detach())
        assert bool(torch.isfinite(targets.grad).all())

    def test_large_scores_do_not_overflow(self, loss):
        found = loss(torch.full((5,), -300.0), torch.full((5, 4), 300.0), NONE)
        assert math.isfinite(found)
