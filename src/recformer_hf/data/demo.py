"""The embedded demo shop: four domains of invented products, and the shoppers who choose among them.

Nothing here was observed. Products, brands, shoppers and choices are drawn by the process below, for the README, the
tests and the examples: a number measured on it says that code works, never that a method is good.

- Items come in *series*: a brand's line in one category, of one style and one price band, in up to five colours. Brand
  and category are attributes of their own; style, price band and colour show in the title's words only.
- The next choice is drawn among all released items in proportion to `exp(points / POINT_SCALE)`. An item gets points
  for what it shares with the newest eight items of the history (`TASTE`), each weighed by `RECENCY_WEIGHTS`; loses
  some if it is one of these eight itself; and gets a few for its appeal, the same for every shopper. One choice in five
  is a gift instead: any released item, each as likely as the next.
- Price bands, colours and most style words are common to all domains, so that what is learned in one is of use in
  another. Brands, categories, products and three words of every style are each domain's own.
- *Cold* items are released after the last training and validation choice. Only a test target can be one. With the
  other items of its series a cold item shares the brand, the category and no word of the title: its style and price
  band have to be read from words that other series use.

`docs/demo_shop.md` has the numbers: what the process allows, and what simple recommenders reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from ..items.catalog import ItemCatalog
from .dataset import Sequences, SequentialDataset

TASTE = {"style": 3, "brand": 2, "category": 2, "price_band": 2, "colour": 2, "series": 1}
"""What an item and a history item may have in common, and how much that counts."""
RECENCY_WEIGHTS = (6, 5, 5, 5, 5, 5, 4, 4)
"""Weight of the newest history item, of the one before it, ...; still older items count nothing."""
RESERVE = 24
"""The taste is the weighed sum of what is shared, divided by this and the sum of the weights: with a short history a
shopper's taste is weak."""
TASTE_POINTS = 100
OWNED_POINTS = 40
BRAND_APPEAL, ITEM_APPEAL = 3, 9
"""Points between one of ten brands and the next; an item's own points are from 0 up to the second number."""
POINT_SCALE = 33.0
GIFT_RATE = 0.2
SERIES_SIZE = 5
COLD_SERIES_RATE = 2 / 3
"""Share of the series that have a cold item; one each."""
FEWEST_CHOICES, MOST_CHOICES = 5, 13

STYLE_WORDS = (
    ("Rustic", "Farmhouse", "Weathered", "Cottage", "Homestead"),
    ("Minimal", "Plain", "Sleek", "Clean", "Understated"),
    ("Retro", "Vintage", "Nostalgic", "Classic", "Heritage"),
    ("Playful", "Cheerful", "Quirky", "Whimsical", "Funny"),
    ("Rugged", "Sturdy", "Heavy", "Tough", "Robust"),
    ("Elegant", "Graceful", "Refined", "Ornate", "Regal"),
    ("Natural", "Organic", "Earthy", "Leafy", "Botanical"),
    ("Smart", "Digital", "Connected", "Electronic", "Automatic"),
)
PRICE_BAND_WORDS = (
    ("Basic", "Budget", "Value", "Thrifty", "Bargain", "Cheap"),
    ("Everyday", "Standard", "Family", "Regular", "Usual", "Common"),
    ("Select", "Choice", "Superior", "Preferred", "Finer", "Better"),
    ("Premium", "Deluxe", "Luxury", "Exclusive", "Lavish", "Finest"),
)
COLOURS = ("Red", "Blue", "Green", "Yellow", "Black", "White", "Pink", "Orange", "Purple", "Brown")


@dataclass(frozen=True)
class _Vocabulary:
    """A domain's own words: four products of each category, three words of each style, ten brands."""

    products: dict[str, tuple[str, ...]]
    style_words: tuple[tuple[str, ...], ...]
    brands: tuple[str, ...]


def _brands(domain_number: int) -> tuple[str, ...]:
    """Half a brand's name occurs in every domain, a whole name in one."""
    first = ("Vel", "Bra", "Oke", "Tar", "Lum", "Quin", "Sor", "Fen")
    second = ("mora", "stin", "ldo", "niva", "wick")
    return tuple(a + b for i, a in enumerate(first) for j, b in enumerate(second) if (i + j) % 4 == domain_number)


