"""Prints what a bug report needs: versions, the machine, and which extras are installed.

    recformer env

It imports nothing of the package, and works although something else cannot be imported.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires
from importlib.metadata import version as installed_version
from pathlib import Path

PACKAGE = "recformer-hf"
REQUIRED = (
    "torch", "transformers", "accelerate", "huggingface_hub", "datasets", "tokenizers", "safetensors", "numpy",
)  # fmt: skip
FOR_DEVELOPMENT = ("test", "dev", "docs")
"""Extras that a user of the package does not install."""


def report() -> list[tuple[str, str]]:
    """Names and values, in the order in which they are printed."""
    rows = [
        (PACKAGE, own_version()),
        ("python", f"{platform.python_version()} ({sys.executable})"),
        ("platform", platform.platform()),
        ("CPUs", cpus()),
    ]
    rows += [(name, version_of(name)) for name in REQUIRED]
    rows += [("accelerator", accelerator())]
    rows += [(f"extra [{name}]", ", ".join(map(with_version, packages))) for name, packages in extras().items()]
    return rows


def own_version() -> str:
    root = Path(__file__).parents[2]
    return f"{(root / '_version.py').read_text('utf-8').split(chr(34))[1]} in {root}"


def version_of(name: str) -> str:
    try:
        return installed_version(name)
    except PackageNotFoundError:
        return "not installed"


def with_version(name: str) -> str:
    return f"{name} {version_of(name)}"


def extras() -> dict[str, list[str]]:
    """The packages of each extra, as the installed package declares them; none if it runs from a folder alone."""
    try:
        declared = requires(PACKAGE) or []
    except PackageNotFoundError:
        return {}
    found: dict[str, list[str]] = {}
    for requirement in declared:
        parts = re.match(r"""([\w.-]+).*\bextra == ["']([\w-]+)["']""", requirement)
        if parts is not None and parts[2] not in FOR_DEVELOPMENT:
            found.setdefault(parts[2], []).append(parts[1])
    return found


def cpus() -> str:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    return f"{os.cpu_count()}, of which this process may use {usable} (OMP_NUM_THREADS {threads})"


def accelerator() -> str:
    """What torch computes on, or why it cannot be asked."""
    try:
        import torch

        if torch.cuda.is_available():
            names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
            return f"CUDA {torch.version.cuda}: {', '.join(names)}"
        if torch.accelerator.is_available():
            return str(torch.accelerator.current_accelerator())
        return f"none (torch is built {f'for CUDA {torch.version.cuda}' if torch.version.cuda else 'without CUDA'})"
    except Exception as error:  # any fault of the installation is what this command is there to show
        return f"unknown, because torch cannot be asked: {type(error).__name__}: {' '.join(str(error).split())}"


def main(command_line: Sequence[str] | None = None, prog: str = "recformer env") -> None:
    words = sys.argv[1:] if command_line is None else command_line
    if words and words[0] in ("-h", "--help", "--help-all"):
        print(f"usage: {prog}\n\n{(__doc__ or '').strip()}")
    elif words:
        print(f"{prog}: there are no options, got {words[0]}", file=sys.stderr)
        raise SystemExit(2)
    else:
        rows = report()
        width = max(len(name) for name, _ in rows)
        print("\n".join(f"{name:{width}}  {value}" for name, value in rows))
