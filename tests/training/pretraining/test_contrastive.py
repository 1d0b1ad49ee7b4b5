"""The contrastive loss of a batch, over processes and in chunks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recformer_hf.data.collators import PretrainingCollator
from recformer_hf.data.tokenized_catalog import TokenizedCatalog
from recformer_hf.data.torch_datasets import INDEX, TrainingSequences
from recformer_hf.encoder.losses import contrastive_loss, mask_duplicates, similarity_scores
from recformer_hf.training.pretraining.contrastive import (
    RandomState,
    gather_rows,
    loss_at_once,
    loss_counts,
    mlm_sums,
    pair_loss,
    rows_of_processes,
    split_pairs,
    vectors_without_gradient,
)
from tests.support.pretraining import domain, pretraining_model, pretraining_trainer, tokenizer

DATA = TrainingSequences([domain("garden").train, domain("music").train])
COLLATOR = PretrainingCollator(
    [TokenizedCatalog.build(domain(name).catalog, tokenizer()) for name in ("garden", "music")], tokenizer(), seed=3
)
TEMPERATURE = 0.05


def batch_of(users: list[int]) -> dict:
    """A batch of these users, from both domains in turn."""
    index = np.zeros(len(users), dtype=INDEX)
    index["user"], index["dataset"] = users, np.arange(len(users)) % 2
    return COLLATOR(DATA[index])


class TestPairLoss:
    def test_uniform_scores_give_the_logarithm_of_the_batch(self):
        items = torch.ones(7, 4)
        loss, _ = pair_loss(torch.randn(7, 4), items, torch.arange(7), TEMPERATURE)
        assert loss.item() / 7 == pytest.approx(math.log(7), rel=1e-6)

    def test_a_batch_of_one_item_has_nothing_to_tell_apart(self):
        contexts = torch.randn(5, 4, requires_grad=True)
        loss, correct = pair_loss(contexts, torch.randn(5, 4), torch.full((5,), 9), TEMPERATURE)
        loss.backward()
        assert loss.item() == 0
        assert correct == 5
        assert contexts.grad.abs().max() == 0

    def test_a_duplicate_of_a_positive_leaves_the_denominator(self):
        contexts, items = torch.randn(3, 8), torch.randn(3, 8)
        loss, _ = pair_loss(contexts, items, torch.tensor([5, 6, 5]), TEMPERATURE)
        scores = similarity_scores(contexts, items, TEMPERATURE)
        by_hand = (
            torch.logsumexp(scores[0, :2], 0) - scores[0, 0]
            + torch.logsumexp(scores[1], 0) - scores[1, 1]
            + torch.logsumexp(scores[2, 1:], 0) - scores[2, 2]
        )  # fmt: skip
        assert loss.item() == pytest.approx(by_hand.item(), rel=1e-6)

    def test_accuracy_counts_contexts_nearest_to_their_own_item(self):
        items = torch.eye(4)
        contexts = items + torch.tensor([[0, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
        assert pair_loss(contexts, items, torch.arange(4), TEMPERATURE)[1] == 3
        # The second context is nearer to the third item; if that is the same item, it is no mistake.
        assert pair_loss(contexts, items, torch.tensor([0, 1, 1, 3]), TEMPERATURE)[1] == 4

    def test_a_tie_is_shared(self):
        contexts, items = torch.ones(4, 3), torch.ones(4, 3)
        assert pair_loss(contexts, items, torch.arange(4), TEMPERATURE)[1] == 1  # as guessing would
        contexts = items = torch.eye(3)[[0, 0, 2]]
        assert pair_loss(contexts, items, torch.arange(3), TEMPERATURE)[1] == 0.5 + 0.5 + 1

    @given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.data())
    def test_rows_of_several_processes_add_up_to_the_whole(self, seed, pairs, data):
        """What a process computes, where the columns of others come first."""
        torch.manual_seed(seed)
        first = data.draw(st.integers(1, pairs - 1))
        scores, ids = torch.randn(pairs, pairs, dtype=torch.float64), torch.randint(3, (pairs,))
        whole = contrastive_loss(scores, ids, reduction="sum")
        parts = contrastive_loss(scores[:first], ids, "sum") + contrastive_loss(scores[first:], ids, "sum", first)
        torch.testing.assert_close(parts, whole)
        assert torch.equal(mask_duplicates(scores, ids)[first:], mask_duplicates(scores[first:], ids, first))

    def test_without_processes_there_is_nothing_to_gather(self):
        rows = torch.randn(3, 2, requires_grad=True)
        assert rows_of_processes(3, rows.device) == [3]
        assert gather_rows(rows, [3]) is rows


class TestBatches:
    def test_counts_are_pairs_and_masked_tokens_of_each_side(self):
        batch = batch_of([1, 2, 3])
        labels, border = batch["mlm_labels"][0], batch["cu_seqlens"][3]
        expected = [3, (labels[:border] != -100).sum(), (labels[border:] != -100).sum()]
        assert loss_counts(batch).tolist() == expected

    def test_without_masking_no_token_is_counted(self):
        batch = {name: value for name, value in batch_of([1, 2]).items() if not name.startswith("mlm_")}
        assert loss_counts(batch).tolist() == [2, 0, 0]

    @given(st.lists(st.integers(0, 39), min_size=1, max_size=12, unique=True), st.data())
    def test_chunks_are_what_the_collator_makes_of_fewer_users(self, users, data):
        num_chunks = data.draw(st.integers(1, len(users)))
        chunks = split_pairs(batch_of(users), num_chunks)
        sizes = [len(chunk["target_ids"]) for chunk in chunks]
        assert len(chunks) == num_chunks
        assert max(sizes) - min(sizes) <= 1
        first = 0
        for chunk, size in zip(chunks, sizes, strict=True):
            index = np.zeros(size, dtype=INDEX)
            index["user"] = users[first : first + size]
            index["dataset"] = np.arange(first, first + size) % 2
            expected = COLLATOR(DATA[index])
            assert chunk.keys() == expected.keys()
            for name, value in expected.items():
                assert chunk[name] == value if name == "max_seqlen" else torch.equal(chunk[name], value), name
            first += size


def gradients_of(trainer, batch: dict) -> tuple[dict[str, torch.Tensor], float]:
    """Gradients and value of the trainer's loss."""
    trainer.model.zero_grad()
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    trainer.accelerator.backward(loss)
    found = {name: weight.grad.clone() for name, weight in trainer.model.named_parameters() if weight.grad is not None}
    return found, loss.item()


