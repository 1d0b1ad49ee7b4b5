"""Amazon reviews of 2014, 2018 and 2023 (McAuley and others): raw files -> interactions and items.

| version | reviews | metadata, beside `title` | metadata's notation |
|---|---|---|---|
| 2014 | `reviewerID`, `asin`, `unixReviewTime` | `asin`, `brand`, `categories` (lists of names) | Python literals |
| 2018 | `reviewerID`, `asin`, `unixReviewTime` | `asin`, `brand`, `category` (names, then sentences) | JSON |
| 2023 | `user_id`, `parent_asin`, `timestamp` (ms) | `parent_asin`, `store`, `categories`, `main_category` | JSON |
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..polars_engine import pl
from .amazon_text import clean_text, join_categories, without_scripts
from .common import (
    MAX_DAMAGED,
    DataError,
    FileReport,
    ReadReport,
    Source,
    TimeUnit,
    as_categories,
    concat_interactions,
    existing_file,
)
from .json_lines import read_json_lines

AmazonVersion = Literal["2014", "2018", "2023"]
ATTRIBUTES = ("title", "brand", "category")


@dataclass(frozen=True)
class _Layout:
    user: str
    item: str
    time: str
    unit: TimeUnit
    brand: str
    category: str
    category_type: Any
    more: tuple[str, ...] = ()
    python_literals: bool = False
    cut_blurbs: bool = False


_LAYOUTS: dict[str, _Layout] = {
    "2014": _Layout(
        "reviewerID",
        "asin",
        "unixReviewTime",
        "s",
        "brand",
        "categories",
        pl.List(pl.List(pl.String)),
        python_literals=True,
    ),
    "2018": _Layout(
        "reviewerID", "asin", "unixReviewTime", "s", "brand", "category", pl.List(pl.String), cut_blurbs=True
    ),
    "2023": _Layout(
        "user_id", "parent_asin", "timestamp", "ms", "store", "categories", pl.List(pl.String), more=("main_category",)
    ),
}


def read_amazon(
    reviews: str | Path | Sequence[str | Path],
    metadata: str | Path | Sequence[str | Path],
    version: AmazonVersion,
    *,
    attributes: Sequence[str] = ATTRIBUTES,
    max_damaged: float = MAX_DAMAGED,
    only_reviewed: bool = True,
) -> Source:
    """Read raw review and metadata files, plain or gzipped, of one version of the Amazon review data.

    Titles and brands are cleaned of HTML; a title that is a page's script is emptied; names of categories are joined
    by spaces, for 2018 up to the first feature sentence among them (`amazon_text.is_blurb`). Of several metadata
    lines of one item the first is kept. 2023's brand is its `store`, its category the `categories`, or
    `main_category` where there are none.

    Args:
        reviews: review file or files, one JSON object a line; only user, item and time are read.
        metadata: metadata file or files.
        version: whose layout the files have: "2014", "2018" or "2023".
        attributes: which of "title", "brand", "category" to keep, in this order.
        max_damaged: share of a file's lines, 0 to 1, that may be damaged before it is refused.
        only_reviewed: leave out the metadata of items that no review names (most of a raw file).

    Returns:
        the source; its report counts damaged lines, repeated metadata, emptied titles and cut category lists.

    Raises:
        MissingFileError, MissingColumnsError, DamagedFileError: see `common`.
        DataError: an unknown version or attribute.
    """
    if version not in _LAYOUTS:
        raise DataError(f"No Amazon version {version!r}; expected one of {', '.join(map(repr, _LAYOUTS))}.")
    unknown = [name for name in attributes if name not in ATTRIBUTES]
    if unknown or not attributes:
        raise DataError(f"Attributes {list(attributes)!r}: expected some of {', '.join(map(repr, ATTRIBUTES))}.")
    layout = _LAYOUTS[version]
    report = ReadReport(f"Amazon reviews {version}")
    review_files, metadata_files = _paths(reviews), _paths(metadata)
    interactions = _read_reviews(review_files, layout, report, max_damaged)
    items = _read_metadata(metadata_files, layout, report, max_damaged, interactions if only_reviewed else None)
    return Source(interactions, items.select("item_id", *attributes), report)


def _paths(files: str | Path | Sequence[str | Path]) -> list[Path]:
    """All files are looked for before the first is read: an hour's reading should not end in a misspelt name."""
    return [existing_file(path) for path in ([files] if isinstance(files, (str, Path)) else files)]


