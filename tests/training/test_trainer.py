"""training/trainer.py: what both trainers share."""

from __future__ import annotations

import pytest

from recformer_hf.data.sampling import SequenceSampler
from recformer_hf.training.trainer import metrics_of_step
from tests.support.training import small_trainer, weights_of


def test_a_run_is_repeated_to_the_bit_and_another_seed_gives_another(tmp_path):
    runs = {
        "a": {},
        "b": {},
        "seed": {"seed": 7},
        "data": {"data_seed": 7},
        "seed with data": {"seed": 7, "data_seed": 42},
    }
    found = {}
    for name, settings in runs.items():
        small_trainer(tmp_path / name, skip_stage2=True, max_steps=2, **settings).train()
        found[name] = weights_of(tmp_path / name)
    assert found["a"] == found["b"]
    assert len(set(found.values())) == 4


def test_an_epoch_has_as_many_steps_as_its_batches_give(tmp_path):
    """48 users: 6 batches of 8, two of which make a step."""
    trainer = small_trainer(tmp_path, gradient_accumulation_steps=2)
    assert isinstance(trainer.sampler, SequenceSampler)
    assert trainer.steps_per_epoch == 3
    trainer.state.global_step = 7
    assert trainer.next_epoch == (2, 1)
    trainer.begin_epoch()
    assert trainer.sampler.epoch == 2


def test_item_vectors_are_never_decayed(tmp_path):
    trainer = small_trainer(tmp_path)
    names = trainer.get_decay_parameter_names(trainer.model)
    assert "recformer.encoder.layer.0.intermediate.dense.weight" in names
    assert "item_embeddings" not in names


@pytest.mark.parametrize(("patience", "stops"), [(None, False), (2, True), (3, False)])
def test_patience_counts_evaluations_since_the_best(tmp_path, patience, stops):
    trainer = small_trainer(tmp_path)
    trainer.state.best_global_step = 6
    trainer.state.log_history = [{"step": step, "eval_ndcg@10": 0.1} for step in (3, 6, 9, 12)] + [
        {"step": 12, "loss": 1.0}
    ]
    assert trainer.is_out_of_patience(trainer.state, patience) == stops


def test_the_evaluation_of_a_step(tmp_path):
    log = [{"step": 3, "loss": 1.0}, {"step": 3, "eval_loss": 0.5, "eval_runtime": 1.0}, {"step": 6, "eval_loss": 0.4}]
    assert metrics_of_step(log, 3) == {"best_eval_loss": 0.5}
