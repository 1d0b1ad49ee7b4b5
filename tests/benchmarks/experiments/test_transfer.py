"""What other shops teach a reader of frozen item vectors: the reader starts as a mean, and learns what there is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.experiments import transfer
from recformer_hf.data.demo import load_demo_domain
from tests.support.training import small_dataset, small_model, small_tokenizer


@pytest.fixture
def model_folder(tmp_path) -> Path:
    folder = tmp_path / "model"
    small_model().save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    return folder


def test_an_untaught_reader_is_a_mean_that_favours_the_newest():
    vectors = F.normalize(torch.randn(9, 8), dim=-1)
    scores = transfer.ReaderScorer(transfer.HistoryReader(8), vectors).scores([np.array([4, 1, 7]), np.array([3])])
    mean = vectors[7] + np.exp(-0.5) * vectors[1] + np.exp(-1.0) * vectors[4]
    torch.testing.assert_close(scores[0], F.normalize(mean, dim=-1) @ vectors.T)
    torch.testing.assert_close(scores[1], vectors[3] @ vectors.T)


def test_only_the_newest_items_are_read():
    history = np.arange(10)
    assert transfer.newest(history).tolist() == [9, 8, 7, 6, 5, 4]
    assert transfer.newest(history[:2]).tolist() == [1, 0, -1, -1, -1, -1]


def test_a_shop_has_every_next_item():
    dataset = small_dataset()
    shop = transfer.Shop.of(dataset, small_model().eval(), small_tokenizer())
    first = dataset.train.history(0)
    assert len(shop.targets) == int((dataset.train.lengths - 1).sum())
    assert shop.targets[: len(first) - 1].tolist() == first[1:].tolist()
    assert shop.contexts[0].tolist() == [first[0], *[-1] * 5]


def test_batches_are_of_one_shop_and_cover_everything():
    shops = [
        transfer.Shop(torch.zeros(3, 2), torch.zeros(rows, 6, dtype=torch.long), torch.zeros(rows)) for rows in (7, 4)
    ]
    found = [(shop is shops[1], rows.tolist()) for shop, rows in transfer.batches(shops, 3)]
    for number, shop in enumerate(shops):
        rows = [row for which, batch in found if which == number for row in batch]
        assert sorted(rows) == list(range(len(shop.targets)))


def test_it_learns_what_follows_what():
    """Item k + 1 follows item k: nothing that random vectors' likeness could tell."""
    torch.manual_seed(0)
    vectors = F.normalize(torch.randn(12, 16), dim=-1)
    contexts = torch.full((12, 6), -1)
    contexts[:, 0] = torch.arange(12)
    shop = transfer.Shop(vectors, contexts, (torch.arange(12) + 1) % 12)
    reader = transfer.HistoryReader(16)
    transfer.train(reader, [shop], epochs=150, learning_rate=1e-2, batch_size=12)
    scores = transfer.ReaderScorer(reader, vectors).scores([np.array([item]) for item in range(12)])
    assert scores.argmax(1).tolist() == shop.targets.tolist()


def test_a_study_has_a_row_of_every_reader(monkeypatch, tmp_path, capsys, model_folder):
    folders = []
    for name in ("kitchen", "garden"):
        folders.append(str(tmp_path / name))
        load_demo_domain(name, num_users=60, num_items=60).save_to_disk(folders[-1])
    output = tmp_path / "transfer.json"
    arguments = ["--model", str(model_folder), "--target", folders[0], "--sources", folders[1], "--epochs", "1"]
    monkeypatch.setattr(sys, "argv", ["transfer", *arguments, "--output", str(output)])
    transfer.main()
    rows = json.loads(output.read_text())["rows"]
    assert [row["history"] for row in rows] == [
        "newest item alone", "mean, newest first", "the sources", "the target", "the sources, then the target",
        "difference", "difference",
    ]  # fmt: skip
    assert all(0 <= row[protocol] <= 1 for row in rows[:5] for protocol in ("kept", "excluded"))
    assert "mean, newest first" in capsys.readouterr().out