def _read_reviews(paths: list[Path], layout: _Layout, report: ReadReport, max_damaged: float) -> pl.DataFrame:
    columns = {layout.user: pl.String, layout.item: pl.String, layout.time: pl.Int64}
    users, items = pl.Categories.random(), pl.Categories.random()
    frames = []
    for path in paths:
        report.files.append(file := FileReport(path.name, max_damaged))
        for frame in read_json_lines(
            path,
            columns,
            list(columns),
            file,
            timestamp=layout.time,
            unit=layout.unit,
        ):
            frame = frame.select(
                pl.col(layout.user).alias("user_id"),
                pl.col(layout.item).alias("item_id"),
                pl.col(layout.time).alias("timestamp"),
            )
            frames.append(as_categories(frame, users, items))
        file.check()
    return concat_interactions(frames)


def _read_metadata(
    paths: list[Path], layout: _Layout, report: ReadReport, max_damaged: float, reviewed: pl.DataFrame | None
) -> pl.DataFrame:
    columns = {
        layout.item: pl.String,
        "title": pl.String,
        layout.brand: pl.String,
        layout.category: layout.category_type,
        **dict.fromkeys(layout.more, pl.String),
    }
    frames = [pl.DataFrame(schema=columns)]
    for path in paths:
        report.files.append(file := FileReport(path.name, max_damaged))
        for frame in read_json_lines(
            path,
            columns,
            [layout.item],
            file,
            parse_line=_python_literal if layout.python_literals else json.loads,
            to_json=literal_to_json if layout.python_literals else None,
        ):
            frames.append(frame if reviewed is None else frame.filter(_in_log(frame[layout.item], reviewed)))
        file.check()
    items = pl.concat(frames).rename({layout.item: "item_id"})
    unique = items.unique("item_id", keep="first", maintain_order=True)
    report.count("repeated_metadata", items.height - unique.height)
    return _clean_items(unique, layout, report)


def _in_log(items: pl.Series, interactions: pl.DataFrame) -> pl.Series:
    """Which of these ids the log has, bool `[n]`.

    The log's ids are interned, so they have the numbers from 0 on, and any other id gets a higher one. A set of the
    log's ids would be built anew for every block: at a million items that takes longer than all the rest.
    """
    logged = interactions["item_id"]
    if not len(logged):
        return pl.repeat(False, len(items), eager=True)
    return items.cast(logged.dtype).to_physical() <= logged.to_physical().max()


def _clean_items(items: pl.DataFrame, layout: _Layout, report: ReadReport) -> pl.DataFrame:
    readable = without_scripts(items["title"])
    report.count("script_titles_emptied", readable.null_count() - items["title"].null_count())
    names = items[layout.category]
    if names.dtype != pl.List(pl.String):  # 2014: several paths an item
        names = items.select(pl.col(layout.category).list.eval(pl.element().explode())).to_series()
    category, cut = join_categories(names, cut_blurbs=layout.cut_blurbs)
    if layout.cut_blurbs:
        report.count("categories_cut_before_a_sentence", cut)
    if "main_category" in layout.more:
        main = clean_text(items["main_category"])
        category = pl.select(pl.coalesce(pl.lit(category), pl.lit(main))).to_series()
    return pl.DataFrame(
        {
            "item_id": items["item_id"],
            "title": clean_text(readable),
            "brand": clean_text(items[layout.brand]),
            "category": category,
        }
    )


def _python_literal(line: bytes) -> Any:
    return ast.literal_eval(line.decode().strip())


# A string of a Python literal, and what may stand between strings for the line to be JSON once its strings are.
_STRING = re.compile(rb"""('[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*")""")
_BETWEEN = re.compile(rb"[\s\d{}\[\],:.eE+-]*")


def literal_to_json(line: bytes) -> bytes:
    """A line that holds a Python literal as the same value in JSON, two to twenty times faster than `ast.literal_eval`.

    Exact by construction: strings are found by Python's own rule for their ends; one without a backslash means its
    characters; one with a backslash goes through `ast.literal_eval` alone; and between strings only digits and
    punctuation that JSON and Python read alike may stand. Any other line is returned as it is, which is no JSON, so
    that the reader takes it by `ast.literal_eval`.
    """
    if b'"' not in line and b"\\" not in line:
        parts = line.split(b"'")
        return b'"'.join(parts) if _BETWEEN.fullmatch(b"".join(parts[::2])) else line
    parts = _STRING.split(line)
    if not _BETWEEN.fullmatch(b"".join(parts[::2])):
        return line
    try:
        parts[1::2] = [
            b'"' + text[1:-1].replace(b'"', b'\\"') + b'"'
            if b"\\" not in text
            else json.dumps(ast.literal_eval(text.decode())).encode()
            for text in parts[1::2]
        ]
    except (SyntaxError, ValueError, UnicodeDecodeError):
        return line
    return b"".join(parts)
