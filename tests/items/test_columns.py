"""Arrow columns become the same text as their values in Python."""

from __future__ import annotations

from datetime import date, datetime, time, timezone
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.items.columns import python_values, text_column, texts_of
from recformer_hf.items.text import attribute_text

NOON = datetime(2019, 3, 31, 12, 5, tzinfo=timezone.utc)
COLUMNS = [
    (pa.array([9.99, None, 1], pa.float32()), ["9.99", None, "1.0"]),
    (pa.array([0.1, None], pa.float16()), ["0.1", None]),
    (pa.array([1e20, float("nan"), float("inf"), 1e-5]), ["1e+20", None, None, "1e-05"]),
    (pa.array([2**64 - 1, None], pa.uint64()), [str(2**64 - 1), None]),
    (pa.array([True, None]), ["True", None]),
    (pa.array([Decimal("12.50"), None]), ["12.50", None]),
    (pa.array([Decimal(0)], pa.decimal256(20, 10)), ["0.0000000000"]),
    (pa.array([date(2019, 3, 31), None]), ["2019-03-31", None]),
    (pa.array([date(2019, 3, 31)], pa.date64()), ["2019-03-31"]),
    (pa.array([NOON, None], pa.timestamp("s")), ["2019-03-31 12:05:00", None]),
    (pa.array([NOON], pa.timestamp("ms", "UTC")), ["2019-03-31 12:05:00+00:00"]),
    (pa.array([NOON], pa.timestamp("ns", "Europe/Berlin")), ["2019-03-31 14:05:00+02:00"]),
    (
        pa.array([1, -1, 0, None], pa.int64()).cast(pa.timestamp("ns")),
        ["1970-01-01 00:00:00.000000001", "1969-12-31 23:59:59.999999999", "1970-01-01 00:00:00", None],
    ),
    (pa.array([1, None], pa.int64()).cast(pa.timestamp("ns", "+02:00")), ["1970-01-01 02:00:00.000000001+02:00", None]),
    (pa.array([time(1, 2), None]), ["01:02:00", None]),
    (pa.array([1, 3600 * 10**9], pa.int64()).cast(pa.time64("ns")), ["00:00:00.000000001", "01:00:00"]),
    (pa.array([None], pa.duration("s")), [None]),
    (pa.nulls(2), [None, None]),
    (pa.array(["a", None], pa.large_string()), ["a", None]),
    (pa.array([[1.1, None], None, [], [2.5]], pa.list_(pa.float32())), ["1.1", None, None, "2.5"]),
    (pa.array([[1.1, 2], None], pa.list_(pa.float32(), 2)), ["1.1 2.0", None]),
    (pa.array([[["a"], ["b", None]], None], pa.large_list(pa.list_(pa.string()))), ["a b", None]),
    (pa.array([{"a": 1, "b": None}, None, {"a": None, "b": "x"}]), ["a: 1", None, "b: x"]),
    (pa.array([{}]), [None]),
    (pa.array([[{"a": [1, 2]}, {"a": []}], []]), ["a: 1 2", None]),
    (
        pa.array([[("k", 1.1), ("j", None)], None, [("z", 2)]], pa.map_(pa.string(), pa.float32())),
        ["k: 1.1", None, "z: 2.0"],
    ),
    (pa.array([[(1, "a"), (2, "b")]], pa.map_(pa.int8(), pa.string())), ["1: a, 2: b"]),
    (pa.array(["x", None, "x"]).dictionary_encode(), ["x", None, "x"]),
    (
        pa.DictionaryArray.from_arrays(pa.array([1, None, 0]), pa.array([[1.5], [2.5]], pa.list_(pa.float32()))),
        ["2.5", None, "1.5"],
    ),
]


@pytest.mark.parametrize(("column", "texts"), COLUMNS, ids=[str(column.type) for column, _ in COLUMNS])
def test_every_type(column, texts):
    assert text_column(column, "c").to_pylist() == texts
    twice = pa.concat_arrays([column, column])
    assert text_column(twice[len(column) :], "c").to_pylist() == texts
    assert text_column(twice[1 : len(column) + 1], "c").to_pylist() == [*texts[1:], texts[0]]


def test_types_of_newer_versions_of_arrow():
    for name, values, texts in (
        ("string_view", ["a", None], ["a", None]),
        ("decimal32", [Decimal("1.50")], ["1.50"]),
    ):
        if hasattr(pa, name):
            kind = getattr(pa, name)(*((5, 2) if name == "decimal32" else ()))
            assert text_column(pa.array(values, kind), "c").to_pylist() == texts
    if hasattr(pa, "bool8"):
        column = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0, None], pa.int8()))
        assert text_column(column, "c").to_pylist() == ["True", "False", None]
    if hasattr(pa, "json_"):
        column = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": [1, 2]}', '"x"', None]))
        assert text_column(column, "c").to_pylist() == ["a: 1 2", "x", None]


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (pa.array([None, b"a"]), r"\(binary\) holds bytes.*\(row 11\)"),
        (pa.array([None, 1], pa.duration("s")), r"\(duration\[s\]\) holds a timedelta.*\(row 11\)"),
        (pa.array([[[b"a"]]]), "holds bytes"),
        (pa.array([pa.MonthDayNano([1, 2, 3])]), "holds intervals"),
        (pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), "field 'a' twice"),
        (pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int8())), "key 'k' twice"),
        (pa.array([10**17]).cast(pa.timestamp("s")), "cannot become text"),  # the year 3 billion
    ],
)
def test_an_error_names_column_type_and_row(column, problem):
    with pytest.raises(TypeError, match=rf"^The column 'c' .*{problem}"):
        text_column(column, "c", first_row=10)


def test_python_objects_of_any_kind():
    assert texts_of([1, 2.5, ["a", {"b": 1}], None], "The column 'c'").to_pylist() == ["1", "2.5", "a b: 1", None]
    with pytest.raises(TypeError, match=r"^The column 'c' holds a set; .* \(row 1\)\.$"):
        texts_of(["a", {"b"}], "The column 'c'")


SCALARS_OF = {
    "text": st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    "integer": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(),
    "boolean": st.booleans(),
    "date": st.dates(),
    "datetime": st.datetimes(),
    "time": st.times(),
    "decimal": st.decimals(places=3, min_value=-(10**9), max_value=10**9),
}


def nested(values):
    """Columns of one kind of value: alone, in lists, in lists of lists, and in structs of these."""
    lists = st.lists(st.none() | values, max_size=3)
    structs = st.fixed_dictionaries({"a": st.none() | values, "b": st.none() | lists})
    kinds = (values, lists, st.lists(st.none() | lists, max_size=3), structs, st.lists(structs, max_size=2))
    return st.one_of([st.lists(st.none() | kind, max_size=5) for kind in kinds])


@settings(max_examples=300, deadline=None)
@given(column=st.sampled_from(sorted(SCALARS_OF)).flatmap(lambda kind: nested(SCALARS_OF[kind])))
def test_columns_agree_with_their_values(column):
    array = pa.array(column)
    expected = [attribute_text(value) for value in array.to_pylist()]
    assert text_column(array, "c").to_pylist() == expected
    assert [attribute_text(value) for value in python_values(array)] == expected


def test_a_float32_keeps_its_digits_in_lists_and_structs():
    column = pa.array([{"a": [9.99]}], pa.struct([("a", pa.list_(pa.float32()))]))
    assert python_values(column) == [{"a": [np.float32(9.99)]}]
    assert text_column(column, "c").to_pylist() == ["a: 9.99"]
