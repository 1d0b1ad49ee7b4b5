"""What sharing forward passes brings a service: requests per second of many clients, and of one.

    python -m benchmarks.serving                                   # about five minutes on two idle cores
    python -m benchmarks.serving --size minilm --head two_level
    python -m benchmarks.serving --size small --seconds 1          # seconds, to see that it runs

A server process (`recformer serve`) has a model with random weights and 5,000 items. Histories have 2 to 50 items, 300
tokens on average, and are all different. The clients are in this process; they send the next request when they have the
answer to the last one.

- `alone` is one client, `together` are 64. They take turns; `gain` is the median of the ratios within a turn. `cpu_ms`
  is the processor time that the server takes for a request, and `cpu_gain` the ratio of it: other load on the machine
  changes it little, above all with `--threads 1`. With `--size base` and the flat head, 64 clients are more than two
  cores serve within the time-out: some get 429.
- `overload`: 256 clients, four times as many. Whoever gets 429 waits for `Retry-After`. Every request must be answered
  with 200 or 429; memory is that of the server before and at its highest.
- `changes`: one client adds items one by one; beside it, what saving the whole checkpoint takes.
- `where`: the time of one request inside the server's process, in parts, alone and in a batch of 32.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import checked_load, environment, print_table, write_report
from benchmarks.workload import make_workload
from recformer_hf import ItemCatalog, RecformerConfig, RecformerForSeqRec, RecformerTokenizer
from recformer_hf.recommending.histories import HistoryResolver
from recformer_hf.recommending.vectors import encode_resolved
from recformer_hf.serving.answering import Question, answer_all

SIZES: dict[str, dict[str, int]] = {
    "small": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128},
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "base": {},
}
TOKEN = "a-token-of-the-benchmark-alone"


def make_checkpoint(folder: Path, size: str, head: str) -> list[list[str]]:
    """Saves a model, and returns histories of ids."""
    torch.manual_seed(0)
    workload = make_workload(2000)
    items = {}
    for row, (tokens, types) in enumerate(workload.items):
        # A word for each token: a title of 3/5 of them, and two short attributes.
        words = np.array([f"w{token}" for token in tokens])
        bounds = np.flatnonzero(types == 1)
        parts = [" ".join(part) for part in np.split(words, bounds[1:])]
        items[f"item-{row}"] = dict(zip(("title", "brand", "category"), parts, strict=True))
    tokenizer = RecformerTokenizer.train_from_catalog(items.values(), vocab_size=4000)
    fields = {"sequence_head": head, "max_token_num": 1024, **SIZES[size]}
    model = RecformerForSeqRec(RecformerConfig(vocab_size=len(tokenizer), num_items=len(items), **fields)).eval()
    model.set_item_embeddings(torch.randn(len(items), model.config.hidden_size), ItemCatalog.from_items(items))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return [[f"item-{row}" for row in user] for user in workload.users]


class Server:
    """A server process.

    Args:
        folder: what it serves.
        threads: of torch.
        options: further options of the command.
    """

    def __init__(self, folder: Path, threads: int, *options: str) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        command = [sys.executable, "-m", "recformer_hf.cli", "serve", "--model", str(folder), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, *options], env={**os.environ, "OMP_NUM_THREADS": str(threads)}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while True:
            try:
                if asyncio.run(ask_once(self.port, "GET", "/ready"))[0] == 200:
                    return
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError(f"{' '.join(command)} has ended") from None
                time.sleep(0.2)

    def memory(self, name: str = "VmRSS") -> float:
        """Resident MiB: now, or the most so far (`VmHWM`)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))

    def cpu_seconds(self) -> float:
        """Seconds that processors have worked for it."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


class Client:
    """A connection that stays open."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def __aenter__(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str]]:
        """Status and headers of an answer."""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {TOKEN}"
        self.writer.write(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(lines[0].split()[1]), headers


async def ask_once(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str]]:
    async with Client(port) as client:
        return await client.ask(method, path, body)


async def load(server: Server, bodies: list[bytes], clients: int, seconds: float) -> dict[str, Any]:
    """Requests of so many clients for some time: how many of each status, per second, and how long they took."""
    cpu = server.cpu_seconds()
    statuses: dict[int, int] = {}
    times: list[float] = []
    started = time.perf_counter()

    async def run(number: int) -> None:
        async with Client(server.port) as client:
            place = number
            while time.perf_counter() - started < seconds:
                began = time.perf_counter()
                status, headers = await client.ask("POST", "/recommend", bodies[place % len(bodies)])
                statuses[status] = statuses.get(status, 0) + 1
                if status == 200:
                    times.append(time.perf_counter() - began)
                    place += clients
                else:
                    await asyncio.sleep(int(headers.get("retry-after", 1)))

    await asyncio.gather(*(run(number) for number in range(clients)))  # raises if an answer is lost
    taken = time.perf_counter() - started
    p50, p99 = (float(np.quantile(times, share)) for share in (0.5, 0.99)) if times else (float("nan"),) * 2
    row: dict[str, Any] = {"clients": clients, "per_second": len(times) / taken, "p50_ms": 1000 * p50}
    row |= {"p99_ms": 1000 * p99, "cpu_ms": 1000 * (server.cpu_seconds() - cpu) / max(1, len(times))}
    return row | {"answered": sum(statuses.values()), "statuses": statuses}


