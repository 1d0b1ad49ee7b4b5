"""A shop as the page uses it, whose texts try to be HTML, Markdown and templates."""

from __future__ import annotations

import os
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import torch

from recformer_hf import ItemCatalog
from recformer_hf.demo_page.session import Shop
from tests.support.heads import trained
from tests.support.memories import some_memory
from tests.support.shops import CATALOG, shop_tokenizer
from tests.support.training_processes import forkserver

HOSTILE = "<img src=x onerror=alert(1)> ${alert(2)} {{value}} 'quoted\" @children"
HOSTILE_ID = "a'b\"<c>"


@cache
def some_shop(head: str = "paper") -> Shop:
    """The kitchen, and an item of hostile texts; the head `"flat"` has a memory too. Tests must not change it."""
    catalog = CATALOG.add(ItemCatalog.from_items({HOSTILE_ID: {"title": HOSTILE, "brand": HOSTILE}}))
    tokenizer = shop_tokenizer()
    model = trained(catalog, tokenizer, head)
    if head == "flat":
        model.memory = some_memory(len(catalog))
    return Shop(model, tokenizer)


@contextmanager
def served_page(shop: Shop, title: str, folder: Path) -> Iterator[str]:
    """The address of a page, which a process of its own serves, so that it has its threads for itself.

    Args:
        shop: what it shows.
        title: its heading.
        folder: to save the shop in, and the output of the process.
    """
    shop.model.save_pretrained(folder / "shop")
    shop.tokenizer.save_pretrained(folder / "shop")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    process = forkserver().Process(target=_serve, args=(folder, title, port), daemon=True)
    process.start()
    url, deadline = f"http://127.0.0.1:{port}/", time.monotonic() + 120
    try:
        while True:
            assert process.is_alive(), (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            with suppress(OSError):
                urllib.request.urlopen(url, timeout=60).close()
                break
            time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.join()


def _serve(folder: Path, title: str, port: int) -> None:
    from recformer_hf.demo_page import launch_page, load_page

    descriptor = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    torch.set_num_threads(1)
    launch_page(load_page(folder / "shop", title), server_port=port)
