"""What training shows: lines of figures instead of dictionaries, and a summary at the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback

from .output import is_quiet, say

LEFT_OUT = ("grad_norm", "total_flos", "epoch", "step", "data_wait", "mrr", "auc")


def show_lines(trainer: Trainer) -> None:
    """Lets a trainer print its log as lines for a person: none with `--quiet`, and beside the bar on a terminal."""
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(_BarAlone)
    if not is_quiet():
        trainer.add_callback(_Lines)


def log_line(logs: Mapping[str, Any], step: int) -> str:
    """A log entry as a line; "" for one that only has times.

    `{"loss": 2.3, "learning_rate": 1e-4, "epoch": 1.5}` at step 30 is `step 30, epoch 1.5: loss 2.3, learning_rate
    0.0001`. Figures of an evaluation lose their `eval_` and follow the word "validation"; of those with several
    cut-offs, NDCG@k and Recall@k of the smallest are shown. All of them are in the logs of `report_to`.
    """
    if "train_runtime" in logs:
        return ""
    smallest = min((_cutoff(name)[0] for name in logs if "@" in name), default=0)
    names = {
        name: name.removeprefix("eval_")
        for name, value in logs.items()
        if isinstance(value, int | float) and _is_shown(name.removeprefix("eval_"), smallest)
    }
    if not names:
        return ""
    figures = ", ".join(f"{shown} {float(logs[name]):.4g}" for name, shown in names.items())
    epoch = f", epoch {logs['epoch']:.4g}" if "epoch" in logs else ""
    evaluated = " validation" if any(name.startswith("eval_") for name in names) else ""
    return f"step {step:,}{epoch}:{evaluated} {figures}"


def lines_of_test(metrics: Mapping[str, Any]) -> list[str]:
    """NDCG@k and Recall@k of the test split in both protocols, from what a trainer's `finish` returns."""
    lines = []
    for protocol, report in metrics.get("test", {}).items():
        overall = report["overall"]["metrics"]
        names = [name for name in overall if name.startswith(("ndcg@", "recall@"))]
        figures = "   ".join(f"{_name(name)} {overall[name]:.4f}" for name in sorted(names, key=_cutoff))
        lines.append(f"  test, {protocol.replace('_', ' '):17} {figures}")
    return lines


def say_summary(what: str, lines: list[str], folder: str | Path, holds: str, following: list[str]) -> None:
    """Prints the end of a run.

    Args:
        what: what was trained.
        lines: its figures.
        folder: where the result is.
        holds: what is in it.
        following: commands that use it.
    """
    say("\n".join(["", what, *lines, f"  in {folder}: {holds}", "next:", *(f"  {command}" for command in following)]))


def _is_shown(name: str, cutoff: int) -> bool:
    if "@" in name:
        return _cutoff(name)[0] == cutoff and "mrr@" not in name
    return name not in LEFT_OUT and not name.endswith(("runtime", "per_second"))


def _name(metric: str) -> str:
    name, _, cutoff = metric.partition("@")
    return f"{'NDCG' if name == 'ndcg' else name.capitalize()}@{cutoff}"


def _cutoff(metric: str) -> tuple[int, str]:
    name, _, cutoff = metric.partition("@")
    return int(cutoff), name


class _BarAlone(ProgressCallback):
    """The bar of the steps, without the dictionaries of the log."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        pass


class _Lines(TrainerCallback):
    """One line for each log entry, on the main process."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        line = log_line(logs or {}, state.global_step) if state.is_world_process_zero else ""
        if line:
            tqdm.write(line)  # above a bar, if there is one
