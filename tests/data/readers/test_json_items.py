"""Tables of items in JSON: all keys of all lines, and every value as the catalogue would write it."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recformer_hf.data.readers import json_items
from recformer_hf.data.readers.json_items import read_json_items
from recformer_hf.data.readers.source import DamagedFileError, DataError, FileReport, MissingColumnsError
from recformer_hf.items.text import attribute_text
from tests.support.data_sources import write_lines


def read(path, attributes=None, max_damaged=1.0):
    report = FileReport(path.name, max_damaged=max_damaged)
    table, names = read_json_items(path, "id", attributes, report)
    return table, names, report


def test_a_key_of_the_last_line_is_a_column(tmp_path):
    lines = [*(json.dumps({"id": n}) for n in range(5000)), '{"id": "x", "late": "L", "null": null}']
    table, names, _ = read(write_lines(tmp_path / "items.jsonl", lines))
    assert names == ["late", "null"]
    assert table.row(-1) == ("x", "L", None)
    assert table.height == 5001


VALUES = {
    "text": (" a ", "a"), "nan": (float("nan"), None), "word": ("nan", "nan"), "true": (True, "True"),
    "whole": (7, "7"), "large": (2**70, str(2**70)), "float": (5.0, "5.0"), "list": (["A", None, "B"], "A B"),
    "text for a list": ("A", "A"), "object": ({"Brand": "X", "Year": 2010}, "Brand: X, Year: 2010"),
    "empty": ("", None), "nested": ([["A"], ["B"]], "A B"), "inf": (float("inf"), None), "half": ("\ud83d!", "\ufffd!"),
}  # fmt: skip


@pytest.mark.parametrize("damaged", [[], ["{broken"]])
def test_values_do_not_depend_on_their_neighbours(tmp_path, damaged):
    lines = [json.dumps({"id": "all", **{key: value for key, (value, _) in VALUES.items()}})]
    lines += [json.dumps({"id": key, "one": value}) for key, (value, _) in VALUES.items()]
    table, _, report = read(write_lines(tmp_path / "items.jsonl", [*lines, *damaged]))
    rows = {row.pop("id"): row for row in table.to_dicts()}
    assert rows["all"] == {key: text for key, (_, text) in VALUES.items()} | {"one": None}
    assert {key: rows[key]["one"] for key in VALUES} == {key: text for key, (_, text) in VALUES.items()}
    assert report.damaged == len(damaged)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"id": true, "t": 1}', "'id' is True, a bool; expected text or a whole number"),
        ('{"id": 1.5}', "'id' is 1.5, a float"),
        ('{"id": NaN}', "'id' is nan"),
        ('{"id": " "}', "'id' is ' '"),
        ('{"t": 1}', "no 'id'"),
        ('{"id": 1, "t": [[[[[[[[[[1]]]]]]]]]]}', "'t' is more than"),
        ('{"id": 1, "": 1}', "a value without a name"),
        ('{"id": 1, "t": ' + "[" * 5000 + "]" * 5000 + "}", "too deep"),
        ("{'id': 1}", "a Python literal, not JSON"),
        ('{"id": 1}\x00', "not readable"),
        ("\ufeff" + '{"id": 1}', "not readable"),
    ],
)
def test_a_damaged_line_says_what_is_wrong(tmp_path, line, problem):
    table, _, report = read(write_lines(tmp_path / "items.jsonl", ['{"id": "a", "t": "x"}', line]))
    assert table.rows() == [("a", "x")]
    assert [number for number, _ in report.examples] == [2]
    assert problem in report.examples[0][1]


def test_a_number_of_thousands_of_digits_is_kept(tmp_path):
    digits = "9" * 10_000
    table, _, report = read(write_lines(tmp_path / "items.jsonl", [f'{{"id": {digits}, "n": {digits}}}']))
    assert (table.rows(), report.damaged) == ([(digits, digits)], 0)


def test_attributes_may_be_anywhere_but_must_be_somewhere(tmp_path):
    path = write_lines(tmp_path / "items.jsonl", ['{"id": 1, "b": 2, "": 3}', '{"id": 2, "late": 5}'])
    table, names, _ = read(path, ["late", "b"])
    assert (names, table.columns, table.rows()) == (
        ["late", "b"],
        ["id", "late", "b"],
        [("1", None, "2"), ("2", "5", None)],
    )
    with pytest.raises(MissingColumnsError, match=r"items\.jsonl has no column 'colour'; its columns are 'id', 'b'"):
        read(path, ["colour"])


def test_too_many_keys_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(json_items, "MAX_COLUMNS", 3)
    path = write_lines(tmp_path / "items.jsonl", [json.dumps({"id": n, f"key {n}": n}) for n in range(9)])
    with pytest.raises(DataError, match=r"more than 3 different keys, such as 'key 2'.*attributes="):
        read(path)
    assert read(path, ["key 8"])[0].height == 9


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.dictionaries(st.sampled_from("abc"), values, max_size=3), min_size=1, max_size=4))
def test_every_value_is_what_the_catalogue_makes_of_it(tmp_path, rows):
    lines = [json.dumps({"id": n, **row}) for n, row in enumerate(rows)]
    table, names, report = read(write_lines(tmp_path / "items.jsonl", lines))
    assert report.damaged == 0
    for row, found in zip(rows, table.to_dicts(), strict=True):
        for name in names:
            text = attribute_text(json.loads(json.dumps(row.get(name))))
            text = text and text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").strip()
            assert found[name] == (text or None)


def test_a_file_without_an_undamaged_line_says_what_is_wrong_with_the_first(tmp_path):
    path = write_lines(tmp_path / "items.jsonl", ["{'id': 1}", "5"])
    with pytest.raises(DamagedFileError, match=r"none of its 2 lines holds an item \(line 1: a Python literal"):
        read(path)
