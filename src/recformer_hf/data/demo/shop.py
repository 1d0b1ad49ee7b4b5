"""The items of a domain: their texts, which of them are cold, and what any two of them have in common."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .words import COLOURS, DOMAINS, PRICE_BAND_WORDS, STYLE_WORDS, DomainWords

TASTE = {"style": 3, "brand": 2, "category": 2, "price_band": 2, "colour": 2, "series": 1}
"""What an item and a history item may have in common, and how much each of these counts."""
BRAND_APPEAL, ITEM_APPEAL = 3, 9
"""Points between one of ten brands and the next, and the limit of an item's own points, which start at 0."""
SERIES_SIZE = 5
COLD_SERIES_RATE = 2 / 3
"""Share of the series that have a cold item; each has at most one."""
FEWEST_ITEMS = 50


@dataclass(frozen=True, eq=False)
class Shop:
    """One domain's items, by catalogue row.

    Args:
        texts: item id -> attributes.
        is_cold: bool `[num_items]`.
        shared: int32 `[num_items, num_items]`, what two items have in common, weighted by `TASTE`.
        appeal: int32 `[num_items]`, points.
    """

    texts: dict[str, dict[str, str]]
    is_cold: np.ndarray
    shared: np.ndarray
    appeal: np.ndarray


@dataclass(frozen=True, eq=False)
class _Series:
    """The series of a domain.

    Args:
        kinds: style, brand, category and price band of each series, int64 `[num_series]` by name.
        cold_member: number of the cold item within its series, -1 if all are warm, int64 `[num_series]`.
        first_colour: colour of the first item, int64 `[num_series]`.
        title_words: for each series its style words, price band words and products, each as (warm, cold).
    """

    kinds: dict[str, np.ndarray]
    cold_member: np.ndarray
    first_colour: np.ndarray
    title_words: list[list[tuple[list[str], list[str]]]]


@lru_cache(maxsize=8)
def build_shop(name: str, seed: int, num_items: int) -> Shop:
    """Draw the items of a domain.

    Args:
        name: a key of `DOMAINS`.
        seed: 0 or greater.
        num_items: from `FEWEST_ITEMS` to one series of every kind.

    Raises:
        ValueError: for an unknown name, or a number out of its range.
    """
    if name not in DOMAINS:
        raise ValueError(f"The demo shop has no domain {name!r}; its domains are {', '.join(DOMAINS)}.")
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected 0 or greater.")
    most_items = int(np.prod(_num_kinds(DOMAINS[name]))) * SERIES_SIZE
    if not FEWEST_ITEMS <= num_items <= most_items:
        raise ValueError(f"num_items is {num_items}; expected {FEWEST_ITEMS} to {most_items}. The default is 800.")

    # The order of the draws below is part of what a seed means: a changed order is another shop.
    rng = random_generator(name, seed, stream=0)
    lines = _draw_series(rng, DOMAINS[name], num_items)
    # Rows in random order, so that neighbours in the catalogue have nothing in common.
    series, member = np.divmod(_shuffled(rng, num_items), SERIES_SIZE)
    is_cold = lines.cold_member[series] == member
    # Five different colours for the members of a series, because 3 and 10 have no common divisor.
    colour = (lines.first_colour[series] + 3 * member) % len(COLOURS)
    texts = _draw_texts(rng, name, lines, series, is_cold, colour)

    columns = {key: values[series] for key, values in lines.kinds.items()} | {"colour": colour, "series": series}
    shared = np.zeros((num_items, num_items), np.int32)
    for key, weight in TASTE.items():
        shared += np.int32(weight) * (columns[key][:, None] == columns[key])
    brand_appeal = BRAND_APPEAL * _shuffled(rng, len(DOMAINS[name].brands))[columns["brand"]]
    appeal = brand_appeal + rng.random(num_items) * ITEM_APPEAL
    return Shop(texts, is_cold, shared, appeal.astype(np.int32))


def random_generator(name: str, seed: int, stream: int) -> np.random.Generator:
    """Stream 0 draws a domain's items, stream 1 its shoppers.

    Call only `random` on it: numpy may change the draws of the other methods in any release (NEP 19), and a domain
    should have the same bytes with every release.
    """
    return np.random.Generator(np.random.PCG64([seed, list(DOMAINS).index(name), stream]))


def _num_kinds(words: DomainWords) -> tuple[int, int, int, int]:
    """Numbers of styles, brands, categories and price bands."""
    return len(STYLE_WORDS), len(words.brands), len(words.products), len(PRICE_BAND_WORDS)


def _draw_series(rng: np.random.Generator, words: DomainWords, num_items: int) -> _Series:
    """Enough series for these items, no two of them with the same style, brand, category and price band."""
    kinds = _num_kinds(words)
    num_series = -(-num_items // SERIES_SIZE)
    style, brand, category, price_band = np.unravel_index(_shuffled(rng, int(np.prod(kinds)))[:num_series], kinds)
    cold_member = (rng.random(num_series) * SERIES_SIZE).astype(np.int64)
    cold_member[rng.random(num_series) >= COLD_SERIES_RATE] = -1
    if num_items % SERIES_SIZE:
        cold_member[-1] = -1  # the last series is incomplete: its only item must not be a cold one
    first_colour = (rng.random(num_series) * len(COLOURS)).astype(np.int64)
    products = list(words.products.values())
    title_words = [
        [_halves(rng, pool) for pool in (STYLE_WORDS[s] + words.style_words[s], PRICE_BAND_WORDS[p], products[c])]
        for s, p, c in zip(style.tolist(), price_band.tolist(), category.tolist(), strict=True)
    ]
    columns = {"style": style, "brand": brand, "category": category, "price_band": price_band}
    return _Series(columns, cold_member, first_colour, title_words)


def _draw_texts(
    rng: np.random.Generator, name: str, lines: _Series, series: np.ndarray, is_cold: np.ndarray, colour: np.ndarray
) -> dict[str, dict[str, str]]:
    """Item id -> title, brand and category, for items of these series, coldness and colours, each `[num_items]`."""
    words = DOMAINS[name]
    categories = list(words.products)
    texts = {}
    for row, line in enumerate(series.tolist()):
        halves = [pool[int(is_cold[row])] for pool in lines.title_words[line]]
        title = [half[int(rng.random() * len(half))] for half in halves]
        texts[f"{name}-{row:04d}"] = {
            "title": " ".join([*title, COLOURS[colour[row]]]),
            "brand": words.brands[lines.kinds["brand"][line]],
            "category": categories[lines.kinds["category"][line]],
        }
    return texts


def _shuffled(rng: np.random.Generator, size: int) -> np.ndarray:
    """0 to size - 1 in random order, int64 `[size]`."""
    return np.argsort(rng.random(size), kind="stable")


def _halves(rng: np.random.Generator, pool: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The pool's words in random order, cut in the middle: for the warm items of a series, and for its cold one."""
    words = [pool[i] for i in _shuffled(rng, len(pool))]
    return words[: len(words) // 2], words[len(words) // 2 :]
