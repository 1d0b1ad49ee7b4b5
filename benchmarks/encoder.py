"""The encoder's works beside transformers' Longformer: encoding, scoring, a finetuning step, a pretraining step.

    python -m benchmarks.encoder                          # base size, most of an hour on two cores
    python -m benchmarks.encoder --size small             # seconds, to see that it runs
    python -m benchmarks.encoder --works finetune_8 --dtypes float32 --memory --operations --output results.json

All sides get the same weights and the same ragged batches. Before they are timed, their results and gradients must
agree in float32. The peers (`peers.py`) run in float32, as their users run them on a CPU; ours runs in float32 and in
bfloat16, in turns with them. `ratio` is a peer's time over ours, the median over turns. `share` is the floor over our
time. The floor is the time that the necessary matrix products on real tokens (`floor.py`) take at the best rate that
this machine reaches on the model's linear layers, measured before each work and again at the end. `score_error` is the
largest difference of a score from its float32 value. A step is forward and backward, without the optimizer, which is
the same for all sides. `--memory` runs ours and the faithful peer again, each in a process that holds nothing else.
"""

from __future__ import annotations

import argparse
import copy
import gc
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.floor import encoder_flops
from benchmarks.measure import (
    PEAK,
    checked_load,
    environment,
    interleaved_medians,
    matrix_product_rate,
    median_ratio,
    most_expensive,
    peak_memory,
    print_table,
    write_report,
)
from benchmarks.memory import peak_bytes, reset_peak
from benchmarks.peers import LongformerPeer
from benchmarks.workload import Workload, make_workload, mask_words, pad, typical_users
from recformer_hf import RecformerConfig, RecformerForPretraining, RecformerForSeqRec
from recformer_hf.encoder.packing import pack_sequences

