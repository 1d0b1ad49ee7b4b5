"""baselines/shared/attributes.py on a catalogue of four items."""

from __future__ import annotations

import pytest

from recformer_hf import ItemCatalog
from recformer_hf.baselines.shared.attributes import ItemAttributes

CATALOG = ItemCatalog.from_items({
    "a": {"title": "Red nail polish", "brand": "OPI", "category": "Beauty Nails nails"},
    "b": {"title": "Blue nail polish", "brand": "Essie", "category": "Beauty Nails"},
    "c": {"title": "Hair nails", "brand": "OPI", "category": "Beauty Hair"},
    "d": {"title": "Brush", "category": "Beauty Hair"},
})  # fmt: skip


def named(attributes: ItemAttributes) -> list[list[str]]:
    return [
        [attributes.names[number] for number in attributes.ids[first:last]]
        for first, last in zip(attributes.offsets, attributes.offsets[1:], strict=False)
    ]


def test_words_of_all_fields_but_the_title_neither_rare_nor_everywhere():
    found = ItemAttributes.of(CATALOG, min_items=2)
    assert found.names == ["brand: opi", "category: hair", "category: nails"]
    assert named(found) == [
        ["brand: opi", "category: nails"], ["category: nails"], ["brand: opi", "category: hair"], ["category: hair"],
    ]  # fmt: skip


def test_chosen_fields():
    found = ItemAttributes.of(CATALOG, ["title"], min_items=2)
    assert named(found) == [["title: nail", "title: polish"], ["title: nail", "title: polish"], [], []]


def test_titles_are_taken_if_there_is_nothing_else():
    catalog = ItemCatalog.from_items({"a": {"title": "Red nail"}, "b": {"title": "Red"}, "c": {"title": "Nail"}})
    assert ItemAttributes.of(catalog, min_items=2).names == ["title: nail", "title: red"]


def test_nothing_is_common_enough():
    found = ItemAttributes.of(CATALOG, min_items=5)
    assert found.names == []
    assert found.ids.dtype == "int64"
    assert found.offsets.tolist() == [0] * 5


def test_unknown_fields_are_named():
    with pytest.raises(ValueError, match=r"Items have no 'color'; their fields are .*brand.* Set attribute_fields"):
        ItemAttributes.of(CATALOG, ["brand", "color"])
