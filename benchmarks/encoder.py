"""The encoder at work: encoding items, scoring users, a finetuning step, a pretraining step; ours against the peers.

    python -m benchmarks.encoder                          # base size, a few minutes
    python -m benchmarks.encoder --size small             # seconds, to see that it runs
    python -m benchmarks.encoder --works finetune_8 --dtypes float32 --repeats 5 --output results.json

Both sides get the same weights and the same ragged batches, and must agree in float32 before they are
timed. The peers run in float32, as their users run them on a CPU; ours in float32 and in bfloat16. `share` is the floor
over our time: the floor is what the needed matrix products on real tokens take at the rate that this machine reaches on
one linear layer, measured in the same run. A step is forward and backward, without the optimizer, which is the same for
both.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.measure import (
    environment,
    interleaved_medians,
    matrix_product_rate,
    peak_memory,
    print_table,
    write_report,
)
from benchmarks.peers import LongformerPeer
from benchmarks.workload import Workload, make_workload, mask_words, pad, typical_users
from recformer_hf import RecformerConfig, RecformerForPretraining, RecformerForSeqRec
from recformer_hf.packing_recformer import pack_sequences

SIZES = {
    "base": {},
    "small": {
        "vocab_size": 2000, "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
        "intermediate_size": 512,
    },
}  # fmt: skip
WORKS = ["encode_items", "scores_1", "scores_16", "finetune_4", "finetune_8", "pretrain_2"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class Work:
    """One row of the table: three ways to do it, whether they agree, and the operations that it needs."""

    ours: Callable[[], Any]
    faithful: Callable[[], Any]
    fair: Callable[[], Any]
    flops: float
    tokens: int


class Bench:
    """Models and batches of one size."""

    def __init__(self, size: str, num_encoded: int = 96) -> None:
        torch.manual_seed(0)
        self.config = RecformerConfig(num_items=5000, **SIZES[size])
        self.head = RecformerForPretraining(self.config)
        self.model = RecformerForSeqRec(self.config)
        self.model.recformer = self.head.recformer
        self.model.set_item_embeddings(torch.randn(5000, self.config.hidden_size))
        self.reference = copy.deepcopy(self.model.recformer)  # float32, for the peers
        self.workload: Workload = make_workload(self.config.vocab_size)
        self.num_encoded = num_encoded
        self.window = max(self.config.attention_windows)

    def work(self, name: str, dtype: torch.dtype) -> Work:
        kind, _, count = name.partition("_")
        self.model.to(dtype)
        self.head.to(dtype)
        if kind == "encode":
            return self._encode_items()
        users = typical_users(self.workload, int(count), self.window)
        if kind == "scores":
            return self._scores(users)
        return self._finetune(users) if kind == "finetune" else self._pretrain(users)

    def peers(self) -> tuple[LongformerPeer, LongformerPeer]:
        return LongformerPeer(self.reference, fair=False), LongformerPeer(self.reference, fair=True)

    def flops(self, lengths: list[int], full_layers: int) -> float:
        """Products of `full_layers` layers over all tokens; what `<s>` alone needs is below 1 % and left out."""
        config = self.config
        width, inner = config.hidden_size, config.intermediate_size
        half = self.window // 2
        pairs = sum(min(n, p + half + 1) - max(0, p - half) for n in lengths for p in range(n))
        return full_layers * (sum(lengths) * (8 * width**2 + 4 * width * inner) + 4 * pairs * width)

    def _encode_items(self) -> Work:
        rows = np.random.default_rng(1).choice(len(self.workload.items), self.num_encoded, replace=False)
        sequences = [self.workload.item(row) for row in rows]
        lengths = [len(sequence["input_ids"]) for sequence in sequences]
        order = np.argsort(lengths)
        given = [pad(sequences[start : start + 16]) for start in range(0, len(rows), 16)]
        sorted_batches = [pad([sequences[i] for i in order[s : s + 16]]) for s in range(0, len(rows), 16)]
        packed = pack_sequences(sequences)
        faithful, fair = (peer.eval() for peer in self.peers())
        encoder = self.head.recformer.eval()
        back = np.argsort(order)

        def ours() -> torch.Tensor:
            with torch.inference_mode():
                return encoder(**packed, pooled_only=True).pooler_output

        def theirs() -> torch.Tensor:
            with torch.no_grad():
                return torch.cat([faithful(batch)[:, 0] for batch in given])

        def theirs_fair() -> torch.Tensor:
            with torch.inference_mode():
                return torch.cat([fair(batch)[:, 0] for batch in sorted_batches])[back]

        return Work(ours, theirs, theirs_fair, self.flops(lengths, self.config.num_hidden_layers - 1), sum(lengths))

    def _scores(self, users: list[np.ndarray]) -> Work:
        sequences = [self.workload.history(user) for user in users]
        lengths = [len(sequence["input_ids"]) for sequence in sequences]
        padded, packed = pad(sequences), pack_sequences(sequences)
        faithful, fair = (peer.eval() for peer in self.peers())
        model, items = self.model.eval(), self.model.item_embeddings

        def ours() -> torch.Tensor:
            with torch.inference_mode():
                return model(**packed).scores

        def theirs() -> torch.Tensor:
            with torch.no_grad():
                return faithful.scores(faithful(padded)[:, 0], items)

        def theirs_fair() -> torch.Tensor:
            with torch.inference_mode():
                return fair.scores(fair(padded)[:, 0], items)

        flops = self.flops(lengths, self.config.num_hidden_layers - 1) + 2 * len(users) * items.numel()
        return Work(ours, theirs, theirs_fair, flops, sum(lengths))

    def _finetune(self, users: list[np.ndarray]) -> Work:
        sequences = [self.workload.history(user) for user in users]
        lengths = [len(sequence["input_ids"]) for sequence in sequences]
        padded, packed = pad(sequences), pack_sequences(sequences)
        labels = torch.arange(len(users)) * 7
        faithful, fair = (peer.train() for peer in self.peers())
        model, items = self.model.train(), self.model.item_embeddings

        def ours() -> torch.Tensor:
            model.zero_grad()
            loss = model(**packed, labels=labels).loss
            loss.backward()
            return loss.detach()

        def with_peer(peer: LongformerPeer) -> Callable[[], torch.Tensor]:
            def step() -> torch.Tensor:
                peer.zero_grad()
                loss = F.cross_entropy(peer.scores(peer(padded)[:, 0], items), labels)
                loss.backward()
                return loss.detach()

            return step

        flops = self.flops(lengths, self.config.num_hidden_layers - 1) + 2 * len(users) * items.numel()
        return Work(ours, with_peer(faithful), with_peer(fair), 3 * flops, sum(lengths))

    def _pretrain(self, users: list[np.ndarray]) -> Work:
        contexts = [self.workload.history(user[:-1]) for user in users]
        items = [self.workload.item(int(user[-1])) for user in users]
        lengths = [len(sequence["input_ids"]) for sequence in contexts + items]
        packed, sides = pack_sequences(contexts + items), [pad(contexts), pad(items)]
        mask_id = self.config.vocab_size - 1
        mlm_ids, mlm_labels = mask_words(packed, mask_id)
        # The peers' padded sides, masked at the same places.
        bounds, masked = packed["cu_seqlens"], []
        for side, first in zip(sides, (0, len(users)), strict=True):
            ids, labels = side["input_ids"].clone(), torch.full_like(side["input_ids"], -100)
            for row in range(len(users)):
                span = slice(int(bounds[first + row]), int(bounds[first + row + 1]))
                ids[row, : span.stop - span.start] = mlm_ids[0, span]
                labels[row, : span.stop - span.start] = mlm_labels[0, span]
            masked.append((side, ids, labels))
        faithful, fair = (peer.train() for peer in self.peers())
        head, reference_head = self.head.train(), copy.deepcopy(self.head).float()

        def ours() -> torch.Tensor:
            head.zero_grad()
            loss = head(**packed, mlm_input_ids=mlm_ids, mlm_labels=mlm_labels).loss
            loss.backward()
            return loss.detach()

        def with_peer(peer: LongformerPeer) -> Callable[[], torch.Tensor]:
            def step() -> torch.Tensor:
                peer.zero_grad()
                reference_head.zero_grad()
                loss = peer.pretraining_loss(reference_head, masked)
                loss.backward()
                return loss.detach()

            return step

        # Originals and copies run through all layers but one; the copies' last layer projects keys and values for all.
        num_masked = int((mlm_labels != -100).sum())
        width, inner = self.config.hidden_size, self.config.intermediate_size
        flops = 2 * self.flops(lengths, self.config.num_hidden_layers - 1) + sum(lengths) * 4 * width**2
        flops += num_masked * (4 * width**2 + 4 * width * inner + 2 * width**2 + 2 * width * self.config.vocab_size)
        return Work(ours, with_peer(faithful), with_peer(fair), 3 * flops, 2 * sum(lengths))


def disagreement(bench: Bench, name: str) -> float:
    """How far the peers' results are from ours in float32 without dropout, relative to the largest value."""
    with no_dropout(bench.model, bench.reference):
        work = bench.work(name, torch.float32)
        ours, *theirs = (np.asarray(result().float()) for result in (work.ours, work.faithful, work.fair))
    return max(float(np.abs(ours - other).max()) for other in theirs) / max(1.0, float(np.abs(ours).max()))