def gain(folder: Path, bodies: list[bytes], options: argparse.Namespace) -> list[dict[str, Any]]:
    server = Server(folder, options.threads, "--dtype", options.dtype)
    try:
        asyncio.run(load(server, bodies, options.clients, options.seconds / 4))  # warm
        turns = []
        for turn in range(options.turns):
            shifted = bodies[1000 * turn :] + bodies[: 1000 * turn]
            turns.append([asyncio.run(load(server, shifted, n, options.seconds)) for n in (1, options.clients)])
    finally:
        server.stop()
    rows = []
    for place, name in enumerate(("alone", "together")):
        best = sorted((turn[place] for turn in turns), key=lambda row: row["per_second"])[len(turns) // 2]
        rows.append({"case": name, **best})
    for name, column, above in (("gain", "per_second", 1), ("cpu_gain", "cpu_ms", 0)):
        rows[1][name] = statistics.median(turn[above][column] / turn[1 - above][column] for turn in turns)
    return rows


def overload(folder: Path, bodies: list[bytes], options: argparse.Namespace) -> dict[str, Any]:
    server = Server(folder, options.threads, "--dtype", options.dtype, "--max_waiting", str(options.clients))
    try:
        asyncio.run(load(server, bodies, options.clients, options.seconds / 2))
        before = server.memory()
        row = asyncio.run(load(server, bodies, 4 * options.clients, options.seconds))
        after = asyncio.run(load(server, bodies, 1, 1.0))
        if not set(row["statuses"]) <= {200, 429} or set(after["statuses"]) != {200}:
            print(f"Overload has answers that it should not have: {row['statuses']}, afterwards {after['statuses']}")
        return {"case": "overload", **row, "MiB_before": before, "MiB_most": server.memory("VmHWM")}
    finally:
        server.stop()


def changes(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    token = folder.with_name("token.txt")
    token.write_text(TOKEN)
    server = Server(folder, options.threads, "--dtype", options.dtype, "--admin_token_file", str(token))

    async def add() -> list[float]:
        times = []
        async with Client(server.port) as client:
            for number in range(options.changes):
                body = json.dumps({"attributes": {"title": f"w{number} w{number + 7} w{number + 31}"}}).encode()
                began = time.perf_counter()
                status, _ = await client.ask("PUT", f"/items/new-{number}", body)
                assert status == 201, status
                times.append(time.perf_counter() - began)
        return times

    try:
        times = asyncio.run(add())
    finally:
        server.stop()
    model = RecformerForSeqRec.from_pretrained(folder)
    began = time.perf_counter()
    model.save_pretrained(folder.with_name("saved"))
    saved = time.perf_counter() - began
    p50, p99 = (1000 * float(np.quantile(times, share)) for share in (0.5, 0.99))
    return {"case": "changes", "items": len(times), "p50_ms": p50, "p99_ms": p99, "save_checkpoint_ms": 1000 * saved}


def where(folder: Path, histories: list[list[str]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """The parts of a request's time, in ms per request: medians of several runs."""
    torch.set_num_threads(options.threads)
    model = RecformerForSeqRec.from_pretrained(folder)
    tokenizer = RecformerTokenizer.from_pretrained(folder)
    rows = []
    for batch in (1, 32):
        parts: dict[str, list[float]] = {"look_up": [], "encode": [], "whole": []}
        for turn in range(7):
            asked = histories[turn * batch : (turn + 1) * batch]
            questions = [Question([history]) for history in asked]
            began = time.perf_counter()
            resolver = HistoryResolver(model.catalog, read_texts=model.config.sequence_head != "two_level")
            resolved = resolver.resolve(asked)
            looked_up = time.perf_counter()
            encode_resolved(model, *resolved, tokenizer)
            encoded = time.perf_counter()
            answer_all(model, tokenizer, questions, 8192)
            whole = time.perf_counter() - encoded
            for name, seconds in (("look_up", looked_up - began), ("encode", encoded - looked_up), ("whole", whole)):
                parts[name].append(1000 * seconds / batch)
        rows.append({"case": "where", "batch": batch, **{name: statistics.median(ms) for name, ms in parts.items()}})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="base")
    parser.add_argument("--head", choices=["flat", "two_level"], default="flat")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each part of a turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--changes", type=int, default=50, help="items that are added one by one")
    parser.add_argument("--dtype", default="float32", help="of the weights")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch in the server")
    parser.add_argument("--only", nargs="+", choices=["gain", "overload", "changes", "where"], help="parts to run")
    parser.add_argument("--output", help="write everything as JSON")
    options = parser.parse_args()
    only = options.only or ["gain", "overload", "changes", "where"]
    report: dict[str, Any] = {"options": vars(options), "environment": environment()}
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "shop"
        histories = make_checkpoint(folder, options.size, options.head)
        bodies = [json.dumps({"histories": [history], "top_k": 10}).encode() for history in histories]
        rows = gain(folder, bodies, options) if "gain" in only else []
        rows += [overload(folder, bodies, options)] if "overload" in only else []
        rows += [changes(folder, options)] if "changes" in only else []
        rows += where(folder, histories, options) if "where" in only else []
    report["serving"] = rows
    for row in rows:
        print_table([row])
    report["environment"]["other_load_after"] = checked_load()
    write_report(options.output, report)


if __name__ == "__main__":
    main()
