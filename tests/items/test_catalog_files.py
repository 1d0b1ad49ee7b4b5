"""The file of a catalogue: on disk whole or not at all, mapped into memory, on the Hub."""

from __future__ import annotations

import os

import datasets
import pyarrow as pa
import pytest
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

from recformer_hf.items import catalog_files
from recformer_hf.items.catalog import CATALOG_FILE, ItemCatalog
from tests.support.catalogs import ITEMS, as_dict, numbered
from tests.support.faults import full_disk


class TestDisk:
    def test_round_trip_beside_other_files(self, tmp_path):
        (tmp_path / "config.json").write_text("{}")
        catalog = ItemCatalog.from_items(ITEMS)
        assert catalog.save_pretrained(tmp_path) == tmp_path / CATALOG_FILE
        loaded = ItemCatalog.from_pretrained(tmp_path)
        assert loaded == catalog
        assert loaded.fingerprint == catalog.fingerprint
        assert as_dict(loaded) == ITEMS
        assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", CATALOG_FILE]

    def test_opening_maps_the_file_and_copies_nothing(self, tmp_path):
        numbered(50_000).save_pretrained(tmp_path)
        before = pa.total_allocated_bytes()
        catalog = ItemCatalog.from_pretrained(tmp_path)
        assert catalog[49_999] == {"title": "item 49999"}
        assert pa.total_allocated_bytes() - before < 100_000

    def test_missing_and_damaged_files(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=f"No {CATALOG_FILE} in .*save_pretrained"):
            ItemCatalog.from_pretrained(tmp_path)
        path = numbered(100).save_pretrained(tmp_path)
        path.write_bytes(path.read_bytes()[:-50])
        with pytest.raises(ValueError, match="not a whole Arrow file"):
            ItemCatalog.from_pretrained(tmp_path)
        with (
            pa.OSFile(str(path), "wb") as sink,
            pa.ipc.new_file(sink, (other := pa.table({"a": [1]})).schema) as writer,
        ):
            writer.write_table(other)
        with pytest.raises(ValueError, match="columns are a: int64"):
            ItemCatalog.from_pretrained(tmp_path)
        with pytest.raises(NotADirectoryError, match="is a file"):
            numbered(1).save_pretrained(path)

    def test_a_full_disk_leaves_the_old_file(self, tmp_path):
        numbered(3).save_pretrained(tmp_path)
        with full_disk(after=4096), pytest.raises(OSError, match="File too large"):
            numbered(5000).save_pretrained(tmp_path)
        assert ItemCatalog.from_pretrained(tmp_path) == numbered(3)
        assert os.listdir(tmp_path) == [CATALOG_FILE]

    def test_datasets_reads_the_table(self, tmp_path):
        catalog = ItemCatalog.from_items(ITEMS)
        assert ItemCatalog.from_dataset(datasets.Dataset(catalog.table)) == catalog


class TestHub:
    def test_push_uploads_the_one_file(self, monkeypatch):
        calls = {}

        class FakeApi:
            def __init__(self, token):
                calls["token"] = token

            def create_repo(self, repo_id, **kwargs):
                calls["create"] = (repo_id, kwargs)
                return type("Url", (), {"repo_id": f"me/{repo_id}"})

            def upload_folder(self, *, folder_path, **kwargs):
                calls["upload"] = kwargs
                calls["files"] = os.listdir(folder_path)
                calls["content"] = list(ItemCatalog.from_pretrained(folder_path))
                return "commit"

        monkeypatch.setattr(catalog_files, "HfApi", FakeApi)
        assert ItemCatalog.from_items(ITEMS).push_to_hub("shop", token="secret", private=True) == "commit"
        assert calls["token"] == "secret"
        assert calls["create"] == ("shop", {"repo_type": "model", "private": True, "exist_ok": True})
        assert calls["upload"]["repo_id"] == "me/shop"
        assert calls["files"] == [CATALOG_FILE]
        assert calls["content"] == list(ITEMS.values())

    def test_from_a_repository(self, tmp_path, monkeypatch):
        path = ItemCatalog.from_items(ITEMS).save_pretrained(tmp_path)
        asked = []
        monkeypatch.setattr(catalog_files, "hf_hub_download", lambda *a, **k: asked.append((a, k)) or str(path))
        loaded = ItemCatalog.from_pretrained("me/shop", subfolder="best", revision="v1", token="t")
        assert loaded == ItemCatalog.from_items(ITEMS)
        ((args, kwargs),) = asked
        assert args == ("me/shop", CATALOG_FILE)
        assert kwargs["subfolder"] == "best"
        assert kwargs["revision"] == "v1"
        assert kwargs["repo_type"] == "model"

    @pytest.mark.parametrize("kind", [EntryNotFoundError, RepositoryNotFoundError])
    def test_nothing_there(self, monkeypatch, kind):
        def refuse(*args, **kwargs):
            raise kind.__new__(kind)

        monkeypatch.setattr(catalog_files, "hf_hub_download", refuse)
        with pytest.raises(FileNotFoundError, match=f"'me/shop' is neither a local folder .* with best/{CATALOG_FILE}"):
            ItemCatalog.from_pretrained("me/shop", subfolder="best")

    def test_a_mistyped_folder(self):
        with pytest.raises(FileNotFoundError, match=r"'\./no/such/folder' is neither"):
            ItemCatalog.from_pretrained("./no/such/folder")
