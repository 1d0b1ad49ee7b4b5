"""baselines/bert4rec.py against the paper's equations with torch's own layers; which items are masked."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch import Tensor

from recformer_hf.baselines import BERT4Rec, BERT4RecConfig
from recformer_hf.data.sequences import Sequences
from recformer_hf.data.torch_datasets import TrainingSequences
from tests.baselines.shared.test_transformer import torchs as torchs_encoder
from tests.support.neural_baselines import packed, with_items
from tests.support.training import small_dataset

TORCHS = {"num_layers": 2, "hidden_size": 12, "num_heads": 3, "intermediate_size": 20}
"""What `torchs_encoder` is made for."""
MASK = 60
"""The number of items, which stands for the mask."""


def states(model: BERT4Rec, rows: list[int]) -> Tensor:
    """The states of one sequence by torch's own layers."""
    table, positions = model.item_embeddings.weight, model.position_embeddings.weight
    vectors = torch.stack([model.mask if row == MASK else table[row] for row in rows])
    hidden = model.norm(vectors + positions[: len(rows)])
    h = torchs_encoder(model.transformer, "gelu", "post").eval()(hidden[None])[0]
    return model.output[2](F.gelu(h @ model.output[0].weight.T + model.output[0].bias))


def logits(model: BERT4Rec, state: Tensor) -> Tensor:
    return model.item_embeddings.weight @ state + model.output_bias.weight[:, 0]


def with_bias(**settings: float) -> BERT4Rec:
    model = with_items("bert4rec", **TORCHS, **settings)
    torch.nn.init.normal_(model.output_bias.weight)
    return model


class TestModel:
    def test_ranking_appends_a_mask(self):
        model, histories = with_bias(), [[3, 0, 3, 7], [1], [5, 6, 7, 8, 9, 10]]
        found = model.scores([np.array(history) for history in histories])
        for row, history in enumerate(histories):
            expected = logits(model, states(model, [*history, MASK])[-1])
            torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-5)

    def test_a_mask_behind_the_longest_history_drops_no_item(self):
        model = with_bias()  # reads 6 items
        found = [model.scores([np.array([first, 2, 3, 4, 5, 6])]) for first in (1, 9)]
        assert not torch.allclose(*found)
        assert torch.equal(model.scores([np.array([7, 9, 2, 3, 4, 5, 6])]), found[1])

    def test_loss_is_the_cross_entropy_of_masked_places(self):
        model = with_bias()
        first, second = states(model, [3, MASK, 7]), states(model, [MASK, MASK])
        targets = {(first, 1): 4, (second, 0): 5, (second, 1): 6}
        expected = torch.stack([
            torch.logsumexp(scores, 0) - scores[label]
            for (which, place), label in targets.items()
            for scores in [logits(model, which[place])]
        ]).mean()  # fmt: skip
        histories, labels, places = packed([3, MASK, 7], [MASK, MASK]), torch.tensor([4, 5, 6]), torch.tensor([1, 3, 4])
        torch.testing.assert_close(model.loss(histories, labels, places), expected, atol=1e-5, rtol=1e-5)

    def test_with_nothing_masked_the_loss_is_0(self):
        model, nothing = with_bias(), torch.zeros(0, dtype=torch.int64)
        loss = model.loss(packed([3, 0, 3, 7], [1]), nothing, nothing)
        loss.backward()
        assert loss.item() == 0.0
        assert all(not weight.grad.any() for weight in model.parameters() if weight.grad is not None)

    def test_equal_scores_give_log_n(self):
        model = with_items("bert4rec")
        torch.nn.init.zeros_(model.item_embeddings.weight)
        loss = model.loss(packed([3, MASK]), torch.tensor([4]), torch.tensor([1]))
        torch.testing.assert_close(loss, torch.tensor(math.log(60)))

    def test_every_place_sees_the_whole_history_and_no_other_one(self):
        model = with_items("bert4rec")
        whole = model.encode(packed([3, 0, 3, 7], [5, 6]))
        changed = model.encode(packed([3, 0, 3, 8], [5, 6]))
        assert not torch.allclose(whole[0], changed[0])
        torch.testing.assert_close(whole[4:], changed[4:])

    def test_the_mask_is_no_item(self):
        model = with_items("bert4rec")
        assert model.mask.std() > 0.1
        assert len(model.item_embeddings.weight) == 60
        model.loss(packed([3, MASK]), torch.tensor([4]), torch.tensor([1])).backward()
        assert model.mask.grad.any()


