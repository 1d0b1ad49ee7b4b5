"""Write the tables of docs/results.md and docs/baselines.md from their figures in docs/results/.

    python -m benchmarks.results_tables             # after a change of the figures: write the tables anew
    python -m benchmarks.results_tables --check     # fail if a table differs from its figures
    python -m benchmarks.results_tables --add outputs/domains/tables.json    # new figures, then the tables

A table stands between `<!-- table: NAME -->` and `<!-- end of table -->`, at any indentation, and nothing else in the
document is touched. The figures are those that `examples/evaluate.py` and the programs of `benchmarks/experiments/`
write, rounded to the digits shown; docs/results.md has the command of every row.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recformer_hf.evaluation.report import PairedTest, RankingReport

DOCS = Path(__file__).parents[1] / "docs"
DOCUMENTS = {"results.md": "results/tables.json", "baselines.md": "results/neural_baselines.json"}
"""Each document with the file of its figures, in docs/."""

PROTOCOLS = ("kept", "excluded")

Figures = Any
"""The JSON of one table, a list of rows. The function of the table shows their keys."""

_TABLE = re.compile(
    r"^(?P<indent> *)<!-- table: (?P<name>\w+) -->\n(?P<table>.*?)^ *<!-- end of table -->$", re.MULTILINE | re.DOTALL
)


def test_split_row(row: str, reports: dict[str, RankingReport]) -> dict[str, Any]:
    """The figures of one row of `test_split`, from a report under each protocol."""
    figures: dict[str, Any] = {"row": row}
    for protocol, report in reports.items():
        metrics, bounds = report["overall"]["metrics"], report["overall"]["intervals"]["ndcg@10"]
        groups = {group: report[group].get("metrics", {}).get("ndcg@10") for group in ("in_set", "cold")}
        found = {"recall@10": metrics["recall@10"], "mrr": metrics["mrr"], **groups}
        figures[protocol] = {
            "ndcg@10": [round(value, 4) for value in (metrics["ndcg@10"], *bounds)],
            **{name: None if value is None else round(value, 4) for name, value in found.items()},
        }
    return figures


def differences_row(difference: str, tests: dict[str, PairedTest]) -> dict[str, Any]:
    """The figures of one row of `differences`, from a paired test under each protocol."""
    figures = {protocol: [*interval_of(test), round(test["p_value"], 4)] for protocol, test in tests.items()}
    return {"difference": difference, **figures}


def interval_of(test: PairedTest) -> list[float]:
    """The difference of a paired test and the bounds of its interval, as figures."""
    return [round(each, 4) for each in (test["difference"], test["low"], test["high"])]


def number(value: float | None, digits: int = 4, sign: bool = False) -> str:
    """`.0171`, `+.0040`: without the zero in front; empty if there are no users to take a mean over."""
    if value is None:
        return ""
    return _without_zero(f"{value:{'+' if sign else ''}.{digits}f}")


def with_interval(figures: list[float], digits: int = 4, sign: bool = False) -> str:
    """`.0171 [.0147, .0192]` from a value and the bounds of its interval."""
    value, low, high = (number(each, digits, sign) for each in figures)
    return f"{value} [{low}, {high}]"


def p_value(value: float) -> str:
    """Two significant digits, as many as 9,999 random draws are good for."""
    return _without_zero(f"{value:.2g}")


def _without_zero(figure: str) -> str:
    return re.sub(r"^([+-]?)0\.", r"\1.", figure)


def test_split(rows: Figures) -> list[list[str]]:
    table = [["row", "history", "NDCG@10 [95 %]", "Recall@10", "MRR", "NDCG@10 in-set", "cold"]]
    for row in rows:
        for protocol in PROTOCOLS:
            found = row[protocol]
            others = [number(found[name]) for name in ("recall@10", "mrr", "in_set", "cold")]
            name = row["row"] if protocol == PROTOCOLS[0] else ""
            table.append([name, protocol, with_interval(found["ndcg@10"]), *others])
    return table


def differences(rows: Figures) -> list[list[str]]:
    table = [["difference in NDCG@10", "history", "mean [95 %]", "p"]]
    for row in rows:
        for protocol in PROTOCOLS:
            *interval, p = row[protocol]
            name = row["difference"] if protocol == PROTOCOLS[0] else ""
            table.append([name, protocol, with_interval(interval, sign=True), p_value(p)])
    return table


def domains(rows: Figures) -> list[list[str]]:
    """NDCG@10 of every row on every domain, with the half of its 95 % interval, and the longest time that it took."""
    names = list(dict.fromkeys(name for row in rows for name in row if name not in ("row", "seconds")))
    table = [["NDCG@10, kept / excluded", *names, "seconds"]]
    for row in rows:
        cells = [
            " / ".join(_with_half(row[name][protocol]) for protocol in PROTOCOLS) if name in row else ""
            for name in names
        ]
        seconds = [row[name]["seconds"] for name in names if name in row and row[name]["seconds"] is not None]
        table.append([row["row"], *cells, "; ".join(f"{each:,}" for each in seconds)])
    return table


def neural_baselines(rows: Figures) -> list[list[str]]:
    """NDCG@10 of every baseline on every domain, with the half of its 95 % interval, and what training it took."""
    names = list(dict.fromkeys(name for row in rows for name in row if name not in ("row", "settings")))
    table = [["NDCG@10, kept / excluded", *names, "CPU seconds", "parameters", "settings"]]
    for row in rows:
        cells = [
            " / ".join(_with_half(row[name][protocol]) for protocol in PROTOCOLS) if name in row else ""
            for name in names
        ]
        others = [
            "; ".join(f"{row[name][key]:,}" if name in row else "–" for name in names) if "settings" in row else ""
            for key in ("seconds", "parameters")
        ]
        table.append([row["row"], *cells, *others, f"`{row['settings']}`" if "settings" in row else ""])
    return table


def recformer(rows: Figures) -> list[list[str]]:
    """The rows of `domains` that are Recformers, on the domains of the neural baselines."""
    simple = next(number for number, row in enumerate(rows) if "blend" in row["row"]) + 1
    return domains([{name: row[name] for name in row if name != "games"} for row in rows[simple:]])


def cold_targets(rows: Figures) -> list[list[str]]:
    """NDCG@10 of the users whose target training has not seen."""
    names = list(dict.fromkeys(name for row in rows for name in row if name != "row"))
    table = [["NDCG@10 of cold targets, kept / excluded", *names]]
    for row in rows:
        table.append([row["row"], *(" / ".join(map(number, row[name])) if name in row else "" for name in names)])
    return table


def cold_items(rows: Figures) -> list[list[str]]:
    """NDCG@10 of the test users of a cold-item split: those with a held-out target, and the others."""
    names = [name for name in rows[0] if name != "row"]
    parts = {"cold": "held-out targets", "in_set": "others"}
    heads = [f"{name}, {shown}" for name in names for shown in parts.values()]
    table = [["NDCG@10, kept / excluded", *heads]]
    for row in rows:
        cells = [
            " / ".join(number(value) for value, *_ in row[name][part]) if name in row else ""
            for name in names
            for part in parts
        ]
        table.append([row["row"], *cells])
    return table


def differences_of_domains(rows: Figures) -> list[list[str]]:
    table = [["difference in NDCG@10", "domain", "kept [95 %]", "excluded [95 %]"]]
    for row in rows:
        intervals = [with_interval(row[protocol][:3], sign=True) for protocol in PROTOCOLS]
        table.append([row["difference"], row["domain"], *intervals])
    return table


def _with_half(figures: list[float]) -> str:
    value, low, high = figures
    return f"{number(value)} ±{number((high - low) / 2)}"


TABLES: dict[str, Callable[[Figures], list[list[str]]]] = {
    "domains": domains,
    "neural_baselines": neural_baselines,
    "differences_of_domains": differences_of_domains,
    "recformer": recformer,
    "cold_targets": cold_targets,
    "cold_items": cold_items,
    "test_split": test_split,
    "differences": differences,
}


def markdown(table: list[list[str]]) -> list[str]:
    lines = [re.sub(r"\|  (?=\|)", "| ", f"| {' | '.join(cells)} |") for cells in table]
    return [lines[0], "|" + "---|" * len(table[0]), *lines[1:]]


def with_tables(text: str, figures: dict[str, Figures]) -> str:
    """The document with every table written from its figures.

    Raises:
        ValueError: if the document's tables are not those of the figures, each once.
    """
    found = [match["name"] for match in _TABLE.finditer(text)]
    if sorted(found) != sorted(figures) or set(figures) - set(TABLES):
        raise ValueError(
            f"The document has the tables {found}, and the figures are of {list(figures)}; expected the same names, "
            f"each once, among {list(TABLES)}."
        )

    def written(match: re.Match[str]) -> str:
        lines = markdown(TABLES[match["name"]](figures[match["name"]]))
        lines = [f"<!-- table: {match['name']} -->", "", *lines, "", "<!-- end of table -->"]
        return "\n".join(f"{match['indent']}{line}".rstrip() for line in lines)

    return _TABLE.sub(written, text)


def tables_of(path: Path) -> dict[str, Figures]:
    """The figures of a file. Instead of its figures, a table may have the name of another file beside it, with them:
    `"tables.json#domains"`."""
    content: dict[str, Figures] = json.loads(path.read_text("utf-8"))
    for name, figures in content.items():
        if isinstance(figures, str):
            file, _, table = figures.partition("#")
            content[name] = json.loads(path.with_name(file).read_text("utf-8"))[table]
    return content


def added(known: Figures, found: Figures) -> Figures:
    """The rows of a table with those of another run: of a row that is in both, what the run has replaces what is known.

    A row is known by its name, and in a table of differences by its domain too.
    """
    rows = [dict(row) for row in known]
    for row in found:
        name = row.get("row", row.get("difference"))
        named = [place for place, old in enumerate(rows) if name in (old.get("row"), old.get("difference"))]
        same = next((place for place in named if rows[place].get("domain") == row.get("domain")), None)
        if same is not None:
            rows[same] |= row
        else:
            rows.insert(named[-1] + 1 if named else len(rows), dict(row))
    return rows


def add(file: Path, docs: Path) -> None:
    """Adds the figures of a file to those in docs/results/.

    Raises:
        ValueError: for a table that no document has.
    """
    new: dict[str, Figures] = json.loads(file.read_text("utf-8"))
    for name, found in new.items():
        paths = [docs / each for each in DOCUMENTS.values()]
        path = next((path for path in paths if isinstance(json.loads(path.read_text("utf-8")).get(name), list)), None)
        if path is None:
            raise ValueError(f"{file} has the table {name}, which no document has.")
        content = json.loads(path.read_text("utf-8"))
        content[name] = added(content[name], found)
        path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def written(document: Path, figures: Path, check: bool) -> str:
    """Writes the tables of one document, or only compares them; returns what was done.

    Raises:
        ValueError: if `check` finds a table that differs; see [`with_tables`] too.
    """
    before = document.read_text("utf-8")
    after = with_tables(before, tables_of(figures))
    if after == before:
        return f"The tables of {document} are those of {figures}."
    if check:
        raise ValueError(
            f"A table of {document} differs from {figures}. Change the figures there, then run "
            "python -m benchmarks.results_tables."
        )
    document.write_text(after, "utf-8")
    return f"Wrote the tables of {document}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the documents and of their figures")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with status 1 if a table differs")
    parser.add_argument("--add", type=Path, help="tables.json of a run, whose figures are added first")
    arguments = parser.parse_args()
    try:
        if arguments.add is not None:
            add(arguments.add, arguments.docs)
        for document, figures in DOCUMENTS.items():
            print(written(arguments.docs / document, arguments.docs / figures, arguments.check))
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
