"""A blend adds the scores of others, with weights from the validation split."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recformer_hf.baselines import Blend, Cooccurrence, LastItemText, Markov, Popularity, Probabilities, TextNeighbours
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.evaluation import Scorer, rank_protocols
from tests.support.baselines import HISTORIES, needs_scientific, scientific, shop

TRAIN = [[0, 1, 0, 1], [0, 2], [3, 0], [1, 1]]


def three() -> list[Scorer]:
    return [Cooccurrence(), Cooccurrence(directed=True), TextNeighbours()]


def ndcg(scorer: Scorer, dataset, protocol: str) -> float:
    return rank_protocols(scorer, dataset.validation)[protocol].metrics()["ndcg@10"]


def test_given_weights_are_used() -> None:
    blend = Blend([Markov(), Popularity(), LastItemText()], [2, 0.5, 0]).fit(shop(TRAIN))
    expected = 2 * Markov().fit(shop(TRAIN)).scores(HISTORIES) + 0.5 * np.bincount(np.concatenate(TRAIN), minlength=6)
    assert blend.scores(HISTORIES).numpy() == pytest.approx(expected, rel=1e-6)
    assert blend.weights == [2, 0.5, 0]


@pytest.mark.parametrize(("exclude_history", "protocol"), [(False, "kept"), (True, "excluded")])
def test_weights_are_chosen_on_validation(exclude_history: bool, protocol: str) -> None:
    dataset = load_demo_domain("kitchen", num_users=400)
    blend = Blend(three(), exclude_history=exclude_history).fit(dataset)
    best = max(ndcg(scorer, dataset, protocol) for scorer in blend.scorers)
    assert ndcg(blend, dataset, protocol) > best
    assert Blend(three(), exclude_history=exclude_history).fit(dataset).weights == blend.weights


def test_both_protocols_count_if_none_is_named() -> None:
    dataset = load_demo_domain("kitchen", num_users=400)
    blend = Blend(three()).fit(dataset)

    def mean(scorer: Scorer) -> float:
        return ndcg(scorer, dataset, "kept") + ndcg(scorer, dataset, "excluded")

    assert mean(blend) >= max(map(mean, blend.scorers))
    assert mean(blend) >= mean(Blend(three(), [1, 1, 1]).fit(dataset)) - 0.002


def test_of_many_users_some_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recformer_hf.baselines.blend.MOST_USERS", 150)
    dataset = load_demo_domain("kitchen", num_users=400)
    asked: list[int] = []

    class Counted(Popularity):
        def scores(self, histories):
            asked.append(len(histories))
            return super().scores(histories)

    Blend([Counted()]).fit(dataset)
    assert max(asked) == len(range(0, len(dataset.validation), 3)) <= 150


def test_logits_become_probabilities() -> None:
    class Logits(Popularity):
        def scores(self, histories):
            return torch.log(super().scores(histories) + 1)

    fitted = Probabilities(Logits()).fit(shop(TRAIN))
    counts = np.bincount(np.concatenate(TRAIN), minlength=6) + 1
    assert fitted.scores(HISTORIES).numpy() == pytest.approx(np.tile(counts / counts.sum(), (3, 1)))


def test_a_scorer_may_change_what_it_is_given() -> None:
    class Rude(Popularity):
        def scores(self, histories):
            for history in histories:
                history[:] = 0
            return super().scores(histories)

    blend = Blend([Rude(), Markov()], [0.001, 1]).fit(shop(TRAIN))
    expected = Markov().fit(shop(TRAIN)).scores(HISTORIES)
    assert blend.scores(HISTORIES).numpy() == pytest.approx(expected, abs=0.01)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one scorer"):
        Blend([])
    for weights in ([1], [1, -1], [0, 0], [1, np.nan]):
        with pytest.raises(ValueError, match="expected one for each, at least 0, and not all 0"):
            Blend([Markov(), Popularity()], weights)
    with pytest.raises(ValueError, match="the dataset has none"):
        Blend([Markov()]).fit(shop(TRAIN))
    with pytest.raises(RuntimeError, match=r"call fit\(dataset\) first"):
        Blend([Markov()]).scores(HISTORIES)


@needs_scientific
def test_validation_figures_on_scientific() -> None:
    blend = Blend(three()).fit(scientific())
    assert ndcg(blend, scientific(), "kept") > 0.094
    assert ndcg(blend, scientific(), "excluded") > 0.101
