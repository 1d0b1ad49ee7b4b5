"""Reads the raw files of the Amazon reviews of 2014, 2018 and 2023 (McAuley et al.).

| version | reviews | metadata, besides `title` | notation of the metadata |
|---|---|---|---|
| 2014 | `reviewerID`, `asin`, `unixReviewTime` | `asin`, `brand`, `categories` (lists of names) | Python literals |
| 2018 | `reviewerID`, `asin`, `unixReviewTime` | `asin`, `brand`, `category` (names, then sentences) | JSON |
| 2023 | `user_id`, `parent_asin`, `timestamp` (ms) | `parent_asin`, `store`, `categories`, `main_category` | JSON |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..polars_engine import pl
from .amazon_text import clean_text, join_categories, without_scripts
from .column_types import TEXT, TEXTS, ColumnType, ColumnTypes, texts
from .columns import InteractionCollector, first_of_each_item
from .files import existing_file
from .json_lines import JSON, Notation, read_json_lines
from .python_literals import PYTHON_LITERALS
from .required import Required
from .source import MAX_DAMAGED, DataError, ReadReport, Source
from .timestamps import TimeUnit

AmazonVersion = Literal["2014", "2018", "2023"]
ATTRIBUTES = ("title", "brand", "category")


@dataclass(frozen=True)
class _Layout:
    """The names that a version gives to its columns, and the notation of its metadata."""

    user: str
    item: str
    time: str
    unit: TimeUnit
    brand: str
    category: str
    category_type: ColumnType = TEXTS
    main_category: str | None = None
    notation: Notation = JSON
    cut_blurbs: bool = False

    @property
    def review_types(self) -> ColumnTypes:
        return {self.user: TEXT, self.item: TEXT, self.time: pl.Int64}

    @property
    def metadata_types(self) -> ColumnTypes:
        types = texts([self.item, "title", self.brand]) | {self.category: self.category_type}
        return types if self.main_category is None else types | {self.main_category: TEXT}


_LAYOUTS: dict[str, _Layout] = {
    "2014": _Layout(
        "reviewerID",
        "asin",
        "unixReviewTime",
        "s",
        "brand",
        "categories",
        category_type=pl.List(TEXTS),
        notation=PYTHON_LITERALS,
    ),
    "2018": _Layout("reviewerID", "asin", "unixReviewTime", "s", "brand", "category", cut_blurbs=True),
    "2023": _Layout("user_id", "parent_asin", "timestamp", "ms", "store", "categories", main_category="main_category"),
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

    HTML is removed from titles and brands, and a title that is a page's script becomes empty. The names of an item's
    categories are joined by spaces; for 2018, only those before the first feature sentence (`amazon_text.is_blurb`). If
    several metadata lines describe one item, the first is kept. For 2023 the brand is the `store`, and the category is
    the `categories`, or `main_category` if there are none.

    Args:
        reviews: review file or files, one JSON object per line; only user, item and time are read.
        metadata: metadata file or files.
        version: which layout the files have: "2014", "2018" or "2023".
        attributes: which of "title", "brand", "category" to keep, in this order.
        max_damaged: share of a file's lines, 0 to 1, that may be damaged before the file is refused.
        only_reviewed: skip the metadata of items that no review names, which are most of a raw file.

    Returns:
        the source; its report counts damaged lines, repeated metadata, emptied titles and cut category lists.

    Raises:
        MissingFileError, MissingColumnsError, DamagedFileError: see `source`.
        DataError: for an unknown version or attribute.
    """
    if version not in _LAYOUTS:
        raise DataError(f"version is {version!r}; expected one of {', '.join(map(repr, _LAYOUTS))}.")
    unknown = [name for name in attributes if name not in ATTRIBUTES]
    if unknown or not attributes:
        raise DataError(f"attributes is {list(attributes)!r}; expected some of {', '.join(map(repr, ATTRIBUTES))}.")
    layout = _LAYOUTS[version]
    report = ReadReport(f"Amazon reviews {version}")
    # Both lists are checked before the first file is read, so that a misspelt name does not cost an hour's reading.
    review_files, metadata_files = _existing_files(reviews), _existing_files(metadata)
    interactions = _read_reviews(review_files, layout, report, max_damaged)
    found = _read_metadata(metadata_files, layout, report, max_damaged, interactions if only_reviewed else None)
    items = _clean_items(first_of_each_item(found, report, "repeated_metadata"), layout, report)
    return Source(interactions, items.select("item_id", *attributes), report)


def _existing_files(files: str | Path | Sequence[str | Path]) -> list[Path]:
    return [existing_file(path) for path in ([files] if isinstance(files, (str, Path)) else files)]


def _read_reviews(paths: list[Path], layout: _Layout, report: ReadReport, max_damaged: float) -> pl.DataFrame:
    types = layout.review_types
    required = Required(list(types), layout.time, layout.unit)
    log = InteractionCollector(layout.user, layout.item, layout.time)
    for path in paths:
        file = report.add_file(path.name, max_damaged)
        for block in read_json_lines(path, types, required, file):
            log.add(block)
        file.check()
    return log.interactions()


def _read_metadata(
    paths: list[Path], layout: _Layout, report: ReadReport, max_damaged: float, reviewed: pl.DataFrame | None
) -> pl.DataFrame:
    """The metadata of all items, or of those in the log `reviewed`, under the layout's names except for `item_id`."""
    types = layout.metadata_types
    blocks = [pl.DataFrame(schema=types)]
    for path in paths:
        file = report.add_file(path.name, max_damaged)
        for block in read_json_lines(path, types, Required([layout.item]), file, layout.notation):
            blocks.append(block if reviewed is None else block.filter(_is_reviewed(block[layout.item], reviewed)))
        file.check()
    return pl.concat(blocks).rename({layout.item: "item_id"})


def _is_reviewed(items: pl.Series, interactions: pl.DataFrame) -> pl.Series:
    """Which of these ids the log contains, bool `[n]`.

    The log's ids are interned, so they have the codes from 0 on, and any other id gets a higher code. `is_in` would
    build a set of the log's ids for every block, which takes longer than everything else if they are a million.
    """
    logged = interactions["item_id"]
    if not len(logged):
        return pl.repeat(False, len(items), eager=True)
    return items.cast(logged.dtype).to_physical() <= logged.to_physical().max()


def _clean_items(items: pl.DataFrame, layout: _Layout, report: ReadReport) -> pl.DataFrame:
    """`item_id` and all `ATTRIBUTES` as clean text."""
    titles = without_scripts(items["title"])
    report.count("script_titles_emptied", titles.null_count() - items["title"].null_count())
    return pl.DataFrame(
        {
            "item_id": items["item_id"],
            "title": clean_text(titles),
            "brand": clean_text(items[layout.brand]),
            "category": _category_text(items, layout, report),
        }
    )


def _category_text(items: pl.DataFrame, layout: _Layout, report: ReadReport) -> pl.Series:
    names = items[layout.category]
    if names.dtype != TEXTS:  # 2014: an item has several paths of categories
        names = items.select(pl.col(layout.category).list.eval(pl.element().explode())).to_series()
    category, cut = join_categories(names, cut_blurbs=layout.cut_blurbs)
    if layout.cut_blurbs:
        report.count("categories_cut_before_a_sentence", cut)
    if layout.main_category is not None:
        main = clean_text(items[layout.main_category])
        category = pl.select(pl.coalesce(pl.lit(category), pl.lit(main))).to_series()
    return category
