"""baselines/shared/recommend.py: what is recommended, directly and by the pipeline."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import pipeline

from recformer_hf import UnknownItemError
from recformer_hf.baselines import NEURAL
from tests.support.neural_baselines import small_baseline, with_items
from tests.support.training import small_dataset

CATALOG = small_dataset().catalog
IDS = [CATALOG.id_of(row) for row in range(60)]
HISTORIES = [[3, 0, 3], [1], [7, 8]]
AS_IDS = [[IDS[row] for row in history] for history in HISTORIES]


@pytest.fixture(scope="module")
def model():
    return with_items("sasrec")


class TestRecommend:
    def test_the_items_with_the_highest_scores_outside_the_history(self, model):
        found = model.recommend(AS_IDS, top_k=5, return_tensors="np")
        scores = model.scores([np.array(history) for history in HISTORIES]).numpy()
        for row, history in enumerate(HISTORIES):
            scores[row, history] = -np.inf
            expected = np.argsort(-scores[row], kind="stable")[:5]
            np.testing.assert_array_equal(found.rows[row], expected)
            np.testing.assert_array_equal(found.scores[row], scores[row, expected])
            assert found.item_ids[row] == [IDS[each] for each in expected]

    def test_candidates_exclusions_and_the_history_itself(self, model):
        found = model.recommend(AS_IDS, top_k=3, candidates=IDS[:6], exclude=[IDS[5]], exclude_history=False)
        assert set(found.rows.flatten().tolist()) <= {0, 1, 2, 3, 4}
        kept = model.recommend(AS_IDS, top_k=60, exclude_history=False)
        assert all(sorted(rows) == list(range(60)) for rows in kept.rows.tolist())

    def test_of_equal_scores_the_lower_row_comes_first(self, model):
        model = with_items("sasrec")
        model.item_embeddings.weight.data[10:20] = model.item_embeddings.weight.data[10]
        found = model.recommend([[IDS[0]]], top_k=59).rows[0].tolist()
        assert [row for row in found if 10 <= row < 20] == list(range(10, 20))

    def test_dictionaries_stand_for_items_of_the_catalogue(self, model):
        expected = model.recommend([[IDS[3], IDS[4]]]).rows.tolist()
        assert model.recommend([[{"item_id": IDS[3]}, IDS[4]]]).rows.tolist() == expected
        first = next(row for row in range(60) if CATALOG[row] == CATALOG[3])
        by_text = model.recommend([[CATALOG[3], IDS[4]]]).rows.tolist()
        assert by_text == model.recommend([[IDS[first], IDS[4]]]).rows.tolist()

    @pytest.mark.parametrize(
        ("histories", "options", "error", "message"),
        [
            ([[IDS[0], "nothing"]], {}, UnknownItemError, "Item 1 of the history is unknown"),
            ([[IDS[0]], [{"title": "unheard of"}]], {}, ValueError, "Item 0 of history 1 is not in the catalogue"),
            ([[IDS[0]], []], {}, ValueError, "History 1 is empty"),
            ([[IDS[0]]], {"top_k": 60}, ValueError, "The history leaves 59 of 60 items to recommend, but top_k is 60"),
            ([[IDS[0]]], {"top_k": 0}, ValueError, "top_k must be a whole number of at least 1, got 0"),
            ([IDS[0]], {}, TypeError, "Expected a list of histories"),
        ],
    )
    def test_unfit_requests_are_refused(self, model, histories, options, error, message):
        with pytest.raises(error, match=message):
            model.recommend(histories, **options)

    def test_without_items_or_their_names(self, model):
        with pytest.raises(ValueError, match="has no items yet"):
            small_baseline("sasrec").recommend(AS_IDS)
        nameless = with_items("sasrec")
        nameless.catalog = None
        with pytest.raises(ValueError, match="no catalogue"):
            nameless.recommend(AS_IDS)


@pytest.mark.parametrize("name", sorted(NEURAL))
def test_the_pipeline_takes_a_model_or_its_folder(name, tmp_path):
    model = with_items(name)
    model.save_pretrained(tmp_path)
    expected = model.recommend(AS_IDS, top_k=4)
    for given in (model, str(tmp_path)):
        recommender = pipeline("sequential-recommendation", model=given, device="cpu")
        found = [*recommender(AS_IDS, top_k=4), recommender(AS_IDS[1], top_k=4)]
        assert [[each["item_id"] for each in row] for row in found] == [*expected.item_ids, expected.item_ids[1]]
        scores = torch.tensor([[each["score"] for each in row] for row in found])
        # A product of matrices may round differently where the memory lies differently.
        torch.testing.assert_close(scores[:3], expected.scores)
