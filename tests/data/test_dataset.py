"""`SequentialDataset`: arrays that fit together, a folder that comes back the same, statistics counted by hand."""

from __future__ import annotations

import errno
import json
import os
import shutil

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.data import dataset as dataset_module
from recformer_hf.data import mapped_files, sequences
from recformer_hf.data.dataset import HISTORY, ITEMS, TARGET, USER_ID, Sequences, SequentialDataset
from recformer_hf.data.dataset_card import dataset_card
from recformer_hf.items.catalog import ItemCatalog
from tests.support.faults import full_disk, run_killed

INFO = {"name": "three shoppers", "source": "invented", "protocol": "leave-one-out", "seed": 7, "license": "cc0-1.0"}
FILES = ["README.md", "items.parquet", "sequential_dataset.json", "test.parquet", "train.parquet", "validation.parquet"]


def catalog(count: int = 6) -> ItemCatalog:
    return ItemCatalog.from_items({f"i{row}": {"title": f"item {row}", "brand": "Kraft"} for row in range(count)})


def small_dataset(**info) -> SequentialDataset:
    """Three users, leave-one-out. Item 5 is nobody's, item 4 only a test target; ada's own comes twice."""
    users = ["ada", "bob", "cyd"]
    return SequentialDataset(
        catalog(),
        Sequences.from_lists(users, [[0, 1], [2, 0, 1], [3]]),
        Sequences.from_lists(users, [[0, 1], [2, 0, 1], [3]], [2, 3, 0]),
        Sequences.from_lists(users, [[0, 1, 2], [2, 0, 1, 3], [3, 0]], [1, 4, 2]),
        {**INFO, **info},
    )


def rewritten(path, **columns) -> None:
    """The parquet file with other columns; `None` drops one."""
    table = pq.read_table(path).to_pydict() | columns
    pq.write_table(pa.table({name: column for name, column in table.items() if column is not None}), path)


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "saved"
    small_dataset().save_to_disk(folder)
    return folder


@pytest.fixture
def mapped_cache(tmp_path, monkeypatch):
    """Even the smallest file is mapped, from a cache of this test's own."""
    cache = tmp_path / "cache"

    def cached_assets_path(library_name, namespace, subfolder):
        (cache / subfolder).mkdir(parents=True, exist_ok=True)
        return cache / subfolder

    monkeypatch.setattr(mapped_files, "SMALLEST_MAPPED", 0)
    monkeypatch.setattr(mapped_files, "cached_assets_path", cached_assets_path)
    return cache