@contextmanager
def no_dropout(*models: torch.nn.Module) -> Iterator[None]:
    """Sets every dropout rate to 0, in modules and configurations, which the peers are made from, and back."""
    names = ("p", "dropout", "hidden_dropout_prob", "attention_probs_dropout_prob")
    holders = [holder for model in models for holder in (*model.modules(), model.config)]
    rates = [
        (holder, name, value)
        for holder in holders
        for name in names
        if isinstance(value := getattr(holder, name, None), float)
    ]
    for holder, name, _ in rates:
        setattr(holder, name, 0.0)
    try:
        yield
    finally:
        for holder, name, value in rates:
            setattr(holder, name, value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=WORKS)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-peers", action="store_true", help="time ours alone")
    parser.add_argument(
        "--memory", action="store_true", help="also measure peak memory of the float32 steps, in fresh processes"
    )
    parser.add_argument("--only", choices=["ours", "faithful"], help="run one side of one work once (for --memory)")
    parser.add_argument("--output", help="write the results here as JSON")
    arguments = parser.parse_args()
    bench = Bench(arguments.size)
    if arguments.only:
        work = bench.work(arguments.works[0], DTYPES[arguments.dtypes[0]])
        getattr(work, arguments.only)()
        return
    settings = environment()
    if settings["other_load"] > 0.2:
        print(f"warning: other processes use {settings['other_load']} processors; the figures will be off")
    rows = []
    for dtype in arguments.dtypes:
        rate = matrix_product_rate(DTYPES[dtype])
        settings[f"matrix_product_gflops_{dtype}"] = round(rate / 1e9, 1)
        for name in arguments.works:
            rows.append(measure(bench, name, dtype, rate, arguments))
            print_table(rows[-1:])
    print()
    print_table(rows)
    write_report(arguments.output, {"size": arguments.size, "environment": settings, "rows": rows})


