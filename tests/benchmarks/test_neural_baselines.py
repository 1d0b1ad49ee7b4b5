"""The study of the neural baselines: validation chooses settings, and the test split is read once for each row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import neural_baselines
from benchmarks.results_tables import TABLES
from benchmarks.study import Study
from recformer_hf.baselines import NEURAL, Popularity, SASRec
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.evaluation import rank_protocols, ranking_report

DATASET = load_demo_domain("kitchen", num_users=40, num_items=60)


class Recorded(Study):
    """Writes down commands instead of running them. A wider baseline is a better one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "data", "the-encoder", 128)
        self.commands: list[tuple[str, tuple[str, ...]]] = []

    def run(self, name: str, result: str, *command: str) -> Path:
        folder = self.folder / name
        if not folder.is_dir():
            self.commands.append((name, command))
            self.seconds[name], self.cpu_seconds[name] = 9.0, 4.4
            folder.mkdir()
            if name.startswith("test-"):
                self._rank(folder, [*neural_baselines.SIMPLE] if name.endswith("simple") else ["model"])
            else:
                figure = 0.2 if neural_baselines.WIDER in command else 0.1
                (folder / "metrics.json").write_text(json.dumps({"validation": {"metrics": {"ndcg@10": figure}}}))
        return folder

    def without_test(self, dataset: Path) -> Path:
        return dataset

    def _rank(self, folder: Path, scorers: list[str]) -> None:
        rankings = rank_protocols(Popularity().fit(DATASET), DATASET.test)
        reports = {each: ranking_report(ranking, DATASET, DATASET.test) for each, ranking in rankings.items()}
        content = {f"{scorer}-{each}": report for scorer in scorers for each, report in reports.items()}
        (folder / "metrics.json").write_text(json.dumps({"rankings": content}))


@pytest.fixture
def neural(tmp_path) -> neural_baselines.Neural:
    return neural_baselines.Neural(Recorded(tmp_path), ["--use_cpu", "true"])


def test_validation_chooses_and_the_test_split_is_read_once(neural) -> None:
    study = neural.study
    setting = neural.chosen("toys", "sasrec")
    assert setting == [neural_baselines.WIDER, "dropout=0.5"]
    assert study.read("validation.json") == {
        "toys-sasrec": {"dropout=0.5": 0.1, "hidden_size=128 dropout=0.5": 0.2},
    }
    assert not [name for name, _ in study.commands if name.startswith("test-")]
    SASRec(num_items=60, hidden_size=16).save_pretrained(neural.run_of("toys", "sasrec", setting))
    table = neural_baselines.table_of(neural, ["toys"], ["sasrec"], {"sasrec": setting})
    read = [name for name, _ in study.commands if name.startswith("test-")]
    assert read == ["test-toys-simple", "test-toys-sasrec-hidden_size128-dropout0.5"]
    row = table[-1]
    assert (row["row"], row["settings"]) == ("SASRec", "sasrec hidden_size=128 dropout=0.5")
    model = SASRec(num_items=60, hidden_size=16)
    assert row["toys"]["parameters"] == sum(weight.numel() for weight in model.parameters())
    assert row["toys"]["seconds"] == 4
    assert len(TABLES["neural_baselines"](table)) == 1 + len(neural_baselines.SIMPLE) + 1


def test_the_text_encoder_is_in_the_command_but_not_in_the_name(neural) -> None:
    folder = neural.run_of("toys", "zesrec", neural_baselines.ROWS["zesrec"][2][1])
    assert folder.name == "toys-zesrec-whitening0.5"
    command = neural.study.commands[-1][1]
    assert command[-5:] == ("--use_cpu", "true", "--settings", "text_encoder=the-encoder", "whitening=0.5")


def test_settings_are_those_of_an_earlier_run(tmp_path) -> None:
    rows = [
        {"row": "popularity", "toys": {}},
        {"row": "SASRec", "settings": "sasrec hidden_size=128 dropout=0.5"},
        {"row": "UniSRec, text", "settings": "unisrec"},
    ]
    (tmp_path / "tables.json").write_text(json.dumps({"neural_baselines": rows}))
    assert neural_baselines.settings_of(str(tmp_path / "tables.json")) == {
        "sasrec": ["hidden_size=128", "dropout=0.5"], "unisrec": [neural_baselines.TEXT_ENCODER],
    }  # fmt: skip
    assert neural_baselines.settings_of(None) == {}


@pytest.mark.parametrize("row", neural_baselines.ROWS)
def test_every_setting_of_the_grid_is_one_of_its_baseline(row: str) -> None:
    _, baseline, grid = neural_baselines.ROWS[row]
    known = NEURAL[baseline].config_class.__dataclass_fields__
    assert 1 < len(grid) <= 6
    assert {pair.partition("=")[0] for setting in grid for pair in setting} <= set(known)
