"""Imports polars for readers and preparation, or says how to install it. Training and evaluation do not need it."""

from __future__ import annotations

try:
    import polars as pl
except ImportError as error:
    raise ImportError(
        "Reading and preparing raw data needs polars. Install it with `pip install 'recformer-hf[data]'`."
    ) from error

__all__ = ["pl"]
