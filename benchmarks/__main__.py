"""Runs every benchmark that needs no GPU, one after another, each in its own process.

    python -m benchmarks --size small       # minutes, to see that all run
    python -m benchmarks --size base        # hours on two cores; leave the machine alone meanwhile
    python -m benchmarks --only encoder ablation --output_dir outputs/benchmarks

Prints the tables and writes a JSON file for each to `--output_dir`. Data, ranking and search run at a small scale here;
their own modules take larger ones. A benchmark that fails does not stop the others, and the run then ends with status
1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

RUNS: dict[str, dict[str, list[str]]] = {
    "small": {
        "encoder": ["--size", "small", "--memory", "--operations"],
        "ablation": ["--size", "small"],
        "search": ["--items", "20000", "--width", "128", "--kinds", "numpy", "faiss-flat", "exact", "bfloat16"],
        "pipeline_overhead": ["--size", "small"],
        "serving": ["--size", "small", "--seconds", "2", "--turns", "1"],
        "data_scale": ["--share", "0.001"],
        "ranking_scale": ["--users", "5000"],
    },
    "base": {
        "encoder": ["--size", "base", "--memory", "--operations"],
        "ablation": ["--size", "base", "--memory"],
        "search": ["--items", "100000", "--kinds", "numpy", "faiss-flat", "exact", "bfloat16"],
        "pipeline_overhead": ["--size", "base"],
        "serving": ["--size", "base"],
        "data_scale": ["--share", "0.01"],
        "ranking_scale": ["--users", "100000"],
    },
}
NAMES = list(RUNS["base"])


def command(name: str, size: str, output_dir: Path) -> list[str]:
    output = output_dir / f"{name}-{size}.json"
    return [sys.executable, "-m", f"benchmarks.{name}", *RUNS[size][name], "--output", str(output)]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=[*RUNS, "all"], default="all")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="benchmarks to run")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/benchmarks"), help="folder of the JSON files")
    arguments = parser.parse_args()
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    failed = []
    for size in RUNS if arguments.size == "all" else [arguments.size]:
        for name in arguments.only:
            line = command(name, size, arguments.output_dir)
            print(f"\n== {name}, {size}: python {' '.join(line[1:])}", flush=True)
            start = time.perf_counter()
            if subprocess.run(line, check=False).returncode:
                failed.append(f"{name} ({size})")
            print(f"== {time.perf_counter() - start:.0f} s", flush=True)
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