class TestSequences:
    def test_rows(self):
        split = Sequences.from_lists(["ada", "bob"], [[3, 1], [2]], [0, 5])
        assert len(split) == 2
        user_id, history, target = split[0]
        assert (user_id, history.tolist(), target) == ("ada", [3, 1], 0)
        assert split[-1].history.tolist() == [2]
        assert split.history(1).dtype == np.int32
        assert split.lengths.tolist() == [2, 1]
        assert Sequences.from_lists(["ada"], [[1]])[0].target is None
        for row in (2, -3):
            with pytest.raises(IndexError, match=f"No row {row} in a split of 2 users"):
                split[row]

    def test_arrays_have_the_stated_types(self):
        split = Sequences(["a", "b"], np.array([1, 2, 3]), [0, 1, 3], np.array([4, 5], np.uint8))
        assert [array.dtype for array in (split.items, split.offsets, split.targets)] == [np.int32, np.int64, np.int32]
        assert split.user_ids.type == pa.string()
        assert Sequences(pa.array(["a"], pa.large_string()), [1], [0, 1]).user_ids.type == pa.large_string()
        assert Sequences(pa.chunked_array([["a"], ["b"]]), [1, 2], [0, 1, 2]).user_ids.to_pylist() == ["a", "b"]

    def test_arrays_are_not_copied_when_they_fit(self):
        items = np.array([1, 2], np.int32)
        assert Sequences(["a"], items, [0, 2]).items is items

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ((["a"], [1, 2], [0, 1]), ValueError, "2 offsets from 0 to 1 do not cut 2 items into 1 sequences"),
            ((["a"], [1, 2], [1, 2]), ValueError, "from 1 to 2 do not cut"),
            ((["a"], [1], []), ValueError, "0 offsets from none"),
            ((["a", "b"], [1], [0, 1]), ValueError, "expected 3 from 0 to 1"),
            ((["a", "b"], [1], [0, 1, 1]), ValueError, r"1 of 2 users have no item, the first: \['b'\]"),
            ((["a", "b", "c"], [1, 2], [0, 2, 1, 2]), ValueError, r"1 of 3 users have no item, the first: \['b'\]"),
            ((["a"], [1], [0, 1], [1, 2]), ValueError, "2 targets for 1 users"),
            (([None], [1], [0, 1]), ValueError, "1 of 1 user ids are missing"),
            ((["a"], [1.5], [0, 1]), TypeError, "items is float64"),
            ((["a"], [[1]], [0, 1]), TypeError, "expected whole numbers in one dimension"),
            ((["a"], [2**31], [0, 1]), ValueError, "items go from 2147483648 to 2147483648; expected int32"),
        ],
    )
    def test_arrays_that_do_not_fit(self, arguments, error, message):
        with pytest.raises(error, match=message):
            Sequences(*arguments)

    @settings(max_examples=40, deadline=None)
    @given(histories=st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=5), max_size=8), data=st.data())
    def test_select(self, histories, data):
        split = Sequences.from_lists([f"u{i}" for i in range(len(histories))], histories, list(range(len(histories))))
        rows = data.draw(st.lists(st.integers(0, len(histories) - 1), max_size=8)) if histories else []
        selected = split.select(rows)
        assert [(u, h.tolist(), t) for u, h, t in selected] == [(f"u{row}", histories[row], row) for row in rows]
        assert split.select(np.arange(len(split))) == split

    def test_select_refuses_rows_outside(self):
        with pytest.raises(IndexError, match="Rows 0 to 1 asked of a split of 1 users"):
            Sequences.from_lists(["a"], [[1]]).select([0, 1])

    def test_equality(self):
        one = Sequences.from_lists(["a", "b"], [[1, 2], [3]])
        assert one == Sequences(pa.array(["a", "b"], pa.large_string()), [1, 2, 3], [0, 2, 3])
        for other in (
            Sequences.from_lists(["a", "c"], [[1, 2], [3]]),
            Sequences.from_lists(["a", "b"], [[1], [2, 3]]),
            Sequences.from_lists(["a", "b"], [[1, 2], [4]]),
            Sequences.from_lists(["a", "b"], [[1, 2], [3]], [0, 0]),
        ):
            assert one != other


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
            ({"train": [[0], [1, -1, 7]]}, "2 of 4 items of train .* the first: -1 of user 'u1'"),
            ({"targets": [0, 9]}, "1 of 2 targets of test .* the first: 9 of user 'u1'"),
            ({"test": None}, "test has no targets; expected one a user"),
            ({"train_targets": [0, 0]}, "train has targets; expected none"),
            ({"users": ["u0", "u0"]}, "1 of 2 users of train come twice"),
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


