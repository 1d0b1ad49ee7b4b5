"""The file of a catalogue: on disk whole or not at all, mapped into memory, on the Hub."""

from __future__ import annotations

import os
import pickle
import unittest.mock

import datasets
import numpy as np
import pyarrow as pa
import pytest
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

from recformer_hf.items import catalog_files
from recformer_hf.items.arrow import schema
from recformer_hf.items.catalog import CATALOG_FILE, ItemCatalog
from tests.support.catalogs import ITEMS, as_dict, numbered
from tests.support.faults import full_disk
from tests.support.training_processes import run_code


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


def write_unchecked(path, columns):
    """A file with a catalogue's columns and any content."""
    table = pa.table(columns, schema=schema())
    with pa.OSFile(os.fspath(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return path


PAIR = [{"key": "title", "value": "A"}]


class TestFilesFromElsewhere:
    """A folder may come from a download, an archive or a colleague: nothing in it is used before it is checked."""

    @pytest.mark.parametrize(
        ("ids", "attributes", "problem"),
        [
            (["a", "b", "a"], [PAIR] * 3, "1 ids are repeated, the first in row 2"),
            (["a", " "], [PAIR] * 2, "1 ids are empty, the first in row 1"),
            (["a", None], [PAIR] * 2, "1 missing values in 'item_id'"),
            (["a", "b"], [PAIR, None], "1 missing values in 'attributes'"),
            (["a"], [[None]], "1 missing values in 'attribute'"),
            (["a"], [[{"key": None, "value": "A"}]], "1 missing values in 'key'"),
            (["a"], [[{"key": "title", "value": None}]], "1 missing values in 'value'"),
            (["a"], [[{"key": "title", "value": b"\xff"}]], "not a whole Arrow file .*UTF8"),
        ],
    )
    def test_content_that_no_catalogue_has(self, tmp_path, ids, attributes, problem):
        values = [[pair and pair["value"] for pair in pairs or []] for pairs in attributes]
        if any(isinstance(value, bytes) for pairs in values for value in pairs):
            text = pa.array([b"\xff"]).view(pa.string())
            pairs = pa.StructArray.from_arrays([pa.array(["title"]), text], names=["key", "value"])
            attributes = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), pairs)
        path = write_unchecked(tmp_path / CATALOG_FILE, {"item_id": ids, "attributes": attributes})
        for read in (lambda: ItemCatalog.from_pretrained(tmp_path), lambda: ItemCatalog.open_file(path)):
            with pytest.raises(ValueError, match=rf"{CATALOG_FILE} is .*{problem}"):
                read()

    def test_what_could_not_be_opened_is_not_saved(self, tmp_path):
        for ids in (["a", "a"], ["a", None], ["a", ""]):
            catalog = ItemCatalog(pa.table({"item_id": ids, "attributes": [PAIR] * 2}, schema=schema()))
            with pytest.raises(ValueError, match=r"cannot be saved: .* from_\* method"):
                catalog.save_pretrained(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_an_offset_outside_of_the_file(self, tmp_path):
        path = numbered(60).save_pretrained(tmp_path)
        content = bytearray(path.read_bytes())
        place = content.find((np.arange(61, dtype=np.int32) * len("title")).tobytes())
        content[place + 31 * 4 : place + 32 * 4] = np.int32(2**31 - 11).tobytes()
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{CATALOG_FILE} is not a whole Arrow file"):
            ItemCatalog.from_pretrained(tmp_path)

    def test_one_batch_named_thousands_of_times(self):
        class Reader:
            num_record_batches = 100_000

            def get_batch(self, i):
                return numbered(10).table.to_batches()[0]

        with pytest.raises(ValueError, match="more items than 1,000 bytes can hold"):
            list(catalog_files._batches(Reader(), 1000))

    def test_what_is_no_file(self, tmp_path):
        pipe, loop, folder = (tmp_path / name / CATALOG_FILE for name in ("pipe", "loop", "folder"))
        folder.mkdir(parents=True)
        pipe.parent.mkdir()
        loop.parent.mkdir()
        os.mkfifo(pipe)
        loop.symlink_to(loop)
        for path in (pipe, loop, folder, tmp_path / "nothing"):
            for read in (lambda p=path: ItemCatalog.open_file(p), lambda p=path: ItemCatalog.from_pretrained(p.parent)):
                with pytest.raises(FileNotFoundError):
                    read()

    def test_a_process_checks_a_file_once_and_again_when_it_has_changed(self, tmp_path, monkeypatch):
        path = numbered(3).save_pretrained(tmp_path)
        other = numbered(4).save_pretrained(tmp_path / "other")
        ItemCatalog.open_file(path)
        monkeypatch.setattr(catalog_files, "check_content", refuse := unittest.mock.Mock(side_effect=ValueError("no")))
        ItemCatalog.open_file(path)
        assert pickle.loads(pickle.dumps(ItemCatalog.open_file(path))) == numbered(3)
        assert refuse.call_count == 0
        os.replace(other, path)
        with pytest.raises(ValueError, match="no"):
            ItemCatalog.open_file(path)

    def test_damaged_bytes_give_an_error_or_the_content_of_the_file(self, tmp_path):
        path = numbered(20).save_pretrained(tmp_path / "whole")
        run_code(f"source, target = {str(path)!r}, {str(tmp_path / 'damaged')!r}\n{FUZZ}", 1)
        opened, refused = map(int, (tmp_path / "damaged/counts").read_text().split())
        assert opened > 30
        assert refused > 300


# In a process of its own, because wrong offsets may end it.
FUZZ = """
import random
from pathlib import Path
import numpy as np
from recformer_hf.items.catalog import CATALOG_FILE, ItemCatalog

whole, folder = Path(source).read_bytes(), Path(target)
folder.mkdir()
draw, opened, refused = random.Random(0), 0, 0
NUMBERS = (b"\\xff\\xff\\xff\\x7f", b"\\xff" * 4, bytes(4), (2**30).to_bytes(4, "little"), (9).to_bytes(4, "little"))
for step in range(800):
    damaged = bytearray(whole)
    if step % 8:  # another number, the most dangerous damage
        place = draw.randrange(len(whole) // 4) * 4
        damaged[place : place + 4] = draw.choice(NUMBERS)
    elif step % 16:
        del damaged[draw.randrange(len(whole)) :]
    else:
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
    (folder / CATALOG_FILE).unlink(missing_ok=True)
    (folder / CATALOG_FILE).write_bytes(damaged)
    try:
        catalog = ItemCatalog.from_pretrained(folder)
    except ValueError as error:
        assert CATALOG_FILE in str(error), error
        refused += 1
        continue
    opened += 1
    assert list(catalog) == catalog[:] == [catalog[row] for row in range(len(catalog))]
    assert [catalog.row_of(item_id) for item_id in catalog.ids] == list(range(len(catalog)))
    assert ItemCatalog.from_arrow(catalog.table, on_invalid="drop").fingerprint, catalog.fingerprint
(folder / "counts").write_text(f"{opened} {refused}")
"""


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
