"""Exports: read back, they give the same sequences; what a layout cannot hold is named; nothing half-written stays."""

from __future__ import annotations

import errno
from pathlib import Path

import pandas as pd
import pyarrow.csv as pa_csv
import pytest

from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.export_files import export_csv, export_recbole, export_unisrec
from recformer_hf.data.preparation import prepare
from recformer_hf.data.readers.table import read_table
from recformer_hf.data.sequences import Sequences
from recformer_hf.data.splits import leave_one_out
from recformer_hf.items.catalog import ItemCatalog
from tests.support.prepared import keep_all, many
from tests.support.small_dataset import small_dataset

EXPORTS = [export_csv, export_recbole, export_unisrec]
ODD_TEXTS = ['"A" story', 'comma, and "quote"', "two\nlines\rthree", "tab\there", "Été 東京 🎲", "'", '"', "1.50", "NA"]


def odd_dataset(users=("u 1", 'u"2', "ü,3")) -> SequentialDataset:
    items = {f"i{row}": {"title": text, **({"tags": "x y"} if row % 2 else {})} for row, text in enumerate(ODD_TEXTS)}
    histories = [[(user + step) % 9 for step in range(4 + user)] for user in range(3)]
    splits = [
        Sequences.from_lists(users, [history[:-2] for history in histories]),
        *(
            Sequences.from_lists(users, [h[:-back] for h in histories], [h[-back] for h in histories])
            for back in (2, 1)
        ),
    ]
    return SequentialDataset(ItemCatalog.from_items(items), *splits, {"name": "odd"})


def again(interactions: Path, items: Path, **settings) -> SequentialDataset:
    source = read_table(interactions, items, **settings)
    return leave_one_out(prepare(source, min_user_interactions=1, min_item_interactions=1))


def histories(dataset: SequentialDataset, split: str) -> dict[str, list[list[str]]]:
    ids, rows = dataset.catalog.ids, getattr(dataset, split)
    return {
        user: [[ids[i] for i in items.tolist()], *([] if target is None else [[ids[target]]])]
        for user, items, target in rows
    }


class TestCsv:
    def test_leave_one_out_comes_back(self, tmp_path):
        dataset = leave_one_out(keep_all(many()))
        folder = export_csv(dataset, tmp_path / "csv")
        assert again(folder / "interactions.csv", folder / "items.csv") == dataset

    def test_odd_texts_and_ids_come_back(self, tmp_path):
        dataset = odd_dataset()
        folder = export_csv(dataset, tmp_path / "csv")
        found = again(folder / "interactions.csv", folder / "items.csv")
        for split in ("train", "validation", "test"):
            assert histories(found, split) == histories(dataset, split)
        titles = {item: found.catalog[row]["title"] for row, item in enumerate(found.catalog.ids)}
        assert titles == {f"i{row}": text for row, text in enumerate(ODD_TEXTS) if f"i{row}" in titles}

    def test_what_stands_in_it(self, tmp_path):
        folder = export_csv(small_dataset(), tmp_path / "csv")
        rows = pa_csv.read_csv(folder / "interactions.csv").to_pylist()
        assert [tuple(row.values()) for row in rows[:4]] == [
            ("ada", "i0", 0, "train"), ("ada", "i1", 1, "train"),
            ("ada", "i2", 2, "validation"), ("ada", "i1", 3, "test"),
        ]  # fmt: skip
        items = pa_csv.read_csv(folder / "items.csv")
        assert items.column_names == ["item_id", "title", "brand"]
        assert len(items) == 6  # nobody's item too


class TestRecBole:
    def test_rows_as_pandas_reads_them_for_recbole(self, tmp_path):
        dataset = odd_dataset()
        folder = export_recbole(dataset, tmp_path / "shop")
        log = pd.read_csv(folder / "shop.inter", delimiter="\t", engine="python", dtype=str)
        assert list(log.columns) == ["user_id:token", "item_id:token", "timestamp:float"]
        ordered = log.groupby("user_id:token")["item_id:token"].apply(list).to_dict()
        expected = {user: [*items, *target] for user, (items, target) in histories(dataset, "test").items()}
        assert ordered == expected
        items = pd.read_csv(folder / "shop.item", delimiter="\t", engine="python", dtype=str, keep_default_na=False)
        assert list(items.columns) == ["item_id:token", "title:token_seq", "tags:token_seq"]
        assert items["title:token_seq"].tolist() == [
            "'A' story", 'comma, and "quote"', "two lines three", "tab here", "Été 東京 🎲", "'", "'", "1.50", "NA",
        ]  # fmt: skip

    def test_leave_one_out_comes_back(self, tmp_path):
        dataset = leave_one_out(keep_all(many()))
        folder = export_recbole(dataset, tmp_path / "shop")
        assert again(folder / "shop.inter", folder / "shop.item") == dataset
        odd = odd_dataset()
        folder = export_recbole(odd, tmp_path / "odd")
        found = again(folder / "odd.inter", folder / "odd.item")
        for split in ("train", "validation", "test"):
            assert histories(found, split) == histories(odd, split)

    def test_what_would_break_the_files_is_named(self, tmp_path):
        with pytest.raises(ValueError, match="The user id 'a\\\\tb' has a tab"):
            export_recbole(odd_dataset(("a\tb", "c", "d")), tmp_path / "shop")
        users = ["u"]
        items = ItemCatalog.from_items({"a": {"size:cm": "3"}, "b": {"size:cm": "4"}})
        named = SequentialDataset(items, Sequences.from_lists(users, [[0, 1]]), None, None, {})
        with pytest.raises(ValueError, match="attribute 'size:cm' has a tab, line break or colon"):
            export_recbole(named, tmp_path / "shop")
        assert not (tmp_path / "shop").exists()
        with pytest.raises(ValueError, match="without a folder"):
            export_recbole(small_dataset(), tmp_path / "shop", name="a/b")


