"""recformer demo: which model it shows, what it passes on, and (slow) the page of the demo shop from nothing."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio", reason="needs the extra [demo]")

from recformer_hf.cli.commands import finetune


@pytest.fixture
def shown(script, monkeypatch):
    calls = []
    page = SimpleNamespace(close=lambda verbose: calls.append("closed"))

    class Interrupted:
        def wait(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(script, "threading", SimpleNamespace(Event=Interrupted))
    monkeypatch.setattr(script, "load_page", lambda *given, **options: calls.append((given, options)) or page)
    monkeypatch.setattr(
        script, "launch_page", lambda _, **options: calls.append(options) or (None, "http://here:7860/", None)
    )
    return calls


def stopped(script, arguments: list[str]) -> None:
    """Runs the command, and Ctrl-C as soon as the page is there."""
    with pytest.raises(SystemExit) as caught:
        script.main(arguments)
    assert caught.value.code == 130


def test_a_model_is_shown(script, shown, folders, capsys):
    model = str(folders / "shop")
    stopped(script, ["--model", model, "--host", "0.0.0.0", "--port", "0", "--title", "Kitchen", "--revision", "v1"])
    assert shown == [
        ((model, "Kitchen"), {"revision": "v1"}),
        {"server_name": "0.0.0.0", "server_port": None, "prevent_thread_lock": True, "quiet": True},
        "closed",
    ]
    assert "The page is at http://here:7860/ until Ctrl-C." in capsys.readouterr().out


def test_without_a_model_that_of_the_demo_shop_is_shown(script, shown, tmp_path):
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "metrics.json").touch()
    stopped(script, ["--output_dir", str(tmp_path)])
    assert shown[0][0][0] == str(tmp_path / "page")


def test_otherwise_one_is_trained_once(script, shown, tmp_path, monkeypatch, capsys):
    load = finetune.load_demo_domain
    monkeypatch.setattr(finetune, "load_demo_domain", lambda name, seed: load(name, seed, num_users=60, num_items=80))
    monkeypatch.setitem(finetune.DEMO_MODEL, "hidden_size", 16)
    monkeypatch.setitem(finetune.DEMO_PRETRAINING, "num_train_epochs", 1)
    monkeypatch.setitem(finetune.DEMO_HYBRID, "num_train_epochs", 1)
    folder = tmp_path / "demo"
    stopped(script, ["--output_dir", str(folder)])
    printed, errors = capsys.readouterr()
    (line,) = errors.strip().splitlines()  # no bars, no warnings
    assert line.startswith("recformer demo: stopped. The same command continues; a training")
    assert "training a tiny recommender on the invented demo shop, about a minute on two cores." in printed
    assert f"It is kept in {folder}." in printed
    assert printed.index("Pretraining a tiny model") < printed.index("Recipe hybrid") < printed.index("The page is at")
    assert "{" not in printed
    assert shown[0][0][0] == str(folder / "page")
    monkeypatch.setattr(finetune, "train_for_page", lambda folder: pytest.fail("it is trained again"))
    stopped(script, ["--output_dir", str(folder)])


def test_a_space_is_written(script, shown, folders, tmp_path, capsys):
    folder = tmp_path / "space"
    script.main(["--model", str(folders / "shop"), "--export-space", str(folder)])
    assert (folder / "app.py").is_file()
    assert f"Wrote the Space {folder}" in capsys.readouterr().out
    assert not shown
    with pytest.raises(SystemExit, match=r"recformer demo: .*space"):
        script.main(["--model", str(folders / "shop"), "--export-space", str(folder)])


def test_errors_are_one_line(script, folders, tmp_path):
    for model, message in (
        (folders / "encoder", "recformer demo: .*no items"),
        (tmp_path / "missing", "recformer demo: --model .* is neither"),
    ):
        with pytest.raises(SystemExit, match=message) as caught:
            script.main(["--model", str(model)])
        assert "\n" not in str(caught.value)


def test_without_gradio_the_extra_is_named(script, folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(SystemExit, match=r"recformer demo: This needs the package gradio: pip install .*\[demo\]"):
        script.main(["--model", str(folders / "shop")])


@pytest.mark.slow
def test_the_command_answers_until_it_is_interrupted(folders, tmp_path):
    command = [sys.executable, "-m", "recformer_hf.cli", "demo", "--model", str(folders / "shop"), "--port", "0"]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=tmp_path)
    for line in process.stdout:
        if line.startswith("The page is at "):
            with urllib.request.urlopen(line.split()[4], timeout=60) as answer:
                assert b"gradio" in answer.read()
            break
    process.send_signal(2)
    process.communicate(timeout=60)
    assert process.returncode == 130, Path(tmp_path, "log").read_text()
