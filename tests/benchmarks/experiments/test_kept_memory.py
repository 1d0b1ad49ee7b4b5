"""A process that keeps freed memory takes fewer new pages."""

from __future__ import annotations

import json

import pytest

from recformer_hf.training.kept_memory import _glibc
from tests.support.training_processes import run_code

CODE = """
import contextlib, sys
from benchmarks.experiments import kept_memory
sys.argv = ["kept_memory", "--size", "small", "--works", "finetune_32", "--dtypes", "float32", "--repeats", "1",
            "--steps", "4", "--output", f"{folder}/x.json"]
with open(f"{folder}/printed", "w") as file, contextlib.redirect_stdout(file):
    kept_memory.main()
"""


@pytest.mark.skipif(_glibc() is None, reason="another C library than glibc")
def test_memory_that_is_kept_is_no_new_page(tmp_path):
    # In a process of its own: after other tests, this one's memory is as full of holes as they left it.
    run_code(f"folder = {str(tmp_path)!r}\n{CODE}", 1)
    kept, given_back = json.loads((tmp_path / "x.json").read_text())["rows"]
    assert (kept["freed"], given_back["freed"]) == ("kept", "given back")
    assert kept["faults"] < 0.8 * given_back["faults"]
    assert given_back["ratio"] == 1
    assert "given back" in (tmp_path / "printed").read_text()
