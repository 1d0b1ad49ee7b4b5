"""Mutated folders for the readers of logs: tables, Amazon's files and MovieLens'."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

from recformer_hf.data.readers.amazon import read_amazon
from recformer_hf.data.readers.movielens import read_movielens
from recformer_hf.data.readers.table import read_table
from tests.support import mutated_files as made
from tests.support import plain_reading as plain
from tests.support.plain_reading import Items, Log, PlainFile, PlainRow, Refused, Written
from tests.support.plain_values import (
    BLANK,
    DAMAGED,
    LATEST,
    PER_SECOND,
    WHITE_SPACE,
    WHOLE_FILE,
    Cleaned,
    id_outcomes,
    text_of,
    time_outcomes,
)
from tests.support.reader_checks import Example, SourceCheck


def reading(read: Callable[[bytes], PlainFile], data: bytes) -> PlainFile | Refused:
    """A plain reading, or why there is none."""
    try:
        return read(data)
    except Refused as error:
        return error


# Compressed files and byte order marks, to which no other encoding applies.
_MARKS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5", b"PK", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\0\0")
_TYPES = {"timestamp": "float", "rating": "float", "price": "float", "title": "token_seq", "category": "token_seq"}


def table_bytes(rng: Random, ending: str, rows: list[made.Row], *, times: tuple[str, ...] = ()) -> bytes:
    if ending == "parquet":
        return made.parquet(rng, rows, times=times)
    if ending == "jsonl":
        return made.json_lines(rng, rows)
    if ending == "json":
        return made.json_array(rng, rows)
    if ending in ("inter", "item"):
        return made.delimited(rng, rows, "\t", quoted=False, types=_TYPES)
    return made.delimited(rng, rows, "\t" if ending == "tsv" else ",")


def table_reading(ending: str, table: plain.Table) -> Callable[[bytes], PlainFile]:
    if ending == "parquet":
        return partial(plain.plain_parquet, table=table)
    if ending == "jsonl":
        return partial(plain.plain_json_lines, table=table)
    if ending == "json":
        return partial(plain.plain_json, table=table)
    if ending in ("inter", "item"):
        return partial(plain.plain_delimited, table=table, written=Written("\t", quotes=False, typed=True))
    return partial(plain.plain_delimited, table=table, written=Written("\t" if ending == "tsv" else ","))


def table_example(rng: Random, log_ending: str, items_ending: str, mutate: str) -> Example:
    """Two tables for `read_table`; `mutate` says which of them is changed: "log" or "items"."""
    times = ("timestamp",)
    log_rows, item_rows = made.log_rows(rng), made.item_rows(rng)
    if mutate == "log":
        log_rows = made.changed_values(rng, log_rows, times=times)
    else:
        item_rows = made.changed_values(rng, item_rows)
    log_name, items_name = f"log.{log_ending}", f"items.{items_ending}"
    files = {
        log_name: table_bytes(rng, log_ending, log_rows, times=times) if mutate == "log" else _plain_lines(log_rows),
        items_name: table_bytes(rng, items_ending, item_rows) if mutate == "items" else _plain_lines(item_rows),
    }
    name, ending = (log_name, log_ending) if mutate == "log" else (items_name, items_ending)
    files[name] = made.mutated(rng, files[name], binary=ending == "parquet")
    max_damaged = 0.0 if rng.random() < 0.1 else 1.0
    log = Log(strip=_stripped(log_ending))
    check = SourceCheck(
        (log_name, reading(table_reading(log_ending, log), files[log_name])),
        (items_name, reading(table_reading(items_ending, Items(strip=_stripped(items_ending))), files[items_name])),
        max_damaged,
    )
    return Example(
        files, lambda folder: read_table(folder / log_name, folder / items_name, max_damaged=max_damaged), check
    )


_DELIMITERS = (",", ";", "|", "\t", "::", " ~ ")
_FORMATS = ("%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M:%S %p", "%Y%m%d")


@dataclass(frozen=True)
class OptionalLog(Log):
    """A log whose times have a format, or which has none, and whose ratings have to be high enough."""

    format: str | None = None
    min_rating: float | None = None

    def outcomes(self, cells: plain.Cells) -> list[Any]:
        parts = [id_outcomes(cells.get(name), strip=True) for name in (self.user, self.item)]
        if not self.time:
            parts.append([AnyTime()])
        else:
            text = cells.get(self.time) or ""
            found = time_outcomes(text) if self.format is None else [self._time(text.strip())]
            parts.append(found if text.strip() == text.strip(WHITE_SPACE) else [*found, DAMAGED])
        found = plain.combined(parts, tuple)
        return found if self.min_rating is None else self._rated(found, cells.get("rating"))

    def _time(self, text: str) -> Any:
        try:
            found = dt.datetime.strptime(text, self.format or "")
        except ValueError:
            return DAMAGED
        seconds = int(found.replace(tzinfo=dt.timezone.utc).timestamp())
        return seconds if 0 <= seconds <= LATEST else DAMAGED

    def _rated(self, found: list[Any], rating: str | None) -> list[Any]:
        try:
            high = float(rating or "nan") >= (self.min_rating or 0)
        except ValueError:
            high = False
        # A rating that is no number may be left out or damage its line.
        return found if high else [BLANK, DAMAGED]

    @property
    def needed(self) -> tuple[str, ...]:
        rated = ("rating",) * (self.min_rating is not None)
        return (self.user, self.item, *((self.time,) if self.time else ()), *rated)


class AnyTime(int):
    """The time of a row in a log without times: its position."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


