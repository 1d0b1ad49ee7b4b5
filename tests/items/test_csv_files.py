"""Delimited text files as tables of text."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.items.catalog import ItemCatalog
from recformer_hf.items.csv_files import csv_table
from tests.support.catalogs import as_dict


@pytest.fixture
def read(tmp_path):
    def read(content: str, **options) -> dict[str, dict[str, str]]:
        path = tmp_path / "items.csv"
        path.write_bytes(content.encode())
        return as_dict(ItemCatalog.from_csv(path, **options))

    return read


def test_cells_stay_text(read):
    assert read('asin\ttitle\n007\t"two\nlines"\n1e3\tNA\n', delimiter="\t", id_column="asin") == {
        "007": {"title": "two\nlines"},
        "1e3": {"title": "NA"},
    }
    assert read('item_id,title\n1,"say ""hi"""\n2,5" nails\n3,nan\n') == {
        "1": {"title": 'say "hi"'},
        "2": {"title": '5" nails'},
        "3": {"title": "nan"},
    }


def test_white_space_around_cells_and_names(read):
    assert read(" item_id , title ,b\n 1 ,  A b ,  \n") == {"1": {"title": "A b"}}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_blank_lines(read, end):
    assert read(end.join(["", "item_id,title", "1,A", "", "2,B", "", ""])) == {"1": {"title": "A"}, "2": {"title": "B"}}
    assert read(end.join(["item_id,title", "1,A"])) == {"1": {"title": "A"}}
    assert read("item_id,title") == read(f"item_id,title{end}") == {}


def test_a_cell_of_megabytes(read):
    assert read(f"item_id,title\n1,{'x' * 3_000_000}\n")["1"]["title"] == "x" * 3_000_000


def test_the_index_of_pandas_is_no_attribute(read):
    assert read(",item_id,title\n5,1,A\n9,2,B\n") == {"1": {"title": "A"}, "2": {"title": "B"}}
    assert read("Unnamed: 0.1,Unnamed: 0,item_id,title\n0,0,1,A\n") == {"1": {"title": "A"}}


def test_a_column_without_a_name(read):
    assert read("item_id,title,\n1,A,\n2,B,\n") == {"1": {"title": "A"}, "2": {"title": "B"}}
    with pytest.raises(ValueError, match=r"items\.csv: column 3 has no name in the header, but holds 'x' in row 1"):
        read("item_id,title,\n1,A,\n2,B,x\n")


def test_quotes_in_tab_separated_text(read):
    for rows, titles in (
        ('1\t"Heroes\n2\tLow"\n3\t"x"\n', ['"Heroes', 'Low"', "x"]),
        ('1\t"Weird Al" Yankovic\n2\tB\n', ['"Weird Al" Yankovic', "B"]),
        ('1\t"open\n2\tB\n', ['"open', "B"]),
        ('1\t"a\tb"\n2\t"""q"""\n', ["a\tb", '"q"']),
        ('1\t5" nails\n', ['5" nails']),
    ):
        found = read(f"item_id\ttitle\n{rows}", delimiter="\t")
        assert [item["title"] for item in found.values()] == titles
        assert list(found) == [str(i + 1) for i in range(len(titles))]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("item_id,title\n1,A\n\n\n2,B,C\n", "line 5 has 3 cells, but the header has 2 columns"),
        ('item_id,title\n1,"A\nB"\n2\n', "line 4 has 1 cells"),
        ('item_id,title\n1,A\n2,"B\n3,C\n', "a quote that is opened in the record of line 3 is not closed"),
        ('item_id,"title\n1,A\n', "the header, up to line 2, cannot be read"),
        ("item_id;title\n1;A\n", "one column, 'item_id;title'.*delimiter=';' fits"),
        ("item_id,title,title\n1,A,B\n", "The column 'title' occurs twice"),
        ("item_id,title\n1,A\0B\n", "line 2 holds a NUL"),
        ("asin,title\n1,A\n", "no column 'item_id'.*id_column="),
        ("item_id,title\n1,A\n1,B\n", "1 with the id of an earlier one"),
    ],
)
def test_an_error_names_file_line_and_column(read, content, problem):
    with pytest.raises(ValueError, match=rf"items\.csv: .*{problem}"):
        read(content)


def test_the_delimiter_is_one_character(read):
    for delimiter in ("::", "", '"', "\n", None):
        with pytest.raises(ValueError, match="expected one character"):
            read("item_id,title\n", delimiter=delimiter)


CELLS = st.text(st.sampled_from("ab,;\t\"'\n\r é1"), max_size=6)


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=5), delimiter=st.sampled_from(",;\t"))
def test_what_a_csv_writer_wrote_comes_back(tmp_path_factory, rows, delimiter):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([["x", "y", "z"], *rows])
    path = tmp_path_factory.mktemp("csv") / "items.csv"
    path.write_bytes(file.getvalue().encode())
    if delimiter == "\t" and any("\n" in cell or "\r" in cell for row in rows for cell in row):
        return  # may look like a quote that swallows rows
    expected = [[cell.strip() or None for cell in row] for row in rows]
    assert [list(row.values()) for row in csv_table(path, delimiter).to_pylist()] == expected
