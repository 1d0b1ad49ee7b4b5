"""The results of a run on its card: tables for readers, and a `model-index` for the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult

from ...evaluation.ranking import protocol_of
from .card_text import metric_title, number, percent, plain, table

PROTOCOLS = {
    "history_kept": "Items of the user's own history stay candidates (the paper's protocol).",
    "history_excluded": "Items of the user's own history are not candidates; a target among them counts as a miss.",
}
TIES = {"average": "the mean of their places", "optimistic": "the best of their places", "pessimistic": "the worst"}


def eval_results(metrics: Mapping[str, Any], dataset: str, dataset_id: str | None) -> list[EvalResult]:
    """Metrics over all test users, in both protocols, as the Hub stores them.

    Args:
        metrics: content of `metrics.json`.
        dataset: name of the dataset.
        dataset_id: Hub id of the dataset; `None` if it has none.
    """
    return [
        EvalResult(
            task_type="sequential-recommendation",
            task_name="Sequential recommendation, whole catalogue ranked",
            # The Hub requires an id, even of a dataset that it does not have.
            dataset_type=dataset_id or dataset.lower().replace(" ", "-"),
            dataset_name=dataset,
            dataset_split="test",
            metric_type=name,
            metric_name=f"{metric_title(name)} ({protocol.replace('_', ' ')})",
            metric_value=round(value, 6),
        )
        for protocol, report in metrics.get("test", {}).items()
        for name, value in report["overall"]["metrics"].items()
    ]


def test_results(metrics: Mapping[str, Any]) -> list[str]:
    """Paragraphs on the test split: the protocol in words, and a table for each treatment of the history."""
    test: Mapping[str, Any] = metrics["test"]
    users = test["history_kept"]["overall"]["users"]
    misses = test["history_excluded"]["overall"]["misses"] / users
    shown = test["history_kept"]["recommendations"]
    paragraphs = [
        "Test split, one target per user, ranked among the whole catalogue. A target that scores the same as other "
        f"items takes {TIES[metrics['ties']]}. *In-set* targets occur in training, *cold* targets do not. Brackets "
        "hold 95 % bootstrap intervals over users."
    ]
    for protocol, report in test.items():
        name = protocol.replace("_", " ").capitalize()
        share = f" This applies to {percent(misses)} of the users." if protocol == "history_excluded" else ""
        paragraphs += [f"**{name}.** {PROTOCOLS[protocol]}{share}", metrics_table(report)]
    paragraphs.append(
        f"With the history kept, {percent(shown['catalog_coverage'])} of the catalogue appears in at least one user's "
        f"top {shown['top_k']}. `metrics.json` also has the metrics by length of the history and by popularity of the "
        "target; `test-*.npz` have every user's rank."
    )
    return paragraphs


def metrics_table(report: Mapping[str, Any]) -> str:
    """A table with a row for each metric, and columns for all users, in-set targets and cold targets.

    A group without users has no column.

    Args:
        report: result of [`ranking_report`].
    """
    groups = {"all": report["overall"], "in-set": report["in_set"], "cold": report["cold"]}
    groups = {name: group for name, group in groups.items() if group["users"]}

    def cell(group: Mapping[str, Any], metric: str) -> str:
        low, high = group["intervals"][metric]
        return f"{group['metrics'][metric]:.4f} [{low:.4f}, {high:.4f}]"

    header = ["", *(f"{name} ({group['users']:,} users)" for name, group in groups.items())]
    rows = [
        [metric_title(metric), *(cell(group, metric) for group in groups.values())]
        for metric in report["overall"]["metrics"]
    ]
    return table(header, rows)


def validation_results(metrics: Mapping[str, Any]) -> list[str]:
    """A paragraph on the weights that validation chose; empty if it chose none."""
    validation = metrics.get("validation")
    if not validation:
        return []
    # The log has the zero-shot metrics of the chosen step too; they have a table of their own.
    zero_shot = {name for row in metrics.get("zero_shot", []) for name in row}
    values = ", ".join(
        f"{metric_title(name)} {value:.4f}" for name, value in validation["metrics"].items() if name not in zero_shot
    )
    what = f"Validation on {plain(validation['dataset'])}" if "dataset" in validation else "Validation"
    stage = f"stage {validation['stage']}, " if "stage" in validation else ""
    by = validation["chosen_by"]
    by = f", the best {metric_title(by.removeprefix('eval_'))}" if by else ""
    history = {True: ", history excluded", False: ", history kept"}.get(validation.get("exclude_history"), "")
    sample = validation.get("sample")
    sample = f", on a sample of {sample['users']:,} of {sample['of']:,} users" if sample else ""
    point = f"{stage}step {validation['step']:,}{by}{history}{sample}"
    return [f"{what}, with the resulting weights ({point}): {values or 'not evaluated'}."]


def zero_shot_results(metrics: Mapping[str, Any]) -> list[str]:
    """A table of the encoder's zero-shot metrics at the first evaluation and with the resulting weights."""
    rows = {row["step"]: row for row in metrics.get("zero_shot", [])}
    if not rows:
        return []
    # Without a choice the last weights are the result.
    chosen = metrics.get("validation", {}).get("step", max(rows))
    steps = sorted({min(rows), chosen if chosen in rows else max(rows)})
    names = [name for name in rows[steps[-1]] if name not in ("step", "epoch", "history")]
    cells = [[plain(name), *(number(rows[step].get(name)) for step in steps)] for name in names]
    history, ties = "", ""
    if protocol := metrics.get("zero_shot_protocol"):  # missing in metrics.json of older versions
        history = f", history {protocol_of(protocol['exclude_history'])}"
        ties = f" A target that scores the same as other items takes {TIES[protocol['ties']]}."
    return [
        f"Zero-shot: the whole catalogue ranked with nothing finetuned{history}, at the first evaluation and with the "
        f"resulting weights.{ties}\n\n" + table(["", *(f"step {step:,}" for step in steps)], cells)
    ]
