"""Readers: what a source says is what comes out, and what is damaged is counted, named, and at some point refused."""

from __future__ import annotations

import ast
import csv
import gzip
import importlib
import json
import sys

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.data.readers import json_lines
from recformer_hf.data.readers.amazon import literal_to_json, read_amazon
from recformer_hf.data.readers.amazon_text import clean_text, is_blurb, join_categories, without_scripts
from recformer_hf.data.readers.common import (
    DamagedFileError,
    DataError,
    MissingColumnsError,
    MissingFileError,
    parse_timestamps,
)
from recformer_hf.data.readers.movielens import read_movielens
from recformer_hf.data.readers.table import read_table
from tests.support.data_sources import DAY, ITEMS, LOG, metadata, review, write_amazon, write_lines

VERSIONS = ("2014", "2018", "2023")


def rows_of(source) -> list[tuple[str, str, int]]:
    return source.interactions.cast({"user_id": pl.String, "item_id": pl.String}).rows()


# Amazon


@pytest.mark.parametrize("version", VERSIONS)
def test_a_round_trip_through_the_raw_amazon_files(tmp_path, version):
    source = read_amazon(*write_amazon(tmp_path, version), version)

    assert rows_of(source) == LOG  # in the file's order, times in seconds
    reviewed = {item for _, item, _ in LOG}
    assert source.items.columns == ["item_id", "title", "brand", "category"]
    assert source.items.rows() == [
        (item, attributes["title"], attributes["brand"], "Garden Lights")
        for item, attributes in ITEMS.items()
        if item in reviewed
    ]
    assert source.report.to_dict()["files"][0] == {
        "name": "Shop.jsonl.gz" if version == "2023" else "Shop.json.gz",
        "lines": len(LOG),
        "damaged_lines": 0,
        "first_damaged_lines": [],
    }


def test_several_pairs_of_files_are_one_source_and_the_first_metadata_of_an_item_stay(tmp_path):
    first = write_amazon(tmp_path / "a", "2018", LOG[:10])
    second = write_amazon(tmp_path / "b", "2018", LOG[10:], {item: {**ITEMS[item], "title": "Other"} for item in ITEMS})
    source = read_amazon([first[0], second[0]], [first[1], second[1]], "2018")

    assert rows_of(source) == LOG
    assert source.items["title"].str.starts_with("Lantern").all()
    assert source.report.counts["repeated_metadata"] == len(source.items)


def test_attributes_are_chosen_and_ordered(tmp_path):
    source = read_amazon(*write_amazon(tmp_path, "2018"), "2018", attributes=["category", "title"])
    assert source.items.columns == ["item_id", "category", "title"]
    with pytest.raises(DataError, match="'price'"):
        read_amazon(*write_amazon(tmp_path, "2018"), "2018", attributes=["price"])


def test_2018_text_is_cleaned(tmp_path):
    items = {
        "B000": {
            "title": "<span>Salt &amp; Pepper&nbsp;Mill</span>",
            "brand": "",
            "category": ["Home &amp; Kitchen", "Mills", "</span></span>", "Grinds evenly and is easy to fill", "Steel"],
        },
        "B001": {"title": "var aPageStart = (new Date()).getTime();", "brand": "Brand", "category": []},
    }
    source = read_amazon(*write_amazon(tmp_path, "2018", [("U", "B000", 1), ("U", "B001", 2)], items), "2018")
    assert source.items.rows() == [
        ("B000", "Salt & Pepper Mill", None, "Home & Kitchen Mills"),
        ("B001", None, "Brand", None),
    ]
    assert source.report.counts["script_titles_emptied"] == 1
    assert source.report.counts["categories_cut_before_a_sentence"] == 1


def test_2014_paths_of_categories_are_joined_without_repeats(tmp_path):
    _, path = write_amazon(tmp_path, "2014")
    line = {"asin": "B000", "title": 'The "big" one\'s \\ é\n', "categories": [["Toys", "Dolls"], ["Toys", "Games"]]}
    write_lines(path, [repr(line)])
    source = read_amazon(tmp_path / "Shop.json.gz", path, "2014")
    assert source.items.rows() == [("B000", 'The "big" one\'s \\ é', None, "Toys Dolls Games")]


def test_2023_takes_the_main_category_where_there_is_no_other(tmp_path):
    items = {"B000": {"title": "Lamp", "brand": "Store", "category": []}}
    source = read_amazon(*write_amazon(tmp_path, "2023", LOG[:1], items), "2023")
    assert source.items.rows() == [("B000", "Lamp", "Store", "Main")]


literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(value=st.dictionaries(st.text(max_size=8), literals, max_size=4))
def test_a_python_literal_turned_to_json_means_the_same_or_is_no_json(value):
    line = repr(value).encode("utf-8", "surrogatepass")
    converted = literal_to_json(line)
    try:
        meaning = json.loads(converted)
    except ValueError:
        assert ast.literal_eval(line.decode("utf-8", "surrogatepass")) == value  # left to the slow way
    else:
        assert meaning == value


@pytest.mark.parametrize(
    "line",
    [
        b"{'a': 'x' 'y'}",
        b"{'a': ('x', 'y')}",
        b"{'a': u'x'}",
        b"{'a': b'x'}",
        b"{'a': 0x10}",
        b"{'a': True}",
        b"{'a': 'x",
    ],
)
def test_notation_that_json_does_not_have_is_not_guessed_at(line):
    with pytest.raises(ValueError, match=r".*"):
        json.loads(literal_to_json(line))


def test_literals_with_none_and_true_are_read_all_the_same(tmp_path):
    reviews, path = write_amazon(tmp_path, "2014", LOG[:1])
    write_lines(path, ["{'asin': 'B000', 'title': \"It's\", 'flag': True, 'brand': None, 'categories': (['A'],)}"])
    source = read_amazon(reviews, path, "2014")
    assert source.items["title"].to_list() == ["It's"]


# Damage


DAMAGED = {
    "cut short": b'{"reviewerID": "U", "asin": "B000", "unixRev',
    "not json": b"<html>",
    "not an object": b"[1, 2]",
    "no user": b'{"asin": "B000", "unixReviewTime": 86400}',
    "an empty item": b'{"reviewerID": "U", "asin": "", "unixReviewTime": 86400}',
    "not utf-8": b'{"reviewerID": "\xff\xfe", "asin": "B000", "unixReviewTime": 86400}',
    "no time": b'{"reviewerID": "U", "asin": "B000", "unixReviewTime": "yesterday"}',
    "null time": b'{"reviewerID": "U", "asin": "B000", "unixReviewTime": null}',
    "milliseconds": b'{"reviewerID": "U", "asin": "B000", "unixReviewTime": 1400000000000}',
    "before 1970": b'{"reviewerID": "U", "asin": "B000", "unixReviewTime": -5}',
    "two on a line": b'{"reviewerID": "U", "asin": "B", "unixReviewTime": 1}{"reviewerID": "U"}',
}


@pytest.mark.parametrize("line", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_line_is_counted_under_its_number_and_the_rest_is_read(tmp_path, line):
    reviews, meta = write_amazon(tmp_path, "2018")
    good = [json.dumps(review("2018", *row)) for row in LOG]
    write_lines(reviews, [*good[:3], "", line, *good[3:]])
    source = read_amazon(reviews, meta, "2018", max_damaged=0.1)
    assert rows_of(source) == LOG
    report = source.report.files[0]
    assert (report.lines, report.damaged) == (len(LOG) + 1, 1)
    assert [number for number, _ in report.examples] == [5]


def test_too_many_damaged_lines_are_an_error_that_shows_the_first_few(tmp_path):
    reviews, meta = write_amazon(tmp_path, "2018")
    good = [json.dumps(review("2018", *row)) for row in LOG]
    write_lines(reviews, [good[0], *[b"{"] * 7, *good[1:]])
    with pytest.raises(DamagedFileError, match=r"7 of 37 lines .*line 2: .*line 6: .*and 2 more.*At most 0\.100%"):
        read_amazon(reviews, meta, "2018")


def test_line_numbers_hold_over_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines.iter_blocks, "__defaults__", (200,))
    reviews, meta = write_amazon(tmp_path, "2018")
    good = [json.dumps(review("2018", *row)) for row in LOG]
    write_lines(reviews, [*good[:20], b"{", *good[20:], b"["])
    source = read_amazon(reviews, meta, "2018", max_damaged=0.1)
    assert [number for number, _ in source.report.files[0].examples] == [21, 32]
    assert rows_of(source) == LOG


def test_numbers_as_text_and_ids_as_numbers_are_no_damage(tmp_path):
    reviews, meta = write_amazon(tmp_path, "2018")
    write_lines(reviews, ['{"reviewerID": 7, "asin": "B000", "unixReviewTime": "86400"}'])
    assert rows_of(read_amazon(reviews, meta, "2018")) == [("7", "B000", 86400)]


