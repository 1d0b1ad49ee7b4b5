"""recformer env: what a bug report needs, whatever is missing."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

import pytest
import torch

import recformer_hf
from recformer_hf.cli.commands import env


def test_names_versions_machine_and_extras(capsys):
    env.main([])
    lines = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    values = {name: value.strip() for name, value in lines.items()}
    assert values["recformer-hf"].startswith(f"{recformer_hf.__version__} in ")
    for name in env.REQUIRED:
        assert values[name] == version(name)
    assert sys.executable in values["python"]
    assert "which this process may use" in values["CPUs"]
    assert "polars" in values["extra [data]"]


def test_the_extras_are_those_that_the_package_declares(monkeypatch):
    declared = [
        "torch>=2.6", 'polars>=1.32.3; extra == "data"', "faiss-cpu>=1.9; extra == 'faiss'", 'pytest; extra == "dev"',
        'fastapi>=0.1; python_version > "3" and extra == "serve"', 'uvicorn; extra == "serve"',
    ]  # fmt: skip
    monkeypatch.setattr(env, "requires", lambda name: declared)
    assert env.extras() == {"data": ["polars"], "faiss": ["faiss-cpu"], "serve": ["fastapi", "uvicorn"]}


def test_a_folder_that_is_not_installed_has_no_extras(monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(env, "requires", absent)
    assert env.extras() == {}


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(env, "extras", lambda: {"none": ["no-such-package"]})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: 1 / 0)
    rows = dict(env.report())
    assert rows["extra [none]"] == "no-such-package not installed"
    assert rows["accelerator"] == "unknown, because torch cannot be asked: ZeroDivisionError: division by zero"


def test_a_gpu_is_named(monkeypatch):
    for name, value in {"is_available": True, "device_count": 2, "get_device_name": "Card"}.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert env.accelerator() == "CUDA 12.8: Card, Card"


def test_it_has_no_options(capsys):
    with pytest.raises(SystemExit) as error:
        env.main(["--all"])
    assert error.value.code == 2
    assert capsys.readouterr().err == "recformer env: there are no options, got --all\n"
