"""training/ranking_trainer.py, in the smallest trainer that is built on it: that of a baseline.

What a Recformer's stages make of it is in finetuning/test_trainer.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.evaluation import rank_protocols
from recformer_hf.training.model_ranking import rank_scored
from tests.support.neural_baselines import small_baseline_trainer, with_items
from tests.support.training import small_dataset


@pytest.fixture
def trainer(tmp_path):
    return small_baseline_trainer(with_items("sasrec"), tmp_path)


def test_both_protocols_are_those_of_the_evaluator(trainer):
    found, expected = trainer.rank_protocols(small_dataset().test), rank_protocols(trainer.model, small_dataset().test)
    for protocol in ("kept", "excluded"):
        np.testing.assert_allclose(found[protocol].ranks, expected[protocol].ranks)
        np.testing.assert_array_equal(found[protocol].recommended, expected[protocol].recommended)
        ranking = trainer.rank(small_dataset().test, exclude_history=protocol == "excluded")
        np.testing.assert_array_equal(ranking.ranks, found[protocol].ranks)


def test_the_loss_of_an_evaluation_is_the_mean_cross_entropy(trainer):
    split = small_dataset().validation
    scores = trainer.model.scores([split.history(row) for row in range(len(split))])
    expected = torch.nn.functional.cross_entropy(scores, torch.from_numpy(split.targets.astype(np.int64)))
    assert trainer.evaluate()["eval_loss"] == pytest.approx(float(expected), rel=1e-5)


def test_a_dataset_stands_for_its_split_of_that_name(trainer):
    assert trainer.split_of(small_dataset(), "test") is small_dataset().test


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (small_dataset().train, ValueError, "these sequences have no targets"),
        ([1, 2], TypeError, "Evaluation takes a validation or test split, such as dataset.test, got list"),
        (small_dataset(num_items=50), ValueError, r"another catalogue \(50 items\)"),
        (
            SequentialDataset(small_dataset().catalog, small_dataset().train, None, small_dataset().test, {}),
            ValueError, "The dataset has no validation split; it has train, test",
        ),
    ],
)  # fmt: skip
def test_data_that_cannot_be_ranked_are_refused(trainer, data, error, message):
    with pytest.raises(error, match=message):
        trainer.evaluate(data)


def test_rows_outside_the_catalogue_belong_to_another_dataset(tmp_path):
    trainer = small_baseline_trainer("sasrec", tmp_path, trainer_train_datasets=[small_dataset(num_items=50)])
    with pytest.raises(ValueError, match="but the catalogue has 50 items: the split belongs to another dataset"):
        trainer.evaluate(small_dataset().test)


def test_batches_that_are_repeated_count_once(trainer):
    split = small_dataset().validation
    users = np.arange(len(split))
    scores = trainer.model.scores([split.history(row) for row in users])
    labels = torch.from_numpy(split.targets.astype(np.int64))
    batch = (users, labels, scores)
    once = rank_scored([batch], split, trainer.accelerator, ["kept"], ties="average", top_k=3)
    twice = rank_scored([batch, batch], split, trainer.accelerator, ["kept"], ties="average", top_k=3)
    assert once[1] == twice[1]
    np.testing.assert_array_equal(once[0]["kept"].ranks, twice[0]["kept"].ranks)
