"""Records of delimited text: what quotes mean."""

from __future__ import annotations

import pytest

from recformer_hf.data.readers import records
from recformer_hf.data.readers.records import RecordSyntax

CSV = RecordSyntax(",", '"', whole_fields=False)
TSV = RecordSyntax("\t", '"', whole_fields=True)
NO_QUOTES = RecordSyntax("::", None, whole_fields=False)


def fields(syntax, text):
    found, size = syntax.records(text, is_last=True)
    assert size == len(text)
    return [record.fields if record.problem is None else record.problem for record in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n", ["a", "b"]),
        ("a,b", ["a", "b"]),
        ("a,b\r\n", ["a", "b"]),
        (",\n", ["", ""]),
        ('"a, b","c ""d"""\r\n', ["a, b", 'c "d"']),
        ('"a\nb",c\n', ["a\nb", "c"]),
        ('5" x,"a" b\n', ['5" x', "a b"]),
        ('"a""",""\n', ['a"', ""]),
        ('"a"\r', ["a"]),
    ],
)
def test_fields_of_csv(text, expected):
    assert fields(CSV, text) == [expected]


def test_a_quote_that_nothing_closes_damages_its_line_only():
    problem = "a quoted field without a closing quote"
    assert fields(CSV, '1,"a\n2,b\n') == [problem, ["2", "b"]]
    assert fields(CSV, '1,"a\n2,"b"\n') == [problem, ["2", "b"]]
    assert fields(CSV, '1,"a\n2,"b"\n') == fields(CSV, '1,"a\n2,b\n')


def test_with_tabs_quotes_enclose_whole_fields_or_are_characters():
    assert fields(TSV, '"a b"\t"c\td"\n') == [["a b", "c\td"]]
    assert fields(TSV, '"a\tb\n"c" d\te"\n') == [['"a', "b"], ['"c" d', 'e"']]
    assert fields(TSV, '1\t"a\nb"\n') == [["1", "a\nb"]]
    assert fields(TSV, '1\t"a\n2\tb"\n') == [["1", '"a'], ["2", 'b"']]
    assert fields(TSV, '1\t"\n') == [["1", '"']]


def test_without_quoting_quotes_are_characters():
    assert fields(NO_QUOTES, '1::"a\n2::b"\n') == [["1", '"a'], ["2", 'b"']]


def test_records_have_the_line_on_which_they_begin_and_blank_ones_are_marked():
    found, _ = CSV.records('"a\nb",1\n\n , \n"""",\nc,2\n', is_last=True)
    assert [(record.line, record.is_blank) for record in found] == [
        (0, False),
        (2, True),
        (3, True),
        (4, True),
        (5, False),
    ]


def test_a_record_may_go_on_in_the_text_that_follows(monkeypatch):
    assert CSV.records('1,a\n2,"b\n', is_last=False)[1] == len("1,a\n")
    assert CSV.records('1,a\n2,"b\n', is_last=True)[1] == len('1,a\n2,"b\n')
    monkeypatch.setattr(records, "MAX_FIELD_CHARACTERS", 3)
    found, size = CSV.records('2,"b\n3,c\n', is_last=False)
    assert [record.problem is None for record in found] == [False, True]
    assert size == len('2,"b\n3,c\n')


def test_the_first_record_is_read_whatever_its_quotes():
    assert CSV.first_record('"a\nb",c\n1,2\n') == (["a\nb", "c"], 8)
    assert CSV.first_record('"a,b\n1,2\n') == (['"a', "b"], 5)