_DOMAINS = {
    "kitchen": _Vocabulary(
        products={
            "Cookware": ("Skillet", "Saucepan", "Casserole", "Wok"),
            "Bakeware": ("Ramekin", "Griddle", "Muffintin", "Cakepan"),
            "Cutlery": ("Cleaver", "Ladle", "Spatula", "Whisk"),
            "Tableware": ("Plate", "Bowl", "Goblet", "Tureen"),
            "Pantry": ("Jar", "Canister", "Breadbox", "Spicerack"),
            "Brewing": ("Kettle", "Teapot", "Percolator", "Grinder"),
        },
        style_words=(
            ("Stoneware", "Enamel", "Earthenware"),
            ("Porcelain", "Frosted", "Clear"),
            ("Chrome", "Bakelite", "Diner"),
            ("Polkadot", "Rainbow", "Confetti"),
            ("Forged", "Hammered", "Ironclad"),
            ("Silver", "Crystal", "Giltrim"),
            ("Bamboo", "Cork", "Beechwood"),
            ("Induction", "Timed", "Programmed"),
        ),
        brands=_brands(0),
    ),
    "garden": _Vocabulary(
        products={
            "Planters": ("Trough", "Urn", "Basket", "Windowbox"),
            "Handtools": ("Trowel", "Dibber", "Secateurs", "Rake"),
            "Watering": ("Hose", "Sprinkler", "Sprayer", "Waterbutt"),
            "Seating": ("Bench", "Hammock", "Lounger", "Stool"),
            "Wildlife": ("Birdbath", "Feeder", "Nestbox", "Beehouse"),
            "Structures": ("Trellis", "Arch", "Pergola", "Coldframe"),
        },
        style_words=(
            ("Wicker", "Terracotta", "Driftwood"),
            ("Concrete", "Slate", "Zen"),
            ("Victorian", "Edwardian", "Wrought"),
            ("Gnomish", "Pinwheel", "Toadstool"),
            ("Galvanised", "Steel", "Stormproof"),
            ("Marble", "Alabaster", "Manor"),
            ("Hemp", "Coir", "Willow"),
            ("Solar", "Sensing", "Motorised"),
        ),
        brands=_brands(1),
    ),
    "music": _Vocabulary(
        products={
            "Strings": ("Guitar", "Mandolin", "Fiddle", "Cello"),
            "Percussion": ("Snare", "Bongo", "Cymbal", "Marimba"),
            "Woodwind": ("Flute", "Clarinet", "Oboe", "Recorder"),
            "Horns": ("Trumpet", "Trombone", "Cornet", "Tuba"),
            "Keys": ("Piano", "Accordion", "Celesta", "Harmonium"),
            "Stagegear": ("Amplifier", "Microphone", "Mixer", "Pedal"),
        },
        style_words=(
            ("Folk", "Bluegrass", "Campfire"),
            ("Ambient", "Lofi", "Lounge"),
            ("Swing", "Ragtime", "Disco"),
            ("Carnival", "Bubblegum", "Circus"),
            ("Grunge", "Stadium", "Garage"),
            ("Baroque", "Chamber", "Opera"),
            ("Acoustic", "Rosewood", "Spruce"),
            ("Midi", "Modelling", "Sampled"),
        ),
        brands=_brands(2),
    ),
    "outdoor": _Vocabulary(
        products={
            "Shelter": ("Tent", "Tarp", "Bivouac", "Awning"),
            "Packs": ("Rucksack", "Daypack", "Duffel", "Pouch"),
            "Footwear": ("Boots", "Sandals", "Gaiters", "Snowshoes"),
            "Lighting": ("Lantern", "Headlamp", "Torch", "Beacon"),
            "Climbing": ("Harness", "Carabiner", "Rope", "Helmet"),
            "Campcooking": ("Stove", "Mug", "Flask", "Firepit"),
        },
        style_words=(
            ("Canvas", "Leather", "Buckskin"),
            ("Ultralight", "Compact", "Foldaway"),
            ("Scout", "Expedition", "Explorer"),
            ("Neon", "Stripy", "Tiedye"),
            ("Armoured", "Ripstop", "Basecamp"),
            ("Cashmere", "Chalet", "Velvet"),
            ("Woollen", "Pine", "Heather"),
            ("Bluetooth", "Gps", "Satellite"),
        ),
        brands=_brands(3),
    ),
}


def demo_domains() -> tuple[str, ...]:
    """Names of the demo shop's domains: `("kitchen", "garden", "music", "outdoor")`."""
    return tuple(_DOMAINS)


