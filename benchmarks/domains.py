"""Every row of docs/results.md on real domains: simple baselines, and Recformer with the recipe `hybrid` and its parts.

    python -m benchmarks.domains --folders data --text_encoder all-MiniLM-L6-v2 --output_dir outputs/domains
    python -m benchmarks.domains ... --domains scientific --rows simple hybrid     # some; run it again to resume

`--folders` has one folder for each domain, in the layout of the public replication. Nothing is tuned for a domain:
every run has the defaults of its recipe. Training sees a copy of the dataset without a test split, and the test split
is read once for each row. Every command is one of `examples/`, and is written to `commands.txt`. Beside it are the
rankings, `results.json`, and `tables.json` with the figures of three tables of docs/results/tables.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.results_tables import PROTOCOLS, TABLES, markdown
from benchmarks.study import EXAMPLES, Study, machine, reports_of
from recformer_hf.evaluation import Ranking, paired_test

DOMAINS = ("scientific", "toys", "beauty", "games")
SIMPLE = {
    "popularity": "popularity",
    "markov": "first-order Markov",
    "last_item_text": "last-item text (TF-IDF)",
    "text_neighbours": "text neighbours (TF-IDF)",
    "cooccurrence": "co-occurrence",
    "blend": "**best blend of simple baselines**",
}
TEXT_ONLY = ("--item_residuals", "false", "--memory", "false")
TRAINED = {
    "text-only": (
        "text alone: no residuals, no memory",
        ["--recipe", "hybrid", *TEXT_ONLY],
    ),
    "text-only-trained": (
        "text alone, text encoder trained",
        ["--recipe", "hybrid-text", *TEXT_ONLY],
    ),
    "hybrid": ("**hybrid (two-level)**", ["--recipe", "hybrid"]),
    "hybrid-text": ("**hybrid, text encoder trained**", ["--recipe", "hybrid-text"]),
    "hybrid-flat": ("**hybrid, flat**", ["--recipe", "hybrid-flat"]),
}
"""The name in the table, and the options of `examples/finetune.py`."""


class Row:
    """A row of the tables on one domain.

    Args:
        name: as in the table.
        folder: of the rankings and reports.
        scorer: name of the scorer in that folder.
        seconds: of fitting or training.
    """

    def __init__(self, name: str, folder: Path, scorer: str, seconds: float | None) -> None:
        self.name, self.folder, self.scorer, self.seconds = name, folder, scorer, seconds
        self.reports = {protocol: reports_of(folder)[f"{scorer}-{protocol}"] for protocol in PROTOCOLS}
        self.rankings = {protocol: Ranking.load(folder / f"{scorer}-{protocol}.npz") for protocol in PROTOCOLS}


def rows_of(study: Study, domain: str, wanted: list[str], options: list[str]) -> list[Row]:
    """Run the missing steps of a domain, and return its rows."""
    dataset = study.dataset(domain)
    rows = []
    if "simple" in wanted:
        name = f"{domain}-simple"
        folder = study.ranked(name, dataset, "--baselines", *SIMPLE)
        rows += [Row(shown, folder, scorer, None) for scorer, shown in SIMPLE.items()]
    for row, (shown, recipe) in TRAINED.items():
        if row not in wanted:
            continue
        name = f"{domain}-{row}"
        run = study.run(
            name, "metrics.json", str(EXAMPLES / "finetune.py"), "--model", str(study.warm()),
            "--dataset", str(study.without_test(dataset)), "--output_dir", str(study.folder / name),
            "--resume_from_checkpoint", "true", *recipe, *options,
        )  # fmt: skip
        alone = not row.startswith("text-only")
        scorers = ["--model", str(run), *(["--without_memory", "true"] if alone else [])]
        folder = study.ranked(name, dataset, *scorers)
        seconds = study.seconds[name]
        if alone:
            rows.append(Row(f"{shown.strip('*')} without memory", folder, "model_without_memory", seconds))
        rows.append(Row(shown, folder, "model", seconds))
    return rows


def figures_of(rows: dict[str, list[Row]]) -> dict[str, list[dict[str, Any]]]:
    """The figures of both tables, from the rows of each domain."""
    table: dict[str, dict[str, Any]] = {}
    cold: dict[str, dict[str, Any]] = {}
    differences = []
    for domain, found in rows.items():
        for row in found:
            table.setdefault(row.name, {"row": row.name})[domain] = {
                **{protocol: values(row.reports[protocol]) for protocol in PROTOCOLS},
                "seconds": None if row.seconds is None else round(row.seconds),
            }
            if row.reports["kept"]["cold"]["users"]:
                cold.setdefault(row.name, {"row": row.name})[domain] = [_cold(row.reports[each]) for each in PROTOCOLS]
        blend = next((row for row in found if row.scorer == "blend"), None)
        for row in found if blend is not None else []:
            if row.scorer == "model" and "hybrid" in row.name:
                tests = {each: paired_test(row.rankings[each], blend.rankings[each]) for each in PROTOCOLS}  # type: ignore[union-attr]
                differences.append({
                    "difference": f"{row.name.strip('*')} minus the best blend", "domain": domain,
                    **{each: [round(test[key], 4) for key in ("difference", "low", "high", "p_value")]
                       for each, test in tests.items()},
                })  # fmt: skip
    return {
        "domains": list(table.values()), "differences_of_domains": differences, "cold_targets": list(cold.values())
    }  # fmt: skip


def values(report: dict[str, Any]) -> list[float]:
    """NDCG@10 and the bounds of its interval."""
    overall = report["overall"]
    return [round(each, 4) for each in (overall["metrics"]["ndcg@10"], *overall["intervals"]["ndcg@10"])]


def _cold(report: dict[str, Any]) -> float | None:
    found = report["cold"].get("metrics", {}).get("ndcg@10")
    return None if found is None else round(found, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", required=True, help="folder with one folder for each domain")
    parser.add_argument("--text_encoder", required=True, help="folder or Hub id of the encoder to start from")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--domains", nargs="+", default=list(DOMAINS))
    parser.add_argument("--rows", nargs="+", choices=["simple", *TRAINED], default=["simple", "text-only", "hybrid"])
    parser.add_argument("--max_token_num", type=int, default=128)
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="more options of examples/finetune.py")
    arguments = parser.parse_args()
    study = Study(arguments.output_dir, arguments.folders, arguments.text_encoder, arguments.max_token_num)
    rows = {domain: rows_of(study, domain, arguments.rows, arguments.options) for domain in arguments.domains}
    figures = figures_of(rows)
    study.write("tables.json", figures)
    study.write("results.json", {
        "settings": vars(arguments), "seconds": study.seconds, **machine(),
        "rows": {domain: {row.name: row.reports for row in found} for domain, found in rows.items()},
    })  # fmt: skip
    print("\n\n".join("\n".join(markdown(TABLES[name](figures[name]))) for name in figures))


if __name__ == "__main__":
    main()
