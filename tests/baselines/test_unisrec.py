"""baselines/unisrec.py against the paper's equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch.nn.functional import layer_norm, log_softmax, normalize, softplus

from recformer_hf.baselines import UniSRec, UniSRecConfig, default_arguments, train_baseline
from recformer_hf.baselines.shared.text_vectors import prepared, text_vectors, without_words
from recformer_hf.baselines.unisrec import ContrastiveCollator, WhiteningExperts
from recformer_hf.data.torch_datasets import TrainingSequences
from tests.baselines.shared.test_transformer import torchs as torchs_encoder
from tests.support.neural_baselines import packed, small_baseline, with_items
from tests.support.pretraining import domain
from tests.support.training import small_dataset
from tests.support.training_processes import run_code

HISTORIES = [np.array([3, 0, 3, 7]), np.array([1])]
SHOPS = [domain("garden"), domain("music")]


class TestAdaptor:
    def adaptor(self, **settings) -> WhiteningExperts:
        torch.manual_seed(0)
        config = UniSRecConfig(
            **{"text_size": 5, "hidden_size": 4, "num_experts": 3, "expert_dropout": 0.0, **settings}
        )
        adaptor = WhiteningExperts(config)
        for weight in adaptor.parameters():
            weight.data.normal_()
        return adaptor

    def by_formula(self, adaptor: WhiteningExperts, x: torch.Tensor, noise: torch.Tensor | float) -> torch.Tensor:
        deviation = softplus(x @ adaptor.gate_noise.weight.T)
        gates = (x @ adaptor.gate.weight.T + noise * deviation).softmax(1)
        matrices = adaptor.weights.weight.view(3, 4, 5)
        experts = [(x - adaptor.biases[k]) @ matrices[k].T for k in range(3)]
        return sum(gates[:, k, None] * experts[k] for k in range(3))

    def test_is_the_gated_sum_of_whitened_vectors(self):
        adaptor, x = self.adaptor().eval(), torch.randn(6, 5)
        torch.testing.assert_close(adaptor(x), self.by_formula(adaptor, x, 0.0))

    def test_the_gate_draws_noise_in_training_alone(self):
        adaptor, x = self.adaptor(gate_noise=0.5).train(), torch.randn(6, 5)
        torch.manual_seed(3)
        found = adaptor(x)
        torch.manual_seed(3)
        torch.testing.assert_close(found, self.by_formula(adaptor, x, 0.5 * torch.randn(6, 3)))

    def test_experts_count_alike_at_first(self):
        model = with_items("unisrec")
        x = model.text_vectors
        matrices = model.adaptor.weights.weight.view(3, 16, 24)
        torch.testing.assert_close(model.adaptor(x), x @ matrices.mean(0).T, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("use_ids", [False, True])
def test_scores_are_those_of_torchs_layers_with_the_same_weights(use_ids):
    model = with_items("unisrec", num_layers=2, hidden_size=12, num_heads=3, intermediate_size=20, use_ids=use_ids)
    encoder = torchs_encoder(model.transformer, "gelu", "post").eval()
    items = model.adaptor(model.text_vectors)
    if use_ids:
        items = items + model.item_embeddings.weight
    for row, history in enumerate(HISTORIES):
        x = layer_norm(items[history] + model.position_embeddings.weight[: len(history)], (12,))
        mask = torch.nn.Transformer.generate_square_subsequent_mask(len(history))
        h = encoder(x[None], mask)[0, -1]
        expected = normalize(h, dim=0) @ normalize(items, dim=1).T / 0.07
        torch.testing.assert_close(model.scores(HISTORIES)[row], expected, atol=2e-5, rtol=1e-5)


class TestContrast:
    def collator(self, seed: int = 0, drops_words: bool = True, **settings) -> ContrastiveCollator:
        return ContrastiveCollator(UniSRecConfig(max_length=6, **settings), SHOPS, seed, drops_words)

    def batch(self, collator: ContrastiveCollator, epoch: int = 0) -> tuple[dict, list, list]:
        data = TrainingSequences([shop.train for shop in SHOPS])
        index = [(epoch, shop, row) for shop in range(2) for row in data.users[shop].tolist()]
        batch = collator(data[index])
        parts = np.split(batch["history_rows"].numpy(), np.cumsum(batch["lengths"])[:-1])
        half = len(parts) // 2
        assert half == len(batch["labels"]) == len(index)
        return batch, parts[:half], parts[half:]

    def test_histories_and_what_came_next(self):
        batch, histories, _ = self.batch(self.collator())
        data = TrainingSequences([shop.train for shop in SHOPS])
        sequences = [
            shop.train[int(row)].history.tolist() for number, shop in enumerate(SHOPS) for row in data.users[number]
        ]
        shops = np.repeat([0, 1], [len(users) for users in data.users])
        for history, label, sequence, shop in zip(histories, batch["labels"].tolist(), sequences, shops, strict=True):
            own = [*(history - 50 * shop).tolist(), label - 50 * int(shop)]
            assert len(history) <= 6
            assert any(own == sequence[start : start + len(own)] for start in range(len(sequence)))
        again, _, _ = self.batch(self.collator(), epoch=1)
        assert not torch.equal(again["labels"], batch["labels"])

    def test_copies_lack_items_or_words(self):
        _, histories, copies = self.batch(self.collator(item_drop=0.4, word_drop_share=0.3))
        of_words = [copy.min() >= 100 for copy in copies]
        assert 0.15 < np.mean(of_words) < 0.45
        kept = dropped = 0
        for history, copy, words in zip(histories, copies, of_words, strict=True):
            if words:
                assert np.array_equal(copy, history + 100)
            else:
                remaining = iter(history.tolist())
                assert all(item in remaining for item in copy.tolist())  # in the same order
                assert len(copy) >= 1
                kept, dropped = kept + len(copy), dropped + len(history) - len(copy)
        assert 0.2 < dropped / (kept + dropped) < 0.45
        _, histories, copies = self.batch(self.collator(item_drop=0.0, drops_words=False))
        assert all(np.array_equal(*pair) for pair in zip(histories, copies, strict=True))

    def test_a_copy_keeps_an_item(self):
        _, _, copies = self.batch(self.collator(item_drop=0.99, drops_words=False))
        assert {len(copy) for copy in copies} == {1}

    def test_rows_of_texts_without_words(self):
        model = small_baseline("unisrec")
        model.take_datasets(SHOPS, pretraining=True)
        assert model.shop_vectors.shape == (200, 24)
        fewer = without_words(SHOPS[1].catalog, 0.15, 0)
        assert torch.equal(model.shop_vectors[150:], prepared(text_vectors(fewer, width=24), 0.25))
        assert not torch.allclose(model.shop_vectors[150:], model.shop_vectors[50:100])

    def test_loss_by_hand(self):
        model = small_baseline("unisrec", sequence_weight=0.5, temperature=0.2, dropout=0.0)
        model.take_datasets(SHOPS, pretraining=True)
        labels = torch.tensor([4, 60, 4])  # the first and the last have the same next item
        histories = packed([1, 2], [51], [3], [2], [151], [3])
        states = model.states(model.adaptor(model.shop_vectors[histories.rows]), histories)[histories.newest]
        users, copies = normalize(states[:3], dim=1), normalize(states[3:], dim=1)
        items = normalize(model.adaptor(model.shop_vectors[labels]), dim=1)
        same = torch.tensor([[0, 0, 1], [0, 0, 0], [1, 0, 0]], dtype=torch.bool)
        losses = [
            -log_softmax((users @ others.T / 0.2).masked_fill(same, -torch.inf), 1).diagonal().mean()
            for others in (items, copies)
        ]
        torch.testing.assert_close(model.pretraining_loss(histories, labels), losses[0] + 0.5 * losses[1])

    def test_negatives_are_those_of_all_processes(self, tmp_path):
        run_code(f"{_RUN}\nrun({str(tmp_path / 'two')!r}, 8)", 2)
        found: dict = {}
        exec(_RUN, found)
        found["run"](str(tmp_path / "one"), 16)
        one, two = (UniSRec.from_pretrained(tmp_path / each) for each in ("one", "two"))
        for weight, (name, values) in zip(one.parameters(), two.named_parameters(), strict=True):
            torch.testing.assert_close(weight, values, atol=2e-5, rtol=1e-4, msg=name)


_RUN = """
from recformer_hf.baselines import BaselineTrainer
from tests.support.neural_baselines import small_baseline, small_baseline_arguments
from tests.support.pretraining import domain

