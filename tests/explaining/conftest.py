"""A history of ids and dictionaries, and the model that reads it."""

from __future__ import annotations

import pytest

from recformer_hf.explaining import word_paths
from tests.support.explanations import recommender


@pytest.fixture(autouse=True)
def few_points(monkeypatch) -> None:
    """Words take most of an explanation's time, and their sums do not depend on the number of points."""
    monkeypatch.setattr(word_paths, "POINTS", 2)


@pytest.fixture(params=["paper", "flat", "narrow"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def model(kind):
    return recommender(kind)
