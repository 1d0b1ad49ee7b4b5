"""`ItemCatalog`: reading it, new catalogues from it, and a million items at once."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from transformers.dynamic_module_utils import get_imports, get_relative_import_files

from recformer_hf.items.catalog import ItemCatalog, as_catalog
from recformer_hf.storage.remote_code import write_code
from tests.support.catalogs import ITEMS, as_dict, numbered


class TestReading:
    def test_rows_outside(self):
        catalog = ItemCatalog.from_items(ITEMS)
        assert catalog[-1] == ITEMS["B03"]
        assert catalog.id_of(-3) == "B01"
        assert catalog[np.int64(1)] == ITEMS["B02"]
        for row in (3, -4):
            with pytest.raises(IndexError, match=f"No row {row} in a catalogue of 3 items"):
                catalog[row]
            with pytest.raises(IndexError):
                catalog.id_of(row)

    def test_slices(self):
        catalog, expected = ItemCatalog.from_items(ITEMS), list(ITEMS.values())
        for part in (slice(1, None), slice(0, 2), slice(2, 1), slice(None, None, -1), slice(-1, None), slice(0, 9, 2)):
            assert catalog[part] == expected[part]
            assert catalog.ids[part] == list(ITEMS)[part]

    def test_attribute_names_in_order_of_first_appearance(self):
        assert ItemCatalog.from_items(ITEMS).attribute_names == ["title", "brand", "category", "material"]
        assert repr(ItemCatalog.from_items(ITEMS)) == "ItemCatalog(3 items; title, brand, category, material)"

    def test_an_empty_catalogue_is_possible(self, tmp_path):
        catalog = ItemCatalog.from_items({})
        catalog.save_pretrained(tmp_path)
        assert len(ItemCatalog.from_pretrained(tmp_path)) == 0
        assert list(catalog) == []
        assert "x" not in catalog

    def test_wrong_arguments(self):
        with pytest.raises(ValueError, match="on_invalid is 'ignore'; expected 'raise' or 'drop'"):
            ItemCatalog.from_items(ITEMS, on_invalid="ignore")
        with pytest.raises(ValueError, match="unknown is 'skip'"):
            ItemCatalog.from_items(ITEMS).rows_of(["B01"], unknown="skip")
        with pytest.raises(ValueError, match="columns are a: int64; expected item_id"):
            ItemCatalog(pa.table({"a": [1]}))


class TestNewCatalogues:
    def test_add_keeps_the_rows(self):
        catalog = ItemCatalog.from_items(ITEMS)
        more = catalog.add({"B04": {"title": "Spade"}})
        assert as_dict(more) == {**ITEMS, "B04": {"title": "Spade"}}
        assert more.row_of("B02") == catalog.row_of("B02")
        assert len(catalog) == 3
        assert more.fingerprint != catalog.fingerprint
        assert more == catalog.add(ItemCatalog.from_rows([{"item_id": "B04", "title": "Spade"}]))
        assert more == ItemCatalog.from_items({**ITEMS, "B04": {"title": "Spade"}})
        assert more == catalog.add([{"item_id": "B04", "title": "Spade"}])
        assert more == catalog.add(pa.table({"item_id": ["B04"], "title": ["Spade"]}))

    def test_items_in_any_form_become_a_catalogue(self):
        table = pa.table({"item_id": ["1"], "title": ["A"]})
        catalog = ItemCatalog.from_arrow(table)
        for items in (
            {"1": {"title": "A"}},
            table.to_pylist(),
            iter(table.to_pylist()),
            table,
            datasets.Dataset(table),
        ):
            assert as_catalog(items) == catalog
        assert as_catalog(catalog) is catalog

    def test_add_refuses_ids_that_are_there(self):
        with pytest.raises(ValueError, match=r"1 of 2 new ids are in the catalogue already, the first: \['B02'\]"):
            ItemCatalog.from_items(ITEMS).add({"B04": {"t": "x"}, "B02": {"t": "y"}})
        with pytest.raises(ValueError, match="1 without text"):
            ItemCatalog.from_items(ITEMS).add({"B04": {"t": ""}})

    @pytest.mark.parametrize("rows", [[0, 2], [2, 0], [1], [], np.array([2, 1, 0])])
    def test_select(self, rows):
        assert as_dict(ItemCatalog.from_items(ITEMS).select(rows)) == {f"B0{r + 1}": ITEMS[f"B0{r + 1}"] for r in rows}

    def test_select_refuses(self):
        catalog = ItemCatalog.from_items(ITEMS)
        with pytest.raises(IndexError, match="Rows 0 to 3"):
            catalog.select([0, 3])
        with pytest.raises(ValueError, match="1 of 3 rows occur twice"):
            catalog.select([0, 1, 1])


class TestPickling:
    def test_a_mapped_catalogue_is_pickled_as_its_path(self, tmp_path):
        catalog = numbered(2000)
        assert pickle.loads(pickle.dumps(catalog)) == catalog
        catalog.save_pretrained(tmp_path)
        mapped = ItemCatalog.from_pretrained(tmp_path)
        mapped.row_of("id000001")
        content = pickle.dumps(mapped)
        assert len(content) < 500
        assert pickle.loads(content) == catalog
        numbered(2001).save_pretrained(tmp_path)
        assert mapped == catalog  # the old file lives as long as it is mapped
        with pytest.raises(RuntimeError, match="was overwritten while"):
            pickle.loads(content)

    def test_a_relative_folder_may_be_left(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        numbered(3).save_pretrained("folder")
        content = pickle.dumps(ItemCatalog.from_pretrained("folder"))
        monkeypatch.chdir("/")
        assert pickle.loads(content) == numbered(3)


class TestTravelsWithCheckpoints:
    def test_needs_only_what_a_checkpoint_may_need(self, tmp_path):
        write_code(tmp_path, ["items/catalog"])
        source = tmp_path / "items_catalog.py"
        allowed = {"numpy", "huggingface_hub", "transformers"}
        files = [source, *map(Path, get_relative_import_files(source))]
        assert {file.name for file in files} == {file.name for file in tmp_path.iterdir()}
        needed = {name for file in files for name in get_imports(file)}
        assert needed - set(sys.stdlib_module_names) <= allowed

    def test_imports_without_pyarrow_and_says_what_to_install(self):
        program = """
