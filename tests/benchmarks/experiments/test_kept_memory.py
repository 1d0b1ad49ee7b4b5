"""The experiment on kept memory: both sides are measured."""

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
def test_both_sides_have_seconds_and_page_faults(tmp_path):
    run_code(f"folder = {str(tmp_path)!r}\n{CODE}", 1)
    kept, given_back = json.loads((tmp_path / "x.json").read_text())["rows"]
    assert (kept["freed"], given_back["freed"]) == ("kept", "given back")
    assert kept["faults"] >= 0  # how many fewer depends on the heap: tests/training/test_kept_memory.py looks at it
    assert given_back["faults"] >= 0
    assert given_back["ratio"] == 1
    assert "given back" in (tmp_path / "printed").read_text()
