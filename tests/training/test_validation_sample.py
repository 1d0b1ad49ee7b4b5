"""training/validation_sample.py: a fixed sample of users."""

from __future__ import annotations

import numpy as np

from recformer_hf.training.validation_sample import sample_users
from tests.support.training import small_dataset


def test_a_sample_is_in_the_split_s_order_and_does_not_depend_on_it():
    split = small_dataset().validation
    users = split.user_ids.to_pylist()
    sample = sample_users(split, 10, seed=3).user_ids.to_pylist()
    assert len(sample) == 10
    assert sample == sorted(sample, key=users.index)
    backwards = split.select(np.arange(len(split))[::-1])
    assert set(sample_users(backwards, 10, seed=3).user_ids.to_pylist()) == set(sample)
    assert set(sample_users(split, 10, seed=4).user_ids.to_pylist()) != set(sample)


def test_a_smaller_sample_is_part_of_a_larger_one():
    split = small_dataset().validation
    samples = [set(sample_users(split, most, seed=3).user_ids.to_pylist()) for most in (5, 20)]
    assert samples[0] < samples[1]


def test_a_split_that_is_small_enough_stays_as_it_is():
    split = small_dataset().validation
    assert sample_users(split, None) is sample_users(split, len(split)) is split
