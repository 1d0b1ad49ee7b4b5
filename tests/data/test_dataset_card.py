"""Statistics counted by hand, and what the card says."""

from __future__ import annotations

import pyarrow as pa
from huggingface_hub import DatasetCard

from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.dataset_card import dataset_card
from recformer_hf.data.sequences import Sequences
from tests.support.small_dataset import catalog, small_dataset


class TestStatistics:
    def test_counted_by_hand(self):
        assert small_dataset(share_tied_timestamps=0.25).statistics == {
            "users": 3,
            "items": 6,
            "interactions": 4 + 5 + 3,
            "mean_length": 4.0,
            "density": 12 / 18,
            "items_in_training": 4,
            "share_test_targets_not_in_training": 1 / 3,
            "share_tests_repeating_history": 1 / 3,
            "share_tied_timestamps": 0.25,
            "splits": {
                "train": {"rows": 3, "mean_history": 2.0},
                "validation": {"rows": 3, "mean_history": 2.0},
                "test": {"rows": 3, "mean_history": 3.0},
            },
        }

    def test_users_of_any_split_count_once_with_their_longest_sequence(self):
        train = Sequences.from_lists(["ada", "bob"], [[0, 1, 2], [3]])
        test = Sequences(pa.array(["cyd", "ada", "ada"], pa.large_string()), [4, 0, 0, 1, 2], [0, 1, 2, 5], [5, 1, 3])
        statistics = SequentialDataset(catalog(), train, None, test, {}).statistics
        assert (statistics["users"], statistics["interactions"]) == (3, 4 + 1 + 2)

    def test_unknown_shares_are_none(self):
        statistics = SequentialDataset(catalog(), small_dataset().train, None, None, {}).statistics
        assert [name for name, value in statistics.items() if value is None] == [
            "share_test_targets_not_in_training",
            "share_tests_repeating_history",
            "share_tied_timestamps",
        ]

    def test_survive_a_round_trip(self, tmp_path):
        dataset = small_dataset(share_tied_timestamps=0.25)
        dataset.save_to_disk(tmp_path / "folder")
        loaded = SequentialDataset.load(tmp_path / "folder")
        assert loaded.info == {**dataset.info, "statistics": dataset.statistics}
        loaded.info.pop("share_tied_timestamps")
        assert loaded.statistics == dataset.statistics


class TestCard:
    def test_metadata_names_every_file(self, saved):
        metadata = DatasetCard.load(saved / "README.md").data.to_dict()
        assert metadata["pretty_name"] == "three shoppers"
        assert metadata["license"] == "cc0-1.0"
        assert [config["config_name"] for config in metadata["configs"]] == ["items", "train", "validation", "test"]
        assert metadata["size_categories"] == ["n<1K"]

    def test_says_what_a_person_has_to_know(self):
        dataset = small_dataset(share_tied_timestamps=0.125, preparation={"min_user_interactions": 5})
        card = dataset_card(dataset, dataset.statistics, ["items", "train"])
        for line in (
            "- **Source:** invented",
            "- **Protocol:** leave-one-out",
            "- **Seed:** 7",
            "| Users | Items | Interactions | Mean length | Density |",
            "| 3 | 6 | 12 | 4.00 | 6.67e-01 |",
            "| test | 3 | 3.00 | 3 | 4 |",
            "| test targets that occur in no training sequence | 33.33% |",
            "| tests whose target is in their own history | 33.33% |",
            "| interactions tied in time with another of the same user | 12.50% |",
            '    "min_user_interactions": 5',
        ):
            assert line in card.splitlines()

    def test_does_not_claim_what_it_does_not_know(self):
        dataset = SequentialDataset(catalog(), small_dataset().train, None, None, {})
        card = dataset_card(dataset, dataset.statistics, ["items", "train"])
        assert "- **Source:** not stated" in card
        assert "- **Seed:** none drawn" in card
        assert "| interactions tied in time with another of the same user | not known |" in card
        assert "`target`" not in card
