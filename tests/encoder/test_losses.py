"""Closed forms of the losses."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from recformer_hf.encoder.losses import (
    candidate_scores,
    contrastive_loss,
    draw_negatives,
    item_pair_loss,
    masked_token_losses,
    similarity_scores,
)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class TestScores:
    def test_are_cosine_over_temperature(self, generator):
        users, items = torch.randn(3, 8, generator=generator) * 5, torch.randn(4, 8, generator=generator)
        expected = F.cosine_similarity(users[:, None], items[None], dim=-1) / 0.05
        torch.testing.assert_close(similarity_scores(users, items, 0.05), expected, atol=1e-5, rtol=1e-5)
        candidates = torch.tensor([[0, 2], [3, 3], [1, 0]])
        found = candidate_scores(users, items[candidates], 0.05)
        torch.testing.assert_close(found, expected.gather(1, candidates), atol=1e-5, rtol=1e-5)

    def test_a_zero_vector_scores_zero(self):
        assert (similarity_scores(torch.ones(2, 4), torch.zeros(3, 4), 0.05) == 0).all()

    def test_no_half_precision_under_autocast(self, generator):
        users, items = torch.randn(3, 8, generator=generator), torch.randn(4, 8, generator=generator)
        expected = similarity_scores(users, items, 0.05)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(similarity_scores(users, items, 0.05), expected)

    def test_gradient_reaches_users_and_items(self, generator):
        users = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
        items = torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda u, i: similarity_scores(u, i, 0.5), (users, items))


class TestContrastive:
    def test_uniform_scores_give_log_batch(self):
        assert contrastive_loss(torch.zeros(7, 7)).item() == pytest.approx(math.log(7))

    def test_one_pair_has_no_negative(self):
        assert contrastive_loss(torch.randn(1, 1)).item() == 0

    def test_the_same_item_twice_is_no_negative_of_itself(self):
        scores = torch.zeros(4, 4)
        loss = contrastive_loss(scores, torch.tensor([5, 6, 5, 7]), reduction="none")
        expected = [math.log(3), math.log(4), math.log(3), math.log(4)]
        torch.testing.assert_close(loss, torch.tensor(expected))

    def test_more_positives_than_contexts(self):
        """Positives gathered from elsewhere stand behind the own ones."""
        assert contrastive_loss(torch.zeros(2, 6)).item() == pytest.approx(math.log(6))

    def test_masked_duplicates_take_no_gradient(self):
        scores = torch.zeros(2, 2, requires_grad=True)
        contrastive_loss(scores, torch.tensor([5, 5])).backward()
        assert (scores.grad == 0).all()


class TestItemPairs:
    def test_the_loss_is_that_of_its_definition(self):
        torch.manual_seed(0)
        vectors, corrections = torch.randn(6, 4), torch.randn(6)
        first, second = torch.tensor([0, 1, 4]), torch.tensor([1, 2, 5])
        together = torch.block_diag(torch.ones(4, 4), torch.ones(2, 2)).bool()
        allowed = [{1, 4, 5}, {2, 4, 5}, {0, 1, 2, 3, 5}]  # the second one, and what it is told from
        losses = []
        for i, j, candidates in zip(first.tolist(), second.tolist(), allowed, strict=True):
            scores = {
                k: (torch.cosine_similarity(vectors[i], vectors[k], dim=0) / 0.05 + corrections[k]).double().item()
                for k in candidates
            }
            losses.append(math.log(sum(math.exp(score) for score in scores.values())) - scores[j])
        loss = item_pair_loss(vectors, first, second, together, corrections, 0.05)
        assert loss.item() == pytest.approx(sum(losses) / 3, abs=1e-5)


class TestNegatives:
    def test_never_the_target_and_otherwise_uniform(self):
        torch.manual_seed(0)
        labels = torch.tensor([0, 3, 9]).repeat_interleave(2000)
        drawn = draw_negatives(labels, num_items=10, num_negatives=5)
        assert drawn.shape == (6000, 5)
        assert not (drawn == labels[:, None]).any()
        for label in (0, 3, 9):
            counts = torch.bincount(drawn[labels == label].flatten(), minlength=10)
            assert counts[label] == 0
            expected = 10000 / 9
            others = counts[torch.arange(10) != label].double()
            assert ((others - expected) ** 2 / expected).sum() < 30  # chi-square, 8 degrees of freedom

    def test_two_items_leave_one_choice(self):
        assert draw_negatives(torch.tensor([0, 1]), 2, 3).tolist() == [[1, 1, 1], [0, 0, 0]]


class TestMaskedTokens:
    def test_each_side_is_the_mean_over_its_own(self, generator):
        logits, labels = torch.randn(5, 11, generator=generator), torch.tensor([1, 2, 3, 4, 5])
        sides = torch.tensor([True, False, True, True, False])
        context, item = masked_token_losses(logits, labels, sides)
        torch.testing.assert_close(context, F.cross_entropy(logits[sides], labels[sides]))
        torch.testing.assert_close(item, F.cross_entropy(logits[~sides], labels[~sides]))

    def test_a_side_without_masked_tokens_contributes_nothing(self):
        context, item = masked_token_losses(torch.zeros(2, 11), torch.tensor([1, 2]), torch.tensor([True, True]))
        assert context.item() == pytest.approx(math.log(11))
        assert item.item() == 0
        nothing = masked_token_losses(torch.zeros(0, 11), torch.zeros(0, dtype=torch.long), torch.zeros(0).bool())
        assert [loss.item() for loss in nothing] == [0, 0]