def assert_same_gradients(found, expected, tolerance=1e-6):
    largest = max(gradient.abs().max() for gradient in expected.values())
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).abs().max() <= tolerance * largest, name


class TestChunks:
    @pytest.mark.parametrize("chunk_size", [1, 3, 5, 100])
    def test_gradients_and_loss_are_those_of_the_batch_at_once(self, tmp_path, chunk_size):
        trainer = pretraining_trainer(tmp_path, pretraining_model().double())
        batch = batch_of(list(range(10)))
        expected, loss = gradients_of(trainer, batch)
        trainer.args.contrastive_chunk_size = chunk_size
        found, loss_in_chunks = gradients_of(trainer, batch)
        assert loss_in_chunks == pytest.approx(loss, rel=1e-6)
        assert_same_gradients(found, expected)

    def test_without_masked_copies_too(self, tmp_path):
        trainer = pretraining_trainer(tmp_path, pretraining_model().double(), mlm_probability=0.0)
        batch = {name: value for name, value in batch_of(list(range(6))).items() if not name.startswith("mlm_")}
        expected, _ = gradients_of(trainer, batch)
        trainer.args.contrastive_chunk_size = 2
        assert_same_gradients(gradients_of(trainer, batch)[0], expected)

    def test_one_chunk_with_dropout_is_the_batch_at_once(self, tmp_path):
        trainer = pretraining_trainer(tmp_path, pretraining_model(dropout=0.3))
        batch = batch_of(list(range(6)))
        torch.manual_seed(5)
        expected, loss = gradients_of(trainer, batch)
        trainer.args.contrastive_chunk_size = 6
        torch.manual_seed(5)
        found, loss_in_chunks = gradients_of(trainer, batch)
        assert loss_in_chunks == pytest.approx(loss, rel=1e-5)
        assert_same_gradients(found, expected, 1e-5)

    def test_dropout_is_the_same_in_both_passes(self, tmp_path):
        """The gradient is that of one graph over all chunks, each with the draws that its first pass began with."""
        trainer = pretraining_trainer(tmp_path, pretraining_model(dropout=0.3).double(), contrastive_chunk_size=2)
        model, batch = trainer.model, batch_of(list(range(6)))
        torch.manual_seed(5)
        found, _ = gradients_of(trainer, batch)

        torch.manual_seed(5)
        model.train().zero_grad()
        chunks = split_pairs(batch, 3)
        contexts, items, states = vectors_without_gradient(model, chunks, model.device)
        vectors, mlm = [], 0
        for chunk, state in zip(chunks, states, strict=True):
            state.restore()
            outputs = model(**chunk)
            vectors.append((outputs.context_embeds, outputs.item_embeds))
            mlm = mlm + torch.stack(mlm_sums(outputs, loss_counts(chunk)))
        contexts_again, items_again = (torch.cat(side) for side in zip(*vectors, strict=True))
        torch.testing.assert_close(contexts_again, contexts, rtol=0, atol=0)
        torch.testing.assert_close(items_again, items, rtol=0, atol=0)
        loss, _ = pair_loss(contexts_again, items_again, batch["target_ids"], TEMPERATURE)
        counts = loss_counts(batch)
        (loss / counts[0] + 0.1 * (mlm / counts[1:]).sum()).backward()
        expected = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        assert_same_gradients(found, expected)

    def test_a_restored_random_state_draws_again(self):
        torch.manual_seed(1)
        state = RandomState(torch.device("cpu"))
        drawn = torch.rand(3)
        state.restore()
        assert torch.equal(torch.rand(3), drawn)


def test_the_loss_is_that_of_the_model(tmp_path):
    """One process, no accumulation: contrastive + 0.1 * both means, as `RecformerForPretraining` has it."""
    model, batch = pretraining_model().eval(), batch_of(list(range(8)))
    scales = torch.tensor([1.0, 0.1, 0.1]) / loss_counts(batch)
    loss = loss_at_once(model, batch, scales, model.config.temperature)
    assert loss.value.item() == pytest.approx(model(**batch).loss.item(), rel=1e-5)