def test_half_of_a_gzip_file_is_an_error_and_two_members_are_not(tmp_path):
    reviews, meta = write_amazon(tmp_path, "2018")
    data = reviews.read_bytes()
    reviews.write_bytes(data + data)
    assert rows_of(read_amazon(reviews, meta, "2018")) == LOG + LOG
    reviews.write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedFileError, match=r"end too early.*Download it again"):
        read_amazon(reviews, meta, "2018")
    reviews.write_bytes(data[:50] + bytes(40) + data[90:])
    with pytest.raises(DamagedFileError, match=r"corrupt|end too early"):
        read_amazon(reviews, meta, "2018")


def test_plain_files_are_read_like_gzipped_ones(tmp_path):
    reviews, meta = write_amazon(tmp_path, "2018")
    plain = tmp_path / "plain.json"
    plain.write_bytes(gzip.decompress(reviews.read_bytes()).rstrip(b"\n"))  # the last line without its end
    assert rows_of(read_amazon(plain, meta, "2018")) == LOG


def test_a_missing_file_is_named_before_anything_is_read(tmp_path):
    reviews, _ = write_amazon(tmp_path, "2018")
    with pytest.raises(MissingFileError, match=r"No file .*nowhere\.json\.gz .*Shop\.json\.gz"):
        read_amazon(reviews, tmp_path / "nowhere.json.gz", "2018")
    with pytest.raises(FileNotFoundError, match="folder does not exist"):
        read_amazon(tmp_path / "no" / "where.json.gz", reviews, "2018")


def test_files_of_another_layout_name_the_columns_that_they_have(tmp_path):
    reviews, meta = write_amazon(tmp_path, "2018")
    with pytest.raises(MissingColumnsError, match=r"no column 'user_id', 'parent_asin', 'timestamp'.*'reviewerID'"):
        read_amazon(reviews, meta, "2023")
    with pytest.raises(MissingColumnsError, match="no column 'reviewerID'"):
        read_amazon(meta, reviews, "2018")
    with pytest.raises(DataError, match="'2015'"):
        read_amazon(reviews, meta, "2015")


def test_an_empty_file_is_an_empty_log(tmp_path):
    reviews, meta = write_amazon(tmp_path, "2018")
    write_lines(reviews, [])
    source = read_amazon(reviews, meta, "2018")
    assert (source.interactions.height, source.items.height) == (0, 0)


# Text


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("Plain", "Plain"),
        ("Salt &amp; Pepper", "Salt & Pepper"),
        ("Tom &amp;amp; Jerry", "Tom & Jerry"),
        ("<b>Bold</b> and &lt;i&gt;italic&lt;/i&gt;", "Bold and italic"),
        ("5 < 6 > 4", "5 < 6 > 4"),
        ("  much \t white\u00a0space\n", "much white space"),
        ("Industrial & Scientific />", "Industrial & Scientific"),
        ('cut in a <span class="a-', "cut in a"),
        ("<br>", None),
        ("", None),
        (None, None),
    ],
)
def test_text_is_cleaned_of_html(raw, cleaned):
    assert clean_text(pl.Series("text", [raw, "other"], dtype=pl.String)).to_list() == [cleaned, "other"]


@pytest.mark.parametrize(
    "name",
    [
        "Clothing, Shoes & Jewelry", "Cases & Storage", "Eau de Parfum", "iPod & MP3 Accessories", "e-Readers",
        "3D Printers",
        "Men's Big & Tall", "PlayStation 4", "St. Patrick's Day", "Test, Measure & Inspect", "Books on CD", "TVs",
        "Retro Gaming & Microconsoles", "Kids' Home Store", "Tapes, Adhesives & Sealants",
    ],
)  # fmt: skip
def test_names_of_categories_are_no_blurbs(name):
    assert not is_blurb(name)


@pytest.mark.parametrize(
    "name",
    [
        "Officially licensed by Nintendo", "Compact and clear design case", "Easy to attach.", "ESRB Rating: Everyone",
        "One Two Three Four Five Six Seven Eight", "100% cotton",
        "Includes 2 Styluses, 1 Carrying Case and 1 Screen Cleaner",
        "Imported! Great gift", "- Long battery",
    ],
)  # fmt: skip
def test_sentences_are_blurbs(name):
    assert is_blurb(name)


