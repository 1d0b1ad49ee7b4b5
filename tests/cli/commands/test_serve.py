"""recformer serve: what it passes on. The service itself is tested in tests/serving/."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="needs the extra [serve]")

from recformer_hf.serving import serve as serving


@pytest.fixture
def served(monkeypatch):
    calls = []
    monkeypatch.setattr(serving, "serve", lambda model, limits, **options: calls.append((model, limits, options)))
    return calls


def test_options_are_those_of_the_service(script, served, folders):
    command = [
        "--model",
        str(folders / "shop"),
        "--port",
        "0",
        "--max_top_k",
        "7",
        "--changes",
        "x",
        "--dtype",
        "float32",
    ]
    script.main(command)
    ((model, limits, options),) = served
    assert model == str(folders / "shop")
    assert limits.max_top_k == 7
    assert options == {
        "host": "127.0.0.1", "port": 0, "changes": "x", "admin_token_file": None, "dtype": "float32",
    }  # fmt: skip


def test_without_a_model_that_of_the_demo_shop_is_served(script, served, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo-recformer" / "hybrid").mkdir(parents=True)
    (tmp_path / "demo-recformer" / "hybrid" / "metrics.json").touch()
    script.main(["--port", "0"])
    assert served[0][0] == str(Path("demo-recformer", "hybrid"))


def test_errors_are_one_line(script, folders, tmp_path):
    with pytest.raises(SystemExit, match=r"recformer serve: max_top_k must be greater than 0\."):
        script.main(["--model", str(folders / "shop"), "--max_top_k", "0"])
    with pytest.raises(SystemExit, match=r"recformer serve: The token for admins in .* cannot be read"):
        script.main(["--model", str(folders / "shop"), "--admin_token_file", str(tmp_path / "missing")])
    with pytest.raises(SystemExit, match=r"recformer serve: --write_handler writes .* name it with --model\."):
        script.main(["--write_handler"])
    with pytest.raises(SystemExit, match=r"recformer serve: .*no items"):
        script.main(["--model", str(folders / "encoder")])


def test_a_handler_is_written(script, served, folders, tmp_path, capsys):
    folder = shutil.copytree(folders / "shop", tmp_path / "shop")
    script.main(["--model", str(folder), "--write_handler"])
    assert (folder / "handler.py").is_file()
    assert "handler.py" in capsys.readouterr().out
    assert not served