def run(folder, size):
    args = small_baseline_arguments(
        folder, seed=3, per_device_train_batch_size=size, optim="sgd", learning_rate=0.1, eval_strategy="no"
    )
    shops = [domain("garden"), domain("music")]
    model = small_baseline("unisrec", dropout=0.0, use_ids=True)
    BaselineTrainer(model, args, pretraining=True, train_datasets=shops).train()
"""


class TestTrained:
    def train(self, model: UniSRec, folder, **settings) -> None:
        args = default_arguments(
            model, folder, report_to="none", use_cpu=True, num_train_epochs=1, disable_tqdm=True, learning_rate=1e-2
        )
        train_baseline(model, small_dataset(), args, **settings)

    def test_the_adaptor_alone_after_pretraining(self, tmp_path):
        model = small_baseline("unisrec", use_ids=True)
        self.train(model, tmp_path / "run", pretraining_datasets=SHOPS, pretraining_arguments={"num_train_epochs": 1})
        folder = tmp_path / "run/pretraining"
        adaptor = UniSRec.from_pretrained(folder, trained="adaptor")
        self.train(adaptor, tmp_path / "adaptor")
        before = UniSRec.from_pretrained(folder)
        changed = {
            name.split(".")[0] for name, weight in adaptor.named_parameters()
            if "item_embeddings" in name or not torch.equal(weight, before.get_parameter(name))
        }  # fmt: skip
        assert changed == {"adaptor", "item_embeddings"}
        assert not torch.equal(
            model.transformer.layers[0].attention.out.weight, before.transformer.layers[0].attention.out.weight
        )

    def test_not_of_a_new_model(self, tmp_path):
        with pytest.raises(ValueError, match="trained='adaptor' trains a pretrained UniSRec, but this one is new"):
            self.train(small_baseline("unisrec", trained="adaptor"), tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_experts": 0}, "num_experts must be positive and finite, got 0"),
        ({"hidden_size": 10, "num_heads": 3}, r"hidden_size \(10\) must be a multiple of num_heads \(3\)"),
        ({"gate_noise": -1.0}, "gate_noise must not be negative or infinite, got -1.0"),
        ({"item_drop": 1.0}, r"item_drop must lie in \[0, 1\), got 1.0"),
    ],
)
def test_unfit_settings_are_refused(settings, message):
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        UniSRecConfig(**settings)
