"""Small invented logs in the layouts that the readers read, shared by the tests of readers and of prepare_data.py."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from recformer_hf.data.readers.source import Source

DAY = 86_400

# Twelve items of an invented shop; six users, each with five or more purchases.
ITEMS = {
    f"B{number:03d}": {"title": f"Lantern {number}", "brand": f"Brand {number % 3}", "category": ["Garden", "Lights"]}
    for number in range(12)
}
LOG = [
    (f"U{user}", f"B{(user + step) % 12:03d}", (100 + 3 * step + user) * DAY) for user in range(6) for step in range(5)
]


def write_lines(path: Path, lines: Sequence[bytes | str]) -> Path:
    """Lines as a file, gzipped where its name says so."""
    data = b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def review(version: str, user: str, item: str, time: int) -> dict[str, Any]:
    """A review as its version writes it; time in seconds."""
    if version == "2023":
        return {
            "rating": 5.0, "title": "Bright", "text": "Says {\"a\": 1}\nand more", "images": [], "asin": "other",
            "parent_asin": item, "user_id": user, "timestamp": time * 1000 + 123, "helpful_vote": 0,
        }  # fmt: skip
    return {
        "overall": 5.0, "reviewerID": user, "asin": item, "reviewerName": "A. \"Nony\" Mous", "helpful": [0, 1],
        "reviewText": "Bright \\ and 'warm' é", "summary": "Good", "unixReviewTime": time, "reviewTime": "01 2, 2014",
    }  # fmt: skip


def metadata(version: str, item: str, attributes: dict[str, Any]) -> dict[str, Any]:
    """An item's metadata as its version writes them."""
    title, brand, category = attributes.get("title"), attributes.get("brand"), attributes.get("category")
    if version == "2014":
        found = {"asin": item, "title": title, "brand": brand, "categories": [category], "price": 9.99}
        return {name: value for name, value in found.items() if value is not None}
    if version == "2018":
        return {"category": category, "tech1": "", "title": title, "brand": brand, "rank": [">#1 in X"], "asin": item}
    return {
        "main_category": "Main", "title": title, "store": brand, "categories": category, "details": {"x": None},
        "price": None, "parent_asin": item,
    }  # fmt: skip


def write_amazon(
    folder: Path, version: str, log: list[tuple[str, str, int]] = LOG, items: dict[str, Any] = ITEMS
) -> tuple[Path, Path]:
    """A pair of gzipped files: reviews and metadata. 2014's metadata are Python literals."""
    ending = "jsonl.gz" if version == "2023" else "json.gz"
    reviews = write_lines(folder / f"Shop.{ending}", [json.dumps(review(version, *row)) for row in log])
    notation = repr if version == "2014" else json.dumps
    lines = [notation(metadata(version, item, attributes)) for item, attributes in items.items()]
    return reviews, write_lines(folder / f"meta_Shop.{ending}", lines)


def rows_of(source: Source) -> list[tuple[str, str, int]]:
    """The interactions of a source, its ids as text."""
    return source.interactions.cast({"user_id": pl.String, "item_id": pl.String}).rows()


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], delimiter: str = ",") -> Path:
    """A table as a file, gzipped if its name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return path


TABLE_ITEMS = [("B000", 'A "quoted", title\nof two lines', 3.5), ("B001", "", None), ("B002", "Third", 7.5)]


def write_tables(folder: Path, ending: str) -> tuple[Path, Path]:
    """The same log and items in any format; the columns in another order, and one that nobody reads."""
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


MOVIES = [
    ("1", "Toy Story (1995)", "Animation|Comedy"),
    ("2", "Matrix, The (1999)", "Action|Sci-Fi"),
    ("3", "Amélie", ""),
]


RATINGS = [("1", "1", 5, 100), ("1", "2", 3, 90), ("2", "3", 2, 110)]


def write_movielens(folder: Path, layout: str) -> Path:
    """A folder of `MOVIES` and `RATINGS` in the layout "100k", "1m" or "latest"."""
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
        listed = "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|Fantasy|Film-Noir|Horror"
        names = f"{listed}|Musical|Mystery|Romance|Sci-Fi|Thriller|War|Western".split("|")
        lines = []
        for number, title, genres in MOVIES:
            flags = [str(int(name in genres.split("|"))) for name in names]
            lines.append("|".join([number, title, "01-Jan-1995", "", "http://x", *flags]).encode("latin-1"))
        write_lines(folder / "u.item", lines)
    return folder


def purchases(users: int = 30, steps: int = 6) -> list[tuple[str, str, int]]:
    """Enough of everything for every split: each of 12 items bought 15 times, no item twice by one user."""
    return [
        (f"U{user:02d}", f"B{(user + 5 * step) % 12:03d}", (100 + 7 * step + user % 5) * DAY)
        for user in range(users)
        for step in range(steps)
    ]


def write_category(folder: Path, category: str, ending: str = "_5.json.gz") -> None:
    """The raw files of a category of 2018 under their published names, with `purchases`."""
    reviews, metadata = write_amazon(folder / "made", "2018", purchases())
    reviews.rename(folder / f"{category}{ending}")
    metadata.rename(folder / f"meta_{category}.json.gz")
