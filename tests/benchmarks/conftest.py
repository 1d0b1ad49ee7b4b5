from __future__ import annotations

import pytest

from benchmarks import encoder


@pytest.fixture(scope="package")
def bench() -> encoder.Bench:
    """Small models of random weights, which several modules of this folder share."""
    return encoder.Bench("small", num_encoded=16)
