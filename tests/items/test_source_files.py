"""Catalogues in JSON, JSON lines and parquet files; errors name file, line and value."""

from __future__ import annotations

import csv
import gzip
import io
import json
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recformer_hf.items.catalog import ItemCatalog
from recformer_hf.items.ids import item_id_text
from recformer_hf.items.text import attribute_text, without_lone_surrogates
from recformer_hf.storage.file_kinds import DamagedBytesError, UnreadableFileError
from tests.support import mutated_files
from tests.support.catalogs import as_dict

ROW = '{"item_id": "1", "title": "A"}'


class TestSourceFiles:
    def test_damaged_files(self, tmp_path):
        for name in ("a.json", "a.jsonl", "a.parquet"):
            (tmp_path / name).write_text('{"item_id": "a", "title": "A"}\n{"item_id": ')
        with pytest.raises(ValueError, match=r"a\.json is not JSON"):
            ItemCatalog.from_json(tmp_path / "a.json")
        with pytest.raises(ValueError, match=r"a\.jsonl, line 2, is not JSON"):
            ItemCatalog.from_jsonl(tmp_path / "a.jsonl")
        with pytest.raises(ValueError, match=r"a\.parquet cannot be read as parquet.*from_jsonl"):
            ItemCatalog.from_parquet(tmp_path / "a.parquet")
        (tmp_path / "number.json").write_text("3")
        with pytest.raises(ValueError, match="holds a int; expected an object or a list"):
            ItemCatalog.from_json(tmp_path / "number.json")
        for read in (ItemCatalog.from_json, ItemCatalog.from_jsonl, ItemCatalog.from_csv, ItemCatalog.from_parquet):
            with pytest.raises(FileNotFoundError, match=r"No file .*nothing"):
                read(tmp_path / "nothing")
            with pytest.raises(FileNotFoundError, match="A folder"):
                read(tmp_path)


class TestJsonLines:
    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            ('\n{"item_id": 1,\n', "line 2, is not JSON"),
            (f'{ROW}\n\n{{"item_id": "2", "t": "x", "t": "y"}}', "line 3: the key 't' occurs twice"),
            ('{"item_id": 1, "t": {"a": 1, "a": 2}}', "line 1: the key 'a' occurs twice"),
            (f'{ROW}\n\n{{"asin": 2}}\n', r"Line 3 has no 'item_id'; it has \['asin'\].*id_column="),
            (f'{ROW}\n\n{{"item_id": true, "t": 1}}\n', "Line 3: The item id True is a bool"),
            (
                f'{ROW}\n\n{{"item_id": 2, "t": {"[" * 9}1{"]" * 9}}}',
                r"Line 3 \(id '2'\): the value of 't'.*more than 8",
            ),
            (f"{ROW}\n[1]\n", "Line 2 is a list"),
            (f"[{ROW}]", "line 1, is a list.*from_json"),
            (json.dumps([json.loads(ROW)], indent=1), "line 1, is not JSON.*from_json"),
            (f'{{"item_id": 1, "t": {"9" * 5000}}}', "line 1, is not JSON: Exceeds the limit"),
            ("[" * 100_000, "line 1, is not JSON: maximum recursion"),
            ('{"item_id": "1", "t": "\0"}', "line 1, is not JSON: Invalid control character"),
            (f"{ROW}\n{ROW}", "1 with the id of an earlier one"),
        ],
    )
    def test_an_error_names_file_and_line(self, tmp_path, content, problem):
        (tmp_path / "items.jsonl").write_text(content)
        with pytest.raises((ValueError, TypeError), match=rf"items\.jsonl.*{problem}"):
            ItemCatalog.from_jsonl(tmp_path / "items.jsonl")

    def test_odd_values_that_json_knows(self, tmp_path):
        (tmp_path / "items.jsonl").write_text(
            f'{{"item_id": 1.0, "nan": NaN, "inf": -Infinity, "large": 1e999, "number": {2**70}, "half": "\\ud83d", '
            '"list": [[1, null], "a"], "struct": {"a": 1.5, "b": null}, "late": true}'
        )
        assert as_dict(ItemCatalog.from_jsonl(tmp_path / "items.jsonl")) == {
            "1": {"number": str(2**70), "half": "\ufffd", "list": "1 a", "struct": "a: 1.5", "late": "True"}
        }


class TestJson:
    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            ("", "is not JSON"),
            (f"{ROW}\n{ROW}", "is not JSON: Extra data: line 2.*from_jsonl"),
            ('{"1": {"t": "A"}, "1": {"t": "B"}}', "1 with the id of an earlier one"),
            ('{"1": {"t": "A", "t": "B"}}', "the key 't' occurs twice"),
            ('[{"item_id": 1, "t": {"a": 1, "a": 2}}]', "the key 'a' occurs twice"),
            ("[" * 100_000, "is not JSON: maximum recursion"),
            (ROW, r"Item 0 \(id 'item_id'\) is a str"),
            ('[["1", "A"]]', "Row 0 is a list"),
            ('{"items": [{"item_id": 1}]}', r"Item 0 \(id 'items'\) is a list"),
        ],
    )
    def test_an_error_names_the_file(self, tmp_path, content, problem):
        (tmp_path / "items.json").write_text(content)
        with pytest.raises((ValueError, TypeError), match=rf"items\.json.*{problem}"):
            ItemCatalog.from_json(tmp_path / "items.json")

    def test_a_repeated_id_is_dropped_on_request(self, tmp_path):
        (tmp_path / "items.json").write_text('{"1": {"t": "A"}, "2": {"t": "B"}, "1": {"t": "C"}}')
        catalog = ItemCatalog.from_json(tmp_path / "items.json", on_invalid="drop")
        assert as_dict(catalog) == {"1": {"t": "A"}, "2": {"t": "B"}}

    def test_frames_of_pandas(self, tmp_path):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame({"item_id": ["B01", "B02"], "title": ["A", "B"]})
        expected = {"B01": {"title": "A"}, "B02": {"title": "B"}}
        path = tmp_path / "items.json"
        frame.to_json(path, orient="records")
        assert as_dict(ItemCatalog.from_json(path)) == expected
        frame.set_index("item_id").to_json(path, orient="index")
        assert as_dict(ItemCatalog.from_json(path)) == expected
        for orient in ("columns", "index", "split", "values", "table"):
            frame.to_json(path, orient=orient)
            with pytest.raises((ValueError, TypeError), match=r"items\.json"):
                ItemCatalog.from_json(path)
        for turned in (
            frame.set_index("item_id"),
            frame[frame.title == "B"],
            frame.rename(columns={"item_id": "asin"}),
        ):
            turned.to_json(path)
            with pytest.raises(ValueError, match=r"items\.json: These look like columns"):
                ItemCatalog.from_json(path)


