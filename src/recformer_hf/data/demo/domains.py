"""The demo shop's domains as datasets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from ...items.catalog import ItemCatalog
from ..arrays import offsets_from_lengths
from ..dataset import SequentialDataset
from ..sequences import Sequences
from .choices import MOST_CHOICES, draw_choices
from .shop import build_shop, random_generator
from .words import DOMAINS


def demo_domains() -> tuple[str, ...]:
    """Names of the demo shop's domains: `("kitchen", "garden", "music", "outdoor")`."""
    return tuple(DOMAINS)


def load_demo_domain(name: str, seed: int = 0, num_users: int = 2000, num_items: int = 800) -> SequentialDataset:
    """One domain of the invented demo shop, split leave-one-out: a shopper's last choice is the test target, the one
    before it the validation target, and all earlier choices are training.

    The shop releases its cold items, about one in eight, just before the test choice, which is drawn from all items;
    every earlier choice is drawn from the others. So one test split has rows with a cold target (about one in seven)
    and rows with an in-set target, drawn by the same process. `train` or `info["cold_item_ids"]` tells them apart.

    Args:
        name: one of `demo_domains()`.
        seed: 0 or greater. The same arguments give the same dataset, byte for byte.
        num_users: at least 1. A larger shop has the same items and the same first users.
        num_items: 50 to 9,600, including the cold ones.

    Returns:
        a dataset whose `info` says that it is invented, and which arguments it was created with (`"demo_shop"`).

    Raises:
        ValueError: for an unknown name, or a number out of its range.
    """
    if num_users < 1:
        raise ValueError(f"num_users is {num_users}, but a shop needs at least 1 shopper; the default is 2000.")
    shop = build_shop(name, seed, num_items)
    choices, lengths = draw_choices(shop, random_generator(name, seed, stream=1), num_users)
    user_ids = pa.array([f"{name}-shopper-{user:05d}" for user in range(num_users)], pa.string())

    def split(num_later: int, with_target: bool) -> Sequences:
        """All choices but the last `num_later` ones, and the one after them as the target."""
        kept = lengths - num_later
        items = choices[np.arange(MOST_CHOICES) < kept[:, None]]
        targets = choices[np.arange(num_users), kept] if with_target else None
        return Sequences(user_ids, items, offsets_from_lengths(kept), targets)

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
