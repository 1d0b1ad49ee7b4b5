"""Timing side by side, the machine's matrix-product ceiling, peak memory, costly operations, and reports."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from recformer_hf.encoder.kernels import linear

Part = TypeVar("Part")

PEAK = "peak bytes "
"""What a measured process prints before its peak memory."""


def interleaved_medians(
    functions: dict[str, Callable[[], Any]], repeats: int = 5, warmup: int = 1
) -> dict[str, list[float]]:
    """Seconds of each function. The functions take turns, so that other load on the machine slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    began, others = time.perf_counter(), system_seconds() - time.process_time()
    for turn in range(warmup + repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    warn_of_load((system_seconds() - time.process_time() - others) / (time.perf_counter() - began))
    return seconds


def median_ratio(above: list[float], below: list[float]) -> float:
    """The median of the ratios within each turn."""
    return statistics.median(one / other for one, other in zip(above, below, strict=True))


def matrix_product_rate(
    dtype: torch.dtype, width: int, inner: int, device: str = "cpu", rows: tuple[int, ...] = (1024, 4096)
) -> float:
    """The best FLOP/s of the model's linear layers: the ceiling that a share of the floor refers to.

    The layers have three shapes (width x width, width x inner and back) and run on several numbers of tokens, through
    torch and through the model's own function on a CPU. The best of all turns counts, or shares would look too good.
    """
    rates = []
    for count in rows:
        for inputs, outputs in ((width, width), (width, inner), (inner, width)):
            layer = nn.Linear(inputs, outputs, device=device).to(dtype)
            hidden = torch.randn(count, inputs, device=device).to(dtype)
            with torch.inference_mode():
                seconds = interleaved_medians(_products(layer, hidden), repeats=5, warmup=2)
            rates += [2 * count * inputs * outputs / min(each) for each in seconds.values()]
    return max(rates)


def _products(layer: nn.Linear, hidden: Tensor) -> dict[str, Callable[[], Any]]:
    if hidden.device.type == "cuda":

        def product() -> None:
            F.linear(hidden, layer.weight, layer.bias)
            torch.cuda.synchronize()

        return {"torch": product}
    return {
        "torch": lambda: F.linear(hidden, layer.weight, layer.bias),
        "model": lambda: linear(layer, hidden),
    }


def most_expensive(
    function: Callable[[], Any], count: int = 5, repeats: int = 3, device: str = "cpu"
) -> list[dict[str, Any]]:
    """The operations of a call with the most time of their own: milliseconds and calls, means of `repeats` calls."""
    function()
    on_gpu = device == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        for _ in range(repeats):
            function()
    kind = "self_device_time_total" if on_gpu else "self_cpu_time_total"  # microseconds
    events = sorted(profiler.key_averages(), key=lambda event: getattr(event, kind), reverse=True)
    return [
        {"operation": event.key, "ms": getattr(event, kind) / 1000 / repeats, "calls": event.count / repeats}
        for event in events[:count]
    ]


def peak_memory(arguments: list[str]) -> int:
    """Run `python -m` with these arguments and return the peak resident bytes that it prints after [`PEAK`]."""
    command = [sys.executable, "-m", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr.strip()[-2000:]}")
    return int(result.stdout.rsplit(PEAK, 1)[1])


def row_of_own_process(module: str, *options: str) -> dict[str, Any]:
    """Run `python -m module`, which measures in a fresh process and prints one JSON object, and return and print it."""
    command = [sys.executable, "-m", module, *options]
    row: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(row, flush=True)
    return row


def system_seconds() -> float:
    """Seconds that all processors have worked, for any process; NaN on systems without /proc."""
    if not Path("/proc/stat").exists():
        return float("nan")
    fields = [float(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def other_load(seconds: float = 1.0) -> float:
    """Processors that other processes use, measured while this one sleeps; NaN on systems without /proc."""
    before = system_seconds()
    time.sleep(seconds)
    return (system_seconds() - before) / seconds


def warn_of_load(load: float) -> None:
    if load > 0.2:
        print(f"warning: other processes use {load:.2f} processors; the figures are not reliable", flush=True)


def checked_load() -> float:
    """[`other_load`], with a warning if there is any to speak of."""
    load = round(other_load(), 2)
    warn_of_load(load)
    return load


def environment() -> dict[str, Any]:
    """The versions, processor and settings that figures depend on; warns if the machine is not idle."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "machine": platform.machine(),
        **processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "other_load": checked_load(),
    }


def processor() -> dict[str, Any]:
    """Model and number of the processors, and their bfloat16 instructions."""
    text = ""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
    found = {
        name: match[1].strip() if (match := re.search(rf"^{name}\s*:(.*)$", text, re.MULTILINE)) else ""
        for name in ("model name", "flags")
    }
    flags = set(found["flags"].split())
    return {
        "cpu": found["model name"] or platform.processor(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "bfloat16_instructions": sorted(flags & {"avx512_bf16", "amx_bf16", "amx_tile"}),
    }


def write_report(path: str | Path | None, report: dict[str, Any]) -> None:
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(report, indent=1, default=str) + "\n")


def report_rows(
    arguments: argparse.Namespace, parts: Iterable[Part], rows_of: Callable[[Part], list[dict[str, Any]]]
) -> None:
    """Measure one part after another, print the rows of each, and write all rows so far to `arguments.output`."""
    report: dict[str, Any] = {"options": vars(arguments), "environment": environment(), "rows": []}
    for part in parts:
        rows = rows_of(part)
        print_table(rows)
        report["rows"] += rows
        write_report(arguments.output, report)
    report["environment"]["other_load_after"] = checked_load()
    write_report(arguments.output, report)


def difference_text(test: dict[str, Any], digits: int = 4) -> str:
    """The difference of a paired test with its 95 % interval."""
    return f"{test['difference']:+.{digits}f} [{test['low']:+.{digits}f}, {test['high']:+.{digits}f}]"


def print_table(rows: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns, *([_cell(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(columns))]
    for index, row in enumerate(cells):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
        if index == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    sys.stdout.flush()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