def load_demo_domain(name: str, seed: int = 0, num_users: int = 2000, num_items: int = 800) -> SequentialDataset:
    """One domain of the invented demo shop, split leave-one-out: the last choice is the test target, the one before it
    validation's, and everything before that trains.

    The shop releases its cold items, about one in eight, just before the test choice, which is drawn among all items;
    every earlier one is drawn among the others. So one test split has rows with a cold target (about one in seven) and
    rows with an in-set target, drawn by one process. `train` tells them apart, or `info["cold_item_ids"]`.

    Args:
        name: one of `demo_domains()`.
        seed: 0 or greater. The same arguments give the same dataset, byte for byte.
        num_users: at least 1. A larger shop has the same items and the same first users.
        num_items: 50 to 9,600, the cold ones counted.

    Returns:
        A dataset whose `info` says that it is invented, and what made it (`"demo_shop"`).

    Raises:
        ValueError: for an unknown name, or a number out of its range.
    """
    if num_users < 1:
        raise ValueError(f"num_users is {num_users}, but a shop needs at least 1 shopper; the default is 2000.")
    shop = _build_shop(name, seed, num_items)
    choices, lengths = _draw_choices(shop, _generator(name, seed, stream=1), num_users)
    user_ids = pa.array([f"{name}-shopper-{user:05d}" for user in range(num_users)], pa.string())

    def split(left_out: int, with_target: bool) -> Sequences:
        kept = lengths - left_out
        offsets = np.concatenate([[0], np.cumsum(kept)])
        items = choices[np.arange(MOST_CHOICES) < kept[:, None]]
        return Sequences(user_ids, items, offsets, choices[np.arange(num_users), kept] if with_target else None)

    item_ids = list(shop.texts)
    info: dict[str, Any] = {
        "name": f"demo-shop-{name}",
        "source": "invented: the demo shop of recformer_hf; no real product, brand, shopper or choice is in it",
        "invented": True,
        "protocol": "leave-one-out; cold items are released between the validation and the test choice",
        "seed": seed,
        "demo_shop": {"domain": name, "seed": seed, "num_users": num_users, "num_items": num_items},
        "cold_item_ids": [item_ids[row] for row in np.flatnonzero(shop.is_cold).tolist()],
    }
    return SequentialDataset(ItemCatalog.from_items(shop.texts), split(2, False), split(2, True), split(1, True), info)


class DemoOracle:
    """The recommender that knows the demo shop's process: its scores are the true probabilities of the next choice.

    No recommender can expect to rank better, so a model's metrics are shares of the oracle's.

    Args:
        name: one of `demo_domains()`.
        seed: the domain's seed.
        num_items: the domain's number of items.

    Raises:
        ValueError: for an unknown name, or a number out of its range.
    """

    def __init__(self, name: str, seed: int = 0, num_items: int = 800) -> None:
        self._shop = _build_shop(name, seed, num_items)

    @classmethod
    def from_dataset(cls, dataset: SequentialDataset) -> DemoOracle:
        """The oracle of a dataset that `load_demo_domain` made, whether or not it has been saved and loaded since.

        Raises:
            ValueError: if the dataset is not a domain of the demo shop, or its items are not those of this version.
        """
        made = dataset.info.get("demo_shop")
        if made is None:
            raise ValueError(
                f"Only the demo shop has an oracle, and the info of {dataset!r} has no 'demo_shop'. "
                "Make the dataset with load_demo_domain(name)."
            )
        oracle = cls(made["domain"], made["seed"], made["num_items"])
        if dataset.catalog.fingerprint != ItemCatalog.from_items(oracle._shop.texts).fingerprint:
            raise ValueError(
                f"The items of {dataset!r} are not those that this version's demo shop has for {made}. "
                "Make the dataset again with load_demo_domain(name)."
            )
        return oracle

    def fit(self, dataset: SequentialDataset) -> DemoOracle:
        """Checks that the dataset is of this oracle's shop; there is nothing to learn.

        Raises:
            ValueError: if it has other items.
        """
        if dataset.catalog.fingerprint != ItemCatalog.from_items(self._shop.texts).fingerprint:
            raise ValueError(f"{dataset!r} has other items than this oracle's shop. Use DemoOracle.from_dataset.")
        return self

    @property
    def is_cold(self) -> np.ndarray:
        """bool `[num_items]`: the items that are released just before the test choice."""
        return self._shop.is_cold.copy()

    def scores(
        self, histories: Sequence[np.ndarray | Sequence[int]], released: Literal["all", "warm"] = "all"
    ) -> np.ndarray:
        """Probability of each item to be the next choice.

        Args:
            histories: `[batch]` sequences of catalogue rows, oldest first; any length, 0 included.
            released: `"all"` for the test choice, `"warm"` for every choice before it.

        Returns:
            float64 `[batch, num_items]`; every row sums to 1.

        Raises:
            ValueError: for a row that is not in the catalogue, or another `released`.
        """
        if released not in ("all", "warm"):
            raise ValueError(f"released is {released!r}; expected 'all' (the test choice) or 'warm' (any earlier one).")
        num_items = len(self._shop.is_cold)
        newest = np.full((len(histories), len(RECENCY_WEIGHTS)), -1, np.int64)
        for row, history in enumerate(histories):
            items = np.asarray(history, np.int64)
            if items.size and not 0 <= items.min() <= items.max() < num_items:
                raise ValueError(
                    f"History {row} has rows {items.min()} to {items.max()}, but the catalogue's are 0 to "
                    f"{num_items - 1}. Is it of another domain, or another num_items?"
                )
            window = items[::-1][: len(RECENCY_WEIGHTS)]
            newest[row, : len(window)] = window
        is_released = np.ones(num_items, bool) if released == "all" else ~self._shop.is_cold
        weights = _choice_weights(self._shop, newest) * is_released
        gift = is_released / is_released.sum()
        return (1 - GIFT_RATE) * weights / weights.sum(1, keepdims=True) + GIFT_RATE * gift