import sys
for name in ("pyarrow", "datasets", "pandas", "polars"):
    sys.modules[name] = None
from recformer_hf.items.catalog import ItemCatalog, as_catalog
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.readers.replication import read_replication
try:
    ItemCatalog.from_items({"a": {"title": "A"}})
except ImportError as error:
    assert "pip install pyarrow" in str(error), error
else:
    raise SystemExit("no error")
"""
        subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.mark.slow
def test_a_million_items_open_and_answer_at_once(tmp_path):
    import time

    def seconds(work):
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    items = (
        {"item_id": f"B{i * 7919 % 1_000_003:09d}", "title": f"invented item {i}", "brand": "b"}
        for i in range(1_000_000)
    )
    ItemCatalog.from_rows(items).save_pretrained(tmp_path)
    before = pa.total_allocated_bytes()
    assert seconds(lambda: ItemCatalog.from_pretrained(tmp_path)) < 2  # reads the file once
    assert seconds(lambda: ItemCatalog.from_pretrained(tmp_path)) < 0.2
    catalog = ItemCatalog.from_pretrained(tmp_path)
    catalog.row_of(catalog.id_of(999_999))
    assert pa.total_allocated_bytes() - before < 16e6
    assert seconds(lambda: [catalog.row_of(item_id) for item_id in catalog.ids[:1000]]) < 1
    assert (catalog.rows_of(catalog.table["item_id"]) == np.arange(1_000_000)).all()