class TestMasks:
    """Sequences of 2 to 12 items, of which a model reads windows of 7."""

    LENGTHS = np.tile(np.arange(2, 13), 200)

    def batch(self, epoch: int = 0, rows: slice = slice(None), seed: int = 0, **settings: float):
        offsets = np.concatenate([[0], self.LENGTHS.cumsum()])
        items = (np.arange(offsets[-1]) % MASK).astype(np.int32)
        data = TrainingSequences([Sequences([f"u{row}" for row in range(len(self.LENGTHS))], items, offsets)])
        model = BERT4Rec(num_items=MASK, max_length=6, **settings)
        collator = model.training_collator([small_dataset()], seed)
        self.planned = collator.lengths(data)[0]
        return collator(data[[(epoch, 0, row) for row in range(len(self.LENGTHS))[rows]]])

    def masked(self, batch) -> list[np.ndarray]:
        return [part.numpy() == MASK for part in batch["history_rows"].split(batch["lengths"].tolist())]

    def test_labels_are_what_stood_there(self):
        batch = self.batch(last_item_share=0.0)
        rows, places = batch["history_rows"].clone(), batch["places"]
        assert (rows == MASK).nonzero()[:, 0].tolist() == places.tolist()
        rows[places] = batch["labels"]
        for part in rows.split(batch["lengths"].tolist()):  # windows of sequences that count upwards
            assert (part.numpy() == (part[0].item() + np.arange(len(part))) % MASK).all()
        assert batch["lengths"].tolist() == np.minimum(self.LENGTHS, 7).tolist() == self.planned.tolist()

    @pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
    def test_share_of_sequences_that_mask_the_newest_item_alone(self, share):
        parts = self.masked(self.batch(last_item_share=share, mask_probability=1.0))
        found = [part.nonzero()[0].tolist() == [len(part) - 1] for part in parts]
        assert np.mean(found) == pytest.approx(share, abs=0.0 if share in (0, 1) else 0.03)
        assert all(newest or part.all() for newest, part in zip(found, parts, strict=True))

    def test_these_end_behind_a_drawn_item(self):
        lengths = self.batch(last_item_share=1.0)["lengths"].numpy()
        assert (lengths >= 2).all()
        assert (lengths <= np.minimum(self.LENGTHS, 7)).all()
        counts = np.bincount(lengths[self.LENGTHS >= 7], minlength=8)[2:]
        assert counts / counts.sum() == pytest.approx(np.full(6, 1 / 6), abs=0.04)

    def test_share_of_masked_items(self):
        parts = [part for part in self.masked(self.batch(last_item_share=0.0, mask_probability=0.4)) if len(part) == 7]
        # One of seven is masked if none would be.
        expected = 0.4 + 0.6**7 / 7
        assert np.mean(parts, 0) == pytest.approx(np.full(7, expected), abs=0.05)
        assert np.mean(parts) == pytest.approx(expected, abs=0.015)

    def test_at_least_one_item_is_masked_each_equally_often(self):
        parts = [part for part in self.masked(self.batch(last_item_share=0.0, mask_probability=0.0)) if len(part) == 7]
        assert {part.sum() for part in parts} == {1}
        assert np.mean(parts, 0) == pytest.approx(np.full(7, 1 / 7), abs=0.035)

    def test_masks_depend_on_seed_epoch_and_user_alone(self):
        whole, part = self.batch(), self.batch(rows=slice(0, 30))
        size = int(part["lengths"].sum())
        assert torch.equal(whole["history_rows"][:size], part["history_rows"])
        assert torch.equal(self.batch()["places"], whole["places"])
        for other in (self.batch(epoch=1), self.batch(seed=1)):
            assert other["places"].tolist() != whole["places"].tolist()

    def test_shared_negatives(self):
        batch = self.batch(loss="sampled_softmax", num_negatives=8, batch_negatives=True)
        assert len(batch["negatives"]) == 8 + len(batch["labels"])


def test_defaults():
    config = BERT4Rec().config
    assert (config.mask_probability, config.last_item_share, config.loss) == (0.3, 0.5, "ce")
    assert (config.num_layers, config.num_heads, config.activation) == (2, 2, "gelu")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_layers": 0}, "num_layers must be positive and finite, got 0"),
        ({"intermediate_size": 0}, "intermediate_size must be positive and finite, got 0"),
        ({"hidden_size": 10, "num_heads": 3}, r"hidden_size \(10\) must be a multiple of num_heads \(3\)"),
        ({"mask_probability": 1.5}, r"mask_probability must lie in \[0, 1\], got 1\.5"),
        ({"last_item_share": -0.5}, r"last_item_share must lie in \[0, 1\], got -0\.5"),
        ({"attention_dropout": 1.0}, r"attention_dropout must lie in \[0, 1\), got 1\.0"),
    ],
)
def test_unfit_settings_are_refused(settings, message):
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        BERT4RecConfig(**settings)
