"""Random draws: the published generator, uniform, independent between purposes, and nothing but a function."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.data.draws import Draws, Stream, philox4x32

USERS = np.arange(20_000)


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # known answers of Random123, kat_vectors, philox4x32 10
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_known_answers(counter, key, expected):
    low, high = words(key)
    numbers = philox4x32(np.array([words(counter)] * 3, dtype=np.uint32), high << 32 | low)
    assert numbers.tolist() == [words(expected)] * 3


def test_philox_does_not_depend_on_how_many_counters_come_at_once():
    counters = np.random.default_rng(0).integers(0, 2**32, (20_001, 4), dtype=np.uint32)
    together = philox4x32(counters, 7)
    assert np.array_equal(together[[0, 8191, 8192, 20_000]], philox4x32(counters[[0, 8191, 8192, 20_000]], 7))


def test_the_counter_spells_out_the_purpose():
    block = Draws(2**40 + 5).blocks(Stream.NEGATIVES, epoch=3, dataset=1, user=77, counter=9)
    assert np.array_equal(block, philox4x32(np.array([[9, 77, 1 << 8 | 2, 3]], dtype=np.uint32), 2**40 + 5)[0])


def chi_square(counts: np.ndarray) -> float:
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2).sum() / expected)


@pytest.mark.parametrize("stream", list(Stream))
def test_integers_are_uniform(stream):
    drawn = Draws(1).integers(stream, 0, 0, USERS, 3, 13)
    assert set(drawn.tolist()) == set(range(3, 13))
    assert chi_square(np.bincount(drawn - 3)) < 33.7  # 9 degrees of freedom: above it one time in 10,000


def test_every_bit_is_fair():
    bits = np.unpackbits(Draws(1).blocks(Stream.TARGET, 0, 0, USERS, 0).view(np.uint8).reshape(-1, 16), axis=1)
    assert np.abs(bits.mean(0) - 0.5).max() < 5 * 0.5 / np.sqrt(len(USERS))


def test_uniform_numbers_fill_the_unit_interval():
    drawn = Draws(1).uniform(Stream.TARGET, 0, 0, USERS)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert chi_square(np.histogram(drawn, bins=20, range=(0, 1))[0]) < 50.8  # 19 degrees of freedom


@pytest.mark.parametrize(
    "other",
    [
        {"stream": Stream.NEGATIVES},
        {"epoch": 1},
        {"dataset": 1},
        {"user": USERS + 1},
        {"counter": 1},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_purposes_are_independent(other):
    purpose = {"stream": Stream.TARGET, "epoch": 0, "dataset": 0, "user": USERS, "counter": 0}
    one, two = (Draws(5).blocks(**keys)[:, 0].astype(float) for keys in (purpose, purpose | other))
    assert abs(np.corrcoef(one, two)[0, 1]) < 5 / np.sqrt(len(USERS))


def test_seeds_are_independent():
    one, two = (Draws(seed).uniform(Stream.TARGET, 0, 0, USERS) for seed in (1, 2))
    assert abs(np.corrcoef(one, two)[0, 1]) < 5 / np.sqrt(len(USERS))


def test_a_draw_depends_on_nothing_but_its_purpose():
    draws = Draws(3)
    before = draws.integers(Stream.TARGET, 2, 1, np.array([5, 6, 7]), 0, 1000)
    np.random.seed(0)
    draws.uniform(Stream.TARGET, 0, 0, USERS)
    after = Draws(3).integers(Stream.TARGET, np.array([2, 2]), np.array([1, 1]), np.array([7, 5]), 0, 1000)
    assert after.tolist() == before[[2, 0]].tolist()


def test_more_numbers_of_an_entry_begin_with_the_same():
    draws, users = Draws(3), np.arange(4)
    many = draws.integers(Stream.NEGATIVES, 0, 0, users, 0, 10**6, size=7)
    assert many.shape == (4, 7)
    assert np.array_equal(draws.integers(Stream.NEGATIVES, 0, 0, users, 0, 10**6, size=2), many[:, :2])
    assert np.array_equal(draws.integers(Stream.NEGATIVES, 0, 0, users, 0, 10**6), many[:, 0])
    assert np.unique(many).size == many.size


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 2**64 - 1))
def test_ragged_draws_are_those_of_each_entry_alone(counts, seed):
    draws, counts, users = Draws(seed), np.array(counts), np.arange(len(counts)) + 3
    zeros = np.zeros_like(counts)
    together = draws.ragged(Stream.ITEM_WORDS, zeros, zeros, users, counts)
    alone = [
        draws.blocks(Stream.ITEM_WORDS, 0, 0, user, np.arange(3)).reshape(-1)[:n]
        for user, n in zip(users, counts, strict=True)
    ]
    assert np.array_equal(together, np.concatenate(alone))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 10**9), st.integers(1, 2**32 - 1)), min_size=1, max_size=8))
def test_integers_stay_in_their_own_range(ranges):
    low = np.array([start for start, _ in ranges])
    high = low + [span for _, span in ranges]
    drawn = Draws(0).integers(Stream.TARGET, 0, 0, np.arange(len(low)), low, high, size=5)
    assert ((drawn >= low[:, None]) & (drawn < high[:, None])).all()


def test_an_empty_range_is_an_error():
    with pytest.raises(ValueError, match=r"entry 1 has low 3 and high 3"):
        Draws(0).integers(Stream.TARGET, 0, 0, np.arange(3), 3, np.array([4, 3, 5]))


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_outside_64_bits_is_an_error(seed):
    with pytest.raises(ValueError, match="seed must lie"):
        Draws(seed)


def test_the_numbers_of_streams_never_change():
    """A checkpoint's run is repeated from its seed: renumbering would change what every seed gives."""
    assert [(stream.name, int(stream)) for stream in Stream] == [
        ("SHUFFLE", 0), ("TARGET", 1), ("NEGATIVES", 2), ("CONTEXT_WORDS", 3), ("ITEM_WORDS", 4),
        ("CONTEXT_TOKENS", 5), ("ITEM_TOKENS", 6), ("WINDOW", 7), ("MASKED_ITEMS", 8),
        ("SEGMENT", 9), ("AUGMENTATION", 10),
    ]  # fmt: skip
