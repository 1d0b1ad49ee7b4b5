"""Cleans Amazon's item text: entities, tags, scripts of pages, and sentences among the categories."""

from __future__ import annotations

import html
import re
from html.entities import html5

from ..polars_engine import pl

# A tag, including one that is cut off at the end of the text; or only the end of a tag.
TAG = r"<[/!?]?[a-zA-Z][^<>]*>|</?[a-zA-Z][^<>]*$|/>"
# Some titles are a page's script, because the page was saved before it had loaded.
SCRIPT = r"(?i)getTime\(|aPageStart|^\s*var\s+\w+\s*=|\{\s*function|P\.when\("

# Category names are in title case, except for these words.
SMALL_WORDS = frozenset("a an and at by de du for from in la le of on or per the to via vs with w".split())  # noqa: SIM905
# The longest category names have seven words, not counting "&". An entry with more words is a sentence.
MAX_NAME_WORDS = 7
_SMALL_LETTER = re.compile(r"^[a-z]")
_BRAND_STYLE = re.compile(r"^[a-z]{1,2}-?[A-Z0-9]|^[a-z]-")  # iPod, eBook, e-Readers (3D begins with a digit)
_SENTENCE = re.compile(r"[.!?;:]$|[!?;:]\s|https?:|www\.|^[-•*·]|\.\s+(?=[A-Z][a-z]+\s+[a-z])")


# An entity, with the ";" that ends it. HTML also knows entities without one, but in titles "&notebook" is no "\u00ac".
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|([a-zA-Z][a-zA-Z0-9]{1,31}));")
# Characters without a width: soft hyphen, zero-width space, marks of direction, byte order mark. The joiners U+200C and
# U+200D stay, because they change the shape of Persian letters and join emoji.
INVISIBLE = (
    r"[\x{AD}\x{61C}\x{180E}\x{200B}\x{200E}\x{200F}\x{202A}-\x{202E}\x{2060}-\x{2064}\x{2066}-\x{206F}\x{FEFF}]"
)
# Control characters, characters of no standard meaning, and white space.
SPACES = r"[\p{Cc}\p{Co}\s]+"


def clean_text(text: pl.Series) -> pl.Series:
    """Text with decoded HTML entities and single spaces, without tags, control characters and invisible ones.

    ```python
    >>> clean_text(pl.Series(["Salt &amp; Pepper <b>Mill</b>", "Laptop&notebook sleeve"])).to_list()
    ['Salt & Pepper Mill', 'Laptop&notebook sleeve']
    ```

    Args:
        text: String series `[n]`.

    Returns:
        String series `[n]`; null where nothing is left.
    """
    name = text.name
    if text.str.contains("&", literal=True).any():
        # polars cannot decode entities. Python can, and only a few distinct texts have any.
        found = text.filter(text.str.contains("&", literal=True).fill_null(False)).unique()
        # Twice, because some texts were encoded twice ("&amp;amp;").
        decoded = pl.Series([_decoded(_decoded(value)) for value in found.to_list()], dtype=pl.String)
        text = text.replace(found, decoded)
    cleaned = pl.col(name).str.replace_all(INVISIBLE, "").str.replace_all(TAG, " ").str.replace_all(SPACES, " ")
    cleaned = cleaned.str.strip_chars().replace("", None)
    return text.alias(name).to_frame().select(cleaned).to_series()


def _decoded(text: str) -> str:
    return _ENTITY.sub(_character, text)


def _character(entity: re.Match[str]) -> str:
    name = entity[1]
    return html.unescape(entity[0]) if name is None or f"{name};" in html5 else entity[0]


def without_scripts(titles: pl.Series) -> pl.Series:
    """Titles `[n]`; null for those that are a page's script."""
    return (
        titles.to_frame("title")
        .select(pl.when(~pl.col("title").str.contains(SCRIPT)).then(pl.col("title")).alias(titles.name))
        .to_series()
    )


def is_blurb(name: str) -> bool:
    """Whether an entry of a category list is a sentence about the item rather than the name of a category.

    The 2018 metadata append an item's feature bullets to its categories. A category name is short, in title case and
    without the punctuation of a sentence. An entry is therefore a blurb if it has a word that begins with a small
    letter (other than "and", "of", "for" ..., and spellings such as "iPod"), more than seven words, or the punctuation
    of a sentence.

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
    """Lists of category names as one text for each item.

    Each name is cleaned, names that repeat within an item are dropped, and the others are joined by spaces.

    Args:
        categories: List(String) series `[n]`.
        cut_blurbs: end an item's list before the first entry that `is_blurb` recognises. The first entry is kept in any
            case, because it is the department.

    Returns:
        (String series `[n]`, null where no name is left; number of items whose list was cut).
    """
    items = pl.DataFrame({"item": pl.int_range(len(categories), dtype=pl.UInt32, eager=True)})
    rows = items.with_columns(categories.alias("name")).explode("name").drop_nulls("name")
    rows = rows.join(_judged_names(rows["name"].unique()), on="name", how="left", maintain_order="left")
    rows = rows.drop_nulls("cleaned")
    num_cut = 0
    if cut_blurbs:
        rows, num_cut = _before_first_blurb(rows)
    joined = (
        rows.unique(["item", "cleaned"], keep="first", maintain_order=True)
        .group_by("item", maintain_order=True)
        .agg(pl.col("cleaned").str.join(" "))
    )
    texts = items.join(joined, on="item", how="left", maintain_order="left")["cleaned"]
    return texts.alias(categories.name), num_cut


def _judged_names(names: pl.Series) -> pl.DataFrame:
    """Clean and judge each distinct name once, because a catalogue has few of them: `name`, `cleaned`, `blurb`."""
    cleaned = clean_text(names)
    blurbs = [name is not None and is_blurb(name) for name in cleaned.to_list()]
    return pl.DataFrame({"name": names, "cleaned": cleaned, "blurb": pl.Series(blurbs, dtype=pl.Boolean)})


def _before_first_blurb(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """(The rows of each item before its first blurb, number of items that lost rows); an item's first row stays."""
    rows = rows.with_columns(pl.int_range(pl.len()).over("item").alias("position"))
    ends_here = pl.col("blurb") & (pl.col("position") > 0)
    rows = rows.with_columns((ends_here.cast(pl.UInt32).cum_sum().over("item") > 0).alias("after"))
    return rows.filter(~pl.col("after")), rows.filter("after")["item"].n_unique()
