"""Tables of any format read alike."""

from __future__ import annotations

import bz2
import json
import lzma
import time
import zipfile

import polars as pl
import pytest
from transformers.testing_utils import CaptureLogger

from recformer_hf.data.readers import columns
from recformer_hf.data.readers.source import DamagedFileError, DataError, MissingColumnsError
from recformer_hf.data.readers.table import read_table
from tests.support.data_sources import LOG, rows_of, write_csv, write_lines, write_tables


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "tsv", "parquet", "jsonl", "jsonl.gz", "ndjson", "json"])
def test_any_table_reads_alike(tmp_path, ending):
    source = read_table(*write_tables(tmp_path, ending), user_column="who", item_column="what", timestamp_column="when")
    assert rows_of(source) == LOG
    assert source.items.rows() == [
        ("B000", 'A "quoted", title\nof two lines', "3.5"), ("B001", None, None), ("B002", "Third", "7.5"),
    ]  # fmt: skip
    assert source.items.columns == ["item_id", "name", "price"]
    assert [(file.lines, file.damaged) for file in source.report.files] == [(len(LOG), 0), (3, 0)]


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_wrong_columns_are_named_with_those_that_are_there(tmp_path, ending):
    paths = write_tables(tmp_path, ending)
    with pytest.raises(MissingColumnsError, match=r"no column .*'user_id'.*'who'"):
        read_table(*paths)
    names = {"user_column": "who", "item_column": "what", "timestamp_column": "when"}
    with pytest.raises(MissingColumnsError, match=r"items\..*no column 'colour'|no column 'colour'"):
        read_table(*paths, **names, attributes=["colour"])


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_unusable_rows_of_tables_are_counted_under_their_number(tmp_path, ending):
    rows = [
        ("U1", "B000", "10"),
        ("U1", None, "11"),
        ("U2", "B001", "12"),
        ("U2", "B002", "soon"),
        ("U3", "B000", "13"),
    ]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    path = tmp_path / f"log.{ending}"
    if ending == "parquet":
        frame.write_parquet(path)
    elif ending == "jsonl":
        write_lines(path, [json.dumps(row) for row in frame.to_dicts()])
    else:
        write_csv(path, frame.columns, rows)
    items = write_csv(tmp_path / "items.csv", ["item_id", "title"], [("B000", "A"), ("B001", "B"), ("B000", "again")])
    with pytest.raises(DamagedFileError, match="2 of 5 lines"):
        read_table(path, items)
    source = read_table(path, items, max_damaged=0.5)
    assert rows_of(source) == [("U1", "B000", 10), ("U2", "B001", 12), ("U3", "B000", 13)]
    header = 1 if ending == "csv" else 0
    assert [number - header for number, _ in source.report.files[0].examples] == [2, 4]
    assert source.items.rows() == [("B000", "A"), ("B001", "B")]
    assert source.report.counts["repeated_items"] == 1


def test_lists_in_tables_are_joined(tmp_path):
    log = write_csv(tmp_path / "log.csv", ["user_id", "item_id", "timestamp"], [("U", "B000", 1)])
    rows = [
        {"item_id": "B000", "tags": ["red", None, "round"], "size": 4},
        {"item_id": "B001", "tags": [], "size": None},
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "items.parquet")
    write_lines(tmp_path / "items.jsonl", [json.dumps(row) for row in rows])
    for name in ("items.parquet", "items.jsonl"):
        source = read_table(log, tmp_path / name, attributes=["size", "tags"])
        assert source.items.rows() == [("B000", "4", "red round"), ("B001", None, None)]


