"""Packed batches: their form, their targets and negatives, and the same batch whoever composes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from recformer_hf.data.collators import EvaluationCollator, FinetuningCollator, ItemCollator, PretrainingCollator
from recformer_hf.data.sampling import SequenceSampler
from recformer_hf.data.tokenized_catalog import TokenizedCatalog
from recformer_hf.data.torch_datasets import EvaluationSequences, TrainingSequences
from tests.support.packed_batches import (
    CATALOG,
    FIELDS,
    ITEMS,
    OTHER,
    TOKENIZER,
    expected_sequence,
    index,
    random_histories,
    sequences_of,
    split,
    with_limits,
)


class TestForm:
    """What every packed batch must be."""

    @pytest.fixture(params=["items", "evaluation", "finetuning", "pretraining"])
    def batch(self, request) -> dict[str, Any]:
        histories = random_histories(9, len(ITEMS))
        if request.param == "items":
            return ItemCollator(CATALOG, TOKENIZER)([4, 0, 49])
        if request.param == "evaluation":
            data = EvaluationSequences(split(histories, [0] * 9))
            return EvaluationCollator(CATALOG, TOKENIZER)(data[[8, 3]])
        data = TrainingSequences([split(histories)])
        if request.param == "finetuning":
            return FinetuningCollator(CATALOG, TOKENIZER, seed=0, num_negatives=5)(data[index(range(9))])
        return PretrainingCollator([CATALOG], TOKENIZER, seed=0)(data[index(range(9))])

    def test_shapes_and_types(self, batch):
        total = batch["input_ids"].shape[1]
        for name in (*FIELDS, "mlm_input_ids", "mlm_labels"):
            if name in batch:
                assert batch[name].dtype == torch.int64
                assert batch[name].shape == (1, total)
        bounds = batch["cu_seqlens"]
        assert bounds.dtype == torch.int32
        assert (bounds[0].item(), bounds[-1].item()) == (0, total)
        assert batch["max_seqlen"] == bounds.diff().max()
        for name in ("labels", "user_index", "item_index", "target_ids", "negatives"):
            if name in batch:
                assert batch[name].dtype == torch.int64

    def test_every_sequence_starts_with_s_and_nothing_else_is_s(self, batch):
        first = batch["cu_seqlens"][:-1].long()
        for name, value in (("input_ids", TOKENIZER.bos_token_id), ("token_type_ids", 0), ("item_position_ids", 0)):
            at_value = (batch[name][0] == value).nonzero().squeeze(1)
            assert torch.equal(at_value, first)

    def test_models_take_it(self, batch):
        from recformer_hf import RecformerForPretraining, RecformerForSeqRec, RecformerModel
        from tests.support.models import small_config

        config = small_config(vocab_size=len(TOKENIZER), max_token_num=1024, num_items=len(ITEMS))
        extra = {"user_index", "item_index"} & set(batch)
        inputs = {name: value for name, value in batch.items() if name not in extra}
        if "target_ids" in batch:
            model: Any = RecformerForPretraining(config)
        else:
            model = RecformerForSeqRec(config) if "labels" in batch else RecformerModel(config)
            if "labels" in batch:
                model.set_item_embeddings(torch.randn(len(ITEMS), 64))
        output = model(**inputs)
        if "labels" in batch or "target_ids" in batch:
            assert torch.isfinite(output.loss)


class TestItemsAndHistories:
    def test_rows_are_not_cast(self):
        for rows in ([1.5], [True, False], [None]):
            with pytest.raises(TypeError, match="expected integers"):
                ItemCollator(CATALOG, TOKENIZER)(rows)
        with pytest.raises(ValueError, match="not all rows"):
            ItemCollator(CATALOG, TOKENIZER)([-1])

    def test_an_item_is_a_history_of_one(self):
        rows = [7, 0, 49, 7]
        batch = ItemCollator(CATALOG, TOKENIZER)(rows)
        assert sequences_of(batch) == [expected_sequence(TOKENIZER, CATALOG, [row]) for row in rows]
        assert batch["item_index"].tolist() == rows

    def test_evaluation_histories_are_whole(self):
        histories = random_histories(9, len(ITEMS))
        data = EvaluationSequences(split(histories, list(range(9))))
        collator = EvaluationCollator(CATALOG, TOKENIZER)
        batch = collator(data[[8, 3, 3]])
        assert sequences_of(batch) == [expected_sequence(TOKENIZER, CATALOG, histories[row]) for row in (8, 3, 3)]
        assert batch["labels"].tolist() == batch["user_index"].tolist() == [8, 3, 3]
        assert collator.lengths(data)[[8, 3, 3]].tolist() == batch["cu_seqlens"].diff().tolist()


class TestFinetuning:
    histories = random_histories(300, len(ITEMS), longest=7)
    data = TrainingSequences([split(histories)])

    def test_the_target_is_any_item_behind_the_first_and_the_history_what_came_before(self):
        collator = FinetuningCollator(CATALOG, TOKENIZER, seed=0)
        distinct = [list(range(7)) for _ in range(700)]  # no item twice, so that the label tells the position
        batch = collator(TrainingSequences([split(distinct)])[index(range(700))])
        labels = batch["labels"].numpy()
        assert sequences_of(batch) == [expected_sequence(TOKENIZER, CATALOG, list(range(label))) for label in labels]
        counts = np.bincount(labels, minlength=7)
        assert counts[0] == 0
        assert (np.abs(counts[1:] - 700 / 6) < 5 * np.sqrt(700 / 6)).all()

    def test_epochs_draw_anew_and_users_apart(self):
        collator = FinetuningCollator(CATALOG, TOKENIZER, seed=0)
        data = TrainingSequences([split([list(range(40))] * 50)])
        one, two = (collator(data[index(range(50), epoch)])["labels"] for epoch in (0, 1))
        assert not torch.equal(one, two)
        assert len(set(one.tolist())) > 15

    def test_what_a_user_gets_does_not_depend_on_the_batch(self):
        collator = FinetuningCollator(CATALOG, TOKENIZER, seed=0, num_negatives=3)
        whole, part = collator(self.data[index(range(300))]), collator(self.data[index([7, 3])])
        assert sequences_of(part) == [sequences_of(whole)[user] for user in (7, 3)]
        assert part["labels"].tolist() == whole["labels"][[7, 3]].tolist()
        assert part["negatives"].tolist() == whole["negatives"][[7, 3]].tolist()

    def test_negatives_are_any_other_item_each_as_likely(self):
        items = list(range(4))
        catalog = TokenizedCatalog.from_items(ITEMS[:4], TOKENIZER)
        batch = FinetuningCollator(catalog, TOKENIZER, seed=0, num_negatives=1000)(
            TrainingSequences([split([items] * 8)])[index(range(8))]
        )
        assert batch["negatives"].shape == (8, 1000)
        for label, negatives in zip(batch["labels"].tolist(), batch["negatives"], strict=True):
            counts = np.bincount(negatives.numpy(), minlength=4)
            assert counts[label] == 0
            assert counts[[item for item in items if item != label]].min() > 250

    def test_negatives_need_a_second_item(self):
        single = TokenizedCatalog.from_items(ITEMS[:1], TOKENIZER)
        with pytest.raises(ValueError, match="at least 2 items; got 3 and 1 items"):
            FinetuningCollator(single, TOKENIZER, seed=0, num_negatives=3)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 1000), st.integers(2, 5), st.integers(10, 90), st.integers(0, 5))
    def test_lengths_bound_every_draw_and_the_longest_draw_reaches_them(self, seed, max_items, max_tokens, epoch):
        tokenizer = with_limits(max_item_embeddings=max_items, max_token_num=max_tokens)
        histories = random_histories(6, len(ITEMS), longest=8, seed=seed)
        data = TrainingSequences([split(histories)])
        collator = FinetuningCollator(CATALOG, tokenizer, seed=seed)
        (bounds,) = collator.lengths(data)
        assert (collator(data[index(range(6), epoch)])["cu_seqlens"].diff().numpy() <= bounds).all()
        for history, bound in zip(histories, bounds, strict=True):
            sizes = [len(expected_sequence(tokenizer, CATALOG, history[:t])[0]) for t in range(1, len(history))]
            assert bound == max(sizes)


class TestPretraining:
    def test_the_target_lies_in_the_later_half(self):
        collator = PretrainingCollator([CATALOG], TOKENIZER, seed=0, mlm_probability=0)
        for n in range(2, 12):
            batch = collator(TrainingSequences([split([list(range(n))] * 200)])[index(range(200))])
            targets = batch["target_ids"].numpy()
            assert set(targets.tolist()) == set(range(max(1, (n - 1) // 2), n))
            expected = [list(range(target)) for target in targets] + [[target] for target in targets]
            assert sequences_of(batch) == [expected_sequence(TOKENIZER, CATALOG, items) for items in expected]

    def test_without_masking_there_are_no_masked_copies(self):
        data = TrainingSequences([split([[1, 2]])])
        batch = PretrainingCollator([CATALOG], TOKENIZER, seed=0, mlm_probability=0)(data[index([0])])
        assert not {"mlm_input_ids", "mlm_labels", "masked_rows"} & set(batch)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 1000), st.integers(2, 5), st.integers(10, 90), st.integers(0, 5))
    def test_lengths_bound_context_and_item_together(self, seed, max_items, max_tokens, epoch):
        tokenizer = with_limits(max_item_embeddings=max_items, max_token_num=max_tokens)
        histories = random_histories(6, len(ITEMS), longest=8, seed=seed)
        data = TrainingSequences([split(histories)])
        collator = PretrainingCollator([CATALOG], tokenizer, seed=seed)
        (bounds,) = collator.lengths(data)
        sizes = collator(data[index(range(6), epoch)])["cu_seqlens"].diff().numpy()
        assert (sizes[:6] + sizes[6:] <= bounds).all()
        for history, bound in zip(histories, bounds, strict=True):
            targets = range(max(1, (len(history) - 1) // 2), len(history))
            assert bound == max(
                len(expected_sequence(tokenizer, CATALOG, history[:t])[0])
                + len(expected_sequence(tokenizer, CATALOG, [history[t]])[0])
                for t in targets
            )


class TestSameBatches:
    """Training batches are the same with 0 and 2 workers, with 1 and 2 processes, and after skipping half an epoch."""

    data = TrainingSequences(
        [split([*random_histories(60, len(ITEMS)), [1]]), split(random_histories(37, len(OTHER), seed=1))]
    )
    pretraining = PretrainingCollator([CATALOG, OTHER], TOKENIZER, seed=3)
    finetuning = FinetuningCollator(CATALOG, TOKENIZER, seed=3, num_negatives=4)

    @pytest.fixture(params=["pretraining batch_size", "pretraining max_tokens", "finetuning batch_size"])
    def task(self, request) -> tuple[Any, Any, dict[str, int]]:
        name, budget = request.param.split()
        collator = getattr(self, name)
        data = self.data if name == "pretraining" else TrainingSequences([split(random_histories(60, len(ITEMS)))])
        return data, collator, {budget: 8 if budget == "batch_size" else 1000}

    def loader(self, task, epoch: int, rank: int = 0, world_size: int = 1, workers: int = 0) -> DataLoader:
        data, collator, budget = task
        budget = {name: size // world_size for name, size in budget.items()}
        sampler = SequenceSampler(
            data.users, collator.lengths(data), seed=3, rank=rank, world_size=world_size, **budget
        )
        sampler.set_epoch(epoch)
        return DataLoader(data, batch_sampler=sampler, collate_fn=collator, num_workers=workers)

    @staticmethod
    def flat(batch: dict[str, Any]) -> dict[str, Any]:
        return {name: value.tolist() if torch.is_tensor(value) else value for name, value in batch.items()}

    @staticmethod
    def rows(batch: dict[str, Any]) -> list[Any]:
        """What each user got, in any order."""
        if "target_ids" in batch:
            found = sequences_of(batch, "mlm_input_ids", "mlm_labels")
            half = len(found) // 2
            return list(zip(batch["target_ids"].tolist(), found[:half], found[half:], strict=True))
        return list(zip(batch["labels"].tolist(), batch["negatives"].tolist(), sequences_of(batch), strict=True))

    def test_with_two_workers(self, task):
        alone, shared = (list(self.loader(task, 2, workers=workers)) for workers in (0, 2))
        assert [self.flat(batch) for batch in alone] == [self.flat(batch) for batch in shared]

    def test_with_two_processes(self, task):
        alone = list(self.loader(task, 1))
        ranks = [list(self.loader(task, 1, rank, 2)) for rank in (0, 1)]
        assert [len(batches) for batches in ranks] == [len(alone)] * 2
        for whole, *parts in zip(alone, *ranks, strict=True):
            assert sorted(self.rows(whole)) == sorted(row for part in parts for row in self.rows(part))

    def test_after_skipping_half_an_epoch_nothing_skipped_is_composed(self, task):
        from accelerate.data_loader import DataLoaderShard, skip_first_batches

        data, collator, _ = task
        composed = []

        def counting(batch):
            composed.append(len(batch))
            return collator(batch)

        sampler = self.loader(task, 0).batch_sampler
        loader = DataLoaderShard(data, batch_sampler=sampler, collate_fn=counting)
        loader.set_epoch(5)
        whole = [self.flat(batch) for batch in loader]
        composed.clear()
        half = len(whole) // 2
        rest = [self.flat(batch) for batch in skip_first_batches(loader, half)]
        assert rest == whole[half:]
        assert len(composed) == len(whole) - half


class TestSeveralTargets:
    """`targets_per_user`: different prefixes of a user in an epoch."""

    HISTORIES = [[4, 1, 7, 3, 9], [5, 2], [8, 6, 0]]
    DATA = TrainingSequences([split(HISTORIES)])

    def batch(self, count: int, epoch: int = 0, rows=(0, 1, 2), **settings) -> dict[str, Any]:
        collator = FinetuningCollator(CATALOG, TOKENIZER, seed=3, history_rows=True, targets_per_user=count, **settings)
        return collator(self.DATA[index(rows, epoch=epoch)])

    def examples(self, batch) -> list[tuple[list[int], int]]:
        return [
            ([row for row in history if row >= 0], label)
            for history, label in zip(batch["history_rows"].tolist(), batch["labels"].tolist(), strict=True)
        ]

    def test_all_are_every_prefix_once(self):
        found = self.examples(self.batch(0))
        assert sorted(found) == sorted((h[:i], h[i]) for h in self.HISTORIES for i in range(1, len(h)))
        assert len(self.batch(0)["cu_seqlens"]) == len(found) + 1

    def test_some_are_different_and_drawn_every_epoch(self):
        drawn = set()
        for epoch in range(60):
            found = self.examples(self.batch(2, epoch))
            mine = [label for history, label in found if history[0] == 4]
            assert len(set(mine)) == len(mine) == 2
            assert len(found) == 2 + 1 + 2
            drawn.add(tuple(sorted(mine)))
        assert len(drawn) == 6  # all pairs of four targets

    def test_a_users_targets_do_not_depend_on_the_batch(self):
        assert self.examples(self.batch(2))[-2:] == self.examples(self.batch(2, rows=(2,)))

    def test_one_is_the_draw_that_it_always_was(self):
        one = FinetuningCollator(CATALOG, TOKENIZER, seed=3, num_negatives=4)(self.DATA[index([0, 1, 2])])
        assert all(torch.equal(one[name], value) for name, value in self.batch(1, num_negatives=4).items()
                   if torch.is_tensor(value) and name != "history_rows")  # fmt: skip

    def test_each_target_has_its_own_negatives(self):
        batch = self.batch(0, num_negatives=50)
        assert batch["negatives"].shape == (7, 50)
        assert not (batch["negatives"] == batch["labels"][:, None]).any()
        assert not torch.equal(batch["negatives"][0], batch["negatives"][1])

    def test_lengths_bound_what_is_composed(self):
        for count in (0, 2):
            collator = FinetuningCollator(CATALOG, TOKENIZER, seed=3, targets_per_user=count)
            (most,) = collator.lengths(self.DATA)
            for row in range(3):
                assert collator(self.DATA[index([row])])["input_ids"].shape[1] <= most[row]

    def test_fewer_than_none_is_refused(self):
        with pytest.raises(ValueError, match="targets_per_user must be at least 0"):
            self.batch(-1)