def options_example(rng: Random) -> Example:
    """A log of delimited text that needs arguments to be read."""
    delimiter, encoding = rng.choice(_DELIMITERS), rng.choice((None, "latin-1", "utf-16", "cp1252"))
    form, timed = rng.choice((None, None, *_FORMATS)), rng.random() < 0.8
    min_rating, headed = rng.choice((None, None, 4)), rng.random() < 0.7
    rows = [{"user_id": None, "item_id": None, "timestamp": None, "rating": None, **row} for row in made.log_rows(rng)]
    for row in rows:
        row["rating"] = rng.choice((5, 4.0, 3.5, "x", "nan", None)) if row["rating"] is None else row["rating"]
        if form is not None:
            row["timestamp"] = dt.datetime.fromtimestamp(row["timestamp"], dt.timezone.utc).strftime(form)
        if not timed:
            del row["timestamp"]
    names = list(rows[0])
    cells = [[str(value or "") for value in row.values()] for row in rows]
    lines = [delimiter.join(record) for record in ([names, *cells] if headed else cells)]
    data = made.mutated(rng, "".join(line + "\n" for line in lines).encode())
    text = data.decode("utf-8", "replace")
    files = {"log.txt": data, "items.jsonl": b'{"item_id": "B0", "title": "Lamp"}\n'}
    if encoding is not None and not data.startswith(_MARKS):
        files["log.txt"] = text.replace("\ufffd", "?").encode(encoding, "replace")
    elif encoding is not None:
        encoding = None
    log = OptionalLog(
        time="timestamp" if timed else "", strip=True, format=form if timed else None, min_rating=min_rating
    )
    written = Written(delimiter, quotes=len(delimiter) == 1, names=None if headed else names, encodings=(encoding,))
    options: dict[str, Any] = {
        "delimiter": delimiter, "encoding": encoding, "timestamp_column": "timestamp" if timed else None,
        "timestamp_format": log.format, "min_rating": min_rating, "names": written.names, "max_damaged": 1.0,
        "quote": None if written.quotes else False,
    }  # fmt: skip
    log_file = reading(partial(plain.plain_delimited, table=log, written=written), files["log.txt"])
    if headed and isinstance(log_file, Refused):
        # A file whose header fits with commas alone is read with commas.
        written = replace(written, delimiter=",", quotes=written.quotes)
        log_file = reading(partial(plain.plain_delimited, table=log, written=written), files["log.txt"])
    check = SourceCheck(
        ("log.txt", log_file),
        ("items.jsonl", plain.plain_json_lines(files["items.jsonl"], Items())),
    )
    return Example(files, lambda folder: read_table(folder / "log.txt", folder / "items.jsonl", **options), check)


def _plain_lines(rows: list[made.Row]) -> bytes:
    """The other file, which is not changed: no value of it is special."""
    texts = [{name: value for name, value in row.items() if isinstance(value, (str, int))} for row in rows]
    return b"".join(json.dumps(row).encode() + b"\n" for row in texts)


def _stripped(ending: str) -> bool:
    return ending in ("csv", "tsv", "inter", "item")


# Amazon


