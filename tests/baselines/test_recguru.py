"""baselines/recguru.py: the autoencoder and its adversary against the paper's equations, and what a domain keeps."""

from __future__ import annotations

import copy
import math
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch import nn

from recformer_hf.baselines import RecGURU, RecGURUConfig, default_arguments, train_baseline
from recformer_hf.baselines.recguru import Decoder, reversed_gradient
from recformer_hf.data.torch_datasets import TrainingSequences
from tests.support.neural_baselines import packed, small_baseline, small_baseline_trainer, with_items
from tests.support.training import same_state, small_dataset, state_of
from tests.support.training_processes import run_code

OTHER = {"num_items": 50}


def of_two_domains(**settings: Any) -> RecGURU:
    """A model that is pretrained on two shops of 60 and 50 items, in evaluation mode."""
    torch.manual_seed(0)
    model = small_baseline("recguru", **settings)
    model.take_datasets([small_dataset(), small_dataset(**OTHER)], pretraining=True)
    model.draw_weights()
    return model.eval()


def reconstruction(model: RecGURU, number: int, history: list[int], first: int, size: int) -> torch.Tensor:
    """The summed loss of one history, item by item."""
    table = model.item_embeddings.weight[first : first + size]
    vectors = table[history] * math.sqrt(table.shape[1])
    whole = packed(history)
    positions = model.position_embeddings.weight
    user = model.encoder(vectors + positions[: len(history)], whole)[-1]
    before = torch.cat([model.start[None], vectors[:-1]]) + positions[: len(history)]
    states = model.decoders[number](before, user.expand(len(history), -1), whole)
    return F.cross_entropy(states @ table.T, torch.tensor(history), reduction="sum")


def test_the_loss_is_reconstruction_and_the_adversarys_cross_entropy():
    model = of_two_domains()
    histories = packed([3, 0, 3, 7], [40, 5], [59])
    domains = torch.tensor([0, 1, 0])
    expected = (
        reconstruction(model, 0, [3, 0, 3, 7], 0, 60)
        + reconstruction(model, 1, [40, 5], 60, 50)
        + reconstruction(model, 0, [59], 0, 60)
    ) / 7
    items = model.item_embeddings.weight[[3, 0, 3, 7, 100, 65, 59]] * 4
    users = model.encoder(items + model.position_embeddings.weight[[0, 1, 2, 3, 0, 1, 0]], histories)
    expected = expected + F.cross_entropy(model.discriminator(users), torch.tensor([0, 0, 0, 0, 1, 1, 0]))
    torch.testing.assert_close(model.pretraining_loss(histories, domains), expected)


def test_the_user_of_a_reconstruction_knows_the_whole_history_and_no_recommendation_sees_ahead():
    model = with_items("recguru")
    first, other = model.encode(packed([3, 0, 3, 7])), model.encode(packed([3, 0, 9, 9]))
    torch.testing.assert_close(first[:2], other[:2])
    assert not torch.allclose(first[2:], other[2:])


def test_recommending_reads_the_items_and_at_each_place_its_user():
    model = with_items("recguru")
    history = [3, 0, 3, 7]
    vectors, positions = model.item_embeddings.weight[history] * 4, model.position_embeddings.weight
    users = model.encoder(vectors + positions[:4], packed(history))
    expected = model.decoders[0](vectors + positions[1:5], users, packed(history))[-1] @ model.item_embeddings.weight.T
    torch.testing.assert_close(model.scores([np.array(history)])[0], expected)


def test_a_decoder_is_torchs_over_copies_of_the_user():
    config = RecGURUConfig(hidden_size=12, num_heads=3, num_layers=2, intermediate_size=20, dropout=0.0)
    ours = Decoder(config)
    layer = nn.TransformerDecoderLayer(12, 3, 20, 0.0, "relu", batch_first=True, norm_first=True)
    theirs = nn.TransformerDecoder(layer, 2, nn.LayerNorm(12))
    theirs.norm.load_state_dict(ours.norm.state_dict())
    for block, other in zip(ours.blocks, theirs.layers, strict=True):
        other.self_attn.in_proj_weight.data = block.attention.query_key_value.weight.data
        other.self_attn.in_proj_bias.data = block.attention.query_key_value.bias.data
        other.self_attn.out_proj.load_state_dict(block.attention.out.state_dict())
        other.norm1.load_state_dict(block.attention_norm.state_dict())
        other.norm3.load_state_dict(block.feed_forward_norm.state_dict())
        other.linear1.load_state_dict(block.feed_forward[0].state_dict())
        other.linear2.load_state_dict(block.feed_forward[3].state_dict())
        # The value map and the output map of the attention over copies of the user, in one.
        value, bias = other.multihead_attn.in_proj_weight[24:], other.multihead_attn.in_proj_bias[24:]
        out = other.multihead_attn.out_proj
        block.user.weight.data, block.user.bias.data = out.weight @ value, out.weight @ bias + out.bias
    hidden, user = torch.randn(5, 12), torch.randn(12)
    copies = user.expand(5, 12)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    expected = theirs(hidden[None], copies[None], tgt_mask=mask)[0]
    torch.testing.assert_close(ours(hidden, copies, packed([0] * 5)), expected)


