"""Training and item encoding on one GPU, in bfloat16 at base size, beside transformers' Longformer; 8 minutes.

    python -m benchmarks.gpu --output gpu.json
    python -m benchmarks.gpu --device cpu --size small --smoke    # only the logic, without a GPU

A training step is a finetuning step, forward and backward, over 5,000 items, with window 64 and 1,024 or 256 tokens a
sequence. The peer (`peers.py`) has the same weights, batches and precision. `mfu` is model FLOP utilisation: the
operations of the linear layers (467 M for each token of training at base size) over the GPU's dense bfloat16 peak, by
its name or `--peak_tflops`. `share` is the same over the rate that linear layers reach in the same run.
`peak_gb` counts the weights, gradients and activations of one side. First the default attention is compared with
`eager`, and one step runs with synchronisation forbidden. If either fails, the run continues and ends with status 1.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.encoder import SIZES
from benchmarks.floor import linear_flops, training_flops_per_token
from benchmarks.measure import (
    environment,
    interleaved_medians,
    matrix_product_rate,
    median_ratio,
    most_expensive,
    print_table,
    write_report,
)
from benchmarks.peers import LongformerPeer
from benchmarks.workload import make_workload, pad
from recformer_hf import RecformerConfig, RecformerForSeqRec, RecformerModel
from recformer_hf.encoder.packing import pack_sequences

PEAK_TFLOPS = {"H100 80GB HBM3": 989.0, "H200": 989.0, "A100": 312.0}
"""Dense bfloat16 peak, by a part of the device's name."""
TOLERANCES = {torch.float32: (1e-4, 1e-3), torch.bfloat16: (0.05, 0.05)}
"""Largest differences from `eager`: of hidden states relative to the largest, of gradients relative to their norm."""
NUM_ITEMS = 5000

Sequence = dict[str, np.ndarray]


def peak_flops(device_name: str, given_tflops: float | None) -> float | None:
    """FLOP/s, or None for an unknown device."""
    if given_tflops is not None:
        return given_tflops * 1e12
    return next((tflops * 1e12 for name, tflops in PEAK_TFLOPS.items() if name in device_name), None)


