"""Plots the losses and metrics of a run: `loss.png` and `metrics.png`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.utils import logging

from ...storage.atomic import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.get_logger(__name__)

LOSS_CURVES = "loss.png"
METRIC_CURVES = "metrics.png"

Curve = tuple[list[float], list[float]]
"""Optimizer steps of the whole run, and values. A NaN separates stages: each starts from weights of its own."""

# One curve for the loss of masked words, over contexts and items together, is enough for a picture.
_LOSS = re.compile(r"(eval_)?(?!.*mlm_(context|item)_)(?!train_)(\w+_)?loss")
# AUC, near 1, would flatten the other curves; MRR@k almost coincides with MRR; zero-shot metrics have their own plot.
_NO_METRIC = re.compile(
    r"eval_(auc|mrr@\d+)|eval_.+_((ndcg|recall|mrr)(@\d+)?|auc)|"
    r".*(loss|runtime|per_second|jit_compilation_time|model_preparation_time)"
)


def loss_curves(log: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """The loss curves of a trainer's `state.log_history`.

    Args:
        log: entries with `step`. In a run of stages, entries also have `stage`, and steps count from the start of the
            stage.

    Returns:
        curves by name: `training`, `validation`, and one for each term of a loss that has several, such as
        `training, contrastive`.
    """
    curves: dict[str, Curve] = {}
    for name, curve in _curves(log, _LOSS.fullmatch).items():
        kind, term = ("validation" if name.startswith("eval_") else "training"), name.removeprefix("eval_")
        curves[kind if term == "loss" else f"{kind}, {term.removesuffix('_loss')}"] = curve
    return dict(sorted(curves.items()))


def metric_curves(log: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """Curves of the validation metrics by name; see [`loss_curves`] for `log`."""
    found = _curves(log, lambda name: name.startswith("eval_") and not _NO_METRIC.fullmatch(name))
    return {name.removeprefix("eval_"): curve for name, curve in found.items()}


def stage_starts(log: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """How many steps the run took before each stage; `{1: 0}` for a run without stages."""
    last: dict[int, int] = {}
    for entry in log:
        stage = entry.get("stage", 1)
        last[stage] = max(last.get(stage, 0), entry["step"])
    starts, total = {}, 0
    for stage in sorted(last or {1: 0}):
        starts[stage] = total
        total += last.get(stage, 0)
    return starts


def _curves(log: Sequence[Mapping[str, Any]], wanted: Callable[[str], object]) -> dict[str, Curve]:
    starts = stage_starts(log)
    curves: dict[str, Curve] = {}
    stages: dict[str, int] = {}
    for entry in log:
        stage = entry.get("stage", 1)
        for name, value in entry.items():
            if wanted(name) and isinstance(value, (int, float)):
                steps, values = curves.setdefault(name, ([], []))
                # matplotlib interrupts a line at NaN.
                if stages.setdefault(name, stage) != stage:
                    steps.append(starts[stage])
                    values.append(math.nan)
                    stages[name] = stage
                steps.append(starts[stage] + entry["step"])
                values.append(float(value))
    return dict(sorted(curves.items()))  # JSON logs are saved with sorted keys: the order must not depend on it


def save_curves(
    log: Sequence[Mapping[str, Any]], folder: Path, *, best: tuple[int, int] | None = None, metric: str | None = None
) -> list[str]:
    """Draws the curves of a run.

    Args:
        log: see [`loss_curves`].
        folder: folder to write to. The same log gives the same bytes.
        best: stage and step of the resulting weights, which a vertical line marks.
        metric: metric that chose these weights; its curve comes first and is thicker.

    Returns:
        names of the files that were written; empty if matplotlib is not installed or nothing was logged.
    """
    pictures = {LOSS_CURVES: ("loss", loss_curves(log)), METRIC_CURVES: ("validation metric", metric_curves(log))}
    pictures = {name: (label, curves) for name, (label, curves) in pictures.items() if curves}
    if not pictures:
        return []
    try:
        from matplotlib.figure import Figure  # not pyplot, which would take over a notebook's state
    except ImportError:
        logger.warning(
            "loss.png and metrics.png were not drawn: matplotlib is not installed. `pip install recformer-hf[train]` "
            "installs it."
        )
        return []
    starts = stage_starts(log)
    for name, (label, curves) in pictures.items():
        figure = Figure(figsize=(7.2, 3.8), dpi=120, layout="constrained")
        axes = figure.add_subplot()
        _draw_curves(axes, curves, metric)
        _mark_stages(axes, starts)
        if best is not None:
            axes.axvline(starts[best[0]] + best[1], color="0.35", linestyle=":", linewidth=1.2, label="result")
        axes.set_xlabel("optimizer step")
        axes.set_ylabel(label)
        axes.set_xlim(left=0)
        if label != "loss":
            axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
        with atomic_file(folder / name) as temporary:
            # matplotlib writes its version into the file by default: the bytes would depend on it.
            figure.savefig(temporary, format="png", metadata={"Software": None})
    return list(pictures)


def _draw_curves(axes: Axes, curves: Mapping[str, Curve], metric: str | None) -> None:
    ordered = sorted(curves.items(), key=lambda item: item[0] != metric)
    terms = list(dict.fromkeys(_term(name) for name, _ in ordered))
    for name, (steps, values) in ordered:
        axes.plot(
            steps, values, label=name, color=f"C{terms.index(_term(name))}",
            linestyle="--" if name.startswith("validation") else "-", linewidth=2.4 if name == metric else 1.3,
            marker="o" if len(steps) < 30 else None, markersize=3.5,
        )  # fmt: skip


def _term(curve: str) -> str:
    """The term of the loss that a curve is of: its training and validation curves share a colour."""
    return curve.removeprefix("training").removeprefix("validation")


def _mark_stages(axes: Axes, starts: Mapping[int, int]) -> None:
    if len(starts) < 2:
        return
    for stage, start in starts.items():
        if start:
            axes.axvline(start, color="0.8", linewidth=1)
        axes.annotate(
            f"stage {stage}", (start, 1.0), xycoords=("data", "axes fraction"), xytext=(3, 2),
            textcoords="offset points", fontsize="small", color="0.35",
        )  # fmt: skip