class TestAdversary:
    def test_its_gradient_is_reversed(self):
        values = torch.randn(3, 4, requires_grad=True)
        weights = torch.randn(3, 4)
        out = reversed_gradient(values, 0.5)
        assert torch.equal(out, values)
        (out * weights).sum().backward()
        torch.testing.assert_close(values.grad, -0.5 * weights)

    def test_the_encoder_climbs_what_the_discriminator_descends(self):
        plain, reversed_ = of_two_domains(adversary_weight=0.0), of_two_domains(adversary_weight=2.0)
        histories, domains = packed([3, 0, 3, 7], [40, 5]), torch.tensor([0, 1])
        for model in (plain, reversed_):
            model.pretraining_loss(histories, domains).backward()
        # The cross-entropy of the adversary alone, not reversed:
        alone = copy.deepcopy(plain)
        alone.zero_grad()
        items = alone._vectors_of(torch.tensor([3, 0, 3, 7, 100, 65]))
        users = alone.user_vectors(histories, items)
        F.cross_entropy(alone.discriminator(users), domains[histories.owners]).backward()
        for ours, without, climbed in zip(
            reversed_.encoder.parameters(), plain.encoder.parameters(), alone.encoder.parameters(), strict=True
        ):
            torch.testing.assert_close(ours.grad, without.grad - 2 * climbed.grad, atol=1e-6, rtol=1e-4)
        for ours, expected in zip(reversed_.discriminator.parameters(), alone.discriminator.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, expected.grad)

    def test_one_domain_has_none(self):
        model = small_baseline("recguru")
        model.take_datasets([small_dataset()], pretraining=True)
        assert model.discriminator is None
        assert model.config.domains is None
        assert len(model.decoders) == 1
        model.eval()
        expected = reconstruction(model, 0, [3, 0], 0, 60) / 2
        torch.testing.assert_close(model.pretraining_loss(packed([3, 0]), torch.tensor([0])), expected)

    def test_a_domain_without_histories_in_a_batch_still_has_gradients(self):
        model = of_two_domains()
        model.pretraining_loss(packed([3, 0]), torch.tensor([0])).backward()
        assert all(weight.grad is not None for weight in model.parameters())
        assert all(not weight.grad.any() for weight in model.decoders[1].parameters())

    def test_training_makes_domains_harder_to_tell(self, tmp_path):
        accuracy = {}
        for weight in (0.0, 1.0):
            trainer = pretraining_of_two(
                tmp_path / str(weight), adversary_weight=weight, num_train_epochs=20, save_strategy="no"
            )
            trainer.train()
            model = trainer.model.eval()
            data = TrainingSequences([small_dataset().train, small_dataset(**OTHER).train])
            batch = trainer.collator(data[[(0, number, row) for number in (0, 1) for row in range(40)]])
            histories = packed(*np.split(batch["history_rows"].numpy(), np.cumsum(batch["lengths"])[:-1]))
            owners = batch["domains"][histories.owners]
            with torch.no_grad():
                users = model.user_vectors(histories, model._vectors_of(histories.rows + 60 * owners))
                accuracy[weight] = (model.discriminator(users).argmax(1) == owners).float().mean().item()
        assert accuracy[0.0] > 0.8
        assert accuracy[1.0] < 0.7


def pretraining_of_two(folder: Any, dropout: float = 0.2, adversary_weight: float = 1.0, **settings: Any) -> Any:
    model = small_baseline("recguru", dropout=dropout, adversary_weight=adversary_weight)
    return small_baseline_trainer(
        model, folder, **{
            "eval_strategy": "no", "metric_for_best_model": None, "save_strategy": "epoch", "learning_rate": 1e-2,
            "trainer_pretraining": True, "trainer_train_datasets": [small_dataset(), small_dataset(**OTHER)],
            **settings,
        },
    )  # fmt: skip