class TestParquet:
    def test_an_error_names_the_file(self, tmp_path):
        path = tmp_path / "items.parquet"
        table = pa.table({"item_id": ["1"], "title": ["A"]})
        pq.write_table(table, path)
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(ValueError, match=r"items\.parquet cannot be read as parquet"):
            ItemCatalog.from_parquet(path)
        for columns, error, problem in (
            ({"asin": ["1"], "title": ["A"]}, ValueError, "no column 'item_id'"),
            ({"item_id": ["1"], "image": [b"A"]}, TypeError, r"column 'image' \(binary\) holds bytes"),
            ({"item_id": [1.5], "title": ["A"]}, TypeError, "column 'item_id'.*1.5"),
            ({"item_id": ["1"], "title": pa.array([b"\xff"]).view(pa.string())}, ValueError, "UTF8"),
        ):
            pq.write_table(pa.table(columns), path)
            with pytest.raises(error, match=rf"items\.parquet.*{problem}"):
                ItemCatalog.from_parquet(path)

    def test_a_text_file_is_named(self, tmp_path):
        (tmp_path / "items.parquet").write_bytes(gzip.compress(b"item_id,title\n"))
        with pytest.raises(ValueError, match="Text files are read by from_csv"):
            ItemCatalog.from_parquet(tmp_path / "items.parquet")


WRITERS = {
    "csv": mutated_files.delimited,
    "jsonl": mutated_files.json_lines,
    "json": mutated_files.json_array,
    "parquet": mutated_files.parquet,
}


def plain(kind, value):
    """A value as Python prints it: Arrow gives maps as pairs, and float32 with digits that it does not have."""
    if value is not None and pa.types.is_map(kind):
        return dict(value)
    return np.float32(value) if value is not None and kind == pa.float32() else value


def plain_rows(kind, data):
    """The rows of a file by the plainest reading there is."""
    if kind == "parquet":
        table = pq.read_table(io.BytesIO(data))
        columns = {
            name: [plain(table[name].type, value) for value in table[name].to_pylist()] for name in table.schema.names
        }
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    text = data.decode("utf-8-sig")
    if kind == "csv":
        header, *body = (cells for cells in csv.reader(io.StringIO(text, newline="")) if any(map(str.strip, cells)))
        names = [name.strip() for name in header]
        if names[0] in ("", "Unnamed: 0"):
            names, body = names[1:], [cells[1:] for cells in body]
        return [dict(zip(names, (cell.strip() for cell in cells), strict=True)) for cells in body]
    return json.loads(text) if kind == "json" else [json.loads(line) for line in text.split("\n") if line.strip()]


def plain_items(kind, rows):
    """The items of rows, without invalid ones."""
    items = {}
    not_attributes = ("item_id", "__index_level_0__")
    for row in rows:
        texts = {key: attribute_text(value) for key, value in row.items() if key not in not_attributes}
        keeps_empty = kind != "csv"
        item = {
            without_lone_surrogates(key): without_lone_surrogates(text)
            for key, text in texts.items()
            if text is not None and (text or keeps_empty)
        }
        item_id = without_lone_surrogates(item_id_text(row["item_id"]))
        if item_id.strip() and any(text.strip() for text in item.values()):
            items.setdefault(item_id, item)
    return items


def odd_file(kind, rng):
    rows = mutated_files.item_rows(rng)
    if rng.random() < 0.5:
        rows = mutated_files.changed_values(rng, rows)
    data = WRITERS[kind](rng, rows)
    return mutated_files.mutated(rng, data, binary=kind == "parquet") if rng.random() < 0.4 else data


@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_and_odd_files_give_the_items_of_a_plain_reading_or_a_named_error(tmp_path, kind):
    path, compared, refused = tmp_path / f"items.{kind}", 0, 0
    for seed in range(120):
        try:
            data = odd_file(kind, Random(seed))
        except pa.ArrowNotImplementedError:  # parquet has no such type
            continue
        path.write_bytes(data)
        problem, catalog = None, None
        try:
            catalog = getattr(ItemCatalog, f"from_{kind}")(path, on_invalid="drop")
        except Exception as error:
            problem = error
        if problem is not None:
            assert type(problem) in (ValueError, TypeError, UnreadableFileError, DamagedBytesError), seed
            assert path.name in str(problem), seed
            refused += 1
            continue
        try:
            expected = plain_items(kind, plain_rows(kind, data))
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, OSError):
            continue  # compressed, or in another encoding
        assert as_dict(catalog) == expected, seed
        compared += 1
    assert compared > 30
    assert refused > 10
