"""The oracle of the demo shop: the documented probabilities, and how far simple recommenders stay behind it.

The tables of docs/demo_shop.md are measured here again.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.demo import (
    GIFT_RATE,
    PRICE_BAND_WORDS,
    STYLE_WORDS,
    TASTE,
    DemoOracle,
    demo_domains,
    load_demo_domain,
)
from recformer_hf.data.demo.words import DOMAINS
from tests.support.demo_shop import histories_of, load, words_of

DOCS = Path(__file__).parents[3] / "docs" / "demo_shop.md"
RECOMMENDERS = ("oracle", "popularity", "last-item text", "Markov")


def test_scores_are_the_documented_probabilities() -> None:
    """The formula once more, from the texts: slow, and written another way."""
    dataset, oracle = load("kitchen"), DemoOracle("kitchen")
    own = DOMAINS["kitchen"]
    meaning = {word: f"band {i}" for i, pool in enumerate(PRICE_BAND_WORDS) for word in pool}
    for i, pool in enumerate(STYLE_WORDS):
        meaning |= dict.fromkeys((*pool, *own.style_words[i]), f"style {i}")

    def attributes(row: int) -> dict[str, str]:
        text = dataset.catalog[row]
        style, band, _, colour = text["title"].split()
        found = {"style": meaning[style], "price_band": meaning[band], "brand": text["brand"]}
        found["series"] = " ".join([*found.values(), text["category"]])
        return found | {"category": text["category"], "colour": colour}

    appeal = oracle.scores([[]])[0] - GIFT_RATE / 800  # in proportion to exp(own points / POINT_SCALE)
    history = [700, 3, 3, 250, 41, 42, 43, 44, 45, 46]  # ten items: the oldest two count nothing
    weights = np.zeros(800)
    for row in range(800):
        mine, taste = attributes(row), 0
        for age, item in enumerate(reversed(history[-8:])):
            theirs = attributes(item)
            taste += (6, 5, 5, 5, 5, 5, 4, 4)[age] * sum(TASTE[key] for key in mine if mine[key] == theirs[key])
        points = 100 * taste // (24 + 39) + round(33 * np.log(appeal[row] / appeal.min()))
        weights[row] = np.exp((points - 40 if row in history[-8:] else points) / 33)
    expected = 0.8 * weights / weights.sum() + 0.2 / 800
    clipped = np.isin(np.arange(800), history[-8:])  # points never fall below 0
    assert np.allclose(oracle.scores([history])[0][~clipped], expected[~clipped], rtol=0.03)


def test_recent_items_weigh_more() -> None:
    oracle, shop = DemoOracle("garden"), DemoOracle("garden")._shop
    alike = shop.shared >= 10
    first = 0
    second = int(np.flatnonzero(shop.shared[first] == 0)[0])
    scores = oracle.scores([[first, second], [second, first]])
    of_first = alike[first] & ~np.isin(np.arange(800), [first, second])
    assert (scores[1, of_first] > 1.05 * scores[0, of_first]).all()


def test_the_oracle_comes_back_from_a_saved_dataset(tmp_path: Path) -> None:
    dataset = load_demo_domain("outdoor", seed=3, num_users=20, num_items=100)
    dataset.save_to_disk(tmp_path / "shop")
    loaded = DemoOracle.from_dataset(SequentialDataset.load(tmp_path / "shop"))
    histories = histories_of(dataset, "test")
    assert np.array_equal(loaded.scores(histories), DemoOracle("outdoor", 3, 100).scores(histories))


def ranks_of_targets(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Ranks from 0, the history kept among the candidates; ties count half."""
    own = scores[np.arange(len(targets)), targets][:, None]
    return (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2


def ndcg_at_10(ranks: np.ndarray) -> float:
    return float(np.where(ranks < 10, 1 / np.log2(ranks + 2), 0).mean())


def text_vectors(dataset: SequentialDataset, tf_idf: bool = True) -> np.ndarray:
    """float `[num_items, num_words]`: TF-IDF with smoothed logarithmic weights, of length 1; or word counts."""
    texts = [words_of(dataset.catalog[row]) for row in range(len(dataset.catalog))]
    column = {word: i for i, word in enumerate(sorted({word for text in texts for word in text}))}
    counts = np.zeros((len(texts), len(column)))
    for row, text in enumerate(texts):
        np.add.at(counts[row], [column[word] for word in text], 1)
    if not tf_idf:
        return counts
    weighed = counts * (1 + np.log((1 + len(texts)) / (1 + (counts > 0).sum(0))))
    return weighed / np.linalg.norm(weighed, axis=1, keepdims=True)


@cache
def measure(name: str, seed: int) -> dict[str, tuple[float, float]]:
    """NDCG@10 of the test split by recommender: over rows with an in-set target, and with a cold one."""
    dataset = load(name, seed=seed)
    oracle, num_items = DemoOracle.from_dataset(dataset), len(dataset.catalog)
    train, targets = dataset.train, dataset.test.targets
    newest = dataset.test.items[dataset.test.offsets[1:] - 1]
    popularity = np.bincount(train.items, minlength=num_items).astype(float)
    follows = np.ones(len(train.items), bool)
    follows[train.offsets[:-1]] = False  # the first item of a sequence follows none
    transitions = np.zeros((num_items, num_items))
    np.add.at(transitions, (train.items[:-1][follows[1:]], train.items[1:][follows[1:]]), 1)
    vectors = text_vectors(dataset)
    scores = {
        "oracle": oracle.scores(histories_of(dataset, "test")),
        "popularity": np.broadcast_to(popularity, (len(targets), num_items)),
        "last-item text": (vectors @ vectors.T)[newest],
        "Markov": (transitions + 1e-6 * popularity)[newest],  # what never followed is ordered by popularity
    }
    is_cold = oracle.is_cold[targets]
    ranks = {recommender: ranks_of_targets(table, targets) for recommender, table in scores.items()}
    return {recommender: (ndcg_at_10(rank[~is_cold]), ndcg_at_10(rank[is_cold])) for recommender, rank in ranks.items()}


SHOPS = [
    pytest.param(name, seed, marks=() if seed == 0 or name == "kitchen" else pytest.mark.slow)
    for name in demo_domains()
    for seed in range(3)
]


@pytest.mark.parametrize(("name", "seed"), SHOPS)
def test_the_oracle_clearly_beats_every_simple_recommender(name: str, seed: int) -> None:
    in_set = {recommender: values[0] for recommender, values in measure(name, seed).items()}
    assert 0.25 <= in_set["oracle"] <= 0.6
    for recommender in RECOMMENDERS[1:]:
        assert in_set[recommender] <= 0.6 * in_set["oracle"], recommender


@pytest.mark.parametrize(("name", "seed"), SHOPS)
def test_cold_targets_can_be_known_but_not_by_simple_recommenders(name: str, seed: int) -> None:
    cold = {recommender: values[1] for recommender, values in measure(name, seed).items()}
    assert 0.25 <= cold["oracle"] <= 0.6
    for recommender in RECOMMENDERS[1:]:
        assert cold[recommender] <= 0.1 * cold["oracle"], recommender


@pytest.mark.parametrize(("name", "seed"), SHOPS)
def test_the_docs_show_these_numbers(name: str, seed: int) -> None:
    cells = re.search(rf"^\| {name} \| {seed} \|(.*)\|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert cells is not None, f"docs/demo_shop.md has no row for {name}, seed {seed}"
    shown = [float(cell) for cell in cells.group(1).split("|")]
    measured = [measure(name, seed)[recommender][part] for part in (0, 1) for recommender in RECOMMENDERS]
    assert shown == pytest.approx(measured, abs=0.0006)


def test_text_is_enough_to_learn_it() -> None:
    """Words in, one weight for each of the eight newest items: a few seconds bring most of what there is to learn.

    No attention and no order of words; a model of sequences has this and more to work with.
    """
    dataset, oracle = load("kitchen"), DemoOracle("kitchen")
    words = torch.from_numpy(text_vectors(dataset, tf_idf=False)).float()
    none = torch.zeros(1, words.shape[1])  # row 800 stands for "the history is shorter"

    def newest_eight(histories: list[np.ndarray]) -> torch.Tensor:
        return torch.tensor([[*history[::-1][:8].tolist(), *[800] * 8][:8] for history in histories])

    train = histories_of(dataset, "train")
    contexts = newest_eight([history[:place] for history in train for place in range(1, len(history))])
    labels = torch.tensor([int(item) for history in train for item in history[1:]])
    generator = torch.Generator().manual_seed(0)
    of_history, of_item = (torch.nn.Parameter(torch.randn(words.shape[1], 32, generator=generator) / 10) for _ in "12")
    recency = torch.nn.Parameter(torch.zeros(8))

    def scores(rows: torch.Tensor) -> torch.Tensor:
        weights = recency.exp() * (rows < 800)
        users = torch.einsum("bk,bkd->bd", weights, (torch.cat([words, none]) @ of_history)[rows])
        normalize = torch.nn.functional.normalize
        return normalize(users, dim=1) @ normalize(words @ of_item, dim=1).T / 0.05

    optimizer = torch.optim.Adam([of_history, of_item, recency], lr=0.02)
    for _ in range(100):
        batch = torch.randint(len(labels), (256,), generator=generator)
        loss = torch.nn.functional.cross_entropy(scores(contexts[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        ranks = ranks_of_targets(scores(newest_eight(histories_of(dataset, "test"))).numpy(), dataset.test.targets)
    is_cold, known = oracle.is_cold[dataset.test.targets], measure("kitchen", 0)
    assert ndcg_at_10(ranks[~is_cold]) > 0.8 * known["oracle"][0]
    assert ndcg_at_10(ranks[is_cold]) > 2 * known["last-item text"][1]


def test_the_oracle_refuses_rows_and_releases_that_are_not_there() -> None:
    oracle = DemoOracle("kitchen", num_items=100)
    with pytest.raises(ValueError, match="History 1 has rows 3 to 100, but the catalogue's are 0 to 99"):
        oracle.scores([[1], [3, 100]])
    with pytest.raises(ValueError, match="released is 'cold'"):
        oracle.scores([[1]], released="cold")


def test_only_the_demo_shop_has_an_oracle() -> None:
    dataset = load("kitchen", num_users=5, num_items=60)
    other = SequentialDataset(dataset.catalog, dataset.train, None, None, {"name": "other"})
    with pytest.raises(ValueError, match="Only the demo shop has an oracle"):
        DemoOracle.from_dataset(other)
    changed = load("kitchen", num_users=5, num_items=60, seed=1)
    mixed = SequentialDataset(changed.catalog, changed.train, None, None, dataset.info)
    with pytest.raises(ValueError, match="are not those that this version's demo shop has"):
        DemoOracle.from_dataset(mixed)


def test_the_oracle_fits_its_own_shop_only() -> None:
    kitchen, garden = (load_demo_domain(name, num_users=20, num_items=100) for name in ("kitchen", "garden"))
    oracle = DemoOracle.from_dataset(kitchen)
    assert oracle.fit(kitchen) is oracle
    with pytest.raises(ValueError, match="other items"):
        oracle.fit(garden)