@dataclass(frozen=True)
class AmazonItems(Items):
    """The metadata of a version: the names of its columns."""

    brand: str = "brand"
    category: str = "category"
    main_category: str | None = None
    cut: bool = False

    def outcomes(self, cells: plain.Cells) -> list[Any]:
        names: list[str] = []
        try:
            texts = {name: text_of(cells.get(name)) for name in ("title", self.brand)}
            for name in _flat(cells.get(self.category)):
                text = " ".join((text_of(name) or "").split())
                if any(char.isprintable() for char in text) and text not in names:
                    names.append(text)
            # It is read in any case, and so it has to be text in any case.
            main = None if self.main_category is None else text_of(cells.get(self.main_category))
            category = " ".join(names) or main
        except (TypeError, ValueError):
            return [DAMAGED, WHOLE_FILE]
        attributes = {
            "title": Cleaned(texts["title"]),
            "brand": Cleaned(texts[self.brand]),
            "category": Cleaned(category, may_be_cut=self.cut),
        }
        ids = id_outcomes(cells.get(self.id))
        return [(outcome, attributes) if isinstance(outcome, str) else outcome for outcome in ids]

    def doubts(self, rows: Iterable[plain.Cells], plain_rows: list[PlainRow]) -> list[str]:
        usable = any(isinstance(outcome, tuple) for row in plain_rows for outcome in row.outcomes)
        return [] if usable else ["no usable row"]


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _flat(part)
    else:
        yield value


AMAZON = {
    "2014": (Log("reviewerID", "asin", "unixReviewTime"), AmazonItems("asin", category="categories")),
    "2018": (Log("reviewerID", "asin", "unixReviewTime"), AmazonItems("asin", cut=True)),
    "2023": (
        Log("user_id", "parent_asin", "timestamp", "ms"),
        AmazonItems("parent_asin", brand="store", category="categories", main_category="main_category"),
    ),
}


def amazon_example(rng: Random, version: str, mutate: str) -> Example:
    """Reviews and metadata of a version, one of them changed."""
    log, items = AMAZON[version]
    reviews = made.log_rows(rng, log.needed, unit=PER_SECOND[log.unit])
    metadata = [
        {
            items.id: row["item_id"], "title": row["title"], items.brand: row["brand"],
            items.category: [row.get("category", [])] if version == "2014" else row.get("category", []),
            **({"main_category": "Main"} if items.main_category else {}), "details": row.get("details", {}),
        }
        for row in made.item_rows(rng)
    ]  # fmt: skip
    if mutate == "log":
        reviews = made.changed_values(rng, reviews, times=(log.time,))
    else:
        metadata = made.changed_values(rng, metadata)
    write = made.python_lines if version == "2014" else made.json_lines
    files = {"reviews.json": made.json_lines(rng, reviews), "meta.json": write(rng, metadata)}
    name = "reviews.json" if mutate == "log" else "meta.json"
    files[name] = made.mutated(rng, files[name])
    parse = plain.literal if version == "2014" else json.loads
    check = SourceCheck(
        (
            "reviews.json",
            reading(partial(plain.plain_json_lines, table=log, parse=parse), files["reviews.json"]),
        ),
        (
            "meta.json",
            reading(
                partial(plain.plain_json_lines, table=items, parse=parse),
                files["meta.json"],
            ),
        ),
        only_logged=True,
    )
    return Example(
        files,
        lambda folder: read_amazon(folder / "reviews.json", folder / "meta.json", version, max_damaged=1.0),  # type: ignore[arg-type]
        check,
    )


# MovieLens


@dataclass(frozen=True)
class Ratings(Log):
    """Ratings: a line without a rating is damaged."""

    def outcomes(self, cells: plain.Cells) -> list[Any]:
        return super().outcomes(cells) if cells.get("rating") else [DAMAGED]


@dataclass(frozen=True)
class Movies(Items):
    """Films: the title without its year, the year, the genres."""

    def outcomes(self, cells: plain.Cells) -> list[Any]:
        title, genres = cells.get("title") or "", cells.get("genres") or ""
        genres = genres.strip()
        attributes = {
            "title": Title(title),
            "year": Year(title),
            "genre": None if genres in _NO_GENRE else genres.replace("|", " "),
        }
        ids = id_outcomes(cells.get(self.id), strip=True)
        return [(outcome, attributes) if isinstance(outcome, str) else outcome for outcome in ids]

    def doubts(self, rows: Iterable[plain.Cells], plain_rows: list[PlainRow]) -> list[str]:
        usable = any(isinstance(outcome, tuple) for row in plain_rows for outcome in row.outcomes)
        return [] if usable else ["no usable row"]


_NO_GENRE = ("(no genres listed)", "unknown", "")


class Title(Cleaned):
    """A film's title: the words of the file's, in another order, without the year."""

    def fits(self, found: str | None) -> bool:
        without_year = re.sub(r"\s*\(\d{4}\)\s*$", "", self.text or "", flags=re.ASCII)
        words, got = _words(without_year), _words(found)
        # Years in other notations may or may not be cut.
        return got == words or ("(" in without_year and set(got) <= set(words))


