"""`python -m benchmarks` runs every benchmark, and one that fails does not stop the others."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import __main__ as all_of_them

ROOT = Path(__file__).parents[2]


def test_every_benchmark_is_called_with_options_that_it_has(monkeypatch, tmp_path):
    lines = [all_of_them.command(name, size, tmp_path) for size in all_of_them.RUNS for name in all_of_them.NAMES]
    called = []
    monkeypatch.setattr(
        all_of_them.subprocess, "run", lambda line, check: called.append(line) or SimpleNamespace(returncode=0)
    )
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--output_dir", str(tmp_path)])
    all_of_them.main()
    assert called == lines
    for line in called:
        source = (ROOT / "benchmarks" / f"{line[2].removeprefix('benchmarks.')}.py").read_text()
        for option in line[3:]:
            assert not option.startswith("--") or f'"{option}"' in source, option


def test_a_failed_benchmark_is_named_and_stops_no_other(monkeypatch, tmp_path):
    codes = iter([1, 0])
    monkeypatch.setattr(all_of_them.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=next(codes)))
    arguments = ["--size", "small", "--only", "encoder", "search", "--output_dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit, match=r"Failed: encoder \(small\)\."):
        all_of_them.main()
    assert next(codes, None) is None
