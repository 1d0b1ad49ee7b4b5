"""MovieLens: all layouts give the same source."""

from __future__ import annotations

import pytest

from recformer_hf.data.readers.movielens import read_movielens
from recformer_hf.data.readers.source import DataError, MissingFileError
from tests.support.data_sources import RATINGS, rows_of, write_movielens


@pytest.mark.parametrize("layout", ["100k", "1m", "latest"])
def test_movielens_layouts_read_alike(tmp_path, layout):
    source = read_movielens(write_movielens(tmp_path, layout))
    assert rows_of(source) == [(user, item, time) for user, item, _, time in RATINGS]
    assert source.items.rows() == [
        ("1", "Toy Story", "1995", "Animation Comedy"), ("2", "The Matrix", "1999", "Action Sci-Fi"),
        ("3", "Amélie", None, None),
    ]  # fmt: skip
    assert rows_of(read_movielens(tmp_path, min_rating=3)) == [("1", "1", 100), ("1", "2", 90)]


def test_a_folder_without_ratings_is_no_movielens(tmp_path):
    with pytest.raises(MissingFileError, match=r"none of ratings\.csv, ratings\.dat, u\.data"):
        read_movielens(tmp_path)
    write_movielens(tmp_path, "1m")
    (tmp_path / "movies.dat").unlink()
    with pytest.raises(MissingFileError, match=r"movies\.dat"):
        read_movielens(tmp_path)


@pytest.mark.parametrize("layout", ["1m", "latest"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_titles_are_utf8_if_the_whole_file_is(tmp_path, layout, encoding):
    folder = write_movielens(tmp_path, layout)
    path = folder / ("movies.dat" if layout == "1m" else "movies.csv")
    path.write_bytes(path.read_bytes().decode("latin-1" if layout == "1m" else "utf-8").encode(encoding))
    assert read_movielens(folder).items["title"][2] == "Amélie"


@pytest.mark.parametrize(
    ("written", "title"),
    [
        ("Matrix, The (1999)", "The Matrix"),
        (
            "City of Lost Children, The (Cité des enfants perdus, La) (1995)",
            "The City of Lost Children (La Cité des enfants perdus)",
        ),
        ("Shanghai Triad (Yao a yao yao dao waipo qiao) (1995)", "Shanghai Triad (Yao a yao yao dao waipo qiao)"),
        ("Seven (a.k.a. Se7en) (1995)", "Seven (a.k.a. Se7en)"),
        ("Avventura, L' (a.k.a. Adventure, The) (1960)", "L'Avventura (a.k.a. The Adventure)"),
        (
            "Good, the Bad and the Ugly, The (Buono, il brutto, il cattivo, Il) (1966)",
            "The Good, the Bad and the Ugly (Il Buono, il brutto, il cattivo)",
        ),
        ("Paris, Texas (1984)", "Paris, Texas"),
        ("I, Robot (2004)", "I, Robot"),
        ("Babylon 5", "Babylon 5"),
        ("(500) Days of Summer (2009)", "(500) Days of Summer"),
    ],
)
def test_articles_are_turned_to_the_front(tmp_path, written, title):
    folder = write_movielens(tmp_path, "1m")
    (folder / "movies.dat").write_text(f"1::{written}::Drama\n", "utf-8")
    assert read_movielens(folder).items["title"].to_list() == [title]


def test_a_lowest_rating_takes_halves_and_leaves_out_what_is_no_number(tmp_path):
    folder = write_movielens(tmp_path, "latest")
    lines = "userId,movieId,rating,timestamp\n1,1,NaN,964982703\n2,1,3.5,964982703\n3,1,4.0,964982704\n"
    (folder / "ratings.csv").write_text(lines, "utf-8")
    source = read_movielens(folder, min_rating=4)
    assert rows_of(source) == [("3", "1", 964982704)]
    assert (source.report.counts["ratings_missing"], source.report.counts["ratings_below_the_minimum"]) == (1, 1)
    assert len(read_movielens(folder).interactions) == 3


@pytest.mark.parametrize(("layout", "name"), [("100k", "u.item"), ("1m", "movies.dat"), ("latest", "movies.csv")])
def test_damaged_films_are_counted_and_change_no_others(tmp_path, layout, name):
    path = write_movielens(tmp_path, layout) / name
    wanted = read_movielens(tmp_path).items
    lines = path.read_bytes().splitlines()
    blank_id = lines[-1].replace(b"3", b" ", 1)
    path.write_bytes(b"\n".join([*lines[:-1], b"", blank_id, b"cut", lines[-1], b""]))
    source = read_movielens(tmp_path, max_damaged=1.0)
    assert source.items.equals(wanted)
    assert [number for number, _ in source.report.files[1].examples] == [len(lines) + 1, len(lines) + 2]


@pytest.mark.parametrize("layout", ["100k", "1m"])
def test_films_in_utf_16_and_between_white_space(tmp_path, layout):
    path = write_movielens(tmp_path, layout) / ("u.item" if layout == "100k" else "movies.dat")
    wanted = read_movielens(tmp_path).items
    text = path.read_bytes().decode("latin-1").replace("1995)", "1995) ", 1).replace("2", " 2 ", 1)
    path.write_bytes(text.encode("utf-16"))
    assert read_movielens(tmp_path).items.equals(wanted)


def test_times_of_another_unit_name_the_file(tmp_path):
    path = write_movielens(tmp_path, "1m") / "ratings.dat"
    path.write_text("1::1::5::20170918\n1::2::5::20170919\n")
    with pytest.raises(DataError, match=r"ratings\.dat: All numbers of 'timestamp' are dates"):
        read_movielens(tmp_path)
