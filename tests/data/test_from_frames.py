"""Frames to a dataset in one call: the same bytes as from files, and options that are used or refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.preparation import EmptyResultError, prepare
from recformer_hf.data.readers.source import DataError
from recformer_hf.data.readers.table import read_table
from recformer_hf.data.splits import leave_one_out, low_resource, temporal, users_held_out
from tests.support.frames import KINDS, item_rows, log_rows

READ = {"user_column": "who", "item_column": "what", "timestamp_column": "when"}
KEEP = {"min_user_interactions": 2, "min_item_interactions": 1, "seed": 3}


def from_frames(**options) -> SequentialDataset:
    return SequentialDataset.from_frames(pd.DataFrame(log_rows()), item_rows(), **READ | KEEP | options)


def data_bytes(dataset: SequentialDataset, folder: Path) -> dict[str, bytes]:
    dataset.save_to_disk(folder)
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bytes_as_from_files(kind, tmp_path):
    for name, rows in (("log", log_rows()), ("items", item_rows())):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    source = read_table(tmp_path / "log.parquet", tmp_path / "items.parquet", **READ)
    expected = leave_one_out(prepare(source, **KEEP))
    found = SequentialDataset.from_frames(KINDS[kind](log_rows()), KINDS[kind](item_rows()), **READ, **KEEP)
    assert data_bytes(found, tmp_path / "found") == data_bytes(expected, tmp_path / "expected")
    for key in ("preparation", "split", "protocol", "seed", "share_tied_timestamps"):
        assert found.info[key] == expected.info[key]


@pytest.mark.parametrize(
    ("options", "split"),
    [
        ({"split": "temporal", "targets": "all"}, lambda prepared: temporal(prepared, targets="all")),
        (
            {"split": "users_held_out", "test_share": 0.25, "validation_share": 0.25},
            lambda prepared: users_held_out(prepared, test_share=0.25, validation_share=0.25, seed=3),
        ),
        ({"short_users": "drop"}, lambda prepared: leave_one_out(prepared, short_users="drop")),
        ({"low_resource_share": 0.5}, lambda prepared: low_resource(leave_one_out(prepared), 0.5, seed=3)),
    ],
)
def test_arguments_of_every_step_reach_it(options, split, tmp_path):
    pq.write_table(pa.Table.from_pylist(log_rows()), tmp_path / "log.parquet")
    pq.write_table(pa.Table.from_pylist(item_rows()), tmp_path / "items.parquet")
    expected = split(prepare(read_table(tmp_path / "log.parquet", tmp_path / "items.parquet", **READ), **KEEP))
    found = from_frames(**options, name="mine")
    assert found == expected
    assert found.info["name"] == "mine"
    assert found.info["protocol"] == expected.info["protocol"]


def test_without_times_the_rows_are_in_order(tmp_path):
    log = pd.DataFrame(log_rows()).sample(frac=1, random_state=1)
    found = SequentialDataset.from_frames(log, item_rows(), **READ | KEEP | {"timestamp_column": None})
    rows = log[log.who == 103].what.astype(str).tolist()
    row = found.test.user_ids.to_pylist().index("103")
    _, history, target = found.test[row]
    assert [found.catalog.ids[item] for item in [*history.tolist(), target]] == rows
    found.save_to_disk(tmp_path / "set")
    assert "which have no times" in (tmp_path / "set" / "README.md").read_text()
    with pytest.raises(DataError, match="temporal split needs times"):
        from_frames(timestamp_column=None, split="temporal")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"split": "cold_item"}, ValueError, r"gives two datasets\. Call its parts: in_set, cold = cold_item\("),
        ({"split": "random"}, ValueError, "split is 'random'; expected one of 'leave_one_out'"),
        ({"validation_from": "2017-01-01"}, TypeError, "no effect with split='leave_one_out'.*argument of temporal"),
        ({"user_colum": "who"}, TypeError, "Unknown arguments user_colum; known are .*user_column"),
        ({"min_user_interactions": 99}, EmptyResultError, "Nothing is left of 40 interactions"),
        ({"low_resource_share": 2}, DataError, "share is 2"),
    ],
)
def test_what_cannot_be_is_named(options, error, message):
    with pytest.raises(error, match=message):
        from_frames(**options)


def test_the_examples_of_the_docs_run(tmp_path, monkeypatch):
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")
    blocks = [
        block
        for heading in ("## From frames", "## Export")
        for block in re.findall(r"```python\n(.*?)```", text.split(heading)[1].split("\n## ")[0], re.DOTALL)
    ]
    assert len(blocks) == 4
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert names["given"].test[0].target == names["dataset"].catalog.row_of("saw")
    assert SequentialDataset.load("tools") == names["dataset"]
    assert (tmp_path / "tools_unisrec" / "tools" / "tools.text").is_file()


def test_frames_are_not_changed():
    log, items = pd.DataFrame(log_rows()), pd.DataFrame(item_rows())
    before = json.dumps([log.to_dict("records"), items.to_dict("records")])
    SequentialDataset.from_frames(log, items, **READ, **KEEP)
    assert json.dumps([log.to_dict("records"), items.to_dict("records")]) == before
