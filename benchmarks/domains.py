"""Every row of docs/results.md on real domains: simple baselines, and Recformer with the recipe `hybrid` and its parts.

    python -m benchmarks.domains --folders data --text_encoder all-MiniLM-L6-v2 --output_dir outputs/domains
    python -m benchmarks.domains ... --domains scientific --rows simple hybrid     # some; run it again to resume

`--folders` has one folder for each domain, in the layout of the public replication. Nothing is tuned for a domain:
every run has the defaults of its recipe. Training sees a copy of the dataset without a test split, and the test split
is read once for each row. Every command is one of `examples/`, and is written to `commands.txt`. Beside it are the
rankings, `results.json`, and `tables.json` with the figures of three tables, which
`python -m benchmarks.results_tables --add` adds to docs/results.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.results_tables import PROTOCOLS, TABLES, differences_row, markdown
from benchmarks.study import Study, domain_parser, machine, reports_of, study_of
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
        run = study.finetuned_run(name, study.warm(), study.without_test(dataset), *recipe, *options)
        alone = not row.startswith("text-only")
        scorers = ["--model", str(run), *(["--without_memory", "true"] if alone else [])]
        folder = study.ranked(name, dataset, *scorers)
        seconds = study.cpu_seconds.get(name, study.seconds[name])
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
                difference = f"{row.name.strip('*')} minus the best blend"
                differences.append({"domain": domain} | differences_row(difference, tests))
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
    parser = domain_parser(__doc__, DOMAINS)
    parser.add_argument("--rows", nargs="+", choices=["simple", *TRAINED], default=["simple", "text-only", "hybrid"])
    arguments = parser.parse_args()
    study = study_of(arguments)
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