def test_category_lists_end_before_the_first_blurb_except_at_their_first_name():
    lists = pl.Series(
        "category", [["all small", "Games", "fits most people", "Games & More"], None, ["A", None, "A", "B"]]
    )
    joined, cut = join_categories(lists, cut_blurbs=True)
    assert (joined.to_list(), cut) == (["all small Games", None, "A B"], 1)
    joined, cut = join_categories(lists, cut_blurbs=False)
    assert (joined.to_list(), cut) == (["all small Games fits most people Games & More", None, "A B"], 0)


def test_scripts_are_no_titles():
    titles = pl.Series("title", ["var x = 1;", "if (P.when('A')) { }", "Variety Pack of Functions", None])
    assert without_scripts(titles).to_list() == [None, None, "Variety Pack of Functions", None]


# Times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("86400", DAY), ("86400.7", DAY), (" 86400 ", DAY), ("1e5", 100_000), ("1970-01-02", DAY),
        ("1970-01-02 00:00", DAY),
        ("1970-01-02T00:00:01", DAY + 1), ("1970-01-02T01:00:01.5Z", DAY + 3601), ("1970-01-02 02:00:00+02:00", DAY),
        ("yesterday", None), ("", None), ("-1", None), ("99999999999", None), ("1970-13-01", None),
        ("nan", None), ("inf", None),
    ],
)  # fmt: skip
def test_times_in_text(text, seconds):
    assert parse_timestamps(pl.Series([text, "5"])).to_list() == [seconds, 5]


def test_times_in_other_types():
    assert parse_timestamps(pl.Series([1500, None]), "ms").to_list() == [1, None]
    assert parse_timestamps(pl.Series([1.9, float("nan"), float("inf")])).to_list() == [1, None, None]
    assert parse_timestamps(pl.Series([10**18]), "ns").to_list() == [10**9]
    dates = pl.Series(["1970-01-02"]).str.to_date()
    assert parse_timestamps(dates).to_list() == [DAY]
    assert parse_timestamps(dates.cast(pl.Datetime("ns"))).to_list() == [DAY]
    assert parse_timestamps(pl.Series([True])).to_list() == [None]
    with pytest.raises(DataError, match="'minutes'"):
        parse_timestamps(pl.Series([1]), "minutes")


# Tables


