"""training/step_records.py: means and speed of a log line."""

from __future__ import annotations

import time

import pytest
import torch

from recformer_hf.training.step_records import StepRecords


def two_processes(numbers):
    """Sums over a process like this one and another that counted as much."""
    return 2 * torch.stack([torch.as_tensor(number, dtype=torch.float32) for number in numbers])


def test_means_are_over_all_steps_and_processes():
    records = StepRecords()
    for total, count in ((3.0, 2), (1.0, 6)):
        records.add("accuracy", torch.tensor(total, requires_grad=True), count)
    records.add("never", torch.tensor(0.0), 0)
    records.add_tokens(100)
    found = records.drain(two_processes)
    assert found.keys() == {"accuracy", "tokens_per_second", "data_wait"}
    assert found["accuracy"] == 4 / 8
    assert found["tokens_per_second"] > 0
    assert records.drain(two_processes).keys() == {"tokens_per_second", "data_wait"}  # the next line begins


def test_time_off_the_clock_does_not_count(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def passes(seconds: float) -> None:
        now[0] += seconds

    records = StepRecords()
    records.add_tokens(30)
    with records.waiting_for_data():
        passes(1)
    passes(3)
    with records.off_the_clock():
        passes(100)
    found = records.drain(two_processes)
    assert found["tokens_per_second"] == pytest.approx(60 / 4)
    assert found["data_wait"] == pytest.approx(1 / 4)
    records.reset()
    passes(2)
    assert records.drain(two_processes)["data_wait"] == 0