def even_sequences(vocab_size: int, length: int, num_tokens: int) -> list[Sequence]:
    """Histories of exactly `length` tokens, with a total of `num_tokens` or slightly fewer."""
    workload = make_workload(vocab_size, max_tokens=length, num_users=1)
    generator = np.random.default_rng(length)
    return [workload.history(generator.integers(0, NUM_ITEMS, 50)) for _ in range(max(1, num_tokens // length))]


def item_sequences(vocab_size: int, num_tokens: int) -> list[Sequence]:
    """Items, each in a sequence of its own, until there are `num_tokens`."""
    workload = make_workload(vocab_size, num_users=1)
    found: list[Sequence] = []
    tokens = 0
    while tokens < num_tokens:
        found.append(workload.item(len(found) % len(workload.items)))
        tokens += len(found[-1]["input_ids"])
    return found


def packed_on(device: str, sequences: list[Sequence]) -> dict[str, Any]:
    """A packed batch on a device, with its longest length, so that the forward need not read it from the device."""
    batch: dict[str, Any] = {name: value.to(device) for name, value in pack_sequences(sequences).items()}
    return {**batch, "max_seqlen": max(len(sequence["input_ids"]) for sequence in sequences)}


class Bench:
    """Our model and the peer, with the same weights and precision."""

    def __init__(self, size: str, device: str, precision: str) -> None:
        torch.manual_seed(0)
        # flex_attention cannot drop attention probabilities, so both sides do without.
        self.config = RecformerConfig(num_items=NUM_ITEMS, attention_probs_dropout_prob=0.0, **SIZES[size])
        self.device, self.precision = device, precision
        model = RecformerForSeqRec(self.config)
        model.set_item_embeddings(torch.randn(NUM_ITEMS, self.config.hidden_size))
        self.exact = model.to(device)
        dtype = torch.bfloat16 if precision == "weights" else torch.float32
        self.model = copy.deepcopy(model).to(dtype).train()
        self.peer = LongformerPeer(copy.deepcopy(model.recformer).cpu(), fair=True).to(device, dtype).train()
        self.peer_items = model.item_embeddings.detach().to(dtype)

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device, torch.bfloat16) if self.precision == "autocast" else nullcontext()

    def training_steps(self, sequences: list[Sequence]) -> dict[str, Callable[[], None]]:
        """Forward and backward of both sides, without waiting for the GPU to finish."""
        batch = packed_on(self.device, sequences)
        padded = {name: value.to(self.device) for name, value in pad(sequences).items()}
        labels = (torch.arange(len(sequences)) * 7 % NUM_ITEMS).to(self.device)

        def ours() -> None:
            self.model.zero_grad()
            with self.autocast():
                loss = self.model(**batch, labels=labels).loss
            loss.backward()

        def longformer() -> None:
            self.peer.zero_grad()
            with self.autocast():
                scores = self.peer.scores(self.peer(padded)[:, 0], self.peer_items)
            F.cross_entropy(scores.float(), labels).backward()

        return {"ours": ours, "longformer": longformer}

    def finished(self, function: Callable[[], Any]) -> Callable[[], None]:
        """The function, followed by a wait for everything that it started."""

        def run() -> None:
            function()
            if self.device == "cuda":
                torch.cuda.synchronize()

        return run

    def peak_bytes(self, model: nn.Module, step: Callable[[], None]) -> int | None:
        """Weights, gradients and activations; None on a CPU, where `benchmarks.encoder` measures them."""
        if self.device != "cuda":
            return None
        model.zero_grad()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        self.finished(step)()
        weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())
        return torch.cuda.max_memory_allocated() - before + weights


def training_rows(
    bench: Bench, length: int, num_tokens: int, repeats: int, rate: float, peak: float | None
) -> list[dict[str, Any]]:
    sequences = even_sequences(bench.config.vocab_size, length, num_tokens)
    tokens = sum(len(sequence["input_ids"]) for sequence in sequences)
    steps = bench.training_steps(sequences)
    peaks = {"ours": bench.peak_bytes(bench.model, steps["ours"])}
    try:
        peaks["longformer"] = bench.peak_bytes(bench.peer, steps["longformer"])
    except torch.cuda.OutOfMemoryError:
        print(f"Longformer runs out of memory with {tokens:,} tokens and is skipped; pass a smaller --tokens")
        del steps["longformer"]
        bench.peer.zero_grad()
        torch.cuda.empty_cache()
    calls = {side: bench.finished(step) for side, step in steps.items()}
    seconds = interleaved_medians(calls, repeats, warmup=2)
    rows = []
    for side, values in seconds.items():
        median = statistics.median(values)
        row: dict[str, Any] = {"work": "training step", "length": length, "tokens": tokens, "side": side}
        row |= {"ms": 1000 * median, "tokens_per_second": round(tokens / median)}
        if side == "ours":
            flops = tokens * training_flops_per_token(bench.config) / median
            row |= {"mfu": flops / peak if peak else None, "share": flops / rate}
            if "longformer" in seconds:
                row["ratio"] = median_ratio(seconds["longformer"], values)
        if (bytes_ := peaks[side]) is not None:
            row["peak_gb"] = bytes_ / 1e9
        rows.append(row)
    return rows


def encoding_row(bench: Bench, num_tokens: int, repeats: int, rate: float, peak: float | None) -> dict[str, Any]:
    sequences = item_sequences(bench.config.vocab_size, num_tokens)
    batch = packed_on(bench.device, sequences)
    encoder = bench.model.recformer.eval()

    def encode() -> None:
        with torch.inference_mode(), bench.autocast():
            encoder(**batch, pooled_only=True)

    median = statistics.median(interleaved_medians({"ours": bench.finished(encode)}, repeats, warmup=2)["ours"])
    encoder.train()
    tokens = batch["input_ids"].shape[1]
    flops = tokens * (bench.config.num_hidden_layers - 1) * linear_flops(bench.config) / median
    return {
        "work": "encode items", "tokens": tokens, "side": "ours", "ms": 1000 * median,
        "tokens_per_second": round(tokens / median), "items_per_second": round(len(sequences) / median),
        "mfu": flops / peak if peak else None, "share": flops / rate,
    }  # fmt: skip


def states_and_gradients(model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Hidden states, and the gradients of the mean of their squares, in float32."""
    model.zero_grad()
    states = model(**batch).last_hidden_state
    states.square().mean().backward()
    gradients = [weight.grad.flatten().float() for weight in model.parameters() if weight.grad is not None]
    model.zero_grad()
    return states.detach().float(), torch.cat(gradients)


@torch.no_grad()
def peaky(model: RecformerModel) -> RecformerModel:
    """Scale up queries and keys: the attention of a fresh model is nearly uniform, which would hide mistakes in it."""
    for layer in model.encoder.layer:
        for name in ("query", "key", "query_global", "key_global"):
            getattr(layer.attention.self, name).weight.mul_(2.5)
    return model


def peer_check(bench: Bench, length: int) -> dict[str, Any]:
    """Compare the pooled vectors of both sides, in float32 without dropout, to show that they compute the same."""
    sequences = even_sequences(bench.config.vocab_size, length, 2 * length)
    peer = LongformerPeer(copy.deepcopy(bench.exact.recformer).cpu(), fair=True).to(bench.device).eval()
    padded = {name: value.to(bench.device) for name, value in pad(sequences).items()}
    with torch.inference_mode():
        ours = bench.exact.recformer.eval()(**packed_on(bench.device, sequences), pooled_only=True).pooler_output
        off = float((ours - peer(padded)[:, 0]).abs().max() / ours.abs().max())
    return {"check": "Longformer gives the same vectors", "off": off, "limit": 1e-3, "passed": off <= 1e-3}


def attention_checks(bench: Bench, lengths: list[int]) -> list[dict[str, Any]]:
    """Compare the default attention with `eager`, in both dtypes."""
    sequences = [even_sequences(bench.config.vocab_size, length, length)[0] for length in lengths]
    batch, rows = packed_on(bench.device, sequences), []
    for dtype, (limit, gradient_limit) in TOLERANCES.items():
        model = peaky(copy.deepcopy(bench.exact.recformer)).to(dtype).eval()  # eval: no dropout
        model.set_attn_implementation("eager")
        expected, expected_gradients = states_and_gradients(model, batch)
        model.config._attn_implementation = None
        found, gradients = states_and_gradients(model, batch)
        off = float((found - expected).abs().max() / expected.abs().max())
        gradient_off = float((gradients - expected_gradients).norm() / expected_gradients.norm())
        rows.append({"check": f"{str(dtype).removeprefix('torch.')} against eager", "off": off, "limit": limit})
        rows[-1] |= {"gradients_off": gradient_off, "gradients_limit": gradient_limit}
        rows[-1]["passed"] = off <= limit and gradient_off <= gradient_limit
    return rows


def waiting_check(bench: Bench, length: int, num_tokens: int) -> dict[str, Any]:
    """Run a warmed-up training step of ours with synchronisation forbidden."""
    step = bench.training_steps(even_sequences(bench.config.vocab_size, length, num_tokens))["ours"]
    for _ in range(2):  # compiles
        step()
    torch.cuda.synchronize()
    row: dict[str, Any] = {"check": "no wait for the GPU in a step", "passed": True}
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    except RuntimeError as error:
        row |= {"passed": False, "message": str(error).splitlines()[0]}
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument(
        "--precision", choices=["weights", "autocast"], default="weights", help="where bfloat16 is used"
    )
    parser.add_argument("--lengths", nargs="+", type=int, default=[1024, 256], help="tokens a sequence")
    parser.add_argument("--tokens", type=int, default=16_384, help="tokens of a batch")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--peak_tflops", type=float, help="the GPU's dense bfloat16 peak, if its name is unknown")
    parser.add_argument("--smoke", action="store_true", help="tiny batches, to see that it runs")
    parser.add_argument("--output", help="write the results here as JSON")
    arguments = parser.parse_args()
    on_gpu = arguments.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        sys.exit("There is no CUDA device here. To run only the logic, pass --device cpu --size small --smoke.")
    if arguments.smoke:
        arguments.lengths, arguments.tokens, arguments.repeats = [64, 32], 128, 1
    report: dict[str, Any] = {"options": vars(arguments), "environment": environment()}
    name = torch.cuda.get_device_name() if on_gpu else "cpu"
    report["environment"] |= {"device": name, "cuda": torch.version.cuda}
    bench = Bench(arguments.size, arguments.device, arguments.precision)
    width, inner = bench.config.hidden_size, bench.config.intermediate_size
    rows = (arguments.tokens,) if arguments.smoke else (arguments.tokens, 4 * arguments.tokens)
    rate = matrix_product_rate(torch.bfloat16, width, inner, arguments.device, rows)
    peak = peak_flops(name, arguments.peak_tflops)
    report["environment"]["matrix_product_tflops"] = rate / 1e12
    print(f"{name}: linear layers reach {rate / 1e12:.4g} TFLOP/s in bfloat16")

    report["checks"] = attention_checks(bench, [1, 20, 33] if arguments.smoke else [1, 20, 33, 64, 65, 300, 1024])
    report["checks"].append(peer_check(bench, arguments.lengths[-1]))
    if on_gpu:
        report["checks"].append(waiting_check(bench, arguments.lengths[0], arguments.tokens))
    print_table(report["checks"])
    report["rows"] = []
    for length in arguments.lengths:
        report["rows"] += training_rows(bench, length, arguments.tokens, arguments.repeats, rate, peak)
    report["rows"].append(encoding_row(bench, 2 * arguments.tokens, arguments.repeats, rate, peak))
    print_table(report["rows"])
    write_report(arguments.output, report)
    step = bench.training_steps(even_sequences(bench.config.vocab_size, arguments.lengths[0], arguments.tokens))["ours"]
    report["operations"] = most_expensive(bench.finished(step), count=8, device=arguments.device)
    print("the most expensive operations of our training step, profiled")
    print_table(report["operations"])
    write_report(arguments.output, report)
    if not all(check["passed"] for check in report["checks"]):
        sys.exit("A check failed: see the first table.")


if __name__ == "__main__":
    main()