class TestUniSRec:
    def test_rows(self, tmp_path):
        folder = export_unisrec(small_dataset(), tmp_path / "Shop", max_history=2)
        header = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
        # The last item is the first target; cyd's single item gives no row.
        assert (folder / "Shop.train.inter").read_text() == header + "0\t0\t1\n1\t2 0\t1\n1\t2\t0\n"
        assert (folder / "Shop.valid.inter").read_text() == header + "0\t0 1\t2\n1\t0 1\t3\n2\t3\t0\n"
        assert (folder / "Shop.test.inter").read_text() == header + "0\t1 2\t1\n1\t1 3\t4\n2\t3 0\t2\n"
        assert (folder / "Shop.item2index").read_text().splitlines() == [f"i{row}\t{row}" for row in range(6)]
        assert (folder / "Shop.user2index").read_text() == "ada\t0\nbob\t1\ncyd\t2\n"
        assert (folder / "Shop.text").read_text().splitlines()[:2] == [
            "item_id:token\ttext:token_seq",
            "i0\titem 0 Kraft",
        ]

    def test_the_splits_come_back_whole(self, tmp_path):
        dataset = leave_one_out(keep_all(many()))
        folder = export_unisrec(dataset, tmp_path / "Shop", name="x")
        users = [line.split("\t")[0] for line in (folder / "x.user2index").read_text().splitlines()]
        for split, ending in (("train", "train"), ("validation", "valid"), ("test", "test")):
            rows = pd.read_csv(folder / f"x.{ending}.inter", delimiter="\t", dtype=str)
            longest: dict[str, list[int]] = {}
            for number, history, target in rows.itertuples(index=False):
                found = [*map(int, history.split(" ")), int(target)]
                longest[users[int(number)]] = max(longest.get(users[int(number)], []), found, key=len)
            part = getattr(dataset, split)
            assert longest == {
                user: [*items.tolist(), *([] if target is None else [target])]
                for user, items, target in part
                if target is not None or len(items) > 1
            }

    def test_max_history(self, tmp_path):
        for wrong, error in ((0, ValueError), (2.5, TypeError), (True, TypeError)):
            with pytest.raises(error, match="max_history is"):
                export_unisrec(small_dataset(), tmp_path / "x", max_history=wrong)


@pytest.mark.parametrize("export", EXPORTS)
class TestFolders:
    def test_only_an_earlier_export_is_replaced(self, tmp_path, export):
        folder = export(small_dataset(), tmp_path / "out")
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        with pytest.raises(FileExistsError):
            export(small_dataset(), folder)
        export(small_dataset(), folder, overwrite=True)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        (folder / "thesis.tex").write_text("mine")
        with pytest.raises(FileExistsError):
            export(small_dataset(), folder, overwrite=True)

    def test_a_full_disk_leaves_nothing(self, tmp_path, export, monkeypatch):
        def refuse(*args, **kwargs):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(pa_csv, "write_csv", refuse)
        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(OSError, match="No space left"):
            export(small_dataset(), tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_only_training(self, tmp_path, export):
        whole = small_dataset()
        export(SequentialDataset(whole.catalog, whole.train, None, None, {}), tmp_path / "out")
        assert len(list((tmp_path / "out").iterdir())) == {export_unisrec: 4}.get(export, 2)

    def test_an_attribute_called_like_the_ids(self, tmp_path, export):
        items = ItemCatalog.from_items({"a": {"item_id": "3"}, "b": {"item_id": "4"}})
        named = SequentialDataset(items, Sequences.from_lists(["u"], [[0, 1]]), None, None, {})
        if export is not export_unisrec:  # whose texts have no names
            with pytest.raises(ValueError, match='attribute is called "item_id"'):
                export(named, tmp_path / "out")
