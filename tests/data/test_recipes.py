"""Recipes of the paper's datasets: their files, their counts, and their summary."""

from __future__ import annotations

import pytest

from recformer_hf.data.readers.source import DataError, MissingFileError
from recformer_hf.data.recipes import RECIPES, PaperCounts, build, find_files, get_recipe, summary_table
from tests.support.data_sources import write_category


def test_the_papers_mean_length_and_density_follow_from_its_counts():
    counts = PaperCounts(users=10, items=20, interactions=50)
    assert (counts.mean_length, counts.density) == (5.0, 0.25)


def test_missing_files_and_unknown_names_are_errors(tmp_path):
    with pytest.raises(MissingFileError):
        find_files(RECIPES["paper-pet"], tmp_path)
    with pytest.raises(DataError, match="No recipe 'paper-toys'; expected one of paper-pretraining"):
        get_recipe("paper-toys")


def test_the_5_core_file_is_preferred_to_the_full_one(tmp_path):
    for ending in (".json.gz", "_5.json.gz"):
        write_category(tmp_path, "Pet_Supplies", ending)
    assert find_files(RECIPES["paper-pet"], tmp_path) == {
        "Pet_Supplies": (tmp_path / "Pet_Supplies_5.json.gz", tmp_path / "meta_Pet_Supplies.json.gz")
    }


def test_a_target_set_is_split_leave_one_out_and_knows_the_papers_counts(tmp_path):
    write_category(tmp_path, "Pet_Supplies")
    dataset = build(RECIPES["paper-pet"], tmp_path)
    assert dataset.info["name"] == "paper-pet"
    assert dataset.info["paper"] == {"users": 47_569, "items": 37_970, "interactions": 420_662}
    assert dataset.info["split"]["name"] == "leave_one_out"
    assert [len(split) for split in dataset.splits.values()] == [30, 30, 30]
    assert summary_table(dataset, RECIPES["paper-pet"].paper).splitlines() == [
        "              users   items  interactions  mean length   density",
        "this dataset     30      12           180         6.00  5.00e-01",
        "the paper    47,569  37,970       420,662         8.84  2.33e-04",
    ]
    assert len(summary_table(dataset).splitlines()) == 2
