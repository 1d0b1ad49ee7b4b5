"""MovieLens: all layouts give the same source."""

from __future__ import annotations

import pytest

from recformer_hf.data.readers.movielens import read_movielens
from recformer_hf.data.readers.source import MissingFileError
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