@dataclass(frozen=True)
class _Shop:
    """One domain's items, by catalogue row.

    texts: item id -> attributes. is_cold: bool `[num_items]`. shared: int32 `[num_items, num_items]`, what two items
    have in common, weighed by `TASTE`. appeal: int32 `[num_items]`, points.
    """

    texts: dict[str, dict[str, str]]
    is_cold: np.ndarray
    shared: np.ndarray
    appeal: np.ndarray


def _generator(name: str, seed: int, stream: int) -> np.random.Generator:
    """Stream 0 draws a domain's items, stream 1 its shoppers.

    Only `random` is ever called on it: numpy keeps the right to change the other methods' draws from release to
    release (NEP 19), and "the same bytes" should outlive one.
    """
    return np.random.Generator(np.random.PCG64([seed, list(_DOMAINS).index(name), stream]))


@lru_cache(maxsize=8)
def _build_shop(name: str, seed: int, num_items: int) -> _Shop:
    if name not in _DOMAINS:
        raise ValueError(f"The demo shop has no domain {name!r}; its domains are {', '.join(_DOMAINS)}.")
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected 0 or greater.")
    vocabulary = _DOMAINS[name]
    categories = list(vocabulary.products)
    kinds = (len(STYLE_WORDS), len(vocabulary.brands), len(categories), len(PRICE_BAND_WORDS))
    most_series = int(np.prod(kinds))
    if not 50 <= num_items <= most_series * SERIES_SIZE:
        raise ValueError(f"num_items is {num_items}; expected 50 to {most_series * SERIES_SIZE}. The default is 800.")

    rng = _generator(name, seed, stream=0)
    num_series = -(-num_items // SERIES_SIZE)
    style, brand, category, price_band = np.unravel_index(_shuffled(rng, most_series)[:num_series], kinds)
    cold_member = (rng.random(num_series) * SERIES_SIZE).astype(np.int64)
    cold_member[rng.random(num_series) >= COLD_SERIES_RATE] = -1
    if num_items % SERIES_SIZE:
        cold_member[-1] = -1  # the last series is cut short, and no series may be of cold items only
    first_colour = (rng.random(num_series) * len(COLOURS)).astype(np.int64)
    pools = [
        (STYLE_WORDS[s] + vocabulary.style_words[s], PRICE_BAND_WORDS[p], vocabulary.products[categories[c]])
        for s, p, c in zip(style.tolist(), price_band.tolist(), category.tolist(), strict=True)
    ]
    title_words = [[_halves(rng, pool) for pool in series_pools] for series_pools in pools]

    # Rows in a drawn order, so that neighbours in the catalogue have nothing in common.
    series, member = np.divmod(_shuffled(rng, num_items), SERIES_SIZE)
    is_cold = cold_member[series] == member
    colour = (first_colour[series] + 3 * member) % len(COLOURS)  # five different ones: 3 and 10 have no common divisor
    texts = {}
    for row in range(num_items):
        line = series[row]
        halves = [words[int(is_cold[row])] for words in title_words[line]]
        words = [half[int(rng.random() * len(half))] for half in halves]
        texts[f"{name}-{row:04d}"] = {
            "title": " ".join([*words, COLOURS[colour[row]]]),
            "brand": vocabulary.brands[brand[line]],
            "category": categories[category[line]],
        }

    of_series = {"style": style, "brand": brand, "category": category, "price_band": price_band}
    columns = {key: values[series] for key, values in of_series.items()} | {"colour": colour, "series": series}
    shared = np.zeros((num_items, num_items), np.int32)
    for key, weight in TASTE.items():
        shared += np.int32(weight) * (columns[key][:, None] == columns[key])
    appeal = BRAND_APPEAL * _shuffled(rng, len(vocabulary.brands))[brand[series]] + rng.random(num_items) * ITEM_APPEAL
    return _Shop(texts, is_cold, shared, appeal.astype(np.int32))


def _shuffled(rng: np.random.Generator, size: int) -> np.ndarray:
    """int64 `[size]`: 0 to size - 1 in a drawn order."""
    return np.argsort(rng.random(size), kind="stable")


def _halves(rng: np.random.Generator, pool: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The pool's words in a drawn order, cut in the middle: for a series' warm items, and for its cold one."""
    words = [pool[i] for i in _shuffled(rng, len(pool))]
    return words[: len(words) // 2], words[len(words) // 2 :]


def _choice_weights(shop: _Shop, newest: np.ndarray) -> np.ndarray:
    """How likely each item is to be chosen next, gifts and releases apart.

    Points and weights are whole numbers, and sums of weights stay below 2**53, so every sum is exact in any order: a
    last digit of `exp` that differs between machines cannot turn one choice into another.

    Args:
        newest: int64 `[batch, 8]`, the newest items' rows, newest first; -1 where the history is shorter.

    Returns:
        float64 `[batch, num_items]`.
    """
    sums = np.zeros((len(newest), len(shop.appeal)), np.int32)
    is_owned = np.zeros(sums.shape, bool)
    for position, weight in enumerate(RECENCY_WEIGHTS):
        users = np.flatnonzero(newest[:, position] >= 0)
        items = newest[users, position]
        sums[users] += weight * shop.shared[items]
        is_owned[users, items] = True
    divisor = RESERVE + (newest >= 0).astype(np.int32) @ np.array(RECENCY_WEIGHTS, np.int32)
    points = TASTE_POINTS * sums // divisor[:, None] + shop.appeal
    points = np.maximum(points - OWNED_POINTS * is_owned, 0)
    everything = sum(TASTE.values()) * sum(RECENCY_WEIGHTS)
    most = TASTE_POINTS * everything // (RESERVE + sum(RECENCY_WEIGHTS)) + int(shop.appeal.max())
    return np.rint(100 * np.exp(np.arange(most + 1) / POINT_SCALE))[points]


def _draw_choices(shop: _Shop, rng: np.random.Generator, num_users: int) -> tuple[np.ndarray, np.ndarray]:
    """All shoppers' choices: int32 `[num_users, MOST_CHOICES]`, -1 after a shopper's last, and int64 `[num_users]`,
    how many."""
    draws = rng.random((num_users, 1 + 2 * MOST_CHOICES))  # a row a user: more users leave the first ones as they are
    lengths = FEWEST_CHOICES + (draws[:, 0] * (MOST_CHOICES + 1 - FEWEST_CHOICES)).astype(np.int64)
    choices = np.full((num_users, MOST_CHOICES), -1, np.int32)
    for start in range(0, num_users, 1024):  # bounds the [users, num_items] arrays
        block = slice(start, start + 1024)
        newest = np.full((len(lengths[block]), len(RECENCY_WEIGHTS)), -1, np.int64)
        for step in range(MOST_CHOICES):
            users = np.flatnonzero(lengths[block] > step)
            is_gift, place = draws[block][users, 1 + 2 * step] < GIFT_RATE, draws[block][users, 2 + 2 * step]
            weights = np.where(is_gift[:, None], 1.0, _choice_weights(shop, newest[users]))
            is_last = lengths[block][users] == step + 1
            weights *= is_last[:, None] | ~shop.is_cold
            up_to = weights.cumsum(1)
            chosen = (up_to > np.floor(place * up_to[:, -1])[:, None]).argmax(1)
            choices[start + users, step] = chosen
            newest[users] = np.column_stack([chosen, newest[users, :-1]])
    return choices, lengths
