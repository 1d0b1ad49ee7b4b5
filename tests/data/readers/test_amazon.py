"""Amazon's three versions: what the raw files say is what comes out."""

from __future__ import annotations

import pytest

from recformer_hf.data.readers.amazon import read_amazon
from recformer_hf.data.readers.source import DataError, MissingColumnsError
from tests.support.data_sources import ITEMS, LOG, metadata, rows_of, write_amazon, write_lines

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
