"""Reads MovieLens: the unzipped folders of 100K, of 1M and 10M, and of the "latest" sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..polars_engine import pl
from .columns import InteractionCollector, first_of_each_item
from .delimited import Dialect, read_delimited
from .files import existing_file, is_utf8
from .required import Required
from .source import MAX_DAMAGED, FileReport, MissingFileError, ReadReport, Source

ATTRIBUTES = ("title", "year", "genre")
_MOVIE_COLUMNS = ["movieId", "title", "genres"]
_RATING_COLUMNS = ["userId", "movieId", "rating", "timestamp"]
# The last 19 columns of u.item are flags of these genres, in u.genre's order.
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
_COLUMNS_100K = ["movieId", "title", "release date", "video release date", "IMDb URL", *_GENRES_100K]
# Articles that MovieLens puts behind a title.
_ARTICLES = "The|A|An|La|Le|Les|L'|Un|Une|Il|Lo|Gli|El|Los|Las|Una|Der|Die|Das|Ein|Eine|Det|Den"


@dataclass(frozen=True)
class _Layout:
    """The two files of one MovieLens set."""

    ratings: str
    ratings_dialect: Dialect
    movies: str


_LAYOUTS = [
    _Layout("ratings.csv", Dialect(quote=False), "movies.csv"),
    _Layout("ratings.dat", Dialect("::", quote=False, names=_RATING_COLUMNS), "movies.dat"),
    _Layout("u.data", Dialect("\t", quote=False, names=_RATING_COLUMNS), "u.item"),
]


def read_movielens(folder: str | Path, *, min_rating: float | None = None, max_damaged: float = MAX_DAMAGED) -> Source:
    """Read an unzipped MovieLens folder. Its files tell which set it is (`u.data`, `ratings.dat` or `ratings.csv`).

    An item's text is its title (without the year; "Matrix, The" becomes "The Matrix"), its year and its genres.

    Args:
        folder: the folder.
        min_rating: skip ratings below it (0.5 to 5), and those that are no number. By default all are kept: having
            rated a film is the interaction.
        max_damaged: share of a file's lines, 0 to 1, that may be damaged before the file is refused.

    Returns:
        the source.

    Raises:
        MissingFileError, MissingColumnsError, DamagedFileError: see `source`.
    """
    folder = Path(folder)
    layout = next((layout for layout in _LAYOUTS if (folder / layout.ratings).is_file()), None)
    if layout is None:
        names = ", ".join(layout.ratings for layout in _LAYOUTS)
        hint = " Unzip it first." if folder.suffix == ".zip" else ""
        raise MissingFileError(f"{folder} is not a MovieLens folder: it has none of {names}.{hint}")
    movies_path = existing_file(folder / layout.movies)
    report = ReadReport("MovieLens")
    interactions = _read_ratings(folder / layout.ratings, layout.ratings_dialect, min_rating, report, max_damaged)
    file = report.add_file(movies_path.name, max_damaged)
    movies = _read_movies(movies_path, file)
    file.check()
    unique = first_of_each_item(movies, report, "repeated_movies")
    return Source(interactions, unique.select("item_id", *_attributes()), report)


def _read_ratings(
    path: Path, dialect: Dialect, min_rating: float | None, report: ReadReport, max_damaged: float
) -> pl.DataFrame:
    file = report.add_file(path.name, max_damaged)
    log = InteractionCollector("userId", "movieId", "timestamp")
    required = Required(_RATING_COLUMNS, "timestamp", rating="rating", min_rating=min_rating)
    for block in read_delimited(path, _RATING_COLUMNS, required, file, dialect):
        log.add(required.rated(block, report))
    file.check()
    return log.interactions(path.name)


def _read_movies(path: Path, report: FileReport) -> pl.DataFrame:
    """`item_id`, `title` and `genres` as the file has them, the genres separated by "|"."""
    # 100K and 1M are Latin-1, the others UTF-8. Hardly any Latin-1 text is UTF-8 by chance, and ASCII is both.
    encoding = None if is_utf8(path) else "latin-1"
    layouts = {
        "movies.csv": Dialect(encoding=encoding),
        # A title may contain ":", but not "::".
        "movies.dat": Dialect("::", quote=False, encoding=encoding, names=_MOVIE_COLUMNS),
        "u.item": Dialect("|", quote=False, encoding=encoding, names=_COLUMNS_100K),
    }
    is_100k = path.name == "u.item"
    columns = ["movieId", "title", *_GENRES_100K] if is_100k else _MOVIE_COLUMNS
    empty = pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    movies = pl.concat([empty, *read_delimited(path, columns, Required(["movieId"]), report, layouts[path.name])])
    text = pl.col(pl.String).str.strip_chars()
    genres = _flagged_genres() if is_100k else pl.col("genres")
    return movies.with_columns(text).select(pl.col("movieId").alias("item_id"), "title", genres.alias("genres"))


def _flagged_genres() -> pl.Expr:
    flagged = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in _GENRES_100K]
    return pl.concat_list(flagged).list.drop_nulls().list.join("|")


def _attributes() -> list[pl.Expr]:
    """title, year and genre from "Matrix, The (1999)" and "Action|Sci-Fi"."""
    year = pl.col("title").str.extract(r"\((\d{4})(?:[-–]\s*\d{0,4})?\)\s*$", 1)
    title = pl.col("title").str.replace(r"\s*\(\d{4}(?:[-–]\s*\d{0,4})?\)\s*$", "").str.strip_chars()
    title = title.str.replace(rf"^(.*), ({_ARTICLES})$", "$2 $1")
    # Other titles may follow in brackets: "City, The (a.k.a. Cité, La)".
    title = title.str.replace(rf"^([^(]*), ({_ARTICLES})( \(|$)", "$2 $1$3")
    title = title.str.replace_all(rf"\(((?:a\.k\.a\. )?)([^()]*), ({_ARTICLES})\)", "($1$3 $2)")
    title = title.str.replace_all(r"(^|\(|a\.k\.a\. )L' ", "${1}L'")
    no_genre = pl.col("genres").is_in(["(no genres listed)", "unknown", ""])
    genre = pl.when(~no_genre).then(pl.col("genres").str.replace_all("|", " ", literal=True))
    return [title.replace("", None).alias("title"), year.alias("year"), genre.alias("genre")]
