"""The items of the demo shop: texts of warm and cold ones, within a series and between domains."""

from __future__ import annotations

import numpy as np
import pytest

from recformer_hf.data.demo import (
    COLOURS,
    PRICE_BAND_WORDS,
    SERIES_SIZE,
    STYLE_WORDS,
    DemoOracle,
    demo_domains,
    load_demo_domain,
)
from tests.support.demo_shop import load, same_series, words_of


@pytest.mark.parametrize("name", demo_domains())
def test_a_cold_item_shares_brand_and_category_with_its_series_and_no_other_word(name: str) -> None:
    dataset = load(name)
    catalog, is_cold, series = dataset.catalog, DemoOracle.from_dataset(dataset).is_cold, same_series(dataset)
    assert is_cold.sum() > 80
    for row in np.flatnonzero(is_cold):
        warm = np.flatnonzero(series[row] & ~is_cold)
        assert len(warm) == SERIES_SIZE - 1
        for other in warm:
            shared = set(words_of(catalog[row])) & set(words_of(catalog[other]))
            assert shared == set(words_of({key: catalog[row][key] for key in ("brand", "category")}))


@pytest.mark.parametrize("name", demo_domains())
def test_words_of_cold_items_are_used_by_warm_ones_of_other_series(name: str) -> None:
    dataset = load(name)
    is_cold = DemoOracle.from_dataset(dataset).is_cold
    warm, cold = (
        {word for row in np.flatnonzero(rows) for word in words_of(dataset.catalog[row])}
        for rows in (~is_cold, is_cold)
    )
    assert len(cold - warm) <= 1 < 100 < len(cold)


def test_domains_share_style_price_and_colour_words_only() -> None:
    vocabularies = [
        {word for row in range(800) for word in words_of(load(name).catalog[row])} for name in demo_domains()
    ]
    common = {*COLOURS, *(word for pool in (*STYLE_WORDS, *PRICE_BAND_WORDS) for word in pool)}
    for i, mine in enumerate(vocabularies):
        for theirs in vocabularies[:i]:
            assert mine & theirs == {word.lower() for word in common}


@pytest.mark.parametrize("num_items", [50, 51, 123, 1000])
def test_has_as_many_items_as_asked_for(num_items: int) -> None:
    dataset = load_demo_domain("kitchen", num_users=3, num_items=num_items)
    assert len(dataset.catalog) == num_items
    series, is_cold = same_series(dataset), DemoOracle.from_dataset(dataset).is_cold
    assert (series & ~is_cold).any(1).all()  # no series of cold items only
