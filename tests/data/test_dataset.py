"""`SequentialDataset`: splits that fit the catalogue, and a folder that comes back the same."""

from __future__ import annotations

import errno
import json
import os
import shutil

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from recformer_hf.data import dataset as dataset_module
from recformer_hf.data.dataset import HISTORY, ITEMS, TARGET, USER_ID, Sequences, SequentialDataset
from recformer_hf.items.catalog import ItemCatalog
from tests.support.faults import full_disk, run_killed
from tests.support.small_dataset import FILES, catalog, rewritten, small_dataset


class TestConstruction:
    def test_splits_that_are_there(self):
        whole = small_dataset()
        assert list(whole.splits) == ["train", "validation", "test"]
        assert list(SequentialDataset(whole.catalog, whole.train, None, whole.test, {}).splits) == ["train", "test"]
        assert repr(whole) == "SequentialDataset(three shoppers: 6 items; users: train 3, validation 3, test 3)"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"train": [[0, 6], [1]]},
                r"1 of 3 items of train are not in the catalogue \(rows 0 to 5\), the first: 6 of user 'u0'",
            ),
            ({"train": [[0], [1, 9, 7]]}, "2 of 4 items of train .* the first: 9 of user 'u1'"),
            ({"targets": [0, 9]}, "1 of 2 targets of test .* the first: 9 of user 'u1'"),
            ({"test": None}, "test has no targets; expected one per user"),
            ({"train_targets": [0, 0]}, "train has targets; expected none"),
            ({"users": ["u0", "u0"]}, "1 of 2 users of train occur again"),
            ({"users": [], "train": []}, "train has no users"),
        ],
    )
    def test_what_does_not_fit_is_named(self, change, message):
        users = change.get("users", ["u0", "u1"])
        train = Sequences.from_lists(users, change.get("train", [[0], [1]]), change.get("train_targets"))
        targets = None if "test" in change else change.get("targets", [2, 3])
        test = Sequences.from_lists(["u0", "u1"], [[0], [1]], targets)
        with pytest.raises(ValueError, match=message):
            SequentialDataset(catalog(), train, None, test, {})

    def test_info_must_be_json(self):
        with pytest.raises(TypeError, match="info cannot be saved as JSON"):
            SequentialDataset(catalog(), small_dataset().train, None, None, {"seed": np.int64(3)})