def test_a_table_of_no_known_format_or_no_parquet_is_refused(tmp_path):
    log, items = write_tables(tmp_path, "csv")
    with pytest.raises(DataError, match=r"log\.dat has an unknown extension.*delimiter=','"):
        read_table(log.rename(tmp_path / "log.dat"), items)
    (tmp_path / "log.parquet").write_bytes(b"not a parquet file")
    with pytest.raises(DamagedFileError, match="not a readable parquet"):
        read_table(tmp_path / "log.parquet", items)
    (tmp_path / "log.csv").write_bytes(b"")
    with pytest.raises(MissingColumnsError, match="empty"):
        read_table(tmp_path / "log.csv", items)


@pytest.fixture
def log(tmp_path):
    return write_csv(tmp_path / "log.csv", ["user_id", "item_id", "timestamp"], [("U", "1", 10), ("U", "2", 11)])


@pytest.fixture
def items(tmp_path):
    return write_csv(tmp_path / "items.csv", ["item_id", "title"], [("1", "A"), ("2", "B")])


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_delimiter_encoding_and_quote_are_of_the_caller(tmp_path, log):
    path = write(tmp_path / "items.txt", "item_id;title\n1;Pokémon\n2;'a;b'\n", "latin-1")
    source = read_table(log, path, delimiter=";", encoding="latin-1", quote="'")
    assert source.items.rows() == [("1", "Pokémon"), ("2", "a;b")]
    with pytest.raises(DamagedFileError, match="byte 6 of line 2 is 0xe9"):
        read_table(log, path, delimiter=";")
    write(path, 'item_id,title\n1,"A" b\n2,"B\n')
    assert read_table(log, path, delimiter=",", quote=False).items["title"].to_list() == ['"A" b', '"B']


def test_a_file_that_only_its_own_delimiter_fits_is_read_with_it(tmp_path, log):
    path = write(tmp_path / "items.csv", "item_id;title\n1;A\n")
    assert read_table(log, path, delimiter=";").items.rows() == [("1", "A")]
    with pytest.raises(MissingColumnsError, match=r"no column 'item_id'.*delimiter=';' fits"):
        read_table(log, path)
    with pytest.raises(MissingColumnsError, match=r"no column 'item_id'"):
        read_table(log, path, delimiter="|")


def test_files_without_a_header_are_named_by_the_caller(tmp_path):
    log = write(tmp_path / "log.dat", "U::1::5::10\nU::2::1::11\n")
    items = write(tmp_path / "items.dat", "1::A: B::x\n2::C::y\n")
    options = {"delimiter": "::", "names": ["user_id", "item_id", "rating", "timestamp"]}
    source = read_table(log, items, **options, items_names=["item_id", "title", "tag"], min_rating=3)
    assert rows_of(source) == [("U", "1", 10)]
    assert source.items.rows() == [("1", "A: B", "x"), ("2", "C", "y")]
    assert source.report.counts["ratings_below_the_minimum"] == 1


def test_several_files_are_read_in_the_order_of_their_names(tmp_path):
    header = ["user_id", "item_id", "timestamp"]
    write_csv(tmp_path / "log-1.csv", header, [("U", "1", 10)])
    write_csv(tmp_path / "log-2.csv.gz", header[::-1], [(11, "2", "V")])
    pl.DataFrame([("1", "A")], schema=["item_id", "title"], orient="row").write_parquet(tmp_path / "items-1.parquet")
    second = write_csv(tmp_path / "items-2.csv", ["title", "item_id"], [("B", "2"), ("again", "1")])
    for logs in (str(tmp_path / "log-*"), [tmp_path / "log-1.csv", tmp_path / "log-2.csv.gz"]):
        source = read_table(logs, [tmp_path / "items-1.parquet", second])
        assert rows_of(source) == [("U", "1", 10), ("V", "2", 11)]
        assert source.items.rows() == [("1", "A"), ("2", "B")]
    assert [file.name for file in source.report.files] == [
        "log-1.csv", "log-2.csv.gz", "items-1.parquet", "items-2.csv",
    ]  # fmt: skip
    third = write_csv(tmp_path / "items-3.csv", ["item_id", "name"], [("3", "C")])
    with pytest.raises(MissingColumnsError, match=r"items-3\.csv has other columns than items-2\.csv: \['name'\]"):
        read_table(tmp_path / "log-1.csv", [second, third])
    write_csv(tmp_path / "log-3.csv", header[:2], [("U", "1")])
    with pytest.raises(MissingColumnsError, match=r"log-3\.csv has no column 'timestamp'"):
        read_table(tmp_path / "log-*.csv", second)


