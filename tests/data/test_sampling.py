"""The sampler's plan: every user once, the same whatever the number of processes, balanced, and of constant length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from recformer_hf.data.sampling import SequenceSampler
from recformer_hf.data.torch_datasets import TrainingSequences
from tests.support.packed_batches import counted_sequences


def samplers(lengths: list[np.ndarray], world_size: int, **settings) -> list[SequenceSampler]:
    """The sampler of each process, over users 10, 11, ... of each dataset."""
    users = [np.arange(len(tokens)) + 10 for tokens in lengths]
    settings = {"seed": 1} | settings
    return [SequenceSampler(users, lengths, rank=rank, world_size=world_size, **settings) for rank in range(world_size)]


def global_steps(ranks: list[SequenceSampler], epoch: int) -> list[list[tuple[int, int, int]]]:
    """The rows of each step over all processes, sorted."""
    plans = [sampler.plan(epoch) for sampler in ranks]
    return [sorted(row for part in step for row in part.tolist()) for step in zip(*plans, strict=True)]


random_lengths = st.integers(0, 2**16).flatmap(
    lambda seed: st.integers(8, 200).map(lambda n: np.random.default_rng(seed).integers(3, 60, n))
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": [np.array([0.0, 1.0])]}, "users is float64"),
        ({"users": [np.array([True, True])]}, "users is bool"),
        ({"lengths": [np.array([3.5, 4.0])]}, "lengths is float64"),
        ({"batch_size": 1.5}, "batch_size is 1.5"),
        ({"batch_size": True}, "batch_size is True"),
        ({"batch_size": None, "max_tokens": 9.0}, "max_tokens is 9.0"),
    ],
)
def test_nothing_but_whole_numbers(arguments, message):
    valid = {"users": [np.arange(2)], "lengths": [np.array([3, 4])], "batch_size": 1}
    with pytest.raises(TypeError, match=message):
        SequenceSampler(**valid | arguments, seed=0)


class TestPlan:
    @settings(max_examples=40, deadline=None)
    @given(random_lengths, st.integers(1, 9), st.integers(1, 4), st.integers(0, 3), st.booleans())
    def test_every_user_once_over_the_ranks_and_no_batch_empty(self, lengths, size, world_size, epoch, by_tokens):
        budget = {"max_tokens": 60 * size} if by_tokens else {"batch_size": size}
        ranks = samplers([lengths], world_size, **budget)
        plans = [sampler.plan(epoch) for sampler in ranks]
        assert {len(plan) for plan in plans} == {len(sampler) for sampler in ranks} == {len(ranks[0])}
        assert min(len(step) for plan in plans for step in plan) >= 1
        rows = np.concatenate([plan.rows for plan in plans])
        assert np.array_equal(np.sort(rows["user"]), np.arange(len(lengths)) + 10)
        assert (rows["epoch"] == epoch).all()
        for step in zip(*plans, strict=True):
            counts = [len(part) for part in step]
            assert max(counts) - min(counts) <= 1

    @pytest.mark.parametrize("budget", [{"batch_size": 16}, {"max_tokens": 200}])
    @pytest.mark.parametrize("world_size", [1, 2])
    def test_steps_of_one_dataset_each(self, budget, world_size):
        lengths = [np.random.default_rng(seed).integers(3, 20, n) for seed, n in enumerate((300, 130, 75))]
        budget = {name: value // world_size for name, value in budget.items()}
        ranks = samplers(lengths, world_size, mixing="steps", **budget)
        steps = global_steps(ranks, 0)
        assert len(steps) == len(samplers(lengths, world_size, **budget)[0])
        assert sorted(row[1:] for step in steps for row in step) == [
            (dataset, user + 10) for dataset, tokens in enumerate(lengths) for user in range(len(tokens))
        ]
        held = [{dataset for _, dataset, _ in step} for step in steps]
        assert sum(len(each) > 1 for each in held) <= 2
        first = [min(each) for each in held]
        assert first != sorted(first)  # steps are shuffled
        assert global_steps(ranks, 1) != steps
        if "batch_size" in budget:  # whatever the number of processes
            assert steps == global_steps(samplers(lengths, 1, mixing="steps", batch_size=16), 0)

    def test_unknown_mixing(self):
        with pytest.raises(ValueError, match="mixing must be one of sequences, steps, got 'batches'"):
            samplers([np.full(30, 5)], 1, batch_size=10, mixing="batches")

    @settings(max_examples=25, deadline=None)
    @given(random_lengths, st.sampled_from([(1, 8), (2, 4), (4, 2)]), st.integers(0, 3), st.booleans())
    def test_a_step_is_the_same_set_on_any_number_of_processes(self, lengths, split, epoch, by_tokens):
        world_size, size = split
        name, scale = ("max_tokens", 60) if by_tokens else ("batch_size", 1)
        alone = global_steps(samplers([lengths], 1, **{name: 8 * scale}), epoch)
        assert global_steps(samplers([lengths], world_size, **{name: size * scale}), epoch) == alone

    @settings(max_examples=25, deadline=None)
    @given(random_lengths, st.integers(1, 9), st.integers(1, 4))
    def test_sequences_a_step_are_even_and_at_most_the_batch_size(self, lengths, size, world_size):
        ranks = samplers([lengths], world_size, batch_size=size)
        counts = [len(step) for step in global_steps(ranks, 0)]
        assert max(counts) - min(counts) <= 1
        if size > 1:  # one sequence a process cannot be evened out
            assert len(counts) == -(-len(lengths) // (size * world_size))
            assert max(counts) <= size * world_size

    @settings(max_examples=40, deadline=None)
    @given(random_lengths, st.integers(2, 9), st.integers(1, 3), st.integers(0, 3))
    def test_tokens_a_step_keep_the_global_budget(self, lengths, size, world_size, epoch):
        max_tokens = 60 * size
        for step in global_steps(samplers([lengths], world_size, max_tokens=max_tokens), epoch):
            assert sum(lengths[user - 10] for _, _, user in step) <= max_tokens * world_size

    def test_a_full_step_gives_every_process_the_batch_size(self):
        ranks = samplers([np.full(64, 5)], 4, batch_size=8)
        assert [len(step) for sampler in ranks for step in sampler.plan(0)] == [8] * 8

    def test_one_sequence_a_process_that_the_processes_do_not_divide(self):
        plans = [sampler.plan(0) for sampler in samplers([np.full(5, 5)], 2, batch_size=1)]
        assert [len(plan) for plan in plans] == [2, 2]
        assert sorted(len(step) for plan in plans for step in plan) == [1, 1, 1, 2]

    def test_tokens_are_balanced_over_the_processes(self):
        lengths = np.random.default_rng(0).integers(20, 1024, 4000)
        plans = [sampler.plan(0) for sampler in samplers([lengths], 4, max_tokens=16_384)]
        tokens = np.array([[lengths[step["user"] - 10].sum() for step in plan] for plan in plans])
        assert (tokens.max(0) - tokens.min(0)).max() < 1024
        assert tokens.max() < 16_384 + 1024
        assert tokens.mean() / 16_384 > 0.95

    def test_batch_of_processes_get_even_tokens_too(self):
        lengths = np.random.default_rng(0).integers(20, 1024, 4096)
        plans = [sampler.plan(0) for sampler in samplers([lengths], 2, batch_size=16)]
        tokens = np.array([[lengths[step["user"] - 10].sum() for step in plan] for plan in plans])
        assert np.mean(np.abs(tokens[0] - tokens[1]) / tokens.mean()) < 0.05

    def test_an_epoch_is_a_function_of_seed_and_number(self):
        lengths = [np.random.default_rng(0).integers(3, 60, 100)]
        first, again = (samplers(lengths, 1, batch_size=8)[0] for _ in range(2))
        assert np.array_equal(first.plan(3).rows, again.plan(3).rows)
        assert not np.array_equal(first.plan(3).rows["user"], first.plan(4).rows["user"])
        other = samplers(lengths, 1, batch_size=8, seed=2)[0]
        assert not np.array_equal(first.plan(3).rows["user"], other.plan(3).rows["user"])

    @pytest.mark.parametrize("budget", [{"batch_size": 7}, {"max_tokens": 200}])
    def test_every_epoch_has_the_same_number_of_steps(self, budget):
        sampler = samplers([np.random.default_rng(0).integers(3, 60, 500)], 2, **budget)[1]
        assert {len(sampler.plan(epoch)) for epoch in range(20)} == {len(sampler)}

    def test_the_shuffle_is_fair(self):
        """Over many epochs a user is as often in the first half as in the second, and neighbours part."""
        sampler = samplers([np.full(10, 5)], 1, batch_size=1)[0]
        orders = np.stack([sampler.plan(epoch).rows["user"] - 10 for epoch in range(2000)])
        places = np.argsort(orders, axis=1)
        assert np.abs(places.mean(0) - 4.5).max() < 0.3
        assert abs(np.corrcoef(places[:, 0], places[:, 1])[0, 1] + 1 / 9) < 0.1


class TestWeights:
    def test_datasets_are_mixed_in_every_step(self):
        (sampler,) = samplers([np.full(600, 5), np.full(300, 5)], 1, batch_size=90)
        shares = [np.mean(step["dataset"] == 0) for step in sampler.plan(0)]
        assert np.abs(np.array(shares) - 2 / 3).max() < 0.2

    @pytest.mark.parametrize("epoch", [0, 1])
    def test_a_part_of_a_dataset_is_mixed_in_as_evenly(self, epoch):
        (sampler,) = samplers([np.full(600, 5), np.full(600, 5)], 1, batch_size=90, weights=[1, 0.5])
        shares = [np.mean(step["dataset"] == 0) for step in sampler.plan(epoch)]
        assert np.abs(np.array(shares) - 2 / 3).max() < 0.2

    def test_each_dataset_comes_as_often_as_its_weight_says(self):
        (sampler,) = samplers([np.full(40, 5), np.full(30, 5), np.full(7, 5)], 1, batch_size=10, weights=[2, 0.5, 0])
        rows = sampler.plan(5).rows
        assert np.bincount(rows["dataset"]).tolist() == [80, 15]
        of_first = rows[rows["dataset"] == 0]
        # Twice every user, each time as another pass over the dataset, so with other draws.
        assert sorted(of_first[["epoch", "user"]].tolist()) == [(p, u) for p in (10, 11) for u in range(10, 50)]

    def test_half_of_the_users_an_epoch_is_every_user_in_two(self):
        (sampler,) = samplers([np.full(30, 5)], 1, batch_size=10, weights=[0.5])
        for epoch in (0, 2, 4):
            halves = [sampler.plan(epoch + half).rows for half in (0, 1)]
            assert sorted(np.concatenate(halves)["user"].tolist()) == list(range(10, 40))
            assert {number for rows in halves for number in rows["epoch"].tolist()} == {epoch // 2}
        assert set(sampler.plan(0).rows["user"].tolist()) != set(sampler.plan(2).rows["user"].tolist())

    def test_passes_that_no_epoch_divides_still_come_whole(self):
        (sampler,) = samplers([np.full(10, 5)], 1, batch_size=4, weights=[0.7])
        seen = np.concatenate([sampler.plan(epoch).rows for epoch in range(10)])
        assert sorted(seen[["epoch", "user"]].tolist()) == [(p, u) for p in range(7) for u in range(10, 20)]


class TestErrors:
    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"batch_size": None}, "Give either batch_size or max_tokens"),
            ({"max_tokens": 100}, "Give either batch_size or max_tokens"),
            ({"batch_size": 0}, "at least 1"),
            ({"batch_size": None, "max_tokens": 4}, r"max_tokens \(4\) must hold the longest sequence \(5 tokens\)"),
            ({"rank": 2, "world_size": 2}, "rank must lie"),
            ({"world_size": 10}, r"4 sequences, fewer than there are processes \(10\)"),
            ({"weights": [1.0, 1.0]}, "one of each for every dataset"),
            ({"weights": [-1.0]}, "not negative"),
            ({"lengths": [np.full(3, 5)]}, "4 users and 3 lengths"),
        ],
    )
    def test_bad_arguments_are_named(self, changed, message):
        arguments = {"users": [np.arange(4)], "lengths": [np.full(4, 5)], "seed": 0, "batch_size": 2} | changed
        with pytest.raises(ValueError, match=message):
            SequenceSampler(**arguments)

    def test_a_step_that_is_not_there(self):
        plan = samplers([np.full(4, 5)], 1, batch_size=2)[0].plan(0)
        assert len(plan[-1]) == 2
        with pytest.raises(IndexError, match="No step 2 in an epoch of 2 steps"):
            plan[2]


class TestDataLoader:
    """The sampler under torch's and accelerate's loaders."""

    data = TrainingSequences([counted_sequences(np.full(40, 3))])

    def sampler(self) -> SequenceSampler:
        return SequenceSampler(self.data.users, [np.full(40, 9)], seed=1, batch_size=6)

    def users(self, loader) -> list[list[int]]:
        return [batch["users"].tolist() for batch in loader]

    @staticmethod
    def collate(batch) -> dict[str, torch.Tensor]:
        return {"users": torch.from_numpy(batch.index["user"] + 100 * batch.index["epoch"])}

    @pytest.mark.parametrize("form", ["batch_sampler", "sampler"])
    def test_either_way_of_giving_it(self, form):
        sampler = self.sampler()
        sampler.set_epoch(2)
        loader = DataLoader(
            self.data, **{form: sampler}, **({"batch_size": None} if form == "sampler" else {}), collate_fn=self.collate
        )
        assert self.users(loader) == [(step["user"] + 200).tolist() for step in sampler.plan(2)]
        assert len(loader) == len(sampler) == 7

    def test_accelerate_sets_the_epoch_and_skips_without_composing(self):
        from accelerate.data_loader import DataLoaderShard, skip_first_batches

        composed = []

        def collate(batch):
            composed.append(batch.index["user"].tolist())
            return self.collate(batch)

        loader = DataLoaderShard(self.data, batch_sampler=self.sampler(), collate_fn=collate)
        loader.set_epoch(3)
        whole = self.users(loader)
        composed.clear()
        rest = skip_first_batches(loader, 4)
        rest.set_epoch(3)
        rest.batch_sampler.batch_sampler.set_epoch(3)  # as Trainer does
        assert self.users(rest) == whole[4:]
        assert len(composed) == 3
