"""A served shop for tests: its checkpoint, its application, and requests that a service must refuse."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import http.client
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import torch

from tests.support.shops import CATALOG, save_encoder_and_shop, shop_encoder, shop_tokenizer
from tests.support.training_processes import forkserver

TOKEN = "a token that nobody will guess".replace(" ", "-")
ADMIN = {"Authorization": f"Bearer {TOKEN}"}
IDS = list(CATALOG.ids)


@functools.cache
def saved_shop() -> Path:
    """A folder with `shop`, a checkpoint, and `encoder`, one without items; do not write to it."""
    folder = Path(tempfile.mkdtemp(prefix="recformer-serving-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    tokenizer = shop_tokenizer()
    save_encoder_and_shop(shop_encoder(tokenizer), tokenizer, folder)
    return folder


def copy_shop(folder: Path) -> Path:
    """A checkpoint of the test's own."""
    return Path(shutil.copytree(saved_shop() / "shop", folder / "shop"))


def run_async(test: Callable[[], Awaitable[Any]]) -> Any:
    """Runs a coroutine for at most 20 seconds."""
    return asyncio.run(asyncio.wait_for(test(), 20))  # type: ignore[arg-type]


class Server:
    """A server process, which is ready.

    Args:
        folder: what it serves.
        options: arguments of `serve`.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        descriptor, self._log = tempfile.mkstemp(dir=saved_shop(), suffix=".log")
        os.close(descriptor)
        options = {"model": str(folder), "port": self.port, **options}
        self.process = forkserver().Process(target=_serve, args=(options, self._log), daemon=True)
        self.process.start()
        deadline = time.monotonic() + 120
        while True:
            assert self.process.is_alive(), self.log
            assert time.monotonic() < deadline, self.log
            with contextlib.suppress(OSError):
                if self.ask("GET", "/ready")[0] == 200:
                    return
            time.sleep(0.02)

    @property
    def log(self) -> str:
        return Path(self._log).read_text()

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, Any]]:
        """The status and the document of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def _serve(options: dict[str, Any], log: str) -> None:
    from recformer_hf.serving.serve import serve
    from recformer_hf.serving.settings import ServingLimits

    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    torch.set_num_threads(1)
    serve(limits=ServingLimits(watch_seconds=0.2), **options)
