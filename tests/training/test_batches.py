"""training/batches.py: loaders of planned batches, and what would cut them up."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recformer_hf.training.batches import planned_loader
from tests.support.training import small_arguments, small_trainer, weights_of


def test_several_gpus_without_a_launcher(tmp_path, monkeypatch):
    args = small_arguments(tmp_path / "run")
    monkeypatch.setattr(type(args), "n_gpu", property(lambda self: 4))
    with pytest.raises(ValueError, match="accelerate launch --num_processes 4 --multi_gpu"):
        small_trainer(tmp_path / "run")


def test_settings_that_would_cut_packed_batches(tmp_path):
    with pytest.raises(ValueError, match="split_batches"):
        small_trainer(tmp_path / "run", accelerator_config={"split_batches": True})


@pytest.mark.parametrize("unset", ["even_batches", "use_seedable_sampler"])
def test_settings_that_planned_batches_do_not_read(tmp_path, unset):
    with pytest.raises(ValueError, match=unset):
        small_trainer(tmp_path / "run", accelerator_config={unset: False})


def test_loader_workers_change_nothing(tmp_path):
    settings = {"skip_stage2": True, "num_train_epochs": 1, "max_steps": 4, "num_negatives": 5}
    small_trainer(tmp_path / "none", **settings).train()
    small_trainer(tmp_path / "some", **settings, dataloader_num_workers=2).train()
    assert weights_of(tmp_path / "none") == weights_of(tmp_path / "some")


def test_a_loader_gives_the_planned_batches_and_leaves_the_global_generator_alone(tmp_path):
    rows = torch.arange(10).unbind()
    batches = [np.array([3, 1]), np.array([4])]
    before = torch.get_rng_state()
    loader = planned_loader(
        rows, batches, lambda found: {"rows": torch.stack(found)}, small_arguments(tmp_path), torch.device("cpu")
    )
    assert [batch["rows"].tolist() for batch in loader] == [[3, 1], [4]]
    assert torch.equal(torch.get_rng_state(), before)
