"""baselines/s3rec.py: the four tasks on inputs made by hand, masks and segments, and what finetuning takes over."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch import Tensor

from recformer_hf import ItemCatalog
from recformer_hf.baselines import S3Rec, S3RecConfig
from recformer_hf.baselines.s3rec import MaskedCollator, attribute_losses, pair_losses
from recformer_hf.baselines.shared.attributes import ItemAttributes
from recformer_hf.data.torch_datasets import TrainingSequences
from tests.baselines.shared.test_transformer import torchs as torchs_encoder
from tests.support.neural_baselines import packed, small_baseline, small_baseline_trainer, with_items
from tests.support.training import same_state, small_dataset, state_of

TORCHS = {"num_layers": 2, "hidden_size": 12, "num_heads": 3, "intermediate_size": 20}
"""What `torchs_encoder` is made for."""
TASKS = ("aap", "mip", "map", "sp")


def only(*tasks: str) -> dict[str, float]:
    return {f"{task}_weight": float(task in tasks) for task in TASKS}


class TestByHand:
    """Two histories, [3, 7] and [5, 2, 9], of which 7, 2 and 9 are masked; segments [3] and [2, 9]."""

    HISTORIES = packed([3, 7], [5, 2, 9])
    BATCH = {
        "masked": torch.tensor([False, True, False, True, True]),
        "negatives": torch.tensor([1, 4, 6, 8, 10]),
        "attributes": torch.tensor([0, 2, 1, 0, 1, 2]),
        "attribute_places": torch.tensor([0, 0, 1, 2, 4, 4]),
        "in_segment": torch.tensor([True, False, False, True, True]),
        "segment_lengths": torch.tensor([1, 2]),
        "other_rows": torch.tensor([11, 12, 13]),
    }
    OWN = ({0, 2}, {1}, {0}, set(), {1, 2})

    def model(self, *tasks: str, **settings: float) -> S3Rec:
        torch.manual_seed(0)
        model = S3Rec(
            num_items=20, num_attributes=3, max_length=6, initializer_range=0.5, **TORCHS,
            **{**only(*tasks), **settings},
        )  # fmt: skip
        return model.eval()

    def states(self, model: S3Rec, rows: list[int | None], first: int = 0) -> Tensor:
        """The states of one sequence by torch's own layers; None is the mask."""
        table, positions = model.item_embeddings.weight, model.position_embeddings.weight
        vectors = torch.stack([model.tasks.mask if row is None else table[row] for row in rows])
        hidden = model.norm(vectors + positions[first : first + len(rows)])
        return torchs_encoder(model.transformer, "gelu", "post").eval()(hidden[None])[0]

    def places(self, model: S3Rec) -> list[Tensor]:
        return [*self.states(model, [3, None]), *self.states(model, [5, None, None])]

    def check(self, model: S3Rec, total: Tensor) -> None:
        loss = model.pretraining_loss(self.HISTORIES, **self.BATCH)
        torch.testing.assert_close(loss, total / 2, atol=1e-5, rtol=1e-5)  # a mean over histories

    def of_attributes(self, state: Tensor, weight: Tensor, model: S3Rec, own: set[int]) -> Tensor:
        chances = torch.sigmoid(model.tasks.attribute_embeddings.weight @ (weight @ state))
        return -sum(chance.log() if k in own else (1 - chance).log() for k, chance in enumerate(chances))

    def test_attributes_of_an_item(self):
        model = self.model("aap")
        h, w1 = self.places(model), model.tasks.to_attributes.weight
        self.check(model, sum(self.of_attributes(h[t], w1, model, self.OWN[t]) for t in (0, 2)))

    def test_masked_attributes(self):
        model = self.model("map")
        h, w3 = self.places(model), model.tasks.to_masked_attributes.weight
        self.check(model, sum(self.of_attributes(h[t], w3, model, self.OWN[t]) for t in (1, 3, 4)))

    def test_masked_items(self):
        model = self.model("mip")
        h, w2, e = self.places(model), model.tasks.to_item.weight, model.item_embeddings.weight
        pairs = {1: (7, 4), 3: (2, 8), 4: (9, 10)}
        self.check(
            model, sum(-torch.sigmoid((w2 @ h[t]) @ (e[right] - e[wrong])).log() for t, (right, wrong) in pairs.items())
        )

    def test_segments(self):
        model, w4 = self.model("sp"), self.model("sp").tasks.to_segment.weight
        found = []
        for context, first, segment, other in (
            ([None, 7], 0, [3], [11]),
            ([5, None, None], 1, [2, 9], [12, 13]),
        ):
            c = self.states(model, context)[-1]
            right, wrong = (self.states(model, rows, first)[-1] for rows in (segment, other))
            found.append(-torch.sigmoid((w4 @ c) @ (right - wrong)).log())
        self.check(model, sum(found))

    def test_they_are_summed_by_the_published_weights(self):
        published = S3RecConfig()
        assert [getattr(published, f"{task}_weight") for task in TASKS] == [0.2, 1.0, 1.0, 0.5]
        parts = [self.model(task).pretraining_loss(self.HISTORIES, **self.BATCH) for task in TASKS]
        weights = {f"{task}_weight": getattr(published, f"{task}_weight") for task in TASKS}
        found = self.model(**weights).pretraining_loss(self.HISTORIES, **self.BATCH)
        torch.testing.assert_close(found, 0.2 * parts[0] + parts[1] + parts[2] + 0.5 * parts[3])

    def test_closed_forms(self):
        scores, attributes, places = torch.zeros(4, 3), torch.tensor([0, 1]), torch.tensor([0, 2])
        torch.testing.assert_close(attribute_losses(scores, attributes, places), torch.full((4,), 3 * math.log(2)))
        scores[0] = torch.tensor([50.0, -50.0, -50.0])
        assert attribute_losses(scores, attributes, places)[0] < 1e-6
        v, e = torch.randn(4, 5), torch.randn(4, 5)
        torch.testing.assert_close(pair_losses(v, e, e), torch.full((4,), math.log(2)))


