"""Small invented logs in the layouts that the readers read, shared by the tests of readers and of prepare_data.py."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

DAY = 86_400

# Twelve items of an invented shop; six users, each with five or more purchases.
ITEMS = {
    f"B{number:03d}": {"title": f"Lantern {number}", "brand": f"Brand {number % 3}", "category": ["Garden", "Lights"]}
    for number in range(12)
}
LOG = [
    (f"U{user}", f"B{(user + step) % 12:03d}", (100 + 3 * step + user) * DAY) for user in range(6) for step in range(5)
]


def write_lines(path: Path, lines: list[bytes | str]) -> Path:
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
