"""Fixtures of the datasets' tests."""

from __future__ import annotations

import pytest

from recformer_hf.data import mapped_files
from tests.support.small_dataset import small_dataset


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "saved"
    small_dataset().save_to_disk(folder)
    return folder


@pytest.fixture
def mapped_cache(tmp_path, monkeypatch):
    """Even the smallest file is mapped, from a cache of this test's own."""
    cache = tmp_path / "cache"

    def cached_assets_path(library_name, namespace, subfolder):
        (cache / subfolder).mkdir(parents=True, exist_ok=True)
        return cache / subfolder

    monkeypatch.setattr(mapped_files, "SMALLEST_MAPPED", 0)
    monkeypatch.setattr(mapped_files, "cached_assets_path", cached_assets_path)
    return cache
