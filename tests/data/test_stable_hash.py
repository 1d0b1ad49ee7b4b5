"""The hash behind every draw: its definition, its values for good, and who is drawn by it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.data.stable_hash import first_by_hash, mix, stable_hash


def plain_hash(text: str, seed: int) -> int:
    """FNV-1a from a start value drawn by SplitMix64, and SplitMix64 of the result: in whole numbers, byte by byte."""

    def mix(number: int) -> int:
        number = (number + 0x9E3779B97F4A7C15) % 2**64
        number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        number = (number ^ number >> 27) * 0x94D049BB133111EB % 2**64
        return number ^ number >> 31

    number = mix(seed) ^ 0xCBF29CE484222325
    for byte in text.encode():
        number = (number ^ byte) * 0x100000001B3 % 2**64
    return mix(number)


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.text()), seed=st.integers(0, 2**64 - 1))
def test_the_hash_is_its_definition(texts, seed):
    assert stable_hash(pa.array(texts, pa.string()), seed).tolist() == [plain_hash(text, seed) for text in texts]


def test_the_hash_never_changes():
    """Splits that people have published depend on it."""
    found = stable_hash(pa.array(["", "a", "A31160I7G2EZVN", "é"]), seed=3)
    assert [hex(number) for number in found.tolist()] == [
        "0xa2a11f1e97e3bd13",
        "0x4cef19596826f08a",
        "0x94dc75763b5cf60a",
        "0x4b7e830ddee37e1f",
    ]


def test_the_hash_does_not_depend_on_how_the_texts_are_stored():
    texts = ["x", "", "longer text", "é", "x"]
    expected = stable_hash(pa.array(texts))
    assert expected[0] == expected[4]
    assert len(set(expected.tolist())) == 4
    for stored in (
        pa.array(texts, pa.large_string()),
        pa.chunked_array([texts[:2], texts[2:]]),
        pa.array(["skipped", *texts, "skipped"]).slice(1, 5),
        pl.Series(texts).to_arrow(),
        pa.chunked_array([texts]),
    ):
        assert np.array_equal(stable_hash(stored), expected)
    assert len(stable_hash(pa.array([], pa.string()))) == 0
    assert not np.any(stable_hash(pa.array(texts), seed=1) == expected)


def test_mix_is_splitmix64():
    """The generator's known outputs from state 0. Its state grows by the constant that `mix` adds before it mixes."""
    states = np.arange(3, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert [hex(number) for number in mix(states).tolist()] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]


def test_first_by_hash_takes_the_smallest_and_adding_ids_only_pushes_out():
    few, many = ([f"user {row}" for row in range(count)] for count in (200, 300))
    drawn = first_by_hash(pa.array(few), 20, seed=5)
    hashes = stable_hash(pa.array(few), 5)
    assert sorted(hashes[drawn].tolist()) == sorted(hashes.tolist())[:20]
    of_many = {many[row] for row in first_by_hash(pa.array(many), 20, seed=5)}
    assert {name for name in of_many if name in few} <= {few[row] for row in drawn}
    assert set(first_by_hash(pa.array(few), 20, seed=6).tolist()) != set(drawn.tolist())
