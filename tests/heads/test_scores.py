import pytest
import torch
import torch.nn.functional as F

from recformer_hf import RecformerConfig
from recformer_hf.encoder.losses import similarity_scores
from recformer_hf.heads.history_items import Histories
from recformer_hf.heads.scores import Queries, scores_and_loss, scores_of_all, scores_of_some
from recformer_hf.heads.scoring_head import ScoringHead

USERS, ITEMS = torch.randn(2, 8, generator=torch.Generator().manual_seed(0)), torch.eye(8)[:6] + 0.1
HISTORIES = Histories(torch.tensor([[4, 1], [2, -1]]), torch.tensor([[0, 1], [1, 0]]))


def head_with(**fields):
    head = ScoringHead(RecformerConfig(hidden_size=8, num_attention_heads=2, num_items=6, **fields))
    head.init_weights()
    return head


def test_scores_are_cosines_over_the_temperature():
    expected = F.normalize(USERS, dim=1) @ F.normalize(ITEMS, dim=1).T / 0.05
    torch.testing.assert_close(scores_of_all(head_with(), Queries(USERS), ITEMS), expected)


def test_without_parts_scores_are_the_papers_to_the_last_bit():
    assert torch.equal(scores_of_all(head_with(), Queries(USERS), ITEMS), similarity_scores(USERS, ITEMS, 0.05))


def test_a_bias_for_the_items_of_the_history():
    head = head_with(history_bias=True, learned_temperature=True)
    head.history_bias.data[:2] = torch.tensor([-3.0, 2.0])
    plain = scores_of_all(head_with(), Queries(USERS), ITEMS)
    scores = scores_of_all(head, Queries(USERS, HISTORIES), ITEMS)
    gains = torch.zeros(2, 6)
    gains[0, 1], gains[0, 4], gains[1, 2] = -3, 2, -3
    torch.testing.assert_close(scores, plain + gains)
    candidates = torch.tensor([[4, 0, 1], [3, 2, 5]])
    some = scores_of_some(head, Queries(USERS, HISTORIES), ITEMS, candidates)
    torch.testing.assert_close(some, scores.gather(1, candidates))


def test_equal_items_tie_but_for_the_bias():
    items = ITEMS[[0, 1, 0, 3, 1, 5]]
    head = head_with(history_bias=True)
    head.history_bias.data[:2] = torch.tensor([-3.0, 2.0])
    scores = scores_of_all(head, Queries(USERS, HISTORIES), items, torch.tensor([[2, 4], [0, 1]])).detach()
    assert scores[0, 2] == scores[0, 0]
    assert scores[1, 2] - scores[1, 0] == pytest.approx(-3)  # only item 2 is in the second history
    assert scores[0, 4] - scores[0, 1] == pytest.approx(5, abs=1e-5)  # both are in the first, 4 before 1
    assert scores[1, 4] == scores[1, 1]


def test_a_bias_needs_the_history():
    with pytest.raises(ValueError, match="pass history_rows"):
        scores_of_all(head_with(history_bias=True), Queries(USERS), ITEMS)


def test_losses():
    head, labels = head_with(), torch.tensor([3, 0])
    scores, loss = scores_and_loss(head, Queries(USERS), ITEMS, None, labels, None, None)
    torch.testing.assert_close(loss, F.cross_entropy(scores, labels))
    candidates = torch.tensor([[1, 3], [0, 2]])
    some, loss = scores_and_loss(head, Queries(USERS), ITEMS, candidates, labels, None, None)
    torch.testing.assert_close(loss, F.cross_entropy(scores.gather(1, candidates), torch.tensor([1, 0])))
    negatives = torch.tensor([[1], [2]])
    some, loss = scores_and_loss(head, Queries(USERS), ITEMS, None, labels, None, negatives)
    assert some is None
    sampled = torch.stack([scores[[0, 1], labels], scores[[0, 1], negatives[:, 0]]], 1)
    torch.testing.assert_close(loss, F.cross_entropy(sampled, torch.zeros(2, dtype=torch.long)))


def test_the_temperature_learns():
    head = head_with(learned_temperature=True)
    _, loss = scores_and_loss(head, Queries(USERS), ITEMS, None, torch.tensor([3, 0]), None, None)
    loss.backward()
    assert head.log_temperature.grad.abs() > 0
