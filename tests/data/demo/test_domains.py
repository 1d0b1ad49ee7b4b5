"""The demo shop's domains as datasets: leave-one-out, the same bytes for good, and honest about being invented."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from recformer_hf.data.demo import FEWEST_CHOICES, MOST_CHOICES, DemoOracle, demo_domains, load_demo_domain
from tests.support.demo_shop import histories_of, load


def test_names_its_domains() -> None:
    assert demo_domains() == ("kitchen", "garden", "music", "outdoor")


@pytest.mark.parametrize("name", demo_domains())
def test_items_have_title_brand_and_category(name: str) -> None:
    catalog = load(name).catalog
    assert len(catalog) == 800
    texts = [catalog[row] for row in range(len(catalog))]
    assert {tuple(text) for text in texts} == {("title", "brand", "category")}
    assert len({tuple(text.values()) for text in texts}) == 800


def test_says_that_it_is_invented_also_on_disk(tmp_path: Path) -> None:
    dataset = load("kitchen")
    assert dataset.info["invented"] is True
    assert "invented" in dataset.info["source"]
    dataset.save_to_disk(tmp_path / "shop")
    assert "invented" in (tmp_path / "shop" / "README.md").read_text(encoding="utf-8")


def test_is_leave_one_out() -> None:
    dataset = load("garden")
    train, validation, test = histories_of(dataset, "train"), dataset.validation, dataset.test
    for user, history in enumerate(train):
        assert np.array_equal(validation.history(user), history)
        assert np.array_equal(test.history(user), [*history, validation.targets[user]])
    assert set(map(len, train)) == set(range(FEWEST_CHOICES - 2, MOST_CHOICES - 1))


@pytest.mark.parametrize("name", demo_domains())
def test_cold_items_are_nothing_but_test_targets(name: str) -> None:
    dataset = load(name)
    is_cold = DemoOracle.from_dataset(dataset).is_cold
    assert [dataset.catalog.row_of(item_id) for item_id in dataset.info["cold_item_ids"]] == np.flatnonzero(
        is_cold
    ).tolist()
    assert not is_cold[dataset.test.items].any()  # holds train and validation too
    trained = np.isin(np.arange(len(is_cold)), dataset.train.items)
    assert np.array_equal(trained, ~is_cold)  # "not in training" and "cold" are the same items
    assert 0.1 < is_cold[dataset.test.targets].mean() < 0.25


DIGESTS = {
    "kitchen": "b52b6e2c4fc46580",
    "garden": "1d2e0edb3232d3e7",
    "music": "712ab93f0206c2cc",
    "outdoor": "3c2b0b41528e6509",
}


def test_the_same_arguments_give_the_same_bytes() -> None:
    """A changed digest is a changed shop: every number measured on it, here, in the docs and elsewhere, is void."""
    digests = {}
    for name in demo_domains():
        dataset = load_demo_domain(name, seed=0, num_users=300, num_items=400)
        arrays = (dataset.test.items, dataset.test.offsets, dataset.test.targets)
        texts = [(dataset.catalog.id_of(row), dataset.catalog[row]) for row in range(400)]
        content = b"".join(array.astype("<i8").tobytes() for array in arrays) + repr(texts).encode()
        digests[name] = hashlib.sha256(content).hexdigest()[:16]
        assert dataset == load_demo_domain(name, seed=0, num_users=300, num_items=400)
    assert digests == DIGESTS


def test_draws_nothing_from_global_state() -> None:
    np.random.seed(1)
    first = load_demo_domain("music", num_users=20, num_items=60)
    np.random.seed(2)
    before = np.random.get_state()[1].copy()
    assert load_demo_domain("music", num_users=20, num_items=60) == first
    assert np.array_equal(np.random.get_state()[1], before)


def test_seeds_and_domains_differ() -> None:
    assert load("kitchen").catalog != load("kitchen", seed=1).catalog
    lengths = [load(name, num_users=50, num_items=50).train.lengths.tolist() for name in demo_domains()]
    assert len(set(map(tuple, lengths))) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cars"}, "no domain 'cars'; its domains are kitchen, garden, music, outdoor"),
        ({"seed": -1}, "seed is -1"),
        ({"num_users": 0}, "num_users is 0"),
        ({"num_items": 49}, "num_items is 49; expected 50 to 9600"),
        ({"num_items": 9601}, "num_items is 9601"),
    ],
)
def test_refuses_arguments_out_of_range(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_demo_domain(**{"name": "kitchen", **arguments})
