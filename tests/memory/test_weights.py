"""Candidates of users, and the search for the weights that rank their targets best."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from recformer_hf.memory.weights import ALONE, Candidates, Mixture, choose_mixture, choose_weights

HISTORIES = [np.array([0]), np.array([1, 1, 2])]


def ndcg(parts: list[np.ndarray], weights: np.ndarray, histories: list[np.ndarray], targets: np.ndarray) -> list[float]:
    """NDCG@10 of the whole catalogue, history kept and excluded, by comparing every item with the target."""
    gains = np.zeros((len(targets), 2))
    for user, target in enumerate(targets):
        total = sum(weight * part[user].astype(np.float64) for weight, part in zip(weights, parts, strict=True))
        for protocol, others in enumerate([set(), set(histories[user].tolist())]):
            if target in others:
                continue
            rivals = np.delete(total, [target, *others])
            rank = 1 + (rivals > total[target]).sum() + (rivals == total[target]).sum() / 2
            gains[user, protocol] = 1 / math.log2(rank + 1) if rank <= 10 else 0
    return gains.mean(0).tolist()


def random_users(seed: int, users: int = 80, items: int = 40, parts: int = 3):
    """Sparse scores of which each part knows some targets, histories, targets."""
    draw = np.random.default_rng(seed)
    histories = [draw.integers(0, items, draw.integers(1, 4)) for _ in range(users)]
    targets = draw.integers(0, items, users)
    scores = []
    for scale in (1.0, 50.0, 0.01)[:parts]:
        part = np.where(draw.random((users, items)) < 0.3, draw.random((users, items)), 0)
        known = draw.random(users) < 0.4
        part[known, targets[known]] += 0.6
        for row, history in zip(part, histories, strict=True):
            row[history] += draw.random(len(history)) * 0.7
        scores.append((scale * part).astype(np.float32))
    return scores, histories, targets


def test_candidates_are_the_best_of_each_part() -> None:
    """User 0: items 3 and 1 of the first part, 3 and 0 of the second; 3 is the target. User 1 has all but item 2."""
    scores = [
        torch.tensor([[0.0, 2, 1, 3, 0.5], [5.0, 4, 0, 0, 0]]),
        torch.tensor([[7.0, 0, 0, 9, 1], [0.0, 1, 0, 2, -torch.inf]]),
    ]
    found = Candidates.of(scores, HISTORIES, np.array([3, 2]), top_k=2)
    assert found.offsets.tolist() == [0, 2, 5]
    assert found.scores.tolist() == [[0, 2, 5, 4, 0], [7, 0, 0, 1, 2]]
    assert found.in_history.tolist() == [True, False, False, True, False]
    assert found.target_scores.tolist() == [[3, 0], [9, 0]]
    assert found.target_in_history.tolist() == [False, True]
    joined = Candidates.joined([found, found])
    assert joined.offsets.tolist() == [0, 2, 5, 7, 10]
    assert joined.scores.tolist() == np.concatenate([found.scores, found.scores], 1).tolist()


@pytest.mark.parametrize(("protocol", "column"), [("kept", 0), ("excluded", 1)])
def test_parts_alone_have_the_figures_of_the_whole_catalogue(protocol, column) -> None:
    scores, histories, targets = random_users(0)
    candidates = Candidates.of([torch.from_numpy(part) for part in scores], histories, targets)
    chosen = choose_weights(candidates, protocol=protocol)
    for part, found in enumerate(chosen.part_ndcg):
        assert found == pytest.approx(ndcg(scores, np.eye(3)[part], histories, targets)[column])


@pytest.mark.parametrize("protocol", ["kept", "excluded", "both"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_weights_are_about_the_best_of_a_grid(protocol, seed: int) -> None:
    scores, histories, targets = random_users(seed)
    candidates = Candidates.of([torch.from_numpy(part) for part in scores], histories, targets)
    chosen = choose_weights(candidates, protocol=protocol)
    columns = {"kept": [0], "excluded": [1], "both": [0, 1]}[protocol]

    def figure(weights: np.ndarray) -> float:
        return float(np.mean([ndcg(scores, weights, histories, targets)[column] for column in columns]))

    assert chosen.ndcg == pytest.approx(figure(chosen.weights), abs=1e-9)
    assert chosen.ndcg >= max(chosen.part_ndcg)
    scales = 1 / np.array([1, 50, 0.01])
    best = max(figure(scales * weights) for weights in itertools.product([0, 0.25, 1, 4], repeat=3) if any(weights))
    assert chosen.ndcg >= best - 0.01
    assert chosen.ndcg > max(chosen.part_ndcg) + 0.02
    again = choose_weights(candidates, protocol=protocol)
    assert again.weights.tolist() == chosen.weights.tolist()


def test_a_part_that_knows_nothing_gets_no_weight() -> None:
    scores, histories, targets = random_users(3, parts=1)
    nothing = torch.zeros(scores[0].shape)
    chosen = choose_weights(Candidates.of([nothing, torch.from_numpy(scores[0])], histories, targets))
    assert chosen.weights[0] == 0
    assert chosen.weights[1] > 0
    assert chosen.ndcg == chosen.part_ndcg[1]


def test_one_part() -> None:
    scores, histories, targets = random_users(4, parts=1)
    chosen = choose_weights(Candidates.of([torch.from_numpy(scores[0])], histories, targets))
    assert chosen.weights[0] > 0
    assert [chosen.ndcg] == chosen.part_ndcg


def test_a_catalogue_of_one_item_leaves_nothing_to_choose() -> None:
    """The only item is the target, so there are no other candidates."""
    candidates = Candidates.of(
        [torch.ones(2, 1), torch.zeros(2, 1)], [np.array([0]), np.array([0, 0])], np.zeros(2, int)
    )
    chosen = choose_weights(candidates, protocol="kept")
    assert chosen.ndcg == 1
    assert chosen.part_ndcg == [1, 1]
    assert chosen.weights.any()


def mixed(mixture: Mixture, scores: list[np.ndarray], histories, targets) -> list[float]:
    """NDCG of a mixture over the whole catalogue, history kept and excluded."""
    counted = sum(weight * part for weight, part in zip(mixture.weights, scores[1:], strict=True))
    for row, history in zip(counted, histories, strict=True):
        row[np.unique(history)] *= mixture.history_factor
    return ndcg([scores[0] + mixture.strength * np.log1p(counted)], np.ones(1), histories, targets)


START = Mixture((1.0, 100.0), 0.05, 3.0)


@pytest.mark.parametrize("protocol", ["kept", "excluded", "both"])
def test_a_mixture_is_the_best_that_is_near(protocol) -> None:
    scores, histories, targets = random_users(6)
    candidates = Candidates.of([torch.from_numpy(part) for part in scores], histories, targets)
    columns = {"kept": [0], "excluded": [1], "both": [0, 1]}[protocol]

    def figure(mixture: Mixture) -> float:
        found = mixed(mixture, scores, histories, targets)
        return float(np.mean([found[column] for column in columns]))

    tried = (0.0, 10.0, 100.0, 1000.0)
    best = choose_mixture(candidates, START, {1: tried}, protocol=protocol)
    others = [
        START,
        *(replace(best, weights=(best.weights[0], weight)) for weight in tried),
        *(replace(best, strength=strength) for strength in (0.0, 1.0, 3.0, 10.0, ALONE)),
        *(replace(best, history_factor=factor) for factor in (1.0, 0.25, 0.05)),
        Mixture((ALONE, 0.0), 1.0, ALONE),
        Mixture((0.0, ALONE), 1.0, ALONE),
    ]
    assert figure(best) >= max(map(figure, others)) - 1e-9
    assert figure(best) > figure(START)
    assert choose_mixture(candidates, START, {1: tried}, protocol=protocol) == best


@pytest.mark.parametrize(("at_32", "at_128", "expected"), [(0, 8, 128), (0, 9, 32), (8, 1, 32), (9, 0, 8)])
def test_cold_items_gain_what_costs_little(at_32: int, at_128: int, expected: float) -> None:
    """Of 1,000 targets, so many fall to the second rank, behind a cold item, with each factor: .00037 of NDCG each."""
    scores, part = torch.zeros(1000, 4), torch.zeros(1000, 4)
    scores[:, 0] = 50
    scores[:at_32, 0], scores[at_32 : at_32 + at_128, 0] = 3.0, 4.5
    part[:, 1] = 1  # ln(1 + 8), ln(1 + 32) and ln(1 + 128) are 2.2, 3.5 and 4.9
    targets, histories = np.zeros(1000, np.int64), [np.array([3])] * 1000
    start = Mixture((1.0,), 1.0, 1.0, cold_factor=8.0)
    cold = np.array([False, True, False, False])
    found = choose_mixture(Candidates.of([scores, part], histories, targets, cold=cold), start, {})
    assert found == replace(start, cold_factor=expected)
    assert choose_mixture(Candidates.of([scores, part], histories, targets), start, {}) == start


@pytest.mark.parametrize("knows", [0, 1, 2])
def test_what_knows_alone_is_followed_alone(knows: int) -> None:
    """Two parts point elsewhere, all the more the better: the start would follow them."""
    scores = [torch.zeros(5, 30) for _ in range(3)]
    targets = np.array([7, 8, 9, 10, 11])
    for part, rows in enumerate(scores):
        rows[:, 12:27] = 1 + torch.arange(15.0)
        if part == knows:
            rows[:, 12:27] = 0
            rows[torch.arange(5), torch.from_numpy(targets)] = 1e-3
    candidates = Candidates.of(scores, [np.array([0])] * 5, targets)
    best = choose_mixture(candidates, START, {})
    if knows == 0:
        assert best.strength == 0
    else:
        assert best.strength == ALONE
        assert best.weights[2 - knows] == 0


@pytest.mark.parametrize("repeats", [False, True])
def test_the_factor_of_the_history_is_that_of_the_shop(repeats: bool) -> None:
    """Item 0 is the history, item 1 almost as good; people come back for the one or the other."""
    part = torch.tensor([[1.0, 0.9, *[0.0] * 18]]).repeat(6, 1)
    targets = np.full(6, 0 if repeats else 1)
    candidates = Candidates.of([torch.zeros(6, 20), part], [np.array([0])] * 6, targets)
    best = choose_mixture(candidates, Mixture((1.0,), 0.05 if repeats else 1.0, 3.0), {}, protocol="kept")
    assert (best.history_factor == 1) == repeats


def test_an_item_that_is_never_recommended_harms_nothing() -> None:
    scores, histories, targets = random_users(5)
    tensors = [torch.from_numpy(part.copy()) for part in scores]
    rows = torch.arange(len(targets))
    never = torch.from_numpy((targets + 1) % 40)
    tensors[0][rows, never] = -torch.inf
    chosen = choose_weights(Candidates.of(tensors, histories, targets))
    assert np.isfinite(chosen.weights).all()
    assert 0 < chosen.ndcg <= 1


def test_users_are_needed() -> None:
    no_flags, no_scores = np.zeros(0, bool), np.zeros((2, 0))
    empty = Candidates(np.zeros(1, int), no_scores, no_flags, no_flags, no_scores, no_flags, no_flags)
    with pytest.raises(ValueError, match="Weights are chosen on validation users, got none"):
        choose_weights(empty)
    with pytest.raises(ValueError, match="A mixture is chosen on validation users, got none"):
        choose_mixture(empty, Mixture((1.0,), 1.0, 1.0), {})