class TestDomains:
    def test_pretraining_on_several_is_saved_and_gone_on_from(self, tmp_path):
        pretraining_of_two(tmp_path / "run").train()
        loaded = RecGURU.from_pretrained(tmp_path / "run")
        assert loaded.catalog is None
        assert list(loaded.config.domains.values()) == [60, 50]
        before = state_of(loaded)
        loaded.take_datasets([small_dataset(**OTHER), small_dataset()], pretraining=True)
        assert same_state(state_of(loaded), before)
        collator = loaded.pretraining_collator([small_dataset(**OTHER), small_dataset()], 0)
        data = TrainingSequences([small_dataset(**OTHER).train, small_dataset().train])
        assert collator(data[[(0, 0, 1), (0, 1, 2)]])["domains"].tolist() == [1, 0]

    def test_a_domain_keeps_its_items_and_decoder_in_a_file_in_whichever_order_they_came(self, tmp_path):
        for number, datasets in enumerate(permutations([small_dataset(), small_dataset(**OTHER)])):
            model = small_baseline("recguru")
            model.take_datasets(datasets, pretraining=True)
            model.save_pretrained(tmp_path / str(number))
            loaded = RecGURU.from_pretrained(tmp_path / str(number))
            assert list(loaded.config.domains) == list(model.config.domains)
            for each in (model, loaded):
                each.take_catalog(datasets[0].catalog)
            assert torch.equal(loaded.item_embeddings.weight, model.item_embeddings.weight)
            assert same_state(loaded.decoders.state_dict(), model.decoders.state_dict())

    def test_a_known_domain_keeps_its_items_and_decoder_and_a_new_one_the_encoder(self, tmp_path):
        pretraining_of_two(tmp_path / "run", num_train_epochs=1).train()
        pretrained = RecGURU.from_pretrained(tmp_path / "run")
        known, new = copy.deepcopy(pretrained), copy.deepcopy(pretrained)
        known.take_datasets([small_dataset(**OTHER)], pretraining=False)
        torch.manual_seed(1)
        new.take_datasets([small_dataset(num_items=55)], pretraining=False)
        for model in (known, new):
            assert same_state(model.encoder.state_dict(), pretrained.encoder.state_dict())
            assert model.discriminator is None
            assert model.config.domains is None
        assert torch.equal(known.item_embeddings.weight, pretrained.item_embeddings.weight[60:])
        assert same_state(known.decoders[0].state_dict(), pretrained.decoders[1].state_dict())
        assert new.item_embeddings.weight.shape == (55, 16)
        assert not same_state(new.decoders[0].state_dict(), pretrained.decoders[0].state_dict())
        assert new.fit(small_dataset(num_items=55)) is new  # it has items; nothing is trained

    def test_one_call_pretrains_on_several_and_trains_on_one(self, tmp_path):
        short: dict[str, Any] = {"num_train_epochs": 1, "use_cpu": True, "disable_tqdm": True, "report_to": "none"}
        model = small_baseline("recguru")
        trainer = train_baseline(
            model, small_dataset(), default_arguments(model, tmp_path, **short),
            pretraining_datasets=[small_dataset(), small_dataset(**OTHER)],
            pretraining_arguments={"num_train_epochs": 1},
        )  # fmt: skip
        assert trainer.model.catalog == small_dataset().catalog
        assert RecGURU.from_pretrained(tmp_path / "pretraining").discriminator is not None
        assert RecGURU.from_pretrained(tmp_path).discriminator is None

    def test_the_same_catalogue_twice_is_one_domain(self):
        model = small_baseline("recguru")
        model.take_datasets([small_dataset(), small_dataset()], pretraining=True)
        assert model.discriminator is None
        with pytest.raises(ValueError, match="RecGURU knows items by their ids alone, so it trains on one dataset"):
            model.take_datasets([small_dataset(), small_dataset()], pretraining=False)

    def test_two_processes_are_as_one(self, tmp_path):
        run_code(f"{_RUN}\nrun({str(tmp_path / 'two')!r}, 4)", 2)
        found: dict[str, Any] = {}
        exec(_RUN, found)
        found["run"](str(tmp_path / "one"), 8)
        one, two = (RecGURU.from_pretrained(tmp_path / each) for each in ("one", "two"))
        for weight, (name, values) in zip(one.parameters(), two.named_parameters(), strict=True):
            torch.testing.assert_close(weight, values, atol=2e-5, rtol=1e-4, msg=name)


_RUN = """
from tests.baselines.test_recguru import pretraining_of_two

def run(folder, size):
    pretraining_of_two(
        folder, dropout=0.0, seed=3, per_device_train_batch_size=size, optim="sgd", learning_rate=0.1
    ).train()
"""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_layers": 0}, "num_layers must be positive and finite, got 0"),
        ({"intermediate_size": -1}, "intermediate_size must be positive and finite, got -1"),
        ({"hidden_size": 10, "num_heads": 3}, r"hidden_size \(10\) must be a multiple of num_heads \(3\)"),
        ({"adversary_weight": -1.0}, r"adversary_weight must not be negative or infinite, got -1\.0"),
    ],
)
def test_unfit_settings_are_refused(settings, message):
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        RecGURUConfig(**settings)
