"""How much faster is a training step on a CPU if the process keeps the memory that it frees, as the trainers do?

    python -m benchmarks.experiments.kept_memory                       # base size, half an hour on two cores
    python -m benchmarks.experiments.kept_memory --size minilm --works finetune_32 --dtypes bfloat16 --memory \
        --output kept.json

`ratio` is the time of a step that gives memory back over that of a step that keeps it, the median over turns. A turn is
one step that is not timed, then `--steps` steps that are. `autocast` is bfloat16 as in the trainers' `--bf16`. `faults`
counts the page faults of a step. A step is forward and backward ([`benchmarks.encoder`]).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from benchmarks.encoder import DTYPES, SIZES, Bench, Work
from benchmarks.measure import PEAK, median_ratio, peak_memory, report_rows
from benchmarks.memory import peak_bytes, reset_peak
from recformer_hf.training.kept_memory import kept_memory

AUTOCAST = "autocast"
SIDES: dict[str, Callable[[], AbstractContextManager[Any]]] = {"kept": kept_memory, "given back": nullcontext}


def step_of(bench: Bench, work: str, dtype: str) -> tuple[Work, Callable[[], Any]]:
    side = "ours_float32" if dtype == AUTOCAST else f"ours_{dtype}"
    made = bench.work(work, [side])
    step = made.functions[side]

    def cast() -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return step()

    return made, cast if dtype == AUTOCAST else step


def turn(step: Callable[[], Any], side: str, steps: int) -> tuple[float, float]:
    """Seconds and page faults of a step."""
    with SIDES[side]():
        step()
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(steps):
            step()
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        return (time.perf_counter() - start) / steps, faults / steps


def measure(bench: Bench, work: str, dtype: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    made, step = step_of(bench, work, dtype)
    turns: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
    for _ in range(arguments.repeats):
        for side, found in turns.items():
            found.append(turn(step, side, arguments.steps))
    seconds = {side: [each[0] for each in found] for side, found in turns.items()}
    rows = []
    for side, found in turns.items():
        row: dict[str, Any] = {"work": work, "dtype": dtype, "tokens": sum(made.lengths), "freed": side}
        row["seconds"] = statistics.median(seconds[side])
        row["ratio"] = median_ratio(seconds["given back"], seconds[side])
        row["faults"] = round(statistics.median(each[1] for each in found))
        if arguments.memory:
            options = ["--size", arguments.size, "--works", work, "--dtypes", dtype, "--only", side]
            row["peak_gb"] = peak_memory(["benchmarks.experiments.kept_memory", *options]) / 1e9
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="base")
    works = ["finetune_8", "finetune_32", "pretrain_2"]
    parser.add_argument("--works", nargs="+", default=works, help="finetune_N and pretrain_N, a step of N users")
    parser.add_argument("--dtypes", nargs="+", choices=[*DTYPES, AUTOCAST], default=[*DTYPES, AUTOCAST])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="timed steps of a turn")
    parser.add_argument("--memory", action="store_true", help="also measure peak memory, in fresh processes")
    parser.add_argument("--only", choices=SIDES, help="run one work three times this way (for --memory)")
    parser.add_argument("--output", help="write the results here as JSON")
    arguments = parser.parse_args()
    if arguments.only:
        _, step = step_of(Bench(arguments.size), arguments.works[0], arguments.dtypes[0])
        reset_peak()
        turn(step, arguments.only, 2)
        print(f"{PEAK}{peak_bytes()}")
        return
    bench = Bench(arguments.size)
    report_rows(
        arguments,
        arguments.works,
        lambda work: [row for each in arguments.dtypes for row in measure(bench, work, each, arguments)],
    )


if __name__ == "__main__":
    main()