def measure(bench: Bench, name: str, dtype: str, rate: float, arguments: argparse.Namespace) -> dict[str, Any]:
    if not arguments.no_peers and dtype == "float32":  # in bfloat16 ours is near, not equal
        off = disagreement(bench, name)
        assert off < 1e-3, f"{name}: the peer is off by {off}"
    work = bench.work(name, DTYPES[dtype])
    functions = {"ours": work.ours}
    if not arguments.no_peers:
        functions |= {"faithful": work.faithful, "fair": work.fair}
    seconds = interleaved_medians(functions, arguments.repeats)
    ours = statistics.median(seconds["ours"])
    row: dict[str, Any] = {"work": name, "dtype": dtype, "tokens": work.tokens, "ours_s": ours}
    row["floor_s"] = work.flops / rate
    row["share"] = row["floor_s"] / ours
    for peer in ("faithful", "fair"):
        if peer in seconds:
            row[f"{peer}_s"] = statistics.median(seconds[peer])
            ratios = [theirs / mine for theirs, mine in zip(seconds[peer], seconds["ours"], strict=True)]
            row[f"{peer}_ratio"] = statistics.median(ratios)
    if arguments.memory and dtype == "float32" and name.startswith(("finetune", "pretrain")):
        common = ["benchmarks.encoder", "--size", arguments.size, "--works", name, "--dtypes", dtype, "--only"]
        sides = [peak_memory([*common, side]) for side in ("ours", "faithful")]
        row |= {"peak_gb": sides[0] / 1e9, "faithful_peak_gb": sides[1] / 1e9, "peak_ratio": sides[0] / sides[1]}
    return row


if __name__ == "__main__":
    main()
