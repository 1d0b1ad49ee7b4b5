"""What a trainer has the C library do while it trains on a CPU."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from recformer_hf.training import kept_memory as module
from recformer_hf.training.kept_memory import kept_memory
from tests.support.pages import SIZE, share_of_new_pages
from tests.support.training import small_trainer

pytestmark = pytest.mark.skipif(module._glibc() is None, reason="another C library than glibc")

NAMES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def in_a_fresh_process(**environment: str) -> list[float]:
    """Shares outside and inside."""
    script = (
        "import json, runpy, sys\n"
        "from tests.support.pages import share_of_new_pages\n"
        "kept_memory = runpy.run_path(sys.argv[1])['kept_memory']\n"  # without the seconds of transformers' import
        "shares = [share_of_new_pages()]\n"
        "with kept_memory() as after_step:\n"
        "    after_step(), share_of_new_pages()\n"  # what is kept has to be fetched once
        "    shares.append(share_of_new_pages())\n"
        "print(json.dumps(shares))\n"
    )
    path = ":".join([str(Path(__file__).parents[2]), *sys.path])
    command = [sys.executable, "-c", script, module.__file__]
    result = subprocess.run(
        command, env={"PYTHONPATH": path, **environment}, capture_output=True, text=True, check=True
    )
    return json.loads(result.stdout)


def test_a_freed_buffer_is_used_again_inside_alone():
    outside, inside = in_a_fresh_process()
    if outside < 0.01:
        pytest.skip("huge pages")
    assert outside > 0.9
    assert inside < 0.3


def test_settings_of_the_environment_stay():
    outside, inside = in_a_fresh_process(MALLOC_MMAP_THRESHOLD_="1000000")
    assert inside == pytest.approx(outside, rel=0.1)


def test_afterwards_all_goes_back():
    with kept_memory():
        with kept_memory():
            many = [torch.empty(SIZE, dtype=torch.uint8).fill_(1) for _ in range(8)]
            del many
        before = resident_bytes()
        assert share_of_new_pages() < 0.5  # it ends with the last that is inside
    assert resident_bytes() < before - 6 * SIZE


def test_what_gathers_beyond_a_step_goes_back():
    with kept_memory() as after_step:
        torch.empty(SIZE, dtype=torch.uint8).fill_(1)
        after_step()
        before = resident_bytes()
        after_step()
        assert resident_bytes() > before - SIZE // 2  # a step's memory stays
        many = [torch.empty(SIZE, dtype=torch.uint8).fill_(1) for _ in range(3 + int(0.3 * before / SIZE))]
        del many
        assert resident_bytes() > 1.25 * before
        after_step()
        assert resident_bytes() < 1.1 * before
        after_step()
        assert share_of_new_pages() < 0.5


def test_trainers_train_inside(tmp_path):
    sizes, calls = [], []

    class Looks(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            many = [torch.empty(SIZE, dtype=torch.uint8).fill_(1) for _ in range(8)]
            sizes.append(resident_bytes())
            del many
            sizes.append(resident_bytes())
            give_back = trainer.give_back_memory
            trainer.give_back_memory = lambda: (calls.append(state.global_step), give_back())

    trainer = small_trainer(tmp_path, max_steps=1, skip_stage2=True, trainer_callbacks=[Looks()])
    trainer.train()
    filled, freed = sizes
    assert freed > filled - SIZE
    assert resident_bytes() < filled - 6 * SIZE
    assert calls == [1]
