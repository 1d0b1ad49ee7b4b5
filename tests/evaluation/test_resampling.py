"""Bootstrap intervals and p-values against what theory says."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from recformer_hf.evaluation.resampling import bootstrap_intervals, sign_flip_p_value


def test_the_bootstrap_of_a_share_is_binomial() -> None:
    """The resampled mean of zeros and ones is Binomial(n, p) / n: its quantiles are known."""
    low, high = bootstrap_intervals(
        np.array([[0.0], [1.0]]), np.array([700, 300]), np.random.default_rng(0), resamples=20_000
    )[0]
    deviation = math.sqrt(0.3 * 0.7 / 1000)
    assert (low, high) == pytest.approx((0.3 - 1.96 * deviation, 0.3 + 1.96 * deviation), abs=0.1 * deviation)


def test_the_bootstrap_over_distinct_values_is_the_bootstrap_over_users() -> None:
    values = np.random.default_rng(0).exponential(size=60).round(1)
    distinct, counts = np.unique(values, return_counts=True)
    mine = bootstrap_intervals(distinct[:, None], counts, np.random.default_rng(1), resamples=20_000)[0]
    drawn = values[np.random.default_rng(2).integers(0, 60, (20_000, 60))].mean(1)
    assert mine == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.01)


def test_intervals_hold_the_truth_19_times_in_20() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        distinct, counts = np.unique(rng.geometric(0.2, 200), return_counts=True)
        low, high = bootstrap_intervals(1 / distinct[:, None], counts, rng, resamples=300)[0]
        held += low <= 0.2 / 0.8 * math.log(5) <= high  # the mean of 1 / rank of a geometric rank
    assert 0.91 <= held / 300 <= 0.98


def test_p_values_are_those_of_all_sign_patterns() -> None:
    differences = np.array([0.3, -0.1, 0.25, 0.0, 0.5, 0.1, -0.05, 0.3])
    sums = [abs(differences @ signs) for signs in product([-1, 1], repeat=len(differences))]
    exact = np.mean(np.array(sums) >= differences.sum() - 1e-12)
    assert sign_flip_p_value(differences, np.random.default_rng(0)) == pytest.approx(exact, abs=0.01)
