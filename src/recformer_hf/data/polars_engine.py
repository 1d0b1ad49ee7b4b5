"""polars, which readers and preparation run on, or how to get it: training and evaluation do without."""

from __future__ import annotations

try:
    import polars as pl
except ImportError as error:
    raise ImportError(
        "Reading and preparing raw data needs polars. Install it: `pip install 'recformer-hf[data]'`."
    ) from error

__all__ = ["pl"]
