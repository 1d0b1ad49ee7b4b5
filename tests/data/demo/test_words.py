"""The demo shop's words: each means one thing."""

from __future__ import annotations

import pytest

from recformer_hf.data.demo import COLOURS, PRICE_BAND_WORDS, STYLE_WORDS, demo_domains
from recformer_hf.data.demo.words import DOMAINS


@pytest.mark.parametrize("name", demo_domains())
def test_a_word_of_a_domain_means_one_thing(name: str) -> None:
    own = DOMAINS[name]
    common = [*COLOURS, *(word for pool in (*STYLE_WORDS, *PRICE_BAND_WORDS) for word in pool)]
    pools = [*own.products.values(), *own.style_words, own.brands, tuple(own.products)]
    words = [word.lower() for word in [*common, *(word for pool in pools for word in pool)]]
    assert len(words) == len(set(words))
