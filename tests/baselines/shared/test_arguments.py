"""baselines/shared/arguments.py: defaults, and values that are refused."""

from __future__ import annotations

import pytest

from tests.support.neural_baselines import small_baseline_arguments


def test_defaults():
    args = small_baseline_arguments("run", num_train_epochs=200, per_device_train_batch_size=128)
    expected = (1e-3, 128, 200, 10, "ndcg@10", True)
    assert expected == (
        args.learning_rate, args.per_device_train_batch_size, args.num_train_epochs, args.patience,
        args.metric_for_best_model, args.greater_is_better,
    )  # fmt: skip
    assert str(args.lr_scheduler_type.value) == "constant"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"patience": 0}, "patience must be at least 1 or None, got 0"),
        ({"max_validation_users": 0}, "max_validation_users must be at least 1 or None, got 0"),
        ({"mixing": "users"}, "mixing must be one of sequences, steps, got 'users'"),
    ],
)
def test_values_without_a_meaning_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        small_baseline_arguments("run", **setting)


def test_what_decides_the_result_and_what_a_search_may_try():
    args = small_baseline_arguments("run", patience=3)
    assert args.deciding_settings()["patience"] == 3
    assert args.deciding_settings()["batch_over_processes"] == 8
    assert args.with_settings({"patience": 4}).patience == 4
