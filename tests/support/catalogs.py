"""A small item catalogue in several forms, and strategies of hypothesis for others."""

from __future__ import annotations

from hypothesis import strategies as st

from recformer_hf.items.catalog import ItemCatalog

ITEMS = {
    "B01": {"title": "Claw hammer", "brand": "Kraft", "category": "Tools Hand tools"},
    "B02": {"brand": "", "title": "Nägel, 100 Stück"},
    "B03": {"category": "Garden", "title": "Rake ✿", "material": "wood"},
}
ROWS = [{"item_id": item_id, **attributes} for item_id, attributes in ITEMS.items()]
# One column an attribute has one order for all items, and no difference between an empty and a missing cell of a CSV.
COLUMNS = ["title", "brand", "category"]
BY_COLUMNS = {
    "B01": {"title": "Claw hammer", "brand": "Kraft", "category": "Tools Hand tools"},
    "B02": {"title": "Nägel, 100 Stück"},
    "B03": {"title": "Rake ✿", "category": "Garden"},
}
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
item_maps = st.dictionaries(
    texts.filter(str.strip).filter(lambda item_id: item_id != "item_id"),  # may look like a table turned by 90 degrees
    st.dictionaries(texts, texts, max_size=4).filter(lambda item: any(value.strip() for value in item.values())),
    max_size=12,
)


def as_dict(catalog: ItemCatalog) -> dict[str, dict[str, str]]:
    return dict(zip(catalog.ids, catalog, strict=True))


def numbered(count: int) -> ItemCatalog:
    return ItemCatalog.from_items({f"id{i:06d}": {"title": f"item {i}"} for i in range(count)})
