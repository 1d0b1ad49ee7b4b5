"""The list of commands, which command a word means, and how it starts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import recformer_hf
from recformer_hf.cli.main import COMMANDS, command, main, overview

COMMAND_FILES = {path.stem for path in Path(recformer_hf.__file__).with_name("cli").glob("commands/[a-z]*.py")}


def run(*words: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    command_line = [sys.executable, "-m", "recformer_command", *words]
    return subprocess.run(command_line, capture_output=True, text=True, check=False, **settings)


def test_every_file_of_commands_is_in_the_table():
    assert set(COMMANDS) == COMMAND_FILES


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_lists_the_commands_in_two_screens(words, capsys):
    main(words)
    printed = capsys.readouterr().out
    assert printed == overview() + "\n"
    lines = printed.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(COMMANDS)
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 100


def test_the_version(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"recformer {recformer_hf.__version__}\n"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("finetun", "there is no command 'finetun'; did you mean finetune?"),
        ("recomend", "did you mean recommend?"),
        ("xyz", "there is no command 'xyz' (recformer --help lists the commands)"),
        ("--model", "the command comes first, then its options: recformer COMMAND --model ..."),
    ],
)
def test_a_word_that_is_no_command(word, message, capsys):
    with pytest.raises(SystemExit) as error:
        main([word])
    assert error.value.code == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_ctrl_c_while_a_command_is_imported(monkeypatch, capsys):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("recformer_hf.cli.main.command", interrupted)
    with pytest.raises(SystemExit) as error:
        main(["finetune"])
    assert error.value.code == 130
    assert capsys.readouterr().err == "recformer finetune: stopped\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_fits_two_screens(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    with contextlib.suppress(SystemExit):  # argparse exits
        command(name)(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"usage: recformer {name}")
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 120  # examples are not wrapped


def test_help_and_env_start_without_torch_and_transformers(tmp_path):
    """In front of everything else on the path, both cannot be imported."""
    for name in ("torch", "transformers", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('broken on purpose')\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    for word in ("--help", "env"):
        done = run(word, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
    assert "torch cannot be asked: ImportError: broken on purpose" in done.stdout


def test_the_console_command():
    """`python -m recformer_hf.cli` is what the tests on several processes start."""
    assert run("--version").stdout == f"recformer {recformer_hf.__version__}\n"
    done = run("baselin")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
