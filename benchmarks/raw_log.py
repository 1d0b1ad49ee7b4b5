"""An invented raw log in the layout of the Amazon 2018 files, of the paper's pretraining size or a share of it.

Nothing in it was observed. Users have five or more reviews (a few have hundreds), items have a long-tailed popularity,
and two in five reviews are on the same day as another review of their user. Review texts have a median of 30 words and
titles about 11. An item has a brand, a path of three to five categories, feature sentences after some of them, and
the other fields of a metadata line. Beyond that core there are users with few reviews, items with few or none, a few
exact duplicates and a few damaged lines, so that a 5-core takes several rounds.
"""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from tqdm.auto import tqdm

USERS, ITEMS, INTERACTIONS = 3_600_000, 1_020_000, 33_600_000
FILES = 7
CHUNK_LINES = 250_000
VOCABULARY = 40_000


def write_raw_log(folder: Path, share: float, seed: int = 0) -> dict[str, int]:
    """Write `reviews_<n>.json.gz` and `meta_<n>.json.gz` for seven categories; returns counts of lines and bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    num_items = round(ITEMS * share)
    words = _words(rng)
    user, item, day = _interactions(rng, round(USERS * share), num_items, round(INTERACTIONS * share))
    order = np.argsort(item, kind="stable")  # the real files are sorted by item
    user, item, day = user[order], item[order], day[order]
    texts = _pool(rng, words, 20_000, median=30, spread=1.1)
    all_items = num_items + num_items * 3 // 10  # plus three in ten that are rare or have no review
    review_bounds = np.linspace(0, num_items + num_items // 10, FILES + 1).astype(np.int64)
    metadata_bounds = np.linspace(0, all_items, FILES + 1).astype(np.int64)
    written = {"reviews": len(user), "metadata": all_items, "bytes": 0, "inflated_bytes": 0}
    with tqdm(total=len(user) + all_items, desc="Writing the raw log", unit=" lines", unit_scale=True) as progress:
        for number in range(FILES):
            begin, end = np.searchsorted(item, review_bounds[number : number + 2])
            chunks = (
                _review_lines(rng, user[start:stop], item[start:stop], day[start:stop], texts)
                for start, stop in _chunks(begin, end)
            )
            _write(folder / f"reviews_{number}.json.gz", chunks, progress, written)
            chunks = (
                _metadata_lines(rng, np.arange(start, stop), words, texts)
                for start, stop in _chunks(*metadata_bounds[number : number + 2])
            )
            _write(folder / f"meta_{number}.json.gz", chunks, progress, written)
    return written


def raw_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Review files and metadata files."""
    return sorted(folder.glob("reviews_*.json.gz")), sorted(folder.glob("meta_*.json.gz"))


def _chunks(begin: int, end: int) -> list[tuple[int, int]]:
    return [(start, min(start + CHUNK_LINES, end)) for start in range(int(begin), int(end), CHUNK_LINES)]