def test_lines_of_json_in_several_files_may_lack_keys(tmp_path, log):
    first = write_lines(tmp_path / "a.jsonl", ['{"item_id": 1, "title": "A"}'])
    second = write_lines(tmp_path / "b.jsonl", ['{"item_id": 2, "brand": "B"}'])
    assert read_table(log, [first, second]).items.rows() == [("1", "A", None), ("2", None, "B")]


def test_a_log_without_times_keeps_the_order_of_its_rows(tmp_path, items):
    paths = [write_csv(tmp_path / f"{i}.csv", ["user_id", "item_id"], [("U", "2"), ("U", "1")]) for i in range(2)]
    source = read_table(paths, items, timestamp_column=None)
    assert rows_of(source) == [("U", "2", 0), ("U", "1", 1), ("U", "2", 2), ("U", "1", 3)]
    assert source.report.file_order
    assert source.report.to_dict()["file_order"] is True


def test_times_in_a_notation_of_their_own(tmp_path, items):
    log = write(tmp_path / "log.csv", "user_id,item_id,timestamp\nU,1,11/15/2019 9:12:12 AM\nU,2,soon\n")
    source = read_table(log, items, timestamp_format="%m/%d/%Y %I:%M:%S %p", max_damaged=0.5)
    assert rows_of(source) == [("U", "1", 1573809132)]
    assert source.report.files[0].examples[0][0] == 3
    log = write(tmp_path / "log.csv", "user_id,item_id,timestamp\nU,1,20170918\n")
    with pytest.raises(DataError, match=r'timestamp_format="%Y%m%d"'):
        read_table(log, items)
    assert rows_of(read_table(log, items, check_times=False)) == [("U", "1", 20170918)]


def test_a_lowest_rating_leaves_out_what_is_no_number(tmp_path, items):
    log = write(tmp_path / "log.csv", "user_id,item_id,timestamp,stars\nU,1,10,4.5\nU,2,11,NaN\nU,2,12,\nU,2,13,2\n")
    source = read_table(log, items, rating_column="stars", min_rating=4)
    assert rows_of(source) == [("U", "1", 10)]
    assert source.report.counts["ratings_missing"] == 2
    with pytest.raises(MissingColumnsError, match="no column 'rating'"):
        read_table(log, items, min_rating=4)


def test_recbole_files_have_types_in_their_headers_and_no_quotes(tmp_path):
    log = write(
        tmp_path / "x.train.inter",
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t2\t5\t1400000000.0\n",
    )
    items = write(
        tmp_path / "x.item",
        'item_id:token\ttitle:token_seq\tclass:token_seq\tprice:float\n2\t"A" story\tToys Games\t2.5\n3\t"B\t\t\n',
    )
    source = read_table(log, items)
    assert rows_of(source) == [("7", "2", 1400000000)]
    assert source.items.to_dicts() == [
        {"item_id": "2", "title": '"A" story', "class": "Toys Games", "price": "2.5"},
        {"item_id": "3", "title": '"B', "class": None, "price": None},
    ]
    split = write(tmp_path / "y.train.inter", "user_id:token\titem_id_list:token_seq\titem_id:token\n7\t2 3\t2\n")
    with pytest.raises(DataError, match=r"y\.train\.inter: the column 'item_id_list' is declared as a sequence"):
        read_table(split, items, item_column="item_id_list", items_id_column="item_id", timestamp_column=None)


