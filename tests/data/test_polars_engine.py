"""Without polars, the error says how to install it."""

from __future__ import annotations

import importlib
import sys

import pytest


def test_without_polars_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    monkeypatch.delitem(sys.modules, "recformer_hf.data.polars_engine")
    with pytest.raises(ImportError, match=r"pip install 'recformer-hf\[data\]'"):
        importlib.import_module("recformer_hf.data.polars_engine")
