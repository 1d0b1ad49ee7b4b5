"""Runs code in several processes that find each other, for tests of distributed code."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path


def run_processes(code: str, number: int, *arguments: str) -> None:
    """Run code in processes that find each other over gloo, as under `accelerate launch --cpu`.

    Args:
        code: Python source, with the repository's root on its path.
        number: of processes.
        arguments: `sys.argv[1:]` of every process.

    Raises:
        AssertionError: with the last errors of a process that fails.
    """
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    processes = []
    for rank in range(number):
        settings = {
            "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": number, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
            "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": 1, "PYTHONPATH": path,
        }  # fmt: skip
        environment = os.environ | {name: str(value) for name, value in settings.items()}
        processes.append(
            subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, stderr=subprocess.PIPE)
        )
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()[-2000:]