class TestFolder:
    def test_round_trip(self, saved):
        loaded = SequentialDataset.load(saved)
        assert loaded == small_dataset()
        assert loaded.catalog.fingerprint == catalog().fingerprint
        assert sorted(os.listdir(saved)) == FILES

    def test_the_same_dataset_gives_the_same_bytes(self, saved, tmp_path):
        SequentialDataset.load(saved).save_to_disk(tmp_path / "again")
        for name in FILES:
            assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes(), name

    def test_only_training(self, tmp_path):
        SequentialDataset(catalog(), small_dataset().train, None, None, {}).save_to_disk(tmp_path / "folder")
        loaded = SequentialDataset.load(tmp_path / "folder")
        assert (loaded.validation, loaded.test) == (None, None)
        assert loaded.train == small_dataset().train

    def test_plain_datasets_reads_every_part(self, saved, tmp_path):
        def rows(name):
            return datasets.load_dataset(str(saved), name, split=name, cache_dir=str(tmp_path / "datasets")).to_list()

        items = rows("items")
        assert items[1] == {
            "item_id": "i1",
            "attributes": [{"key": "title", "value": "item 1"}, {"key": "brand", "value": "Kraft"}],
        }
        assert len(items) == 6
        assert rows("train")[1] == {USER_ID: "bob", ITEMS: [2, 0, 1]}
        assert rows("validation")[2] == {USER_ID: "cyd", HISTORY: [3], TARGET: 0}
        assert rows("test")[0] == {USER_ID: "ada", HISTORY: [0, 1, 2], TARGET: 1}
        again = datasets.load_dataset(str(saved), "items", split="items", cache_dir=str(tmp_path / "datasets"))
        assert ItemCatalog.from_dataset(again) == catalog()
        assert again.features["attributes"] == datasets.List(
            {"key": datasets.Value("string"), "value": datasets.Value("string")}
        )

    def test_a_folder_with_files_is_refused_unless_it_is_a_dataset_to_overwrite(self, saved):
        other = SequentialDataset(catalog(), small_dataset().train, None, None, {"name": "other"})
        with pytest.raises(FileExistsError, match=r"not empty .*overwrite=True"):
            other.save_to_disk(saved)
        assert SequentialDataset.load(saved) == small_dataset()
        other.save_to_disk(saved, overwrite=True)
        assert SequentialDataset.load(saved) == other
        assert not (saved / "test.parquet").exists()
        (saved / "thesis.txt").write_text("years of work")
        with pytest.raises(FileExistsError, match=r"also holds thesis\.txt"):
            other.save_to_disk(saved, overwrite=True)

    @pytest.mark.parametrize("fail_at", ["items", "train", "card", "flush"])
    def test_a_full_disk_leaves_nothing_half_written(self, saved, monkeypatch, fail_at):
        def refuse(*args, **kwargs):
            raise OSError(errno.ENOSPC, "No space left on device")

        if fail_at == "items":
            monkeypatch.setattr(pq, "write_table", refuse)
        elif fail_at == "train":
            monkeypatch.setattr(dataset_module, "write_sequences", refuse)
        elif fail_at == "card":
            monkeypatch.setattr(dataset_module, "dataset_card", refuse)
        else:
            monkeypatch.setattr(os, "fsync", refuse)
        for folder in (saved, saved.parent / "new"):
            with pytest.raises(OSError, match="No space left"):
                small_dataset().save_to_disk(folder, overwrite=True)
        assert os.listdir(saved.parent) == ["saved"]
        assert SequentialDataset.load(saved) == small_dataset()

    def test_a_disk_that_really_refuses_to_write(self, tmp_path):
        users = [f"user {i}" for i in range(5000)]
        many = Sequences.from_lists(users, np.random.default_rng(0).integers(0, 6, (5000, 9)))
        with full_disk(after=10_000), pytest.raises(OSError, match="File too large"):
            SequentialDataset(catalog(), many, None, None, {}).save_to_disk(tmp_path / "folder")
        assert os.listdir(tmp_path) == []

    def test_an_interrupted_run_leaves_the_next_one_a_clean_start(self, saved, monkeypatch):
        def work():
            dataset_module.dataset_card = lambda *args: os._exit(9)
            small_dataset(name="interrupted").save_to_disk(saved, overwrite=True)

        run_killed(work)
        assert len(os.listdir(saved.parent)) == 2
        assert SequentialDataset.load(saved).info["name"] == "three shoppers"
        small_dataset(name="next").save_to_disk(saved, overwrite=True)
        assert os.listdir(saved.parent) == ["saved"]
        assert SequentialDataset.load(saved).info["name"] == "next"

    def test_a_dataset_that_was_moved_aside_when_the_run_was_killed_is_found_again(self, saved):
        real_rename = os.rename

        def rename(source, target):
            if str(source).endswith(".partial"):
                os._exit(9)
            real_rename(source, target)

        def work():
            os.rename = rename
            small_dataset(name="interrupted").save_to_disk(saved, overwrite=True)

        run_killed(work)
        assert not saved.exists()
        assert SequentialDataset.load(saved) == small_dataset()


class TestDamagedFolders:
    def test_missing_files_are_all_named(self, saved):
        (saved / "items.parquet").unlink()
        (saved / "test.parquet").unlink()
        with pytest.raises(FileNotFoundError, match=r"lacks items\.parquet, test\.parquet"):
            SequentialDataset.load(saved)

    def test_not_a_dataset(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"No sequential_dataset\.json in .*save_to_disk"):
            SequentialDataset.load(tmp_path)

    @pytest.mark.parametrize(
        ("description", "message"),
        [
            ("{", "is not valid JSON"),
            ("[]", "has format 'list'"),
            ('{"format": 99}', "has format 99; this version reads format 1"),
            (
                '{"format": 1, "splits": ["test"], "info": {}}',
                r"lists the splits \['test'\] and an info of type dict; expected train",
            ),
            ('{"format": 1, "splits": ["train", "../x"], "info": {}}', "expected train, optionally any of"),
            ('{"format": 1, "splits": ["train", {}], "info": {}}', "expected train, optionally any of"),
            ('{"format": 1, "splits": ["train", null], "info": {}}', "expected train, optionally any of"),
            ('{"format": 1, "splits": "train", "info": {}}', "expected train, optionally any of"),
            ('{"format": 1, "splits": ["train"], "info": {"statistics": [1]}}', "statistics of type list"),
            ("[" * 100_000, "is not valid JSON"),
        ],
    )
    def test_a_description_that_cannot_be_read(self, saved, description, message):
        (saved / "sequential_dataset.json").write_text(description)
        with pytest.raises(ValueError, match=message):
            SequentialDataset.load(saved)

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"target": [1, 2, 6]}, r"saved: 1 of 3 targets of test are not in the catalogue"),
            ({"history": [[0], [0, 70], [1]]}, r"saved: 1 of 4 items of test .* the first: 70 of user 'bob'"),
            ({"history": [[0], [0, -1], [1]]}, r"test\.parquet: 1 of 4 items are negative.*of user 'bob'"),
            ({"history": [[0], [0, 2**40], [1]]}, r"test\.parquet: items go from 0 to 1099511627776"),
            ({"history": [[0.0], [0.5], [1.0]]}, r"test\.parquet: items is float64"),
            ({"history": [[True], [False], [True]]}, r"test\.parquet: items is (bool|object)"),
            ({"history": [["0"], ["1"], ["2"]]}, r"test\.parquet: items is object"),
            ({"history": [[[0]], [[1]], [[2]]]}, r"test\.parquet: items is object"),
            ({"history": [[0], None, [1]]}, r"test\.parquet has missing values in history"),
            ({"history": [[0], [], [1]]}, r"test\.parquet: 1 of 3 users have no items"),
            ({"history": [0, 1, 2]}, r"test\.parquet: 'history' is int64; expected lists"),
            ({"target": [1.0, 2.0, 3.0]}, r"test\.parquet: targets is float64"),
            ({"target": [True, True, False]}, r"test\.parquet: targets is (bool|object)"),
            ({"target": [1, None, 2]}, r"test\.parquet has missing values in target"),
            ({"user_id": [1.5, 2.5, 3.5]}, r"test\.parquet: user ids are double"),
            ({"user_id": [b"a", b"b", b"c"]}, r"test\.parquet: user ids are binary"),
        ],
    )
    def test_rows_outside_the_catalogue(self, saved, columns, message):
        rewritten(saved / "test.parquet", **columns)
        with pytest.raises(ValueError, match=message):
            SequentialDataset.load(saved)

    def test_wrong_items(self, saved):
        rewritten(saved / "items.parquet", item_id=["i0", "i0", "i2", "i3", "i4", "i5"])
        with pytest.raises(ValueError, match=r"items\.parquet: 1 of 6 items .* 1 with the id of an earlier one"):
            SequentialDataset.load(saved)

    @pytest.mark.parametrize("name", ["items.parquet", "train.parquet"])
    def test_a_truncated_file(self, saved, name):
        (saved / name).write_bytes((saved / name).read_bytes()[:-20])
        with pytest.raises(ValueError, match=f"{name} cannot be read as parquet"):
            SequentialDataset.load(saved)