class TestBatches:
    def batch(self, size: int = 40, epoch: int = 0, **settings: float):
        data = TrainingSequences([small_dataset().train])
        attributes = ItemAttributes.of(small_dataset().catalog, min_items=2)
        collator = MaskedCollator(
            S3RecConfig(max_length=6, **settings), attributes, small_dataset().train.items, seed=0
        )
        return collator(data[[(epoch, 0, row) for row in range(size)]]), attributes

    def test_masks(self):
        batch, _ = self.batch()
        newest = batch["lengths"].cumsum(0) - 1
        assert batch["masked"][newest].all()
        share = np.mean([
            torch.cat([part[:-1] for part in each["masked"].split(each["lengths"].tolist())]).float().mean()
            for each in (self.batch(epoch=epoch)[0] for epoch in range(20))
        ])  # fmt: skip
        assert share == pytest.approx(0.2, abs=0.03)
        alone = self.batch(mask_probability=0.0)[0]
        assert alone["masked"].nonzero()[:, 0].tolist() == newest.tolist()

    def test_segments(self):
        sizes = set()
        train = small_dataset().train.items
        runs = {tuple(train[i : i + n]) for n in (1, 2, 3) for i in range(len(train))}
        for epoch in range(10):
            batch, _ = self.batch(epoch=epoch)
            lengths, counts = batch["lengths"].tolist(), batch["segment_lengths"].tolist()
            for part, length, count in zip(batch["in_segment"].split(lengths), lengths, counts, strict=True):
                places = part.nonzero()[:, 0].tolist()
                assert places == list(range(places[0], places[0] + count))
                assert count <= max(length // 2, 1)
                sizes.add(count)
            assert all(tuple(other.tolist()) in runs for other in batch["other_rows"].split(counts))
        assert sizes == {1, 2, 3}

    def test_attributes_and_negatives(self):
        batch, attributes = self.batch()
        places, found = batch["attribute_places"], batch["attributes"]
        for place, row in enumerate(batch["history_rows"].tolist()):
            own = attributes.ids[attributes.offsets[row] : attributes.offsets[row + 1]]
            assert found[places == place].tolist() == own.tolist()
        rows = batch["history_rows"].split(batch["lengths"].tolist())
        for part, negatives in zip(rows, batch["negatives"].split(batch["lengths"].tolist()), strict=True):
            assert not set(part.tolist()) & set(negatives.tolist())

    def test_a_batch_does_not_depend_on_its_other_rows(self):
        whole, part = self.batch(40)[0], self.batch(3)[0]
        for name in ("masked", "negatives", "in_segment", "segment_lengths", "attributes", "other_rows"):
            assert torch.equal(whole[name][: len(part[name])], part[name])
        assert not torch.equal(self.batch(epoch=1)[0]["masked"], whole["masked"])


class TestModel:
    def test_pretraining_is_bidirectional_and_finetuning_causal(self):
        model = with_items("s3rec")
        histories, changed = packed([3, 0, 3, 7]), packed([3, 0, 9, 9])
        torch.testing.assert_close(model.encode(histories)[:2], model.encode(changed)[:2])
        vectors = [model.item_embeddings(each.rows) for each in (histories, changed)]
        seen = [model._states(each, histories.positions, histories, causal=False) for each in vectors]
        assert not torch.allclose(seen[0][:2], seen[1][:2])

    def test_scores_are_those_of_torchs_layers_with_the_same_weights(self):
        model = with_items("s3rec", **TORCHS)
        history = [3, 0, 3, 7]
        hidden = model.norm(model.item_embeddings.weight[history] + model.position_embeddings.weight[:4])
        mask = torch.nn.Transformer.generate_square_subsequent_mask(4)
        h = torchs_encoder(model.transformer, "gelu", "post").eval()(hidden[None], mask)[0, -1]
        torch.testing.assert_close(
            model.scores([np.array(history)])[0], F.linear(h, model.item_embeddings.weight), atol=1e-5, rtol=1e-4
        )

    def test_finetuning_starts_from_pretraining_and_leaves_the_tasks_alone(self, tmp_path):
        pretraining = small_baseline_trainer(
            "s3rec", tmp_path / "pretraining", trainer_pretraining=True, num_train_epochs=1, eval_strategy="no",
            metric_for_best_model=None, save_strategy="epoch",
        )  # fmt: skip
        pretraining.train()
        model = S3Rec.from_pretrained(tmp_path / "pretraining")
        before = state_of(model)
        small_baseline_trainer(model, tmp_path / "run", num_train_epochs=1).train()
        assert same_state(model.tasks.state_dict(), {
            name.removeprefix("tasks."): value for name, value in before.items() if name.startswith("tasks.")
        })  # fmt: skip
        assert not torch.equal(model.item_embeddings.weight, before["item_embeddings.weight"])

    def test_attributes_are_those_of_the_catalogue(self):
        model = small_baseline("s3rec", min_attribute_items=2)
        model.take_datasets([small_dataset()], pretraining=True)
        expected = len(ItemAttributes.of(small_dataset().catalog, min_items=2).names)
        assert model.config.num_attributes == expected == len(model.tasks.attribute_embeddings.weight) > 0

    def test_items_without_attributes_have_the_other_tasks(self):
        catalog = ItemCatalog.from_items({f"i{row}": {"title": f"t{row:03d}"} for row in range(60)})
        model = small_baseline("s3rec")
        model.take_catalog(catalog)
        assert model.config.num_attributes == 0
        batch = {**TestByHand.BATCH, "attributes": torch.zeros(0, dtype=torch.int64)}
        batch["attribute_places"] = batch["attributes"]
        loss = model.pretraining_loss(TestByHand.HISTORIES, **batch)
        loss.backward()
        assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_layers": 0}, "num_layers must be positive and finite, got 0"),
        ({"intermediate_size": 0}, "intermediate_size must be positive and finite, got 0"),
        ({"hidden_size": 10, "num_heads": 3}, r"hidden_size \(10\) must be a multiple of num_heads \(3\)"),
        ({"mask_probability": 1.5}, r"mask_probability must lie in \[0, 1\], got 1\.5"),
        ({"sp_weight": -1.0}, r"sp_weight must not be negative or infinite, got -1\.0"),
    ],
)
def test_unfit_settings_are_refused(settings, message):
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        S3RecConfig(**settings)
