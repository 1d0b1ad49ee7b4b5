"""The fingerprint of a catalogue depends on its content alone."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.items.catalog import ItemCatalog
from tests.support.catalogs import ITEMS, item_maps


class TestFingerprint:
    def test_depends_on_ids_keys_values_and_order(self):
        different = [
            {"a": {"k": "v"}, "b": {"k": "v"}},
            {"b": {"k": "v"}, "a": {"k": "v"}},
            {"a": {"k": "v"}, "b": {"k": "w"}},
            {"a": {"k": "v"}, "b": {"l": "v"}},
            {"a": {"k": "v", "l": "v"}, "b": {"k": "v"}},
            {"a": {"l": "v", "k": "v"}, "b": {"k": "v"}},
            {"a": {"k": "v"}, "b": {"k": "v", "l": "v"}},
            {"a": {"kv": "v"}, "b": {"": "v"}},
            {"ab": {"k": "v"}, "c": {"k": "v"}},
            {"a": {"k": "v"}, "bc": {"k": "v"}},
            {"a": {"k": "v"}},
        ]
        prints = [ItemCatalog.from_items(items).fingerprint for items in different]
        assert len(set(prints)) == len(prints)
        assert all(len(value) == 32 and int(value, 16) >= 0 for value in prints)

    def test_is_the_same_on_every_machine_and_in_every_version(self):
        assert ItemCatalog.from_items(ITEMS).fingerprint == "5ceb875d3aef4d448a3620e4d78bc040"

    @settings(max_examples=30, deadline=None)
    @given(items=item_maps, data=st.data())
    def test_does_not_depend_on_chunks_and_slices(self, items, data):
        table = ItemCatalog.from_items(items).table
        cuts = sorted(data.draw(st.lists(st.integers(0, len(items)), max_size=3)))
        pieces = [table.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, len(items)], strict=True)]
        again = ItemCatalog(pa.concat_tables(pieces))
        assert again.fingerprint == ItemCatalog.from_items(items).fingerprint
        assert again == ItemCatalog.from_items(items)
        head = dict(list(items.items())[cuts[0] :]) if cuts else items
        start = cuts[0] if cuts else 0
        assert ItemCatalog(table.slice(start)).fingerprint == ItemCatalog.from_items(head).fingerprint