class TestStatistics:
    def test_counted_by_hand(self):
        assert small_dataset(share_tied_timestamps=0.25).statistics == {
            "users": 3,
            "items": 6,
            "interactions": 4 + 5 + 3,
            "mean_length": 4.0,
            "density": 12 / 18,
            "items_in_training": 4,
            "share_test_targets_not_in_training": 1 / 3,
            "share_tests_repeating_history": 1 / 3,
            "share_tied_timestamps": 0.25,
            "splits": {
                "train": {"rows": 3, "mean_history": 2.0},
                "validation": {"rows": 3, "mean_history": 2.0},
                "test": {"rows": 3, "mean_history": 3.0},
            },
        }

    def test_users_of_any_split_count_once_with_their_longest_sequence(self):
        train = Sequences.from_lists(["ada", "bob"], [[0, 1, 2], [3]])
        test = Sequences(pa.array(["cyd", "ada", "ada"], pa.large_string()), [4, 0, 0, 1, 2], [0, 1, 2, 5], [5, 1, 3])
        statistics = SequentialDataset(catalog(), train, None, test, {}).statistics
        assert (statistics["users"], statistics["interactions"]) == (3, 4 + 1 + 2)

    def test_unknown_shares_are_none(self):
        statistics = SequentialDataset(catalog(), small_dataset().train, None, None, {}).statistics
        assert [name for name, value in statistics.items() if value is None] == [
            "share_test_targets_not_in_training",
            "share_tests_repeating_history",
            "share_tied_timestamps",
        ]

    def test_survive_a_round_trip(self, tmp_path):
        dataset = small_dataset(share_tied_timestamps=0.25)
        dataset.save_to_disk(tmp_path / "folder")
        loaded = SequentialDataset.load(tmp_path / "folder")
        assert loaded.info == {**dataset.info, "statistics": dataset.statistics}
        loaded.info.pop("share_tied_timestamps")
        assert loaded.statistics == dataset.statistics


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
            ("{", "is no JSON"),
            ("[]", "is of format 'list'"),
            ('{"format": 99}', "is of format 99; this version reads 1"),
            ('{"format": 1, "splits": ["test"], "info": {}}', r"names the splits \['test'\]; expected train"),
            ('{"format": 1, "splits": ["train", "../x"], "info": {}}', "expected train, and any of"),
        ],
    )
    def test_a_description_that_cannot_be_read(self, saved, description, message):
        (saved / "sequential_dataset.json").write_text(description)
        with pytest.raises(ValueError, match=message):
            SequentialDataset.load(saved)

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"target": None}, r"test\.parquet has the columns \['user_id', 'history'\]; expected"),
            ({"target": [1, 4, None]}, r"test\.parquet has missing values in target"),
            ({"user_id": ["ada", None, "cyd"]}, r"test\.parquet has missing values in user_id"),
            ({"history": [[1], [None], [2]]}, r"test\.parquet has missing values in history"),
            ({"history": [[1], [], [2]]}, r"test\.parquet: 1 of 3 users have no item, the first: \['bob'\]"),
            ({"history": [1, 2, 3]}, r"test\.parquet: 'history' is int64; expected lists"),
            ({"history": [["a"], ["b"], ["c"]]}, r"test\.parquet: items is .*; expected whole numbers"),
            ({"target": [1, 2, 6]}, r"saved: 1 of 3 targets of test are not in the catalogue"),
            ({"history": [[0], [0, 70], [1]]}, r"saved: 1 of 4 items of test .* the first: 70 of user 'bob'"),
        ],
    )
    def test_wrong_columns_and_values(self, saved, columns, message):
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

    def test_files_that_another_library_wrote_with_larger_types(self, saved):
        histories = pa.array([[0, 1, 2], [2, 0, 1, 3], [3, 0]], pa.large_list(pa.int64()))
        users = pa.array(["ada", "bob", "cyd"]).dictionary_encode()
        table = pa.table({"target": pa.array([1, 4, 2], pa.uint8()), "history": histories, "user_id": users})
        pq.write_table(table, saved / "test.parquet")
        assert SequentialDataset.load(saved) == small_dataset()


