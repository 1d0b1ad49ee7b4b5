"""The scripts of `examples/`: each is a command under another name, with its own documentation."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from recformer_hf.cli.main import COMMANDS
from tests.support.examples import EXAMPLES, load_example

SCRIPTS = {
    "prepare_data": "prepare", "pretrain": "pretrain", "finetune": "finetune", "train_baseline": "baseline",
    "evaluate": "evaluate", "encode_items": "encode", "recommend": "recommend",
}  # fmt: skip


@pytest.mark.parametrize(("name", "command"), SCRIPTS.items())
def test_a_script_is_a_command(name, command):
    script = load_example(name)
    assert command in COMMANDS
    assert script.main.__module__ == f"recformer_hf.cli.commands.{command}"
    assert f"python examples/{name}.py" in script.__doc__
    text = Path(script.__file__).read_text("utf-8")
    assert f'main(prog="{name}.py")' in text


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_option_in_a_docstring_exists(name):
    script = load_example(name)
    module = sys.modules[script.main.__module__]
    documented = set(re.findall(r"--([a-z]\w+)", script.__doc__ + module.__doc__))
    documented -= {"help", "num_processes", "config_file"}  # of every command, and of accelerate
    documented -= {"recommend": {"save_model"}, "train_baseline": {"model"}}.get(name, set())  # of other commands
    classes = [value for value in vars(module).values() if hasattr(value, "__dataclass_fields__")]
    assert documented <= {name for each in classes for name in each.__dataclass_fields__}


def test_a_script_runs_by_its_path(monkeypatch):
    script = str(EXAMPLES / "evaluate.py")
    monkeypatch.setattr(sys, "argv", [script, "--dataset", "demo:cars", "--baselines", "markov"])
    with pytest.raises(SystemExit, match=r"^evaluate\.py: The demo shop has no domain 'cars'"):
        runpy.run_path(script, run_name="__main__")
