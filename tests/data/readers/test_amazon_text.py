"""Amazon's texts: HTML, scripts of pages, and sentences among the categories."""

from __future__ import annotations

import polars as pl
import pytest

from recformer_hf.data.readers.amazon_text import clean_text, is_blurb, join_categories, without_scripts


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


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("R&amp;D &eacute; &#233; &#xE9;", "R&D é é é"), ("AT&amp;amp;T", "AT&T"),
        ("Laptop&notebook sleeve", "Laptop&notebook sleeve"), ("Adapter&microSD card", "Adapter&microSD card"),
        ("a &notebook; b", "a &notebook; b"), ("5 &copy 6", "5 &copy 6"), ("A&B;", "A&B;"),
        ("x &#; y &#99999999; z", "x &#; y &#99999999; z"),
        ("soft\u00adware Nin\u200btendo \ufefftext \u200eleft", "software Nintendo text left"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
        ("tab\tbell\x07 nbsp\xa0end", "tab bell nbsp end"), ("nul\x00zwsp&#8203;word&shy;y", "nul zwspwordy"),
        ("<b>bold</b> \u00ad ", "bold"), ("\u00ad\u200b", None), ("&nbsp;", None), (None, None),
    ],
)  # fmt: skip
def test_text_is_as_a_person_would_print_it(text, clean):
    assert clean_text(pl.Series("t", [text, "same"], dtype=pl.String)).to_list() == [clean, "same"]
