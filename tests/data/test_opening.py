"""Datasets by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from recformer_hf.data.demo import load_demo_domain
from recformer_hf.data.opening import open_dataset
from tests.support.small_dataset import small_dataset


def test_a_domain_of_the_demo_shop():
    assert open_dataset("demo:garden", seed=3) == load_demo_domain("garden", seed=3)


def test_a_folder(tmp_path: Path):
    small_dataset().save_to_disk(tmp_path / "shoppers")
    assert open_dataset(str(tmp_path / "shoppers"), seed=3) == small_dataset()


def test_unknown_names():
    with pytest.raises(ValueError, match="no domain 'cars'; its domains are kitchen, garden, music, outdoor"):
        open_dataset("demo:cars")
    with pytest.raises(FileNotFoundError, match=r"'\./no/such/folder' is neither"):
        open_dataset("./no/such/folder")
