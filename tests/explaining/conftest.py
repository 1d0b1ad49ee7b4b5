"""A history of ids and dictionaries, and the model that reads it."""

from __future__ import annotations

import pytest

from tests.support.explanations import KINDS, recommender


@pytest.fixture(params=list(KINDS))
def kind(request) -> str:
    return request.param


@pytest.fixture
def model(kind):
    return recommender(kind)