SIZES: dict[str, dict[str, int]] = {
    "base": {},
    "minilm": {
        "vocab_size": 30522, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
        "intermediate_size": 1536,
    },
    "small": {
        "vocab_size": 2000, "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
        "intermediate_size": 512,
    },
}  # fmt: skip
WORKS = ["encode_items", "scores_1", "scores_16", "finetune_4", "finetune_8", "pretrain_2"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PEERS = ["faithful", "fair"]
SIDES = [*(f"ours_{dtype}" for dtype in DTYPES), *PEERS]
GOALS: dict[str, dict[tuple[str, str], float]] = {
    "encode_items": {("float32", "ratio"): 3.5, ("float32", "share"): 0.75, ("bfloat16", "ratio"): 6.0},
    "scores_16": {
        ("float32", "ratio"): 6.0, ("float32", "share"): 0.80, ("bfloat16", "ratio"): 11.0,
        ("bfloat16", "score_error"): 0.02,
    },
    "scores_1": {
        ("float32", "ratio"): 1.8, ("float32", "share"): 0.70, ("bfloat16", "ratio"): 3.2,
        ("bfloat16", "score_error"): 0.02,
    },
    "finetune_8": {
        ("float32", "ratio"): 4.0, ("float32", "share"): 0.65, ("bfloat16", "ratio"): 7.0,
        ("float32", "peak_ratio"): 0.4,
    },
    "pretrain_2": {("float32", "ratio"): 3.5, ("float32", "share"): 0.65, ("bfloat16", "ratio"): 5.5},
}  # fmt: skip
"""At base size on a CPU, against the faithful peer: lower bounds, and upper bounds for the names in `AT_MOST`."""
AT_MOST = ("peak_ratio", "score_error")

Sequence = dict[str, np.ndarray]
Call = Callable[[], Tensor]


@dataclass
class Work:
    """One row: the function of each side, the operations that it needs, and the lengths of its sequences."""

    functions: dict[str, Call]
    flops: float
    lengths: list[int]


def pack_batches(batches: list[list[Sequence]]) -> dict[str, Tensor]:
    """Pack all batches into one row."""
    return pack_sequences(list(chain.from_iterable(batches)))


class Bench:
    """Models and batches of one size. Its functions hold only what they need, so that peak memory is theirs."""

    def __init__(self, size: str, num_encoded: int = 96) -> None:
        torch.manual_seed(0)
        self.config = RecformerConfig(num_items=5000, **SIZES[size])
        self.head = RecformerForPretraining(self.config)
        self.model = RecformerForSeqRec(self.config)
        self.model.recformer = self.head.recformer
        self.model.set_item_embeddings(torch.randn(5000, self.config.hidden_size))
        self.workload: Workload = make_workload(self.config.vocab_size)
        self.num_encoded = num_encoded
        self.pack = pack_batches
        self.converted: dict[str, tuple[RecformerForPretraining, RecformerForSeqRec]] = {}

    def work(self, name: str, sides: list[str]) -> Work:
        """One of `WORKS`, for some of `SIDES`."""
        kind, _, count = name.partition("_")
        if kind == "encode":
            return self._encode_items(sides)
        users = typical_users(self.workload, int(count), max(self.config.attention_windows))
        if kind == "scores":
            return self._scores(users, sides)
        return self._finetune(users, sides) if kind == "finetune" else self._pretrain(users, sides)

    def ours(self, side: str) -> tuple[RecformerForPretraining, RecformerForSeqRec]:
        """Both heads with one encoder, in the dtype that the side's name ends with."""
        dtype = side.removeprefix("ours_")
        if dtype == "float32":
            return self.head, self.model
        if dtype not in self.converted:
            head, model = copy.deepcopy((self.head, self.model))
            self.converted[dtype] = head.to(DTYPES[dtype]), model.to(DTYPES[dtype])
        return self.converted[dtype]

    def _functions(
        self,
        sides: list[str],
        ours: Callable[[RecformerForPretraining, RecformerForSeqRec], Call],
        theirs: Callable[[LongformerPeer], Call],
    ) -> dict[str, Call]:
        return {
            side: theirs(LongformerPeer(self.head.recformer, fair=side == "fair"))
            if side in PEERS
            else ours(*self.ours(side))
            for side in sides
        }

    def _forward_flops(self, lengths: list[int]) -> int:
        """All layers except the last, which computes `<s>` only."""
        return encoder_flops(self.config, lengths, self.config.num_hidden_layers - 1)

    def _encode_items(self, sides: list[str]) -> Work:
        rows = np.random.default_rng(1).choice(len(self.workload.items), self.num_encoded, replace=False)
        sequences = [self.workload.item(row) for row in rows]
        lengths = lengths_of(sequences)
        order = np.argsort(lengths)
        back = torch.from_numpy(np.argsort(order))
        batches = [sequences[start : start + 16] for start in range(0, len(rows), 16)]
        sorted_batches = [[sequences[i] for i in order[start : start + 16]] for start in range(0, len(rows), 16)]
        packed = self.pack(batches)

        def ours(head: RecformerForPretraining, _: RecformerForSeqRec) -> Call:
            encoder = head.recformer.eval()

            def encode() -> Tensor:
                with torch.inference_mode():
                    return encoder(**packed, pooled_only=True).pooler_output

            return encode

        def theirs(peer: LongformerPeer) -> Call:
            peer.eval()
            padded = [pad(batch) for batch in (sorted_batches if peer.fair else batches)]

            def encode() -> Tensor:
                with no_gradient(peer):
                    vectors = torch.cat([peer(batch)[:, 0] for batch in padded])
                    return vectors[back] if peer.fair else vectors

            return encode

        return Work(self._functions(sides, ours, theirs), self._forward_flops(lengths), lengths)

    def _scores(self, users: list[np.ndarray], sides: list[str]) -> Work:
        sequences = [self.workload.history(user) for user in users]
        lengths, items = lengths_of(sequences), self.model.item_embeddings
        padded, packed = pad(sequences), self.pack([sequences])

        def ours(_: RecformerForPretraining, model: RecformerForSeqRec) -> Call:
            model.eval()

            def score() -> Tensor:
                with torch.inference_mode():
                    return model(**packed).scores

            return score

        def theirs(peer: LongformerPeer) -> Call:
            peer.eval()

            def score() -> Tensor:
                with no_gradient(peer):
                    return peer.scores(peer(padded)[:, 0], items)

            return score

        flops = self._forward_flops(lengths) + 2 * len(users) * items.numel()
        return Work(self._functions(sides, ours, theirs), flops, lengths)

    def _finetune(self, users: list[np.ndarray], sides: list[str]) -> Work:
        sequences = [self.workload.history(user) for user in users]
        lengths, items = lengths_of(sequences), self.model.item_embeddings
        padded, packed = pad(sequences), self.pack([sequences])
        labels = torch.arange(len(users)) * 7

        def ours(_: RecformerForPretraining, model: RecformerForSeqRec) -> Call:
            return training_step(lambda: model(**packed, labels=labels).loss, model)

        def theirs(peer: LongformerPeer) -> Call:
            return training_step(lambda: F.cross_entropy(peer.scores(peer(padded)[:, 0], items), labels), peer)

        flops = self._forward_flops(lengths) + 2 * len(users) * items.numel()
        return Work(self._functions(sides, ours, theirs), 3 * flops, lengths)

    def _pretrain(self, users: list[np.ndarray], sides: list[str]) -> Work:
        contexts = [self.workload.history(user[:-1]) for user in users]
        items = [self.workload.item(int(user[-1])) for user in users]
        lengths = lengths_of(contexts + items)
        packed = self.pack([contexts, items])
        mask_id = self.config.vocab_size - 1
        masked_ids, labels = mask_words(packed, mask_id)
        masked_sides = pad_masked([contexts, items], mask_id)
        lm_head = self.head.lm_head

        def ours(head: RecformerForPretraining, _: RecformerForSeqRec) -> Call:
            return training_step(lambda: head(**packed, mlm_input_ids=masked_ids, mlm_labels=labels).loss, head)

        def theirs(peer: LongformerPeer) -> Call:
            return training_step(lambda: peer.pretraining_loss(lm_head, masked_sides), peer, lm_head)

        # Originals and masked copies run through all layers except the last. There the copies still need keys and
        # values of all tokens.
        num_masked = int((labels != -100).sum())
        width, inner = self.config.hidden_size, self.config.intermediate_size
        flops = 2 * self._forward_flops(lengths) + sum(lengths) * 4 * width**2
        flops += num_masked * (4 * width**2 + 4 * width * inner + 2 * width**2 + 2 * width * self.config.vocab_size)
        return Work(self._functions(sides, ours, theirs), 3 * flops, lengths * 2)


def training_step(loss_of: Call, *models: nn.Module) -> Call:
    """Forward and backward in training mode, from zeroed gradients; the step returns the loss."""
    for model in models:
        model.train()

    def step() -> Tensor:
        for model in models:
            model.zero_grad()
        loss = loss_of()
        loss.backward()
        return loss.detach()

    return step


def lengths_of(sequences: list[Sequence]) -> list[int]:
    return [len(sequence["input_ids"]) for sequence in sequences]


def no_gradient(peer: LongformerPeer) -> Any:
    return torch.inference_mode() if peer.fair else torch.no_grad()


def pad_masked(batches: list[list[Sequence]], mask_id: int) -> list[tuple[dict[str, Tensor], Tensor, Tensor]]:
    """Padded batches with masked ids and labels. The masked words are those of the same batches packed into one row."""
    packed = pack_batches(batches)
    masked_ids, labels = (values[0] for values in mask_words(packed, mask_id))
    found, start = [], 0
    for batch in batches:
        padded = pad(batch)
        real = padded["attention_mask"].bool()
        end = start + int(real.sum())
        ids, targets = padded["input_ids"].clone(), torch.full_like(padded["input_ids"], -100)
        ids[real], targets[real] = masked_ids[start:end], labels[start:end]
        found.append((padded, ids, targets))
        start = end
    return found


def disagreement(bench: Bench, name: str) -> float:
    """How far the peers are from ours in float32 without dropout, relative to the largest value.

    For a step, the gradient of the position embeddings is compared, too, because it passes through all layers.
    """
    weight = bench.head.recformer.embeddings.position_embeddings.weight  # the peers share it
    results: list[list[Tensor]] = []
    weight.grad = None  # an earlier step may have left one
    with no_dropout(bench.head, bench.model):
        for function in bench.work(name, ["ours_float32", *PEERS]).functions.values():
            results.append([function()] + ([] if weight.grad is None else [weight.grad.clone()]))
            weight.grad = None
    ours, *theirs = results
    return max(
        float((one - other).abs().max() / one.abs().max())
        for result in theirs
        for one, other in zip(ours, result, strict=True)
    )


@contextmanager
def no_dropout(*models: Any) -> Iterator[None]:
    """Set every dropout rate to 0 inside the block, in modules and in configurations, from which peers are created."""
    names = ("p", "dropout", "hidden_dropout_prob", "attention_probs_dropout_prob")
    modules = [module for model in models for module in model.modules()]
    holders = [*modules, *(module.config for module in modules if hasattr(module, "config"))]
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
        for holder, name, value in reversed(rates):  # a config that occurs twice gets its first value back
            setattr(holder, name, value)


def measure(
    bench: Bench, name: str, rates: dict[str, float], arguments: argparse.Namespace
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row for each dtype, and further details of the work for the report."""
    peers = [] if arguments.no_peers else PEERS
    sides = [*(f"ours_{dtype}" for dtype in arguments.dtypes), *peers]
    details: dict[str, Any] = {}
    if peers:
        details["disagreement"] = off = disagreement(bench, name)
        assert off < 1e-3, f"{name}: the peer is off by {off}"
    work = bench.work(name, sides)
    seconds = interleaved_medians(work.functions, arguments.repeats)
    details |= {"lengths": work.lengths, "flops": work.flops, "seconds": seconds}
    score_error = None
    if name.startswith("scores") and set(DTYPES) <= set(arguments.dtypes):
        exact, rounded = (work.functions[f"ours_{dtype}"]() for dtype in DTYPES)
        score_error = float((rounded - exact).abs().max())
    if arguments.operations:
        details["operations"] = {dtype: most_expensive(work.functions[f"ours_{dtype}"]) for dtype in arguments.dtypes}
    peaks = {}
    if arguments.memory:
        common = ["benchmarks.encoder", "--size", arguments.size, "--works", name, "--only"]
        peaks = {side: peak_memory([*common, side]) / 1e9 for side in sides if side != "fair"}
    rows = []
    for dtype in arguments.dtypes:
        ours = seconds[f"ours_{dtype}"]
        row: dict[str, Any] = {"work": name, "dtype": dtype, "tokens": sum(work.lengths)}
        row |= {"ours_s": statistics.median(ours)}
        set_share(row, work.flops, rates)
        for peer in peers:
            row |= {f"{peer}_s": statistics.median(seconds[peer])}
            row[f"{peer}_ratio"] = median_ratio(seconds[peer], ours)
        if score_error is not None and dtype == "bfloat16":
            row["score_error"] = score_error
        if peaks:
            row["peak_gb"] = peaks[f"ours_{dtype}"]
        if "faithful" in peaks:
            row |= {"faithful_peak_gb": peaks["faithful"], "peak_ratio": row["peak_gb"] / peaks["faithful"]}
        rows.append(row)
    return rows, details


def set_share(row: dict[str, Any], flops: float, rates: dict[str, float]) -> None:
    row["floor_s"] = flops / rates[row["dtype"]]
    row["share"] = row["floor_s"] / row["ours_s"]


def against_goals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The goals that the rows have figures for, and whether they are met."""
    found = []
    for row in rows:
        for (dtype, what), goal in GOALS.get(row["work"], {}).items():
            value = row.get("faithful_ratio" if what == "ratio" else what)
            if dtype == row["dtype"] and value is not None:
                met = value <= goal if what in AT_MOST else value >= goal
                found.append({"work": row["work"], "dtype": dtype, "what": what, "found": value, "goal": goal})
                found[-1]["met"] = "yes" if met else "no"
    return found


def run_once(bench: Bench, name: str, side: str) -> Callable[[], Any]:
    """One side's function. It keeps only its own part of the bench alive."""
    return bench.work(name, [side]).functions[side]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=WORKS)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES), help="dtypes of our side")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-peers", action="store_true", help="time our side only")
    parser.add_argument("--memory", action="store_true", help="also measure peak memory, in fresh processes")
    parser.add_argument("--operations", action="store_true", help="also list the most expensive operations of our side")
    parser.add_argument("--only", choices=SIDES, help="run one side of one work once (for --memory)")
    parser.add_argument("--output", help="write the results here as JSON")
    arguments = parser.parse_args()
    if arguments.only:
        function = run_once(Bench(arguments.size), arguments.works[0], arguments.only)
        gc.collect()
        reset_peak()
        function()
        print(f"{PEAK}{peak_bytes()}")
        return
    bench, settings = Bench(arguments.size), environment()
    width, inner = bench.config.hidden_size, bench.config.intermediate_size
    rates = dict.fromkeys(arguments.dtypes, 0.0)
    report: dict[str, Any] = {"options": vars(arguments), "environment": settings, "rows": [], "works": {}}

    def raise_ceiling() -> None:
        """Keep the best rates so far: a ceiling measured under load would make every share look better."""
        for dtype, rate in rates.items():
            rates[dtype] = max(rate, matrix_product_rate(DTYPES[dtype], width, inner))

    for name in arguments.works:
        raise_ceiling()
        rows, report["works"][name] = measure(bench, name, rates, arguments)
        print_table(rows)
        for dtype, operations in report["works"][name].get("operations", {}).items():
            print(f"{name} {dtype}: the most expensive operations, profiled")
            print_table(operations)
        report["rows"] += rows
        write_report(arguments.output, report)
    raise_ceiling()
    settings["matrix_product_gflops"] = {dtype: round(rate / 1e9, 1) for dtype, rate in rates.items()}
    for row in report["rows"]:
        set_share(row, report["works"][row["work"]]["flops"], rates)
    print(f"\nmatrix products, GFLOP/s: {settings['matrix_product_gflops']}")
    print_table(report["rows"])
    if arguments.size == "base" and (goals := against_goals(report["rows"])):
        report["goals"] = goals
        print_table(goals)
    settings["other_load_after"] = checked_load()
    write_report(arguments.output, report)


if __name__ == "__main__":
    main()