class TestHub:
    def test_push_uploads_the_folder_in_one_commit(self, monkeypatch, tmp_path):
        calls = {}

        class FakeApi:
            def __init__(self, token):
                calls["token"] = token

            def create_repo(self, repo_id, **kwargs):
                calls["create"] = (repo_id, kwargs)
                return type("Url", (), {"repo_id": f"me/{repo_id}"})

            def upload_folder(self, *, folder_path, **kwargs):
                calls["upload"] = kwargs
                shutil.copytree(folder_path, tmp_path / "uploaded")
                return "commit"

        monkeypatch.setattr(dataset_module, "HfApi", FakeApi)
        assert small_dataset().push_to_hub("shoppers", private=True, token="secret", create_pr=True) == "commit"
        assert calls["token"] == "secret"
        assert calls["create"] == ("shoppers", {"repo_type": "dataset", "private": True, "exist_ok": True})
        assert (calls["upload"]["repo_id"], calls["upload"]["repo_type"]) == ("me/shoppers", "dataset")
        assert calls["upload"]["create_pr"] is True
        assert calls["upload"]["delete_patterns"] == ["*.parquet"]
        assert sorted(os.listdir(tmp_path / "uploaded")) == FILES
        assert SequentialDataset.load(tmp_path / "uploaded") == small_dataset()

    def test_load_takes_only_its_own_files(self, saved, monkeypatch):
        asked = []
        monkeypatch.setattr(dataset_module, "snapshot_download", lambda *a, **k: asked.append((a, k)) or str(saved))
        assert SequentialDataset.load("me/shoppers", revision="v2", token="t") == small_dataset()
        ((args, kwargs),) = asked
        assert args == ("me/shoppers",)
        assert (kwargs["repo_type"], kwargs["revision"]) == ("dataset", "v2")
        assert set(kwargs["allow_patterns"]) == {"*.parquet", "sequential_dataset.json", "README.md"}

    @pytest.mark.parametrize("kind", [LocalEntryNotFoundError, RepositoryNotFoundError])
    def test_nothing_there(self, monkeypatch, kind):
        def refuse(*args, **kwargs):
            raise kind.__new__(kind)

        monkeypatch.setattr(dataset_module, "snapshot_download", refuse)
        with pytest.raises(FileNotFoundError, match="'me/shoppers' is neither a local folder nor a dataset repository"):
            SequentialDataset.load("me/shoppers")

    def test_a_mistyped_folder(self):
        with pytest.raises(FileNotFoundError, match=r"'\./no/such/folder' is neither"):
            SequentialDataset.load("./no/such/folder")


def test_the_description_is_for_people_too(saved):
    described = json.loads((saved / "sequential_dataset.json").read_text("utf-8"))
    assert described["splits"] == ["train", "validation", "test"]
    assert described["info"]["protocol"] == "leave-one-out"
