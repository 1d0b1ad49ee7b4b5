"""Files that are one JSON document: lists of objects are read, other documents are named."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from recformer_hf.data.readers import json_documents
from recformer_hf.data.readers.json_items import read_json_items
from recformer_hf.data.readers.source import DamagedFileError, DataError, FileReport

ROWS = [{"id": "1", "title": "A"}, {"id": "2", "title": "B", "late": 1}]
WANTED = [("1", "A", None), ("2", "B", "1")]


def read(path, max_damaged=0.0):
    report = FileReport(path.name, max_damaged=max_damaged)
    table, _ = read_json_items(path, "id", None, report)
    return table, report


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"count": 2, "data": rows}], ids=["list", "in a key"])
@pytest.mark.parametrize("start", ["", "\n ", "\ufeff"])
def test_a_list_of_objects_is_read_and_its_elements_count_as_lines(tmp_path, indent, wrap, start):
    path = tmp_path / "items.json"
    path.write_text(start + json.dumps(wrap(ROWS), indent=indent), encoding="utf-8")
    table, report = read(path)
    assert table.rows() == WANTED
    assert (report.lines, report.damaged) == (2, 0)


def test_elements_that_are_no_objects_are_damaged_under_their_number(tmp_path):
    (tmp_path / "items.json").write_text(json.dumps([ROWS[0], 5, ROWS[1], [ROWS[0]]]))
    table, report = read(tmp_path / "items.json", max_damaged=1.0)
    assert table.rows() == WANTED
    assert report.examples == [(2, "a int, expected an object"), (4, "a list, expected an object")]


def test_an_object_over_several_lines_is_one_item(tmp_path):
    (tmp_path / "items.json").write_text(json.dumps(ROWS[0], indent=2))
    assert read(tmp_path / "items.json")[0].rows() == [("1", "A")]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"id": {"0": "1"}, "title": {"0": "A"}}, "a dict of values in each of its columns .'id', 'title'.*orient"),
        ({}, "one empty JSON object; expected one object per line"),
        ({"id": ["1"], "title": ["A"]}, "a list of values in each of its columns"),
        ({"1": {"title": "A"}, "2": {"title": "B"}}, "one JSON object with the keys '1', '2'; expected one object per"),
        ({"columns": ["id", "title"], "data": [["1", "A"]]}, "with the keys 'columns', 'data'"),
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_other_documents_are_named(tmp_path, document, problem, indent):
    (tmp_path / "items.json").write_text(json.dumps(document, indent=indent))
    with pytest.raises(DataError, match=rf"items\.json is one JSON object.*{problem}|{problem}"):
        read(tmp_path / "items.json")


def test_a_list_that_is_cut_off_is_named_with_the_place(tmp_path):
    (tmp_path / "items.json").write_text(json.dumps(ROWS, indent=1)[:-4])
    with pytest.raises(DamagedFileError, match=r"items\.json begins as one JSON document.*\(line \d+, column \d+"):
        read(tmp_path / "items.json")


@pytest.mark.parametrize("line", ["[1, 2]", "[", "[[[", "{", "[" * 5000, '{"id": ['])
def test_a_damaged_first_line_does_not_make_a_file_a_document(tmp_path, line):
    (tmp_path / "items.jsonl").write_text("\n".join([line, *map(json.dumps, ROWS)]))
    table, report = read(tmp_path / "items.jsonl", max_damaged=1.0)
    assert table.rows() == WANTED
    assert (report.damaged, report.examples[0][0]) == (1, 1)


def test_a_document_too_large_to_be_parsed_as_a_whole_says_how_to_convert_it(tmp_path, monkeypatch):
    monkeypatch.setattr(json_documents, "LARGEST_DOCUMENT", 10)
    (tmp_path / "items.json").write_text(json.dumps(ROWS))
    with pytest.raises(DataError, match=r"more than 10 bytes.*jq -c"):
        read(tmp_path / "items.json")


def test_half_a_surrogate_pair_in_three_bytes_is_not_utf_8(tmp_path):
    """`json.loads` accepts these bytes, and so gives a character that the file does not hold."""
    (tmp_path / "items.json").write_bytes(b'[{"id": "1",\n"title": "\xed\xa0\xbd"}]')
    with pytest.raises(DamagedFileError, match=r"items\.json begins as one JSON document.*can't decode byte 0xed"):
        read(tmp_path / "items.json")


def test_the_index_of_a_pandas_table_is_no_attribute(tmp_path):
    frame, path = pd.DataFrame(ROWS), tmp_path / "items.json"
    frame.to_json(path, orient="table")
    assert read(path)[0].rows() == [("1", "A", None), ("2", "B", "1.0")]
    frame.set_index("id").to_json(path, orient="table")
    assert read(path)[0].rows() == [("1", "A", None), ("2", "B", "1.0")]
