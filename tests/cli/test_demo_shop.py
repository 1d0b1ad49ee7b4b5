"""The recommender of the demo shop that commands take without a model; test_demo.py trains one."""

from __future__ import annotations

from pathlib import Path

import pytest

from recformer_hf.cli import demo_shop
from recformer_hf.cli.commands import finetune


@pytest.mark.parametrize(
    ("finished", "taken"), [(["page"], "page"), (["hybrid"], "hybrid"), (["page", "hybrid"], "hybrid")]
)
def test_a_finished_one_is_taken(tmp_path, finished, taken, monkeypatch):
    monkeypatch.setattr(finetune, "train_for_page", lambda folder: pytest.fail("it is trained again"))
    for name in finished:
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").touch()
    assert demo_shop.demo_model(str(tmp_path)) == str(tmp_path / taken)


def test_otherwise_one_is_trained(tmp_path, monkeypatch, capsys):
    (tmp_path / "page").mkdir()  # begun, and not finished
    monkeypatch.setattr(finetune, "train_for_page", lambda folder: Path(folder, "page"))
    assert demo_shop.demo_model(str(tmp_path)) == str(tmp_path / "page")
    assert f"It is kept in {tmp_path}." in capsys.readouterr().out