def _interactions(
    rng: np.random.Generator, num_users: int, num_items: int, total: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """User, item and day of every review, user by user."""
    lengths = 5 + np.minimum(rng.pareto(1.8, num_users) * 3.6, 600).astype(np.int64)
    lengths = np.maximum(5, np.round(5 + (lengths - 5) * (total - 5 * num_users) / (lengths - 5).sum())).astype(
        np.int64
    )
    core = int(lengths.sum())
    short = rng.integers(1, 7, num_users // 5)  # users that a 5-core removes in some round
    lengths = np.concatenate([lengths, short])
    user = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    # Every item gets five reviews of core users, so that the core keeps all items. Popularity decides about the rest.
    item = np.empty(len(user), dtype=np.int32)
    item[: 5 * num_items] = np.tile(np.arange(num_items, dtype=np.int32), 5)
    item[5 * num_items :] = _by_popularity(rng, num_items, len(user) - 5 * num_items)
    item[:core] = rng.permutation(item[:core])
    # Short users with five or more reviews get one of a rare item. Once a round removes the item, the next one removes
    # those users who then have too few.
    enough = core + np.concatenate([[0], np.cumsum(short)[:-1]])[short >= 5]
    item[enough] = num_items + rng.integers(0, num_items // 10, len(enough))
    gaps = np.where(rng.random(len(user)) < 0.35, 0, rng.geometric(1 / 60, len(user)))
    first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    day = np.cumsum(gaps)
    day = (
        day - np.repeat(day[first], lengths) + np.repeat(rng.integers(10_500, 16_500, len(lengths)), lengths)
    ) % 17_900
    twice = rng.integers(0, len(user), len(user) // 2000)
    return tuple(np.concatenate([column, column[twice]]) for column in (user, item, day.astype(np.int32)))


def _by_popularity(rng: np.random.Generator, num_items: int, number: int) -> np.ndarray:
    weights = 1 / (np.arange(num_items) + 50.0) ** 0.8
    drawn = np.searchsorted(np.cumsum(weights) / weights.sum(), rng.random(number)).astype(np.int32)
    return rng.permutation(num_items).astype(np.int32)[np.minimum(drawn, num_items - 1)]


def _words(rng: np.random.Generator) -> np.ndarray:
    """Invented words; the most common ones are the shortest."""
    syllables = np.array([a + b + c for a in "bdfgklmnprstvz" for b in "aeiou" for c in ("", "n", "r", "s", "l")])
    count = np.sort(rng.choice([1, 2, 2, 3, 3, 4], VOCABULARY))
    return np.array(["".join(rng.choice(syllables, number)) for number in count])


def _pool(rng: np.random.Generator, words: np.ndarray, number: int, median: float, spread: float) -> pl.Series:
    """Texts whose lengths in words are log-normal."""
    lengths = np.clip(rng.lognormal(np.log(median), spread, number), 1, 2000).astype(np.int64)
    return _texts(rng, words, lengths)


def _texts(rng: np.random.Generator, words: np.ndarray, lengths: np.ndarray, *, capital: bool = False) -> pl.Series:
    """One text for each length in words, drawn by Zipf's law."""
    number = int(lengths.sum())
    chosen = np.minimum((len(words) ** rng.random(number)).astype(np.int64) - 1, len(words) - 1)
    flat = pl.Series(words).gather(chosen)
    if capital:
        flat = flat.str.to_titlecase()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), flat.to_arrow())
    return pl.from_arrow(lists).list.join(" ")


def _review_lines(
    rng: np.random.Generator, user: np.ndarray, item: np.ndarray, day: np.ndarray, texts: pl.Series
) -> bytes:
    text, summary = (texts.gather(rng.integers(0, len(texts), len(user))) for _ in range(2))
    lines = pl.select(
        pl.concat_str(
            pl.lit('{"overall": 5.0, "verified": true, "reviewTime": "01 2, 2016", "reviewerID": "A'),
            _code(user, 12),
            pl.lit('", "asin": "B'),
            _code(item, 9),
            pl.lit('", "style": {"Size:": " One"}, "reviewerName": "A. Shopper", "reviewText": "It\\"s '),
            pl.lit(text),
            pl.lit('", "summary": "'),
            pl.lit(summary).str.slice(0, 24),
            pl.lit('", "unixReviewTime": '),
            pl.lit(pl.Series(day.astype(np.int64) * 86_400)).cast(pl.String),
            pl.lit("}"),
        )
    )
    return _lines(lines) + (b'{"overall": 5.0, "reviewerID": "A\n' if rng.random() < 0.1 else b"")


def _metadata_lines(rng: np.random.Generator, item: np.ndarray, words: np.ndarray, texts: pl.Series) -> bytes:
    number = len(item)
    titles = _texts(rng, words, np.clip(rng.lognormal(2.3, 0.5, number), 2, 60).astype(np.int64), capital=True)
    brands = _pool(np.random.default_rng(1), words, 30_000, median=1.4, spread=0.4).str.to_titlecase()
    # A tree of 4,000 paths of three to five names, most of them of one or two words; three in twenty with sentences
    # after.
    paths_rng = np.random.default_rng(2)
    paths = paths_rng.integers(0, 800, (4_000, 5))
    names = _pool(paths_rng, words, 800, median=1.6, spread=0.4).str.to_titlecase()
    path = paths[rng.integers(0, 4_000, number)]
    depth = rng.integers(3, 6, number)
    category = pl.concat_str(
        pl.lit('"'),
        pl.lit(names.gather(path[:, 0])),
        *(
            pl.when(pl.lit(pl.Series(depth > level)))
            .then(pl.lit('", "') + pl.lit(names.gather(path[:, level])))
            .otherwise(pl.lit(""))
            for level in range(1, 5)
        ),
        pl.lit(' &amp; More"'),
        pl.when(pl.lit(pl.Series(rng.random(number) < 0.15)))
        .then(pl.lit(', "') + pl.lit(texts.gather(rng.integers(0, len(texts), number))) + pl.lit('."'))
        .otherwise(pl.lit("")),
    )
    also = pl.concat_list(
        *(pl.lit('"B') + _code(rng.integers(0, number, number), 9) + pl.lit('"') for _ in range(20))
    ).list.join(", ")
    lines = pl.select(
        pl.concat_str(
            pl.lit('{"category": ['),
            category,
            pl.lit('], "tech1": "", "description": ["'),
            pl.lit(texts.gather(rng.integers(0, len(texts), number))),
            pl.lit('"], "fit": "", "title": "'),
            pl.lit(titles),
            pl.lit('", "also_buy": ['),
            also,
            pl.lit('], "image": [], "brand": "'),
            pl.lit(brands.gather(rng.integers(0, len(brands), number))),
            pl.lit('", "feature": ["'),
            pl.lit(texts.gather(rng.integers(0, len(texts), number))),
            pl.lit('"], "rank": [">#1 in Things"], "date": "", "asin": "B'),
            _code(item, 9),
            pl.lit('"}'),
        )
    )
    return _lines(lines)


def _code(numbers: np.ndarray, digits: int) -> pl.Expr:
    return pl.lit(pl.Series(numbers)).cast(pl.String).str.zfill(digits)


def _lines(frame: pl.DataFrame) -> bytes:
    sink = BytesIO()
    frame.write_csv(sink, include_header=False, quote_style="never")
    return sink.getvalue()


def _write(path: Path, chunks, progress: tqdm, written: dict[str, int]) -> None:
    """Compress each chunk into its own gzip member while the next chunk is created."""
    with path.open("wb") as file, ThreadPoolExecutor(1) as compressing:

        def finish(pending) -> None:
            data = pending.result()
            file.write(data)
            written["bytes"] += len(data)

        pending = None
        for chunk in chunks:
            if pending is not None:
                finish(pending)
            pending = compressing.submit(_gzipped, chunk)
            written["inflated_bytes"] += len(chunk)
            progress.update(chunk.count(b"\n"))
        if pending is not None:
            finish(pending)


def _gzipped(data: bytes) -> bytes:
    compressor = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return compressor.compress(data) + compressor.flush()
