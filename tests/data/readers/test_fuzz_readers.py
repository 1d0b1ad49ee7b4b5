"""Mutated files through every reader: the same result, a counted damaged line, or an error that names the file.

Never another exception, a hang, or a value that the file does not hold (`tests/support/plain_reading.py` says what it
holds). `python -m tests.support.reader_fuzzing 0 10000` reads as many files as you like in two processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import polars as pl
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.support.reader_checks import Example, WrongError
from tests.support.reader_fuzzing import KINDS, outcome_of, summary

# All kinds together: some hundred files in the default run, 10,000 in the slow one.
QUICK, SLOW = 20, 10_000 // len(KINDS) + 1
FILES = st.randoms(use_true_random=False)
OPTIONS = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


@pytest.fixture(scope="module")
def outcomes() -> Iterator[Counter[tuple[str, str]]]:
    """Counts the outcomes of all kinds, and prints them at the end (`-s` shows them)."""
    counted: Counter[tuple[str, str]] = Counter()
    yield counted
    print("\n" + summary(counted))


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files(kind, outcomes):
    @given(FILES)
    @settings(max_examples=QUICK, derandomize=True, **OPTIONS)
    def check(rng):
        outcomes[kind, outcome_of(kind, rng)] += 1

    check()


def test_files_of_all_sorts_were_read(outcomes):
    """What was checked above is worth something only if no sort of outcome is missing."""
    if sum(outcomes.values()) >= QUICK * len(KINDS):
        sorts = {outcome.split(":")[0] for _, outcome in outcomes}
        assert {"same result", "damaged lines", "refused"} <= sorts


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_mutated_files(kind, outcomes):
    """`-k` picks some of the kinds, so that several processes can share them."""

    @seed(18)
    @given(FILES)
    @settings(max_examples=SLOW, **OPTIONS)
    def check(rng):
        outcomes[kind, outcome_of(kind, rng)] += 1

    check()


def another_title(source):
    return replace(source, items=source.items.with_columns(title=pl.lit("not in the file")))


def one_row_less(source):
    return replace(source, interactions=source.interactions.head(-1))


def another_time(source):
    return replace(source, interactions=source.interactions.with_columns(pl.col("timestamp") + 1))


def a_wrong_line(source):
    source.report.files[0].add_damaged([(7, "damaged")])
    return source


def a_foreign_error(source):
    raise pl.exceptions.ComputeError("log.csv")


def an_error_without_the_file(source):
    raise ValueError("something is wrong")


def an_error_about_a_good_file(source):
    raise ValueError("log.csv cannot be read")


def with_fault(example: Example, fault) -> Example:
    return replace(example, read=lambda folder: fault(example.read(folder)))


@pytest.mark.parametrize(
    "fault",
    [
        another_title, one_row_less, another_time, a_wrong_line, a_foreign_error, an_error_without_the_file,
        an_error_about_a_good_file,
    ],
)  # fmt: skip
def test_a_reader_with_a_fault_is_found_out(fault, monkeypatch):
    name = "table, csv log"
    whole = next(number for number in range(100) if outcome_of(name, Random(number)) == "same result")
    make = KINDS[name]
    monkeypatch.setitem(KINDS, name, lambda rng: with_fault(make(rng), fault))
    with pytest.raises(WrongError):
        outcome_of(name, Random(whole))