@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress])
def test_tables_may_be_compressed_under_any_name(tmp_path, log, items, compress):
    items.write_bytes(compress(items.read_bytes()))
    assert read_table(log, items).items.rows() == [("1", "A"), ("2", "B")]
    renamed = items.rename(tmp_path / "items.csv.bz2")
    assert read_table(log, renamed).items.rows() == [("1", "A"), ("2", "B")]


def test_the_extension_of_a_table_in_an_archive_is_that_of_its_member(tmp_path, log):
    with zipfile.ZipFile(tmp_path / "items.zip", "w") as archive:
        archive.writestr("items.tsv", "item_id\ttitle\n1\tA\n")
    assert read_table(log, tmp_path / "items.zip").items.rows() == [("1", "A")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attributes": ["title", "title"]}, "attributes has 'title' more than once"),
        ({"attributes": "title"}, r"attributes is 'title'; expected a list of columns, such as \['title'\]"),
        ({"attributes": []}, "attributes is empty"),
        ({"attributes": ["item_id"]}, "'item_id' cannot be an attribute"),
        ({"user_column": "item_id"}, "must be in columns of their own"),
        ({"encoding": "latin-7000"}, "encoding is 'latin-7000'"),
        ({"delimiter": ""}, "delimiter is ''"),
        ({"quote": "''"}, "quote is"),
        ({"timestamp_unit": "h"}, "unit is 'h'"),
    ],
)
def test_arguments_that_cannot_be_are_refused(log, items, arguments, message):
    with pytest.raises(DataError, match=message):
        read_table(log, items, **arguments)


def test_options_of_text_without_effect_are_refused(tmp_path):
    log, items = write_tables(tmp_path, "parquet")
    with pytest.raises(DataError, match="encoding, quote would have no effect"):
        read_table(log, items, encoding="utf-8", quote=False)
    with pytest.raises(DataError, match=r"items_names would have no effect on items\.parquet"):
        read_table(log, items, items_names=["item_id", "title"])


def test_an_id_column_beside_a_column_called_item_id(tmp_path, log):
    path = write(tmp_path / "clash.csv", "asin,item_id,title\n1,9,A\n")
    with pytest.raises(DataError, match=r"'item_id' cannot be an attribute.*attributes=\['title'\]"):
        read_table(log, path, items_id_column="asin")
    assert read_table(log, path, items_id_column="asin", attributes=["title"]).items.rows() == [("1", "A")]


def test_a_join_by_the_wrong_column_is_reported(tmp_path):
    """Amazon 2023: the log has `asin` and `parent_asin`, its metadata only the latter."""
    rows = [{"user_id": "u", "asin": f"A{n}", "parent_asin": f"P{n}", "timestamp": n} for n in range(4)]
    log = write_lines(tmp_path / "log.jsonl", [json.dumps(row) for row in rows])
    items = write_lines(
        tmp_path / "items.jsonl", [json.dumps({"parent_asin": f"P{n}", "title": "x"}) for n in range(4)]
    )
    with CaptureLogger(columns.logger) as warned:
        read_table(log, items, item_column="asin", items_id_column="parent_asin")
    assert "Only 0 of the log's 4 items are in the table of items (the log has 'A0'" in warned.out
    assert "The log names its items by 'asin', the table by 'parent_asin'." in warned.out
    with CaptureLogger(columns.logger) as warned:
        read_table(log, items, item_column="parent_asin")
    assert warned.out == ""


def test_a_table_of_many_columns_takes_time_by_their_number(tmp_path):
    names = [f"c{number}" for number in range(20_000)]
    log = write_csv(tmp_path / "log.csv", ["user_id", "item_id", "timestamp"], [("u", "a", 1)])
    wide = write_csv(tmp_path / "items.csv", ["item_id", *names], [("a", *names)])
    started = time.perf_counter()
    items = read_table(log, wide).items
    assert items.row(0) == ("a", *names)
    assert time.perf_counter() - started < 30  # with a look at every column for each column, ten minutes
