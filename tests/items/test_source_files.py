"""Catalogues in JSON, JSON lines, CSV and parquet files."""

from __future__ import annotations

import pytest

from recformer_hf.items.catalog import ItemCatalog
from tests.support.catalogs import as_dict


class TestSourceFiles:
    def test_csv_cells_stay_text(self, tmp_path):
        (tmp_path / "items.tsv").write_text('asin\ttitle\n007\t"two\nlines"\n1e3\tNA\n')
        catalog = ItemCatalog.from_csv(tmp_path / "items.tsv", delimiter="\t", id_column="asin")
        assert as_dict(catalog) == {"007": {"title": "two\nlines"}, "1e3": {"title": "NA"}}

    def test_damaged_files(self, tmp_path):
        for name in ("a.json", "a.jsonl", "a.parquet"):
            (tmp_path / name).write_text('{"item_id": "a", "title": "A"}\n{"item_id": ')
        with pytest.raises(ValueError, match=r"a\.json is not JSON"):
            ItemCatalog.from_json(tmp_path / "a.json")
        with pytest.raises(ValueError, match=r"a\.jsonl, line 2, is not JSON"):
            ItemCatalog.from_jsonl(tmp_path / "a.jsonl")
        with pytest.raises(ValueError, match=r"a\.parquet cannot be read as parquet"):
            ItemCatalog.from_parquet(tmp_path / "a.parquet")
        (tmp_path / "a.csv").write_text("item_id,title\na,b,c\n")
        with pytest.raises(ValueError, match="cannot be read as CSV"):
            ItemCatalog.from_csv(tmp_path / "a.csv")
        (tmp_path / "number.json").write_text("3")
        with pytest.raises(ValueError, match="holds a int; expected an object or a list"):
            ItemCatalog.from_json(tmp_path / "number.json")
        for read in (ItemCatalog.from_json, ItemCatalog.from_jsonl, ItemCatalog.from_csv, ItemCatalog.from_parquet):
            with pytest.raises(FileNotFoundError, match="nothing"):
                read(tmp_path / "nothing")
