"""Import paths of the version before keep working."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest

import recformer_hf
from recformer_hf._moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_an_old_path_has_the_names_of_the_new_one(old):
    sys.modules.pop(f"recformer_hf.{old}", None)
    with pytest.warns(DeprecationWarning, match=rf"recformer_hf\.{old} is now recformer_hf\.{MOVED[old]}\."):
        module = importlib.import_module(f"recformer_hf.{old}")
    new = importlib.import_module(f"recformer_hf.{MOVED[old]}")
    names = [
        name for name, value in vars(new).items() if not name.startswith("__") and not isinstance(value, ModuleType)
    ]
    assert names
    assert all(getattr(module, name) is getattr(new, name) for name in names)


def test_a_path_that_never_was_is_an_error():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("recformer_hf.nothing_recformer")


def test_an_old_module_is_an_attribute_of_the_package():
    sys.modules.pop("recformer_hf.catalog_recformer", None)
    vars(recformer_hf).pop("catalog_recformer", None)
    with pytest.warns(DeprecationWarning, match="recformer_hf.items.catalog"):
        assert recformer_hf.catalog_recformer.ItemCatalog is recformer_hf.ItemCatalog
    assert not hasattr(recformer_hf, "nothing_recformer")
