"""The public replication's folder: its splits are kept, and come out again byte for byte."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from recformer_hf.data.dataset import Sequences, SequentialDataset
from recformer_hf.data.readers import replication
from recformer_hf.data.readers.replication import FILES, export_replication, read_replication

SHARED_DATA = Path(__file__).parents[4] / "shared" / "data"

# An invented shop: dee only trains, fay has no validation target.
FOLDER = {
    "meta_data": {
        "B00A": {"title": "Claw hammer", "brand": "Kraft", "category": ""},
        "B00B": {"title": "Nägel 100 Stück", "brand": "", "category": "Tools"},
        "B00C": {"category": "Garden", "title": "Rake ✿"},
        "B00D": {"title": "Spade", "brand": "Kraft", "category": "Garden"},
    },
    "smap": {"B00A": 0, "B00B": 1, "B00C": 2, "B00D": 3},
    "umap": {"ada": 0, "bob": 1, "dee": 2, "fay": 3},
    "train": {"0": [0, 1], "1": [2, 0, 1], "2": [3], "3": [1, 1]},
    "val": {"0": [2], "1": [3], "2": [], "3": []},
    "test": {"0": [1], "1": [2], "2": [], "3": [0]},
}


def text_of(content) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def write(folder: Path, **changes) -> Path:
    folder.mkdir()
    for name, content in {**FOLDER, **changes}.items():
        if content is not None:
            (folder / f"{name}.json").write_text(content if isinstance(content, str) else text_of(content), "utf-8")
    return folder


def changed(name: str, **entries) -> dict[str, dict]:
    return {name: {**FOLDER[name], **entries}}


def without(name: str, *keys: str) -> dict[str, dict]:
    return {name: {key: value for key, value in FOLDER[name].items() if key not in keys}}


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestReading:
    def test_splits_are_kept(self, tmp_path):
        dataset = read_replication(write(tmp_path / "shop"))
        assert dict(zip(dataset.catalog.ids, dataset.catalog, strict=True)) == FOLDER["meta_data"]
        assert dataset.train == Sequences.from_lists(["ada", "bob", "dee", "fay"], [[0, 1], [2, 0, 1], [3], [1, 1]])
        assert dataset.validation == Sequences.from_lists(["ada", "bob"], [[0, 1], [2, 0, 1]], [2, 3])
        assert dataset.test == Sequences.from_lists(["ada", "bob", "fay"], [[0, 1, 2], [2, 0, 1, 3], [1, 1]], [1, 2, 0])
        assert dataset.info["name"] == "shop"
        assert dataset.info["protocol"].startswith("leave-one-out")
        assert read_replication(tmp_path / "shop", name="my shop").info["name"] == "my shop"

    def test_rows_follow_the_numbers_not_the_order_of_the_file(self, tmp_path):
        dataset = read_replication(
            write(
                tmp_path / "shop",
                smap={"B00D": 1, "B00A": 3, "B00B": 2, "B00C": 0},
                umap={"fay": 3, "bob": 1, "ada": 0, "dee": 2},
            )
        )
        assert dataset.catalog.ids == ["B00C", "B00D", "B00B", "B00A"]
        assert dataset.train.user_ids.to_pylist() == ["ada", "bob", "dee", "fay"]
        assert dataset.train.history(1).tolist() == [2, 0, 1]

    def test_nobody_with_a_target(self, tmp_path):
        dataset = read_replication(write(tmp_path / "shop", val={}, test={}))
        assert (dataset.validation, dataset.test) == (None, None)

    def test_metadata_without_a_number_is_left_out_and_counted(self, tmp_path, monkeypatch):
        messages = []
        monkeypatch.setattr(replication.logger, "warning", messages.append)
        dataset = read_replication(
            write(tmp_path / "shop", **changed("meta_data", X1={"title": "x"}, X2={"title": ""}))
        )
        assert len(dataset.catalog) == 4
        assert "2 items of meta_data.json have no number; they are skipped: 'X1', 'X2'" in messages[0]

    def test_users_without_items_are_left_out_and_counted(self, tmp_path, monkeypatch):
        messages = []
        monkeypatch.setattr(replication.logger, "warning", messages.append)
        dataset = read_replication(write(tmp_path / "shop", **changed("umap", gil=4, hal=9)))
        assert len(dataset.train) == 4
        assert "2 of 6 users have no items" in messages[0]

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
    def test_encodings_with_a_mark(self, tmp_path, encoding):
        folder = write(tmp_path / "shop")
        wanted = read_replication(folder)
        for file in folder.iterdir():
            file.write_bytes(file.read_bytes().decode().encode(encoding))
        assert read_replication(folder).catalog == wanted.catalog

    def test_half_a_surrogate_pair_in_ids(self, tmp_path):
        """JSON can hold one, but no text of UTF-8 can."""
        umap = json.dumps({"ada": 0, "bob": 1, "dee": 2, "\ud83d": 3})
        assert read_replication(write(tmp_path / "shop", umap=umap)).train.user_ids.to_pylist()[3] == "\ufffd"

    def test_missing_files_are_all_named(self, tmp_path):
        folder = write(tmp_path / "shop", umap=None, val=None)
        with pytest.raises(FileNotFoundError, match=r"shop lacks umap\.json, val\.json"):
            read_replication(folder)
        with pytest.raises(FileNotFoundError, match=r"lacks meta_data\.json, smap\.json"):
            read_replication(tmp_path / "nothing")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"train": '{"0": [1'}, r"train\.json is not valid JSON"),
            ({"train": [[0, 1]]}, r"train\.json holds a list; expected an object"),
            (changed("smap", B00D=4), r"smap\.json numbers 4 items from 0 to 4; expected 0 to 3 without gaps"),
            (changed("smap", B00D=2), r"smap\.json uses 1 numbers twice"),
            (changed("smap", B00D="3"), r"smap\.json maps ids to '3'; expected numbers"),
            ({"smap": {}}, r"smap\.json maps ids to nothing"),
            (without("meta_data", "B00B", "B00C"), r"2 items of smap\.json are not in meta_data\.json: 'B00B', 'B00C'"),
            (changed("meta_data", B00B={"title": ""}), r"meta_data\.json: 1 of 4 items .* 1 without text \('B00B'\)"),
            (changed("meta_data", B00B=["title"]), r"meta_data\.json: Item 1 .* is a list"),
            (changed("umap", dee=True), r"umap\.json maps ids to True"),
            (changed("train", **{"7": [0]}), r"train\.json has the user '7', who is not in umap\.json"),
            (changed("val", ada=[0]), r"val\.json has the user 'ada', who is not in umap\.json"),
            (
                changed("train", **{"0": [0, "1"]}),
                r"train\.json: user '0' has \[0, '1'\]; expected a list of item numbers",
            ),
            (changed("train", **{"0": 5}), r"train\.json: user '0' has 5; expected a list"),
            (changed("train", **{"0": [0, 4]}), r"1 of 8 items of train are not in the catalogue .* 4 of user 'ada'"),
            (changed("train", **{"0": [2**70]}), r"train\.json: user '0' has \[118.*; expected a list of item numbers"),
            (changed("train", **{"1": [4]}), r"shop: 1 of 6 items of train are not in the catalogue"),
            ({"umap": "[" * 100_000}, r"umap\.json is not valid JSON"),
            (changed("test", **{"1": [9]}), r"1 of 3 targets of test .* 9 of user 'bob'"),
            (
                changed("val", **{"0": [1, 2], "1": [1, 2]}),
                r"val\.json: 2 users have more than one target: 'ada', 'bob'",
            ),
            (changed("train", **{"3": []}), r"user 'fay' \(3\) has a target but no items in train\.json"),
            ({"train": {}, "val": {}, "test": {}}, r"train\.json has no user with items"),
        ],
    )
    def test_what_does_not_fit_is_named(self, tmp_path, changes, message):
        with pytest.raises(ValueError, match=message):
            read_replication(write(tmp_path / "shop", **changes))


class TestExporting:
    def test_the_same_folder_comes_out(self, tmp_path):
        folder = write(tmp_path / "shop")
        export_replication(read_replication(folder), tmp_path / "out")
        assert bytes_of(tmp_path / "out") == bytes_of(folder)

    def test_users_without_a_target_stay_absent_where_they_were(self, tmp_path):
        folder = write(tmp_path / "shop", **without("val", "2", "3"), **without("test", "2"))
        export_replication(read_replication(folder), tmp_path / "out")
        assert bytes_of(tmp_path / "out") == bytes_of(folder)

    def test_also_after_a_round_trip_through_our_own_folder(self, tmp_path):
        folder = write(tmp_path / "shop")
        read_replication(folder).save_to_disk(tmp_path / "saved")
        export_replication(SequentialDataset.load(tmp_path / "saved"), tmp_path / "out")
        assert bytes_of(tmp_path / "out") == bytes_of(folder)

    def test_other_splits_have_no_room(self, tmp_path):
        whole = read_replication(write(tmp_path / "shop"))
        fewer = whole.train.select([0, 1])
        for train, validation, test, message in (
            (
                whole.train,
                whole.validation,
                Sequences.from_lists(["ada"], [[0]], [1]),
                "test .* 'ada' has another history",
            ),
            (whole.train, Sequences.from_lists(["ada"], [[1]], [1]), None, "validation .* 'ada' has another history"),
            (fewer, whole.validation, whole.test, "test is not leave-one-out: user 'fay' does not train"),
            (fewer, whole.validation.select([0, 0]), None, "validation .* 'ada' occurs twice"),
            (whole.train, None, whole.test, "test .* 'ada' has another history"),
        ):
            dataset = SequentialDataset(whole.catalog, train, validation, test, {})
            with pytest.raises(ValueError, match=message):
                export_replication(dataset, tmp_path / "out")
            assert not (tmp_path / "out").exists()

    def test_is_written_whole_or_not_at_all(self, tmp_path, monkeypatch):
        folder = write(tmp_path / "shop")
        dataset = read_replication(folder)
        with pytest.raises(FileExistsError, match="overwrite=True"):
            export_replication(dataset, folder)

        def refuse(descriptor):
            raise OSError(28, "No space left on device")

        before = bytes_of(folder)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            with pytest.raises(OSError, match="No space left"):
                export_replication(dataset, folder, overwrite=True)
        assert bytes_of(folder) == before
        assert os.listdir(tmp_path) == ["shop"]
        export_replication(dataset, folder, overwrite=True)
        assert bytes_of(folder) == before


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="needs the four Amazon domains in ../shared/data")
@pytest.mark.parametrize(
    ("name", "users", "items", "interactions", "mean", "median"),
    [
        ("scientific", 8_442, 4_385, 59_427, 7.0, 6),
        ("games", 50_546, 16_804, 452_645, 9.0, 6),
        ("toys", 19_412, 11_924, 167_597, 8.6, 6),
        ("beauty", 22_363, 12_101, 198_502, 8.9, 6),
    ],
)
def test_real_domains_have_their_counts_and_come_out_byte_for_byte(
    tmp_path, name, users, items, interactions, mean, median
):
    dataset = read_replication(SHARED_DATA / name)
    statistics = dataset.statistics
    assert [statistics[key] for key in ("users", "items", "interactions")] == [users, items, interactions]
    assert round(statistics["mean_length"], 1) == mean
    assert np.median(dataset.test.lengths + 1) == median
    if name == "scientific":
        assert round(statistics["share_tests_repeating_history"] * users) == 50
    dataset.save_to_disk(tmp_path / "saved")
    loaded = SequentialDataset.load(tmp_path / "saved")
    assert loaded == dataset
    export_replication(loaded, tmp_path / "out")
    for file in FILES:
        assert (tmp_path / "out" / f"{file}.json").read_bytes() == (SHARED_DATA / name / f"{file}.json").read_bytes()
