"""training/finetuning/memory.py: what a run counts at its end, and the weights that it chooses."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from recformer_hf.evaluation import RecformerScorer, rank_protocols
from recformer_hf.memory.memory import MEMORY_FILE, Memory
from recformer_hf.modeling_recformer import RecformerForSeqRec
from recformer_hf.training.finetuning.memory import fit_memory
from tests.support.training import small_dataset, small_tokenizer, small_trainer


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("memory") / "run"
    trainer = small_trainer(folder, recipe="hybrid", num_train_epochs=2)
    trainer.train()
    return trainer, folder


def test_a_run_counts_its_training_sequences(finished):
    trainer, folder = finished
    train = small_dataset().train
    model = RecformerForSeqRec.from_pretrained(folder)
    counted = Memory.fit(train.items, train.offsets, len(model.catalog), vectors=model.item_embeddings)
    for found in (model.memory, trainer.model.memory):
        assert [part.name for part in found.parts] == ["cooccurrence", "directed", "text"]
        for part, expected in zip(found.parts, counted.parts, strict=True):
            assert np.array_equal(part.rows.columns, expected.rows.columns)
            np.testing.assert_allclose(part.rows.values, expected.rows.values, rtol=1e-5)


def test_the_weights_are_the_best_of_validation(finished):
    """The mixture is not worse there than the model alone, or the memory alone."""
    _, folder = finished
    model = RecformerForSeqRec.from_pretrained(folder)

    def found() -> float:
        rankings = rank_protocols(RecformerScorer(model, small_tokenizer(), model.catalog), small_dataset().validation)
        return float(np.mean([ranking.metrics([10])["ndcg@10"] for ranking in rankings.values()]))

    mixed, memory = found(), model.memory
    model.memory = None
    alone = found()
    model.memory = memory.with_weights({}, strength=1000.0)
    assert mixed >= max(alone, found()) - 1e-6


def test_the_trainer_ranks_with_the_memory(finished):
    trainer, folder = finished
    model = RecformerForSeqRec.from_pretrained(folder)
    scorer = RecformerScorer(model, small_tokenizer(), model.catalog)
    expected = rank_protocols(scorer, small_dataset().test)
    for protocol, ranking in trainer.rank_protocols(small_dataset().test).items():
        np.testing.assert_allclose(ranking.ranks, expected[protocol].ranks)


def test_without_validation_users_the_weights_keep_their_defaults(finished):
    trainer, _ = finished
    memory = fit_memory(trainer.model, small_dataset().train, None, trainer.accelerator)
    assert [part.weight for part in memory.parts] == [7, 10, 50]


def test_a_run_starts_without_the_memory_of_other_sequences(tmp_path, finished):
    model = RecformerForSeqRec.from_pretrained(finished[1])
    small_trainer(tmp_path / "run", model, recipe="hybrid", num_train_epochs=1, memory=False).train()
    assert model.memory is None
    assert not (tmp_path / "run" / MEMORY_FILE).exists()


def test_the_paper_counts_nothing(tmp_path):
    trainer = small_trainer(tmp_path / "run", num_train_epochs=1)
    trainer.train()
    assert trainer.model.memory is None
    assert not (tmp_path / "run" / MEMORY_FILE).exists()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["has_memory"] is False


def test_the_flat_head_has_a_memory_too(tmp_path):
    trainer = small_trainer(tmp_path / "run", recipe="hybrid-flat", num_train_epochs=1)
    trainer.train()
    assert trainer.model.memory is not None
    torch.testing.assert_close(
        RecformerForSeqRec.from_pretrained(tmp_path / "run").memory.scores([np.array([0, 1])]),
        trainer.model.memory.scores([np.array([0, 1])]),
    )


def test_a_run_that_goes_on_without_a_memory_leaves_none(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[1], folder)
    assert (folder / MEMORY_FILE).is_file()
    trainer = small_trainer(folder, recipe="hybrid", num_train_epochs=2, memory=False)
    trainer.train(resume_from_checkpoint=str(next(folder.glob("stage-2/checkpoint-*"))))
    assert not (folder / MEMORY_FILE).exists()
    assert RecformerForSeqRec.from_pretrained(folder).memory is None
