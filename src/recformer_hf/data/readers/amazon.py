"""Reads the raw files of the Amazon reviews of 2014, 2018 and 2023 (McAuley et al.).

| version | reviews | metadata, besides `title` and `description` |
|---|---|---|
| 2014 | `reviewerID`, `asin`, `unixReviewTime` | `asin`, `brand`, `categories` (lists of names) |
| 2018 | `reviewerID`, `asin`, `unixReviewTime` | `asin`, `brand`, `category` (names, then sentences), `feature` |
| 2023 | `user_id`, `parent_asin`, `timestamp` (ms) | `parent_asin`, `store`, `categories`, `main_category`, `features`|

Files are JSON lines; the metadata of 2014 (and some of its review files) hold Python literals instead, and 2023 is
parquet on the Hub.

The ratings alone are CSV files: `user,item,rating,timestamp` (2014) and `item,user,rating,timestamp` (2018), both
without a header, and `user_id,parent_asin,rating,timestamp` (2023) with one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..polars_engine import pl
from .amazon_text import clean_text, join_categories, without_scripts
from .cells import CellError, item_text, lists_of_text_series, text_series
from .columns import InteractionCollector, check_join, first_of_each_item
from .delimited import CSV, Dialect, read_delimited
from .files import FilePaths, existing_files
from .json_items import attribute_of, id_of
from .json_lines import JSON, Notation, read_json_lines, read_json_rows
from .parquet import read_parquet_interactions, read_parquet_rows
from .python_literals import PYTHON_LITERALS
from .required import Required
from .source import MAX_DAMAGED, DataError, FileReport, ReadReport, Source
from .timestamps import TimeUnit

AmazonVersion = Literal["2014", "2018", "2023"]
ATTRIBUTES = ("title", "brand", "category")
"""The attributes that are read by default."""
ALL_ATTRIBUTES = (*ATTRIBUTES, "features", "description")

_Row: TypeAlias = "dict[str, Any]"
"""Texts and, under "category", a list of texts."""


@dataclass(frozen=True)
class _Layout:
    """The names that a version gives to its columns, and the notation of its files."""

    user: str
    item: str
    time: str
    unit: TimeUnit
    rating: str
    ratings: Dialect
    brand: str
    category: str
    features: str | None = None
    main_category: str | None = None
    notation: Notation = JSON
    cut_blurbs: bool = False

    def texts_of(self, attributes: Sequence[str]) -> dict[str, str]:
        """The keys of a metadata line that hold text, by the names that `_clean_items` gives them."""
        keys = {"title": "title", "brand": self.brand, "features": self.features, "description": "description"}
        found = {name: key for name, key in keys.items() if key is not None and name in attributes}
        if self.main_category is not None and "category" in attributes:
            found["main_category"] = self.main_category
        return found


_LAYOUTS: dict[str, _Layout] = {
    "2014": _Layout(
        "reviewerID",
        "asin",
        "unixReviewTime",
        "s",
        "overall",
        Dialect(names=["reviewerID", "asin", "overall", "unixReviewTime"]),
        "brand",
        "categories",
        notation=PYTHON_LITERALS,
    ),
    "2018": _Layout(
        "reviewerID",
        "asin",
        "unixReviewTime",
        "s",
        "overall",
        Dialect(names=["asin", "reviewerID", "overall", "unixReviewTime"]),
        "brand",
        "category",
        features="feature",
        cut_blurbs=True,
    ),
    "2023": _Layout(
        "user_id",
        "parent_asin",
        "timestamp",
        "ms",
        "rating",
        CSV,
        "store",
        "categories",
        features="features",
        main_category="main_category",
    ),
}


def read_amazon(
    reviews: FilePaths,
    metadata: FilePaths,
    version: AmazonVersion,
    *,
    attributes: Sequence[str] = ATTRIBUTES,
    min_rating: float | None = None,
    max_damaged: float = MAX_DAMAGED,
    only_reviewed: bool = True,
    check_times: bool = True,
) -> Source:
    """Read raw review and metadata files of one version of the Amazon review data.

    HTML is removed from the texts, and a title that is a page's script becomes empty. The names of an item's categories
    are joined by spaces; for 2018, only those before the first feature sentence (`amazon_text.is_blurb`). If several
    metadata lines describe one item, the first is kept. For 2023 the brand is the `store`, and the category is the
    `categories`, or `main_category` if there are none.

    Args:
        reviews: review file or files, or a pattern such as "*_5.json.gz"; only user, item and time are read. JSON
            lines, plain or compressed; the ratings alone as published (.csv); or the parquet files of the Hub (2023).
        metadata: metadata file or files, likewise, JSON lines or parquet.
        version: which layout the files have: "2014", "2018" or "2023".
        attributes: which of "title", "brand", "category", "features" (2018, 2023) and "description" to keep, in this
            order.
        min_rating: skip reviews with a lower rating (1 to 5) or without one. By default all are kept.
        max_damaged: share of a file's lines, 0 to 1, that may be damaged before the file is refused.
        only_reviewed: skip the metadata of items that no review names, which are most of a raw file.
        check_times: refuse a log whose times all lie in January 1970 or are dates such as 20170918.

    Returns:
        the source; its report counts damaged lines, repeated metadata, emptied titles and cut category lists. A warning
        says so if most items of the log have no metadata.

    Raises:
        MissingFileError, MissingColumnsError, DamagedFileError: see `source`.
        DataError: for an unknown version or attribute, and see `check_times`.
    """
    if version not in _LAYOUTS:
        raise DataError(f"version is {version!r}; expected one of {', '.join(map(repr, _LAYOUTS))}.")
    layout = _LAYOUTS[version]
    _check_attributes(attributes, version, layout)
    report = ReadReport(f"Amazon reviews {version}")
    # Both lists are checked before the first file is read, so that a misspelt name does not cost an hour's reading.
    review_files, metadata_files = existing_files(reviews), existing_files(metadata)
    required = Required(
        [layout.user, layout.item, layout.time], layout.time, layout.unit, None, layout.rating, min_rating
    )
    interactions = _read_reviews(review_files, layout, required, report, max_damaged, check_times)
    wanted = interactions if only_reviewed else None
    found, first_ids = _read_metadata(metadata_files, layout, attributes, report, max_damaged, wanted)
    unique = first_of_each_item(found, report, "repeated_metadata")
    check_join(interactions["item_id"], unique["item_id"], _advice(version), first_ids)
    items = _clean_items(unique, layout, attributes, report)
    return Source(interactions, items.select("item_id", *attributes), report)


def _check_attributes(attributes: Sequence[str], version: str, layout: _Layout) -> None:
    known = [name for name in ALL_ATTRIBUTES if name != "features" or layout.features is not None]
    if (
        isinstance(attributes, str)
        or not attributes
        or not set(attributes) <= set(known)
        or len(set(attributes)) < len(attributes)
    ):
        shown = repr(attributes) if isinstance(attributes, str) else repr(list(attributes))
        raise DataError(
            f"attributes is {shown}; expected some of {', '.join(map(repr, known))}, each once (version {version})."
        )


def _advice(version: str) -> str:
    key = "parent_asin" if version == "2023" else "asin"
    swapped = (
        ""
        if version == "2023"
        else (" In files of ratings alone, the user is first in 2014 and the item in 2018: check the version.")
    )
    return f"The log names its items by {key!r}; check that both files belong to the same category.{swapped}"


def _has_ending(path: Path, ending: str) -> bool:
    """Whether a file has this extension, perhaps with that of a compression after it."""
    return ending in [suffix.lower() for suffix in path.suffixes[-2:]]


def _read_reviews(
    paths: list[Path],
    layout: _Layout,
    required: Required,
    report: ReadReport,
    max_damaged: float,
    check_times: bool,
) -> pl.DataFrame:
    log = InteractionCollector(layout.user, layout.item, layout.time, unit=layout.unit, check=check_times)
    for path in paths:
        file = report.add_file(path.name, max_damaged)
        for block in _review_blocks(path, layout, required, file, check_times):
            log.add(required.rated(block, report))
        file.check()
    return log.interactions(*(path.name for path in paths))


def _review_blocks(
    path: Path, layout: _Layout, required: Required, file: FileReport, check_times: bool
) -> Iterator[pl.DataFrame]:
    if _has_ending(path, ".parquet"):
        return read_parquet_interactions(path, required.columns, required, file, check_times=check_times)
    if _has_ending(path, ".csv"):
        return read_delimited(path, required.columns, required, file, layout.ratings)
    return read_json_lines(path, required.columns, required, file, layout.notation)


def _read_metadata(
    paths: list[Path],
    layout: _Layout,
    attributes: Sequence[str],
    report: ReadReport,
    max_damaged: float,
    reviewed: pl.DataFrame | None,
) -> tuple[pl.DataFrame, list[str]]:
    """(The metadata of all items, or of those in the log `reviewed`: `item_id`, texts, and `category` as lists; the
    first few ids of the files).
    """
    texts = layout.texts_of(attributes)
    with_category = "category" in attributes
    schema: dict[str, pl.DataType] = dict.fromkeys(["item_id", *texts], pl.String())
    if with_category:
        schema["category"] = pl.List(pl.String)
    blocks, first_ids = [pl.DataFrame(schema=schema)], list[str]()
    convert = _metadata_row(layout, texts, with_category)
    for path in paths:
        file = report.add_file(path.name, max_damaged)
        if _has_ending(path, ".parquet"):
            keys = [layout.item, *texts.values(), layout.category]
            rows_of_blocks = read_parquet_rows(path, keys, [layout.item], convert, file)
        else:
            rows_of_blocks = read_json_rows(path, [layout.item], convert, file, layout.notation)
        for rows in rows_of_blocks:
            block = _metadata_block(rows, schema)
            first_ids += block["item_id"].head(3 - len(first_ids)).to_list()
            blocks.append(block if reviewed is None else block.filter(_is_reviewed(block["item_id"], reviewed)))
        file.check()
    return pl.concat(blocks), first_ids


def _metadata_block(rows: list[_Row], schema: dict[str, pl.DataType]) -> pl.DataFrame:
    columns = []
    for name, kind in schema.items():
        to_series = text_series if kind == pl.String else lists_of_text_series
        columns.append(to_series(name, [row[name] for row in rows]))
    return pl.DataFrame(columns)


def _metadata_row(layout: _Layout, texts: dict[str, str], with_category: bool) -> Callable[[dict[str, object]], _Row]:
    """How an object becomes a row of `_read_metadata`."""

    def convert(found: dict[str, object]) -> _Row:
        row: _Row = {"item_id": id_of(found, layout.item)}
        for name, key in texts.items():
            row[name] = attribute_of(found, key)
        if with_category:
            row["category"] = _category_names(found.get(layout.category), layout.category)
        return row

    return convert


def _category_names(value: object, key: str) -> list[str] | None:
    """The names in a list of categories, or in a list of paths of categories (2014); a text is one name."""
    if not isinstance(value, (list, tuple)):
        try:
            text = item_text(value)
        except CellError as error:
            raise CellError(f"{key!r} is {error}") from error
        return None if text is None else [text]
    return [name for part in value for name in _category_names(part, key) or ()]


def _is_reviewed(items: pl.Series, interactions: pl.DataFrame) -> pl.Series:
    """Which of these ids the log contains, bool `[n]`.

    The log's ids are interned, so they have the codes from 0 on, and any other id gets a higher code. `is_in` would
    build a set of the log's ids for every block, which takes longer than everything else if they are a million.
    """
    logged = interactions["item_id"]
    if not len(logged):
        return pl.repeat(False, len(items), eager=True)
    return items.cast(logged.dtype).to_physical() <= logged.to_physical().max()


def _clean_items(items: pl.DataFrame, layout: _Layout, attributes: Sequence[str], report: ReadReport) -> pl.DataFrame:
    """`item_id` and the attributes as clean text."""
    clean = {"item_id": items["item_id"]}
    if "title" in attributes:
        titles = without_scripts(items["title"])
        report.count("script_titles_emptied", titles.null_count() - items["title"].null_count())
        clean["title"] = clean_text(titles)
    for name in ("brand", "features", "description"):
        if name in attributes:
            clean[name] = clean_text(items[name])
    if "category" in attributes:
        clean["category"] = _category_text(items, layout, report)
    return pl.DataFrame(clean)


def _category_text(items: pl.DataFrame, layout: _Layout, report: ReadReport) -> pl.Series:
    category, cut = join_categories(items["category"], cut_blurbs=layout.cut_blurbs)
    if layout.cut_blurbs:
        report.count("categories_cut_before_a_sentence", cut)
    if layout.main_category is not None:
        main = clean_text(items["main_category"])
        category = pl.select(pl.coalesce(pl.lit(category), pl.lit(main))).to_series()
    return category