def write_csv(path, header, rows, delimiter=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return path


TABLE_ITEMS = [("B000", 'A "quoted", title\nof two lines', 3.5), ("B001", "", None), ("B002", "Third", 7.5)]


def write_tables(folder, ending):
    """The same log and items in any format; columns in an order of their own, and one that is not wanted."""
    log = pl.DataFrame(LOG, schema=["who", "what", "when"], orient="row").select(
        "what", pl.lit(1).alias("stars"), "who", "when"
    )
    items = pl.DataFrame(TABLE_ITEMS, schema=["what", "name", "price"], orient="row")
    paths = folder / f"log.{ending}", folder / f"items.{ending}"
    folder.mkdir(parents=True, exist_ok=True)
    for frame, path in zip((log, items), paths, strict=True):
        if ending == "parquet":
            frame.write_parquet(path)
        elif "json" in ending:
            write_lines(path, [json.dumps(row) for row in frame.to_dicts()])
        else:
            write_csv(path, frame.columns, frame.rows(), "\t" if "tsv" in ending else ",")
    return paths


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


def test_csv_lines_of_another_number_of_fields_are_damaged(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,timestamp\nU,B000,1\nU,B,oops,2\n\nU,B001\nU,,3\nU,B001,4\n", "utf-8")
    items = write_csv(tmp_path / "items.csv", ["item_id", "title"], [("B000", "A"), ("B001", "B")])
    source = read_table(path, items, max_damaged=0.9)
    assert rows_of(source) == [("U", "B000", 1), ("U", "B001", 4)]
    assert [number for number, _ in source.report.files[0].examples] == [3, 5, 6]
    assert source.report.files[0].lines == 5


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
    with pytest.raises(DataError, match=r"log\.xlsx: the ending"):
        read_table(log.rename(tmp_path / "log.xlsx"), items)
    (tmp_path / "log.parquet").write_bytes(b"not a parquet file")
    with pytest.raises(DamagedFileError, match="not a readable parquet"):
        read_table(tmp_path / "log.parquet", items)
    (tmp_path / "log.csv").write_bytes(b"")
    with pytest.raises(MissingColumnsError, match="empty"):
        read_table(tmp_path / "log.csv", items)


# MovieLens

MOVIES = [
    ("1", "Toy Story (1995)", "Animation|Comedy"),
    ("2", "Matrix, The (1999)", "Action|Sci-Fi"),
    ("3", "Amélie", ""),
]
RATINGS = [("1", "1", 5, 100), ("1", "2", 3, 90), ("2", "3", 2, 110)]


def write_movielens(folder, layout):
    folder.mkdir(parents=True, exist_ok=True)
    if layout == "latest":
        write_csv(folder / "ratings.csv", ["userId", "movieId", "rating", "timestamp"], RATINGS)
        rows = [(i, title, genres or "(no genres listed)") for i, title, genres in MOVIES]
        write_csv(folder / "movies.csv", ["movieId", "title", "genres"], rows)
    elif layout == "1m":
        write_lines(folder / "ratings.dat", ["::".join(map(str, row)) for row in RATINGS])
        write_lines(folder / "movies.dat", ["::".join(row).encode("latin-1") for row in MOVIES])
    else:
        write_lines(folder / "u.data", ["\t".join(map(str, row)) for row in RATINGS])
        names = "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|Fantasy|Film-Noir|Horror"
        names = f"{names}|Musical|Mystery|Romance|Sci-Fi|Thriller|War|Western".split("|")
        lines = []
        for number, title, genres in MOVIES:
            flags = [str(int(name in genres.split("|"))) for name in names]
            lines.append("|".join([number, title, "01-Jan-1995", "", "http://x", *flags]).encode("latin-1"))
        write_lines(folder / "u.item", lines)
    return folder


@pytest.mark.parametrize("layout", ["100k", "1m", "latest"])
def test_movielens_layouts_read_alike(tmp_path, layout):
    source = read_movielens(write_movielens(tmp_path, layout))
    assert rows_of(source) == [(user, item, time) for user, item, _, time in RATINGS]
    assert source.items.rows() == [
        ("1", "Toy Story", "1995", "Animation Comedy"), ("2", "The Matrix", "1999", "Action Sci-Fi"),
        ("3", "Amélie", None, None),
    ]  # fmt: skip
    assert rows_of(read_movielens(tmp_path, min_rating=3)) == [("1", "1", 100), ("1", "2", 90)]


def test_a_folder_without_ratings_is_no_movielens(tmp_path):
    with pytest.raises(MissingFileError, match=r"none of ratings\.csv, ratings\.dat, u\.data"):
        read_movielens(tmp_path)
    write_movielens(tmp_path, "1m")
    (tmp_path / "movies.dat").unlink()
    with pytest.raises(MissingFileError, match=r"movies\.dat"):
        read_movielens(tmp_path)


def test_without_polars_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    monkeypatch.delitem(sys.modules, "recformer_hf.data.polars_engine")
    with pytest.raises(ImportError, match=r"pip install 'recformer-hf\[data\]'"):
        importlib.import_module("recformer_hf.data.polars_engine")


def test_metadata_of_unreviewed_items_can_be_kept(tmp_path):
    pair = write_amazon(tmp_path, "2018", LOG[:1])
    assert read_amazon(*pair, "2018").items.height == 1
    assert read_amazon(*pair, "2018", only_reviewed=False).items.height == len(ITEMS)
    assert metadata("2018", "B000", ITEMS["B000"])["asin"] == "B000"


def test_a_file_that_is_mostly_damaged_is_given_up_early(tmp_path, monkeypatch):
    reviews, meta = write_amazon(tmp_path, "2018")
    monkeypatch.setattr(json_lines.iter_blocks, "__defaults__", (1 << 18,))
    line = json.dumps(review("2018", "U", "B000", 1_400_000_000_000))  # milliseconds
    write_lines(reviews, [json.dumps(review("2018", "U", "B000", 5)), *[line] * 40_000])
    with pytest.raises(DamagedFileError, match=r"is 1400000000000, no time from 1970 to 2100 in 's'") as error:
        read_amazon(reviews, meta, "2018")
    assert "of 40,001 lines" not in str(error.value)
    source = read_amazon(reviews, meta, "2018", max_damaged=1.0)  # asked for, it is read to its end
    assert source.report.files[0].damaged == 40_000


def test_a_delimiter_inside_a_quoted_column_name_is_part_of_it(tmp_path):
    log = write_csv(tmp_path / "log.csv", ["user, or guest", "item_id", "timestamp"], [("U", "B000", 1)])
    items = write_csv(tmp_path / "items.csv", ["item_id", "title"], [("B000", "A")])
    assert rows_of(read_table(log, items, user_column="user, or guest")) == [("U", "B000", 1)]
