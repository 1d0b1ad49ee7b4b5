"""The tables of docs/results.md are those of their figures, and a difference is found."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from benchmarks import results_tables
from recformer_hf.baselines import Markov, Popularity
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.evaluation import paired_test, rank_protocols, ranking_report

DOCUMENT = """Before.

  <!-- table: cold_targets -->

  | an old table |
  |---|

  <!-- end of table -->

After | this | is | kept.
"""
FIGURES = {
    "cold_targets": [{"row": "one", "toys": [0.05, 0.067], "games": [0.2, 0.1]}, {"row": "other", "toys": [0, 1]}]
}


def run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["results_tables", *arguments])
    results_tables.main()


def test_the_committed_tables_are_those_of_the_committed_figures(monkeypatch):
    run(monkeypatch, "--check")


def test_a_changed_figure_is_found(monkeypatch, tmp_path):
    for document, figures in results_tables.DOCUMENTS.items():
        shutil.copytree(results_tables.DOCS, tmp_path / document)
        path = tmp_path / document / figures
        content = json.loads(path.read_text("utf-8"))
        next(iter(content.values()))[0]["scientific"]["kept"][0] += 0.001
        path.write_text(json.dumps(content), "utf-8")
        with pytest.raises(SystemExit, match=rf"A table of .*{document} differs from .*{figures}"):
            run(monkeypatch, "--check", "--docs", str(tmp_path / document))


def test_a_table_may_be_named_in_another_file(tmp_path):
    (tmp_path / "first.json").write_text(json.dumps({"domains": [{"row": "a"}], "cold_targets": []}))
    (tmp_path / "second.json").write_text(json.dumps({"recformer": "first.json#domains", "cold_items": [1]}))
    assert results_tables.tables_of(tmp_path / "second.json") == {"recformer": [{"row": "a"}], "cold_items": [1]}


def test_recformers_rows_are_those_after_the_blend():
    figures = {"kept": [0.1, 0.05, 0.15], "excluded": [0.2, 0.15, 0.25], "seconds": 3}
    rows = [
        {"row": name, "scientific": figures, "games": figures}
        for name in ("popularity", "**best blend of simple baselines**", "hybrid")
    ]
    assert results_tables.TABLES["recformer"](rows) == [
        ["NDCG@10, kept / excluded", "scientific", "seconds"], ["hybrid", ".1000 ±.0500 / .2000 ±.0500", "3"],
    ]  # fmt: skip


def test_every_table_of_the_document_has_figures():
    text = (results_tables.DOCS / "results.md").read_text("utf-8")
    rules = [line for line in text.splitlines() if line.strip().startswith("|---")]
    assert len(rules) == text.count("<!-- table: ")


def test_committed_figures_stay_small():
    assert sum(path.stat().st_size for path in (results_tables.DOCS / "results").iterdir()) <= 30_000


def test_a_table_is_replaced_where_it_stands():
    assert (
        results_tables.with_tables(DOCUMENT, FIGURES)
        == """Before.

  <!-- table: cold_targets -->

  | NDCG@10 of cold targets, kept / excluded | toys | games |
  |---|---|---|
  | one | .0500 / .0670 | .2000 / .1000 |
  | other | .0000 / 1.0000 | |

  <!-- end of table -->

