"""training/finite_loss.py: a loss that is not finite is found, and stops the run before the weights take it in."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import TrainerCallback

from recformer_hf.modeling_recformer import RecformerForSeqRec
from recformer_hf.training import LossNotFiniteError
from recformer_hf.training.finite_loss import FiniteLossWatch
from tests.support.training import checkpoints_of, small_dataset, small_trainer


def test_the_first_bad_batch_is_remembered():
    watch = FiniteLossWatch(torch.device("cpu"))
    assert watch.reads_every_batch
    assert not FiniteLossWatch(torch.device("meta")).reads_every_batch
    for batch, loss in enumerate([1.0, math.inf, 2.0, math.nan]):
        watch.note(torch.isfinite(torch.tensor(loss)), batch)
        assert watch.first_bad(0, 1) == (None if batch == 0 else (1, 0))
    watch.reset()
    assert watch.first_bad(0, 1) is None


@pytest.mark.parametrize("as_on_an_accelerator", [False, True])
def test_a_loss_that_turns_nan_stops_the_run_and_names_the_users(tmp_path, as_on_an_accelerator):
    """On an accelerator the host does not look at every loss; an evaluation comes before the next look."""

    class Poison(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **kwargs):
            if state.global_step == 8 and "stage-1" in args.output_dir:
                model.recformer.embeddings.word_embeddings.weight.data.fill_(math.nan)

    trainer = small_trainer(
        tmp_path / "run", trainer_callbacks=[Poison()], gradient_accumulation_steps=2, per_device_train_batch_size=4
    )
    trainer.loss_watch.reads_every_batch = not as_on_an_accelerator
    users = trainer.sampler.plan(1)[4]["user"]
    first = [str(small_dataset().train.user_ids[int(user)].as_py()) for user in users[:5]]
    with pytest.raises(LossNotFiniteError) as caught:
        trainer.train()
    assert all(name in str(caught.value) for name in first)
    assert "step 9 (epoch 1, batch 1 of the step)" in str(caught.value)
    assert checkpoints_of(tmp_path / "run/stage-1") == ["checkpoint-6"]
    good = RecformerForSeqRec.from_pretrained(tmp_path / "run/stage-1/checkpoint-6")
    assert all(bool(torch.isfinite(weight).all()) for weight in good.parameters())


def test_a_gradient_that_is_not_finite_spoils_no_weights(tmp_path):
    class Spoiled(TrainerCallback):
        done = False

        def on_step_begin(self, args, state, control, model=None, **kwargs):
            if state.global_step == 3 and not self.done:
                self.done = True
                weight = next(w for w in model.parameters() if w.requires_grad)
                handle = weight.register_hook(lambda gradient: handle.remove() or gradient * float("nan"))

    trainer = small_trainer(
        tmp_path / "run", trainer_callbacks=[Spoiled()], save_strategy="steps", save_steps=1, save_total_limit=1
    )
    with pytest.raises(LossNotFiniteError, match=r"step 4 .* or its gradient, is not finite.*checkpoint-3"):
        trainer.train()
    good = RecformerForSeqRec.from_pretrained(tmp_path / "run/stage-1/checkpoint-3")
    assert all(bool(torch.isfinite(weight).all()) for weight in good.parameters())
    output = trainer.train(resume_from_checkpoint=True)  # the same trainer goes on
    assert output.global_step > 3