def _words(text: str | None) -> list[str]:
    return sorted((text or "").replace(",", " ").split())


class Year(Cleaned):
    """The year at the end of a title."""

    def fits(self, found: str | None) -> bool:
        years = re.search(r"\((\d{4})\)\s*$", self.text or "", re.ASCII)
        return found == years[1] if years else found is None or found in (self.text or "")


_MOVIES = (
    "Toy Story (1995)",
    "Matrix, The (1999)",
    "Amélie (2001)",
    "Misérables, Les (1995)",
    "M",
    "Up: a film (2009)",
    "(500) Days (2009)",
)
_GENRES = ("Animation|Comedy", "Drama", "(no genres listed)", "Action|Sci-Fi")
# The flags of u.item.
_FLAGS = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]
_RATING_NAMES = ("userId", "movieId", "rating", "timestamp")


def movielens_example(rng: Random, layout: str, mutate: str) -> Example:
    """A folder of MovieLens, one of its files changed."""
    ratings = [_rating(rng, place) for place in range(rng.randint(1, 10))]
    films = [(str(number), rng.choice(_MOVIES), rng.choice(_GENRES)) for number in range(1, rng.randint(2, 8))]
    encoding = rng.choice(("utf-8", "latin-1")) if layout != "latest" else "utf-8"
    encodings = (None, "latin-1")
    log, movies = (
        Ratings(*_RATING_NAMES[:2], "timestamp", strip=True),
        Movies("movieId", ("title", "genres"), strip=True),
    )
    if layout == "latest":
        rows = [dict(zip(("movieId", "title", "genres"), film, strict=True)) for film in films]
        files = {"ratings.csv": made.delimited(rng, ratings, quoted=False), "movies.csv": made.delimited(rng, rows)}
        log_read: Callable[[bytes], PlainFile] = partial(
            plain.plain_delimited, table=log, written=Written(quotes=False, encodings=encodings)
        )
        movies_read: Callable[[bytes], PlainFile] = partial(
            plain.plain_delimited, table=movies, written=Written(encodings=encodings)
        )
    else:
        delimiter, log_name, name = (
            ("::", "ratings.dat", "movies.dat") if layout == "1m" else ("\t", "u.data", "u.item")
        )
        lines = ["::".join(film) for film in films] if layout == "1m" else [_film_100k(*film) for film in films]
        files = {
            log_name: "".join(delimiter.join(row.values()) + "\n" for row in ratings).encode(),
            name: "".join(line + "\n" for line in lines).encode(encoding),
        }
        log_read = partial(
            plain.plain_delimited,
            table=log,
            written=Written(delimiter, quotes=False, names=_RATING_NAMES, encodings=encodings),
        )
        names = ("movieId", "title", "genres") if layout == "1m" else ("movieId", "title", "_1", "_2", "_3", *_FLAGS)
        table = movies if layout == "1m" else Films100K("movieId", ("title",), strip=True)
        movies_read = partial(
            plain.plain_delimited,
            table=table,
            written=Written("::" if layout == "1m" else "|", quotes=False, names=names, encodings=encodings),
        )
    (log_name, items_name) = files
    changed = log_name if mutate == "log" else items_name
    files[changed] = made.mutated(rng, files[changed], packable=False)
    films_file = reading(movies_read, files[items_name])
    if layout == "100k" and isinstance(films_file, PlainFile):
        films_file.text += "|".join(_FLAGS)  # the file has their flags
    check = SourceCheck((log_name, reading(log_read, files[log_name])), (items_name, films_file))
    return Example(files, lambda folder: read_movielens(folder, max_damaged=1.0), check)


def _rating(rng: Random, place: int) -> made.Row:
    user, movie, rating = str(rng.randint(1, 3)), str(rng.randint(1, 5)), rng.choice(("5", "3.5", "4"))
    return dict(zip(_RATING_NAMES, (user, movie, rating, str(964_982_703 + 100 * place)), strict=True))


@dataclass(frozen=True)
class Films100K(Movies):
    """u.item: a flag for each genre."""

    def outcomes(self, cells: plain.Cells) -> list[Any]:
        genres = "|".join(name for name in _FLAGS if cells.get(name) == "1")
        return super().outcomes({**cells, "genres": genres})


def _film_100k(number: str, title: str, genres: str) -> str:
    flags = [str(int(name in genres.split("|"))) for name in _FLAGS]
    return "|".join([number, title, "01-Jan-1995", "", "http://x", *flags])
