"""How the shoppers of a domain choose: the weight of every item after a history, and whole sequences of choices."""

from __future__ import annotations

import numpy as np

from .shop import TASTE, Shop

RECENCY_WEIGHTS = (6, 5, 5, 5, 5, 5, 4, 4)
"""Weight of the newest history item, of the one before it, and so on; older items count nothing."""
RESERVE = 24
"""Added to the sum of the weights by which a taste is divided, so that a short history gives a weak taste."""
TASTE_POINTS = 100
OWNED_POINTS = 40
POINT_SCALE = 33.0
GIFT_RATE = 0.2
FEWEST_CHOICES, MOST_CHOICES = 5, 13
USERS_AT_ONCE = 1024
"""Bounds the memory of arrays `[users, num_items]`."""


def choice_weights(shop: Shop, newest: np.ndarray) -> np.ndarray:
    """How likely each item is to be chosen next, before gifts and releases are taken into account.

    Points and weights are whole numbers, and sums of weights stay below 2**53, so every sum is exact in any order. A
    last digit of `exp` that differs between machines therefore cannot turn one choice into another.

    Args:
        shop: the items.
        newest: int64 `[batch, 8]`, rows of the newest items, newest first; -1 where the history is shorter.

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
    # One table entry for every possible number of points: exp is rounded once, and the same for all shoppers.
    everything = sum(TASTE.values()) * sum(RECENCY_WEIGHTS)
    most = TASTE_POINTS * everything // (RESERVE + sum(RECENCY_WEIGHTS)) + int(shop.appeal.max())
    weights: np.ndarray = np.rint(100 * np.exp(np.arange(most + 1) / POINT_SCALE))[points]
    return weights


def draw_choices(shop: Shop, rng: np.random.Generator, num_users: int) -> tuple[np.ndarray, np.ndarray]:
    """The choices of all shoppers.

    Returns:
        int32 `[num_users, MOST_CHOICES]`, catalogue rows, -1 after a shopper's last choice; and int64 `[num_users]`,
        the number of choices of each.
    """
    draws = rng.random((num_users, 1 + 2 * MOST_CHOICES))  # one row per user: more users do not change the first ones
    lengths = FEWEST_CHOICES + (draws[:, 0] * (MOST_CHOICES + 1 - FEWEST_CHOICES)).astype(np.int64)
    choices = np.full((num_users, MOST_CHOICES), -1, np.int32)
    for start in range(0, num_users, USERS_AT_ONCE):
        block = slice(start, start + USERS_AT_ONCE)
        choices[block] = _draw_block(shop, draws[block], lengths[block])
    return choices, lengths


def _draw_block(shop: Shop, draws: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Choices of some shoppers from their uniform draws (float64 `[users, 1 + 2 * MOST_CHOICES]`) and lengths."""
    choices = np.full((len(lengths), MOST_CHOICES), -1, np.int32)
    newest = np.full((len(lengths), len(RECENCY_WEIGHTS)), -1, np.int64)
    for step in range(MOST_CHOICES):
        users = np.flatnonzero(lengths > step)
        is_gift, place = draws[users, 1 + 2 * step] < GIFT_RATE, draws[users, 2 + 2 * step]
        weights = np.where(is_gift[:, None], 1.0, choice_weights(shop, newest[users]))
        is_last = lengths[users] == step + 1
        weights *= is_last[:, None] | ~shop.is_cold  # cold items are released just before the last choice
        up_to = weights.cumsum(1)
        chosen = (up_to > np.floor(place * up_to[:, -1])[:, None]).argmax(1)
        choices[users, step] = chosen
        newest[users] = np.column_stack([chosen, newest[users, :-1]])
    return choices
