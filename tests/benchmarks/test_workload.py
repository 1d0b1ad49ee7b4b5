"""The workload has the lengths that its docstring says, and masking and padding touch what they should."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.workload import fill, make_workload, mask_words, pad, typical_users


def test_workload_has_the_lengths_that_its_docstring_says():
    workload = make_workload(2000)
    items = np.array([len(ids) for ids, _ in workload.items])
    users = np.array([len(workload.history(user)["input_ids"]) for user in workload.users])
    assert (items.min(), items.max(), round(items.mean())) == (15, 60, 34)
    assert (users.min(), users.max(), round(users.mean())) == (31, 1024, 296)
    assert round(np.percentile(users, 90)) == 542


def test_a_typical_batch_is_like_the_average_one():
    workload = make_workload(2000)
    mean = np.mean([len(workload.history(user)["input_ids"]) for user in workload.users])
    chosen = [len(workload.history(user)["input_ids"]) for user in typical_users(workload, 8, window=64)]
    assert np.mean(chosen) == pytest.approx(mean, rel=0.05)


def test_masking_leaves_first_tokens_and_padding_alone():
    workload = make_workload(2000)
    batch = pad([workload.item(0), workload.history(np.arange(20))])
    ids, labels = mask_words(batch, mask_id=1999)
    masked = labels != -100
    assert masked.any()
    assert torch.equal(ids[~masked], batch["input_ids"][~masked])
    assert (ids[masked] == 1999).all()
    assert not masked[:, 0].any()
    assert not masked[batch["attention_mask"] == 0].any()


def test_filling_up_makes_even_lengths_of_padding():
    workload = make_workload(2000)
    short, long = fill([workload.item(0), workload.history(np.arange(5))])
    assert len(short["input_ids"]) == len(long["input_ids"])
    assert short["input_ids"][-1] == 1
    assert short["token_type_ids"][-1] == 3
