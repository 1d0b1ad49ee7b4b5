"""Validation on a domain apart: its losses, whatever the seed and the number of processes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recformer_hf.training.pretraining.validation import DomainValidation
from tests.support.pretraining import domain, pretraining_trainer


def test_metrics_are_means_over_the_domain(finished):
    """By hand, batch for batch, through the model's own forward."""
    model, measured = finished.model.eval(), finished.evaluate()
    loader = finished.get_eval_dataloader()
    totals = np.zeros(4)
    for batch in loader:
        outputs = model(**{**batch, "target_ids": None})
        ids, rows = batch["target_ids"], torch.arange(len(batch["target_ids"]))
        same = (ids[:, None] == ids[None]) & ~torch.eye(len(ids), dtype=torch.bool)
        scores = outputs.logits.detach().masked_fill(same, -math.inf)
        totals[0] += torch.nn.functional.cross_entropy(scores, rows, reduction="sum").item()
        nearest = scores >= scores.amax(1, keepdim=True) - 1e-4
        totals[1] += (nearest.diagonal() / nearest.sum(1)).sum().item()
        labels = batch["mlm_labels"][batch["mlm_labels"] != -100]
        totals[2] += torch.nn.functional.cross_entropy(outputs.mlm_logits, labels, reduction="sum").item()
        totals[3] += len(labels)
    assert measured["eval_contrastive_loss"] == pytest.approx(totals[0] / 20, rel=1e-5)
    assert measured["eval_accuracy"] == pytest.approx(totals[1] / 20)
    assert measured["eval_mlm_loss"] == pytest.approx(totals[2] / totals[3], rel=1e-5)
    context, item = measured["eval_mlm_context_loss"], measured["eval_mlm_item_loss"]
    expected = measured["eval_contrastive_loss"] + 0.1 * (context + item)
    assert measured["eval_loss"] == pytest.approx(expected, rel=1e-6)


def test_draws_are_the_same_every_time_and_for_every_seed(finished, tmp_path):
    again = pretraining_trainer(tmp_path, finished.model, seed=7)
    first, second = finished.evaluate(domain("outdoor", 20)), again.evaluate()
    assert {name for name in first if "kitchen" in name} == set()  # a domain alone
    for name in ("eval_loss", "eval_accuracy", "eval_mlm_loss"):
        assert first[name] == second[name]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_processes_take_the_batches_in_turn(finished, world_size):
    validation = finished.eval_dataset.domain
    turns = [validation.turns(rank, world_size) for rank in range(world_size)]
    assert len({len(each) for each in turns}) == 1
    assert set(range(len(validation.batches))) <= {turn for each in turns for turn in each}
    assert validation.batch_of(100) is validation.batches[-1]


def test_a_sample_of_the_domain_will_do(tmp_path):
    trainer = pretraining_trainer(tmp_path, max_validation_sequences=7)
    assert isinstance(trainer.eval_dataset.domain, DomainValidation)
    assert sum(len(batch) for batch in trainer.eval_dataset.domain.batches) == 7