After | this | is | kept.
"""
    )


def test_tables_are_written_once_and_then_left_alone(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(results_tables, "DOCUMENTS", {"a.md": "a.json", "b.md": "b.json"})
    for name in ("a", "b"):
        (tmp_path / f"{name}.md").write_text(DOCUMENT, "utf-8")
        (tmp_path / f"{name}.json").write_text(json.dumps(FIGURES), "utf-8")
    for said in ("Wrote the tables", "are those of"):
        run(monkeypatch, "--docs", str(tmp_path))
        assert capsys.readouterr().out.count(said) == 2
    for name in ("a", "b"):
        assert (tmp_path / f"{name}.md").read_text("utf-8") == results_tables.with_tables(DOCUMENT, FIGURES)


def test_figures_of_another_run_are_added(monkeypatch, tmp_path):
    monkeypatch.setattr(results_tables, "DOCUMENTS", {"a.md": "a.json"})
    (tmp_path / "a.md").write_text(DOCUMENT, "utf-8")
    (tmp_path / "a.json").write_text(json.dumps(FIGURES), "utf-8")
    new = [{"row": "new", "beauty": [0.3, 0.3]}, {"row": "one", "toys": [0.06, 0.07], "beauty": [0.1, 0.2]}]
    (tmp_path / "new.json").write_text(json.dumps({"cold_targets": new}))
    run(monkeypatch, "--docs", str(tmp_path), "--add", str(tmp_path / "new.json"))
    one, other, last = json.loads((tmp_path / "a.json").read_text())["cold_targets"]
    assert one == {"row": "one", "toys": [0.06, 0.07], "games": [0.2, 0.1], "beauty": [0.1, 0.2]}
    assert (other, last) == (FIGURES["cold_targets"][1], new[0])
    table = results_tables.cold_targets([one, other, last])
    assert table[0] == ["NDCG@10 of cold targets, kept / excluded", "toys", "games", "beauty"]
    assert f"| {' | '.join(table[1])} |" in (tmp_path / "a.md").read_text("utf-8")
    (tmp_path / "new.json").write_text(json.dumps({"other": new}))
    with pytest.raises(SystemExit, match="has the table other, which no document has"):
        run(monkeypatch, "--docs", str(tmp_path), "--add", str(tmp_path / "new.json"))


def test_a_row_of_differences_is_known_by_its_domain_too():
    known = [{"difference": "a", "domain": "toys", "kept": 1}, {"difference": "b", "domain": "toys", "kept": 2}]
    found = [{"difference": "a", "domain": "games", "kept": 3}, {"difference": "b", "domain": "toys", "kept": 4}]
    rows = results_tables.added(known, found)
    assert rows == [known[0], found[0], found[1]]


@pytest.mark.parametrize(
    ("document", "figures"),
    [
        (DOCUMENT, {}),
        ("No table.", FIGURES),
        (DOCUMENT * 2, FIGURES),
        (DOCUMENT.replace("cold_targets", "x"), {"x": []}),
    ],
)
def test_a_missing_or_unknown_table_is_an_error(document, figures):
    with pytest.raises(ValueError, match="expected the same names"):
        results_tables.with_tables(document, figures)


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.0171, ".0171"), (-0.0023, "-.0023"), (-0.0, "-.0000"), (1.0, "1.0000"), (10.05, "10.0500")],
)
def test_a_number_has_four_digits_and_no_zero_in_front(value: float, written: str):
    assert results_tables.number(value) == written


@pytest.mark.parametrize(("value", "written"), [(0.0001, ".0001"), (0.035, ".035"), (0.88, ".88"), (1.0, "1")])
def test_a_p_value_has_two_digits(value: float, written: str):
    assert results_tables.p_value(value) == written


def test_domains_have_half_intervals_and_all_times():
    found = {"kept": [0.1, 0.09, 0.112], "excluded": [0.2, 0.19, 0.21], "seconds": 1200}
    rows = [{"row": "a", "toys": found, "games": {**found, "seconds": None}}, {"row": "b", "games": found}]
    assert results_tables.domains(rows) == [
        ["NDCG@10, kept / excluded", "toys", "games", "seconds"],
        ["a", ".1000 ±.0110 / .2000 ±.0100", ".1000 ±.0110 / .2000 ±.0100", "1,200"],
        ["b", "", ".1000 ±.0110 / .2000 ±.0100", "1,200"],
    ]


def test_differences_of_domains_have_signs():
    row = {
        "difference": "a minus b",
        "domain": "toys",
        "kept": [0.01, 0.0, 0.02, 0.1],
        "excluded": [-0.01, -0.02, 0, 1],
    }
    assert results_tables.differences_of_domains([row])[1] == [
        "a minus b", "toys", "+.0100 [+.0000, +.0200]", "-.0100 [-.0200, +.0000]",
    ]  # fmt: skip


def test_differences_have_signs():
    rows = [{"difference": "b minus a", "kept": [0.004, 0.0002, 0.008, 0.043], "excluded": [-0.0, -0.001, 0.001, 0.9]}]
    assert results_tables.differences(rows)[1:] == [
        ["b minus a", "kept", "+.0040 [+.0002, +.0080]", ".043"],
        ["", "excluded", "-.0000 [-.0010, +.0010]", ".9"],
    ]


def test_rows_are_made_of_reports_and_tests():
    dataset = load_demo_domain("kitchen", num_users=60, num_items=60)
    rankings = {
        name: rank_protocols(scorer.fit(dataset), dataset.test)
        for name, scorer in (("m", Markov()), ("p", Popularity()))
    }
    reports = {kind: ranking_report(ranking, dataset, dataset.test) for kind, ranking in rankings["m"].items()}
    row = results_tables.test_split_row("m", reports)
    low, high = reports["kept"]["overall"]["intervals"]["ndcg@10"]
    assert row["kept"]["ndcg@10"] == pytest.approx([rankings["m"]["kept"].metrics()["ndcg@10"], low, high], abs=5e-5)
    assert row["excluded"]["mrr"] == pytest.approx(rankings["m"]["excluded"].metrics()["mrr"], abs=5e-5)
    assert len(results_tables.test_split([row])) == 3
    tests = {kind: paired_test(rankings["m"][kind], rankings["p"][kind]) for kind in results_tables.PROTOCOLS}
    row = results_tables.differences_row("m minus p", tests)
    assert row["kept"][0] == pytest.approx(tests["kept"]["difference"], abs=5e-5)
    assert row["excluded"][3] == round(tests["excluded"]["p_value"], 4)
    assert len(results_tables.differences([row])) == 3


def test_a_group_without_users_has_an_empty_cell():
    group = {"users": 2, "misses": 0, "metrics": {"ndcg@10": 0.5, "recall@10": 1.0, "mrr": 0.25}}
    overall = group | {"intervals": {"ndcg@10": [0.4, 0.6]}}
    report = {"overall": overall, "in_set": group, "cold": {"users": 0, "misses": 0}}
    row = results_tables.test_split_row("m", {"kept": report, "excluded": report})
    assert results_tables.test_split([row])[1] == ["m", "kept", ".5000 [.4000, .6000]", "1.0000", ".2500", ".5000", ""]


def test_neural_baselines_have_costs_and_settings():
    found = {"kept": [0.1, 0.09, 0.112], "excluded": [0.2, 0.19, 0.21]}
    rows = [
        {"row": "a", "toys": found, "games": found},
        {"row": "b", "settings": "b width=2", "toys": {**found, "seconds": 1200, "parameters": 3000}},
    ]
    rows[1]["games"] = {**found, "seconds": 7, "parameters": 5}
    rows.append({"row": "c", "settings": "c", "games": {**found, "seconds": 8, "parameters": 6}})
    half = ".1000 ±.0110 / .2000 ±.0100"
    assert results_tables.neural_baselines(rows) == [
        ["NDCG@10, kept / excluded", "toys", "games", "CPU seconds", "parameters", "settings"],
        ["a", half, half, "", "", ""],
        ["b", half, half, "1,200; 7", "3,000; 5", "`b width=2`"],
        ["c", "", half, "–; 8", "–; 6", "`c`"],
    ]