class TestMappedCopies:
    def test_large_files_are_decoded_once_and_mapped(self, saved, mapped_cache, monkeypatch):
        assert SequentialDataset.load(saved) == small_dataset()
        copies = sorted(mapped_cache.rglob("*.arrow"))
        assert len(copies) == 4
        monkeypatch.setattr(sequences, "_decoded", None)  # no parquet is read any more
        loaded = SequentialDataset.load(saved)
        assert loaded == small_dataset()
        assert loaded.catalog._mapped_file is not None
        assert not loaded.train.items.flags.owndata
        assert sorted(mapped_cache.rglob("*.arrow")) == copies

    def test_a_changed_file_replaces_its_copy(self, saved, mapped_cache):
        SequentialDataset.load(saved)
        other = SequentialDataset(catalog(7), small_dataset().train, None, None, {})
        other.save_to_disk(saved, overwrite=True)
        assert SequentialDataset.load(saved) == other
        assert len(list(mapped_cache.rglob("*.arrow"))) == 4  # items, train, and two of splits that are gone

    def test_bad_files_leave_no_copy(self, saved, mapped_cache):
        rewritten(saved / "train.parquet", items=[[0], [], [1]])
        with pytest.raises(ValueError, match="1 of 3 users have no item"):
            SequentialDataset.load(saved)
        assert len(list(mapped_cache.rglob("*.arrow"))) == 1  # the items

    def test_a_cache_that_cannot_be_written_is_done_without(self, saved, mapped_cache, monkeypatch, caplog):
        def refuse(*args, **kwargs):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", refuse)
        messages = []
        monkeypatch.setattr(mapped_files.logger, "warning", messages.append)
        assert SequentialDataset.load(saved) == small_dataset()
        assert len(messages) == 4
        assert "No space left" in messages[0]
        assert list(mapped_cache.rglob("*.arrow")) == []

    def test_small_files_are_simply_read(self, saved, mapped_cache, monkeypatch):
        monkeypatch.setattr(mapped_files, "SMALLEST_MAPPED", 10**6)
        assert SequentialDataset.load(saved) == small_dataset()
        assert not mapped_cache.exists()


class TestCard:
    def test_metadata_names_every_file(self, saved):
        metadata = DatasetCard.load(saved / "README.md").data.to_dict()
        assert metadata["pretty_name"] == "three shoppers"
        assert metadata["license"] == "cc0-1.0"
        assert [config["config_name"] for config in metadata["configs"]] == ["items", "train", "validation", "test"]
        assert metadata["size_categories"] == ["n<1K"]

    def test_says_what_a_person_has_to_know(self):
        dataset = small_dataset(share_tied_timestamps=0.125, preparation={"min_user_interactions": 5})
        card = dataset_card(dataset, dataset.statistics, ["items", "train"])
        for line in (
            "- **Source:** invented",
            "- **Protocol:** leave-one-out",
            "- **Seed:** 7",
            "| Users | Items | Interactions | Mean length | Density |",
            "| 3 | 6 | 12 | 4.00 | 6.67e-01 |",
            "| test | 3 | 3.00 | 3 | 4 |",
            "| test targets that occur in no training sequence | 33.33% |",
            "| tests whose target is in their own history | 33.33% |",
            "| interactions tied in time with another of the same user | 12.50% |",
            '    "min_user_interactions": 5',
        ):
            assert line in card.splitlines()

    def test_does_not_claim_what_it_does_not_know(self):
        dataset = SequentialDataset(catalog(), small_dataset().train, None, None, {})
        card = dataset_card(dataset, dataset.statistics, ["items", "train"])
        assert "- **Source:** not stated" in card
        assert "- **Seed:** none drawn" in card
        assert "| interactions tied in time with another of the same user | not known |" in card
        assert "`target`" not in card


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
        with pytest.raises(FileNotFoundError, match="'me/shoppers' is neither a folder here nor a dataset repository"):
            SequentialDataset.load("me/shoppers")

    def test_a_mistyped_folder(self):
        with pytest.raises(FileNotFoundError, match=r"'\./no/such/folder' is neither"):
            SequentialDataset.load("./no/such/folder")


def test_the_description_is_for_people_too(saved):
    described = json.loads((saved / "sequential_dataset.json").read_text("utf-8"))
    assert described["splits"] == ["train", "validation", "test"]
    assert described["info"]["protocol"] == "leave-one-out"
