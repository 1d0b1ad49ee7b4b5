from __future__ import annotations

import pytest

from recformer_hf.serving.settings import ServingLimits


def test_defaults_are_accepted():
    limits = ServingLimits()
    assert limits.max_body_bytes == 1 << 20
    assert ServingLimits(window_ms=0).window_ms == 0


@pytest.mark.parametrize(
    "wrong",
    [{"max_top_k": 0}, {"max_waiting": -1}, {"max_ids": 1.5}, {"timeout_seconds": 0}, {"window_ms": "4"},
     {"max_histories": True}],
)  # fmt: skip
def test_other_values_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))} must be"):
        ServingLimits(**wrong)
