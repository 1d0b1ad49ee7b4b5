"""Amazon's three versions: what the raw files say is what comes out."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers.testing_utils import CaptureLogger

from recformer_hf.data.readers import columns
from recformer_hf.data.readers.amazon import read_amazon
from recformer_hf.data.readers.source import DamagedFileError, DataError, MissingColumnsError
from tests.support.data_sources import DAY, ITEMS, LOG, metadata, review, rows_of, write_amazon, write_lines

VERSIONS = ("2014", "2018", "2023")


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


def test_literals_with_none_and_true_are_read_all_the_same(tmp_path):
    reviews, path = write_amazon(tmp_path, "2014", LOG[:1])
    write_lines(path, ["{'asin': 'B000', 'title': \"It's\", 'flag': True, 'brand': None, 'categories': (['A'],)}"])
    source = read_amazon(reviews, path, "2014")
    assert source.items["title"].to_list() == ["It's"]


def test_metadata_of_unreviewed_items_can_be_kept(tmp_path):
    pair = write_amazon(tmp_path, "2018", LOG[:1])
    assert read_amazon(*pair, "2018").items.height == 1
    assert read_amazon(*pair, "2018", only_reviewed=False).items.height == len(ITEMS)
    assert metadata("2018", "B000", ITEMS["B000"])["asin"] == "B000"


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


def reviews_of(version, rows):
    return [json.dumps(review(version, *row)) for row in rows]


@pytest.mark.parametrize("attributes", [["title", "title"], [], "title", ["title", "colour"]])
def test_attributes_that_are_not_known_once_are_refused(tmp_path, attributes):
    with pytest.raises(DataError, match=r"attributes is .*'description', each once \(version 2018\)"):
        read_amazon(*write_amazon(tmp_path, "2018"), "2018", attributes=attributes)
    with pytest.raises(DataError, match=r"attributes is \['features'\].*version 2014"):
        read_amazon(*write_amazon(tmp_path, "2014"), "2014", attributes=["features"])


def test_a_text_stands_for_a_list_of_it_and_the_reverse(tmp_path):
    reviews = write_lines(tmp_path / "r.json", reviews_of("2018", [("u", f"B{n}", DAY) for n in range(5)]))
    items = [
        {"asin": "B0", "title": "x", "category": ["Toys", "Games"], "description": ["One", "Two"]},
        {"asin": "B1", "title": ["y", "z"], "category": "Toys", "description": "One"},
        {"asin": "B2", "title": 7, "category": [["Toys", 5], ["Toys", None]], "brand": {"name": "X"}},
        {"asin": "B3", "title": True, "category": [], "feature": ["Nice", "&amp;"]},
        {"asin": "B4", "title": None, "category": {"a": "b"}, "feature": "Nice"},
    ]
    lines = [json.dumps(item) for item in items]
    for damaged in ([], ["{"]):
        source = read_amazon(
            reviews,
            write_lines(tmp_path / "m.json", [*lines, *damaged]),
            "2018",
            attributes=["title", "brand", "category", "features", "description"],
            max_damaged=1.0,
        )
        assert source.items.rows() == [
            ("B0", "x", None, "Toys Games", None, "One Two"),
            ("B1", "y z", None, "Toys", None, "One"),
            ("B2", "7", "name: X", "Toys 5", None, None),
            ("B3", "True", None, None, "Nice &", None),
            ("B4", None, None, "a: b", "Nice", None),
        ]


def test_features_and_description_of_2023_and_parquet_of_the_hub(tmp_path):
    reviews = pa.table(
        {
            "rating": [5.0, 1.0], "parent_asin": ["B0", "B1"], "user_id": ["u", "v"], "asin": ["x", "y"],
            "timestamp": [DAY * 400_000 + 999, DAY * 401_000],
        }
    )  # fmt: skip
    metadata = pa.table(
        {
            "main_category": ["Main", "Main"], "title": ["A &amp; B", "C"], "features": [["f", "g"], []],
            "description": [["One", "Two"], None], "store": ["S", None], "categories": [["Toys", "Games"], []],
            "details": ["{}", "{}"], "parent_asin": ["B0", "B1"],
        }
    )  # fmt: skip
    pq.write_table(reviews, tmp_path / "raw_review_Toys.parquet")
    pq.write_table(metadata, tmp_path / "raw_meta_Toys.parquet")
    write_lines(tmp_path / "r.jsonl", [json.dumps(row) for row in reviews.to_pylist()])
    write_lines(tmp_path / "m.jsonl", [json.dumps(row) for row in metadata.to_pylist()])
    wanted = ["title", "features", "description", "brand", "category"]
    for pair in (("raw_review_Toys.parquet", "raw_meta_Toys.parquet"), ("r.jsonl", "m.jsonl")):
        source = read_amazon(tmp_path / pair[0], tmp_path / pair[1], "2023", attributes=wanted)
        assert rows_of(source) == [("u", "B0", DAY * 400), ("v", "B1", DAY * 401)]
        assert source.items.rows() == [
            ("B0", "A & B", "f g", "One Two", "S", "Toys Games"),
            ("B1", "C", None, None, None, "Main"),
        ]


@pytest.mark.parametrize(
    ("version", "lines"),
    [
        ("2014", ["U,B000,5.0,{}"]),
        ("2018", ["B000,U,5.0,{}"]),
        ("2023", ["user_id,parent_asin,rating,timestamp", "U,B000,5.0,{}000"]),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_files_of_ratings_alone(tmp_path, version, lines, ending):
    _, meta = write_amazon(tmp_path, version)
    ratings = write_lines(tmp_path / f"ratings.{ending}", [line.format(DAY * 400) for line in lines])
    source = read_amazon(ratings, meta, version, min_rating=5)
    assert rows_of(source) == [("U", "B000", DAY * 400)]
    assert source.items["item_id"].to_list() == ["B000"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_lowest_rating_leaves_out_lower_and_missing_ones(tmp_path, version):
    _, meta = write_amazon(tmp_path, version)
    key = "rating" if version == "2023" else "overall"
    lines = []
    for row, rating in zip(LOG, [5.0, 4, 3.5, None, float("nan"), "5", "none"], strict=False):
        lines.append(json.dumps({**review(version, *row), key: rating}))
    without = review(version, *LOG[7])
    del without[key]
    source = read_amazon(write_lines(tmp_path / "r.json", [*lines, json.dumps(without)]), meta, version, min_rating=4)
    assert rows_of(source) == [LOG[0], LOG[1], LOG[5]]
    assert source.report.counts["ratings_below_the_minimum"] == 1
    assert source.report.counts["ratings_missing"] == 4


def test_reviews_of_2014_may_be_python_literals(tmp_path):
    _, meta = write_amazon(tmp_path, "2014")
    rows = [review("2014", *row) for row in LOG]
    for lines in ([repr(row) for row in rows], [repr(row) if n % 2 else json.dumps(row) for n, row in enumerate(rows)]):
        path = write_lines(tmp_path / "literals.json", [*lines, "{'reviewerID': "])
        source = read_amazon(path, meta, "2014", max_damaged=0.1)
        assert rows_of(source) == LOG
        assert source.report.files[0].damaged == 1
    with pytest.raises(DamagedFileError, match="a Python literal, not JSON"):
        read_amazon(write_lines(tmp_path / "literals.json", [repr(row) for row in rows]), meta, "2018")


def test_a_log_whose_items_are_mostly_unknown_is_reported(tmp_path):
    reviews, meta = write_amazon(tmp_path, "2018", [("u", f"C{n}", DAY * 400) for n in range(9)] + LOG[:2])
    with CaptureLogger(columns.logger) as warned:
        read_amazon(reviews, meta, "2018")
    assert (
        "Only 2 of the log's 11 items are in the table of items (the log has 'C0', 'C1', 'C2'; the table has 'B000'"
        in (warned.out)
    )
    assert "names its items by 'asin'" in warned.out
    swapped = write_lines(tmp_path / "ratings.csv", [f"B000,U{n},5.0,{DAY * 400}" for n in range(3)])
    with CaptureLogger(columns.logger) as warned:
        read_amazon(swapped, meta, "2014")  # the order of 2018
    assert "the user is first in 2014 and the item in 2018" in warned.out


def test_times_in_another_unit_are_found_out_unless_told_otherwise(tmp_path):
    rows = [review("2023", *row) | {"timestamp": row[2]} for row in LOG]  # seconds, where milliseconds are expected
    _, meta = write_amazon(tmp_path, "2023")
    path = write_lines(tmp_path / "r.jsonl", [json.dumps(row) for row in rows])
    with pytest.raises(DataError, match=r"r\.jsonl: All times of 'timestamp' lie in January 1970"):
        read_amazon(path, meta, "2023")
    assert read_amazon(path, meta, "2023", check_times=False).interactions.height == len(LOG)
    columns = pa.Table.from_pylist(rows)
    times = columns["timestamp"].cast(pa.timestamp("ms"))  # dates already
    columns = columns.set_column(columns.column_names.index("timestamp"), "timestamp", times)
    pq.write_table(columns, tmp_path / "r.parquet")
    with pytest.raises(DataError, match=r"r\.parquet: All times of 'timestamp' lie in January 1970"):
        read_amazon(tmp_path / "r.parquet", meta, "2023")
    assert read_amazon(tmp_path / "r.parquet", meta, "2023", check_times=False).interactions.height == len(LOG)
