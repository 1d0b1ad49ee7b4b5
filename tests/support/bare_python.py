"""Python that lacks packages, for tests of code that travels with a checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

# Sees the folder, the packages that are absent and the names of the scripts, which lie in the folder.
_PROGRAM = """
import json, os, sys, traceback
from pathlib import Path

folder, absent, names = json.loads(sys.argv[1])

class Finder:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in absent else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Finder(finder) for finder in sys.meta_path]
import torch
from transformers import AutoModel, AutoTokenizer, pipeline

for name in names:
    child = os.fork()
    if child == 0:
        output = os.open(f"{folder}/{name}.output", os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1), os.dup2(output, 2)
        code = 1
        try:
            exec(compile(Path(folder, f"{name}.py").read_text(), name, "exec"), {"__name__": "__main__"})
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0, Path(folder, f"{name}.output").read_text()[-3000:]
"""


def run_without(absent: Sequence[str], scripts: dict[str, str], folder: Path) -> None:
    """Run scripts, each in a process of its own that has imported transformers and cannot find some packages.

    One interpreter imports transformers, which takes seconds, and forks for each script.

    Args:
        absent: packages that the scripts cannot find.
        scripts: Python source by name.
        folder: where the scripts run and write.

    Raises:
        AssertionError: with the last output of a script that fails.
    """
    for name, script in scripts.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps([str(folder), list(absent), list(scripts)])],
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub"), "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3500:]
