"""MovieLens: the folders of 100K, of 1M (and 10M), and of the "latest" sets, unzipped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..polars_engine import pl
from .common import (
    MAX_DAMAGED,
    FileReport,
    MissingFileError,
    ReadReport,
    Source,
    as_categories,
    concat_interactions,
    existing_file,
)
from .delimited import read_delimited

ATTRIBUTES = ("title", "year", "genre")
# u.item's last 19 columns are flags of these genres, in u.genre's order.
_GENRES_100K = [
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


@dataclass(frozen=True)
class _Layout:
    """How the two files of one MovieLens set are written. "::" is read as two ":" with an empty column between."""

    ratings: str
    rating_columns: list[str] | None
    rating_delimiter: str
    movies: str


_LAYOUTS = [
    _Layout("ratings.csv", None, ",", "movies.csv"),
    _Layout("ratings.dat", ["userId", "_1", "movieId", "_2", "rating", "_3", "timestamp"], ":", "movies.dat"),
    _Layout("u.data", ["userId", "movieId", "rating", "timestamp"], "\t", "u.item"),
]


def read_movielens(folder: str | Path, *, min_rating: float | None = None, max_damaged: float = MAX_DAMAGED) -> Source:
    """Read an unzipped MovieLens folder; which set it is, its files tell (`u.data`, `ratings.dat` or `ratings.csv`).

    An item's text is its title (without the year, "Matrix, The" turned to "The Matrix"), its year and its genres.

    Args:
        folder: the folder.
        min_rating: leave out ratings below it (0.5 to 5); None keeps all: that a person rated a film is the
            interaction.
        max_damaged: share of a file's lines, 0 to 1, that may be damaged before it is refused.

    Returns:
        the source.

    Raises:
        MissingFileError, MissingColumnsError, DamagedFileError: see `common`.
    """
    folder = Path(folder)
    layout = next((layout for layout in _LAYOUTS if (folder / layout.ratings).is_file()), None)
    if layout is None:
        names = ", ".join(layout.ratings for layout in _LAYOUTS)
        hint = " Unzip it first." if folder.suffix == ".zip" else ""
        raise MissingFileError(f"{folder} is no MovieLens folder: it has none of {names}.{hint}")
    movies_path = existing_file(folder / layout.movies)
    report = ReadReport("MovieLens")
    interactions = _read_ratings(folder / layout.ratings, layout, min_rating, report, max_damaged)
    report.files.append(file := FileReport(movies_path.name, max_damaged))
    movies = (
        _read_movies_csv(movies_path, file) if movies_path.suffix == ".csv" else _read_movies_text(movies_path, file)
    )
    file.check()
    unique = movies.unique("item_id", keep="first", maintain_order=True)
    report.count("repeated_movies", movies.height - unique.height)
    return Source(interactions, unique.select("item_id", *_attributes()), report)


def _read_ratings(
    path: Path, layout: _Layout, min_rating: float | None, report: ReadReport, max_damaged: float
) -> pl.DataFrame:
    report.files.append(file := FileReport(path.name, max_damaged))
    users, items = pl.Categories.random(), pl.Categories.random()
    frames = []
    columns = ["userId", "movieId", "rating", "timestamp"]
    for frame in read_delimited(
        path,
        columns,
        columns,
        file,
        names=layout.rating_columns,
        delimiter=layout.rating_delimiter,
        quote=False,
        timestamp="timestamp",
    ):
        if min_rating is not None:
            kept = frame.filter(pl.col("rating").cast(pl.Float64, strict=False) >= min_rating)
            report.count("ratings_below_the_minimum", frame.height - kept.height)
            frame = kept
        named = frame.select(pl.col("userId").alias("user_id"), pl.col("movieId").alias("item_id"), "timestamp")
        frames.append(as_categories(named, users, items))
    file.check()
    return concat_interactions(frames)


def _read_movies_csv(path: Path, report: FileReport) -> pl.DataFrame:
    frames = list(read_delimited(path, ["movieId", "title", "genres"], ["movieId"], report))
    return pl.concat(frames).rename({"movieId": "item_id"})


def _read_movies_text(path: Path, report: FileReport) -> pl.DataFrame:
    """`u.item` and `movies.dat`: at most some ten thousand lines, Latin-1, and titles may hold ":"."""
    rows = []
    for number, line in enumerate(path.read_bytes().decode("latin-1").split("\n"), start=1):
        if not line.strip():
            continue
        report.lines += 1
        fields = line.rstrip("\r").split("|" if path.name == "u.item" else "::")
        if path.name == "u.item" and len(fields) == 5 + len(_GENRES_100K):
            flags = zip(_GENRES_100K, fields[5:], strict=True)
            rows.append((fields[0], fields[1], "|".join(genre for genre, flag in flags if flag == "1")))
        elif path.name != "u.item" and len(fields) == 3:
            rows.append((fields[0], fields[1], fields[2]))
        else:
            report.add_damaged([(number, f"{len(fields)} fields")])
    return pl.DataFrame(rows, schema={"item_id": pl.String, "title": pl.String, "genres": pl.String}, orient="row")


def _attributes() -> list[pl.Expr]:
    """title, year and genre out of "Matrix, The (1999)" and "Action|Sci-Fi"."""
    year = pl.col("title").str.extract(r"\((\d{4})(?:[-–]\d{0,4})?\)\s*$", 1)
    title = pl.col("title").str.replace(r"\s*\(\d{4}(?:[-–]\d{0,4})?\)\s*$", "").str.strip_chars()
    title = title.str.replace(r"^(.*), (The|A|An|La|Le|Les|L'|Il|El|Los|Las|Der|Die|Das)$", "$2 $1")
    no_genre = pl.col("genres").is_in(["(no genres listed)", "unknown", ""])
    genre = pl.when(~no_genre).then(pl.col("genres").str.replace_all("|", " ", literal=True))
    return [title.replace("", None).alias("title"), year.alias("year"), genre.alias("genre")]
