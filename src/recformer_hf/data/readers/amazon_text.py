"""Amazon's item text made readable: entities, tags, page scripts, and sentences that stand among the categories."""

from __future__ import annotations

import html
import re

from ..polars_engine import pl

TAG = r"<[/!?]?[a-zA-Z][^<>]*>|</?[a-zA-Z][^<>]*$|/>"
# A title that is a page's script: some pages were saved before they were ready.
SCRIPT = r"(?i)getTime\(|aPageStart|^\s*var\s+\w+\s*=|\{\s*function|P\.when\("

# Names of categories are written in title case; these words may be small in them.
SMALL_WORDS = frozenset("a an and at by de du for from in la le of on or per the to via vs with w".split())  # noqa: SIM905
# More words than this make a sentence. The longest names of categories have seven, "&" not counted.
MAX_NAME_WORDS = 7
_SMALL_LETTER = re.compile(r"^[a-z]")
_BRAND_STYLE = re.compile(r"^[a-z]{1,2}-?[A-Z0-9]|^[a-z]-")  # iPod, eBook, e-Readers, 3D has a digit first
_SENTENCE = re.compile(r"[.!?;:]$|[!?;:]\s|https?:|www\.|^[-•*·]|\.\s+(?=[A-Z][a-z]+\s+[a-z])")


def clean_text(text: pl.Series) -> pl.Series:
    """Text with entities written out, tags and control characters taken out, and white space made single spaces.

    Args:
        text: String series `[n]`.

    Returns:
        String series `[n]`; null where nothing is left.
    """
    name = text.name
    if text.str.contains("&", literal=True).any():
        # Python's own table of entities, on the few distinct texts that have any.
        found = text.filter(text.str.contains("&", literal=True).fill_null(False)).unique()
        written_out = pl.Series([html.unescape(html.unescape(value)) for value in found.to_list()], dtype=pl.String)
        text = text.replace(found, written_out)
    cleaned = (
        pl.col(name).str.replace_all(TAG, " ").str.replace_all(r"[\p{C}\s]+", " ").str.strip_chars().replace("", None)
    )
    return text.alias(name).to_frame().select(cleaned).to_series()


def without_scripts(titles: pl.Series) -> pl.Series:
    """Titles `[n]` with those that are a page's script set to null."""
    return (
        titles.to_frame("title")
        .select(pl.when(~pl.col("title").str.contains(SCRIPT)).then(pl.col("title")).alias(titles.name))
        .to_series()
    )


def is_blurb(name: str) -> bool:
    """Whether an entry of a category list reads as a sentence about the item and not as the name of a category.

    The 2018 metadata append an item's feature bullets to its categories. A name is written in title case, is short
    and has no sentence's punctuation, so an entry is a blurb if it has a word that begins with a small letter (other
    than "and", "of", "for" ..., and spellings such as "iPod"), or more than seven words, or ends in or contains a
    sentence's punctuation.

    ```python
    >>> [is_blurb(name) for name in ("Cases & Storage", "iPod Accessories")]
    [False, False]
    >>> [is_blurb(name) for name in ("Officially licensed by Nintendo", "ESRB Rating: Teen")]
    [True, True]
    ```
    """
    words = name.split()
    if sum(word != "&" for word in words) > MAX_NAME_WORDS or _SENTENCE.search(name):
        return True
    return any(
        _SMALL_LETTER.match(word) and word.strip(",") not in SMALL_WORDS and not _BRAND_STYLE.match(word)
        for word in words
    )


def join_categories(categories: pl.Series, *, cut_blurbs: bool) -> tuple[pl.Series, int]:
    """Lists of category names as one text an item.

    Each name is cleaned, a name that the item already has is left out, and the rest is joined by spaces.

    Args:
        categories: List(String) series `[n]`.
        cut_blurbs: end an item's list before the first entry that `is_blurb` recognises, the first entry excepted
            (it is the department).

    Returns:
        (String series `[n]`, null where no name is left; number of items whose list was cut).
    """
    rows = pl.DataFrame({"row": pl.int_range(len(categories), dtype=pl.UInt32, eager=True), "name": categories})
    rows = rows.explode("name").drop_nulls("name")
    # A catalogue has few distinct names: each is cleaned and judged once.
    names = rows["name"].unique()
    cleaned = clean_text(names)
    judged = pl.DataFrame(
        {
            "name": names,
            "cleaned": cleaned,
            "blurb": pl.Series([name is not None and is_blurb(name) for name in cleaned.to_list()], dtype=pl.Boolean),
        }
    )
    rows = rows.join(judged, on="name", how="left", maintain_order="left").drop_nulls("cleaned")
    cut = 0
    if cut_blurbs:
        rows = rows.with_columns(pl.int_range(pl.len()).over("row").alias("position"))
        ends_here = pl.col("blurb") & (pl.col("position") > 0)
        rows = rows.with_columns((ends_here.cast(pl.UInt32).cum_sum().over("row") > 0).alias("after"))
        cut = rows.filter("after")["row"].n_unique()
        rows = rows.filter(~pl.col("after"))
    joined = (
        rows.unique(["row", "cleaned"], keep="first", maintain_order=True)
        .group_by("row", maintain_order=True)
        .agg(pl.col("cleaned").str.join(" "))
    )
    everyone = pl.DataFrame({"row": pl.int_range(len(categories), dtype=pl.UInt32, eager=True)})
    text = everyone.join(joined, on="row", how="left", maintain_order="left")["cleaned"].alias(categories.name)
    return text, cut
