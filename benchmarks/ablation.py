"""What each technique of the encoder gives: the same work with one of them off, in turns with all of them on.

    python -m benchmarks.ablation                                   # base size, float32
    python -m benchmarks.ablation --size small --works encode_items --repeats 1
    python -m benchmarks.ablation --dtype bfloat16 --works finetune_8 --memory --output ablation.json

`times` is the time without the technique over the time with all of them, the median over turns: 1 means that it gives
nothing here. Results are the same without it (`tests/benchmarks/test_ablation.py`), with two exceptions: dropout draws
other masks, and without `no padding` the sequences of a batch are padded to its longest one (items in batches of 16, in
the given order) and the encoder treats the padding as words. `gradient checkpointing` is an option that is not part of
`all`: its row shows what it costs and saves when it is switched on.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.encoder import DTYPES, SIZES, WORKS, Bench, Sequence, Work
from benchmarks.measure import (
    PEAK,
    interleaved_medians,
    median_ratio,
    peak_memory,
    report_rows,
)
from benchmarks.memory import peak_bytes, reset_peak
from benchmarks.workload import fill
from recformer_hf import RecformerModel
from recformer_hf.encoder import attention, first_token, kernels
from recformer_hf.encoder.attention import ALL_ATTENTION_FUNCTIONS
from recformer_hf.encoder.cpu import dropout as cpu_dropout
from recformer_hf.encoder.cpu import onednn
from recformer_hf.encoder.packing import SequenceLayout, pack_sequences
from recformer_hf.encoder.window_blocks import WindowBlocks
from recformer_hf.heads import scores as heads_scores

ALL = "all"
INFERENCE, TRAINING = ("encode_items", "scores_1", "scores_16"), ("finetune_4", "finetune_8", "pretrain_2")


@dataclass
class Technique:
    """How a technique is switched off, and the works that use it."""

    off: Callable[[Bench], AbstractContextManager[Any]]
    works: tuple[str, ...] = (*INFERENCE, *TRAINING)
    at_door: bool = False
    """Whether it is switched off while batches are created, instead of while they run."""


def always(value: Any) -> Callable[..., Any]:
    """A function that returns this value. A mock would keep the tensors that it was called with."""
    return lambda *_: value


def pack_filled(batches: list[list[Sequence]]) -> dict[str, Tensor]:
    return pack_sequences(list(chain.from_iterable(fill(batch) for batch in batches)))


_last_layer = RecformerModel._last_layer


def whole_last_layer(
    self: RecformerModel,
    hidden: Tensor,
    layout: SequenceLayout,
    first_tokens_only: bool = False,
    rows: Tensor | None = None,
) -> Tensor:
    states = _last_layer(self, hidden, layout)
    return states[layout.first_tokens] if first_tokens_only else states if rows is None else states[rows]


def broadcast_scores(users: Tensor, items: Tensor, temperature: float) -> Tensor:
    return F.cosine_similarity(users.float()[:, None], items[None], dim=-1) / temperature


def drawn_mask(shape: tuple[int, ...], probability: float) -> tuple[Tensor, float]:
    return torch.empty(shape, dtype=torch.uint8).bernoulli_(1 - probability), 1 / (1 - probability)


def window_by_autograd(
    query: Tensor, key: Tensor, value: Tensor, layout: SequenceLayout, heads: int, half_window: int, dropout: float
) -> tuple[Tensor, None]:
    """The window's blocks through `scaled_dot_product_attention`, with autograd's backward."""
    blocks = WindowBlocks.of(layout, half_window, len(query))
    keys, values = (torch.cat([blocks.window_view(x, heads), blocks.first_of(x, heads)], 2) for x in (key, value))
    allowed = torch.cat([blocks.near, blocks.far[:, :, None]], 2)[None]
    queries = blocks.split_queries(query, heads)
    output = F.scaled_dot_product_attention(queries, keys, values, attn_mask=allowed, dropout_p=dropout)
    return blocks.join_queries(output), None


def dense_window(query: Tensor, *arguments: Any) -> tuple[Tensor, None]:
    output = attention.eager_window_attention(query, *arguments)[0]
    return F.pad(output, (0, 0, 0, len(query) - len(output))), None  # the model expects rows for its padding, too


@contextmanager
def window(function: Callable[..., Any]) -> Iterator[None]:
    before = ALL_ATTENTION_FUNCTIONS["sdpa"]
    ALL_ATTENTION_FUNCTIONS["sdpa"] = function
    try:
        yield
    finally:
        ALL_ATTENTION_FUNCTIONS["sdpa"] = before


@contextmanager
def masks(function: Callable[..., Any]) -> Iterator[None]:
    with (
        mock.patch.object(kernels, "draw_mask", function),
        mock.patch.object(cpu_dropout, "draw_mask", function),
    ):
        yield


@contextmanager
def checkpointing(bench: Bench) -> Iterator[None]:
    models = [bench.head, bench.model, *chain.from_iterable(bench.converted.values())]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # newer transformers rename it
        for model in models:
            model.gradient_checkpointing_enable()
        try:
            yield
        finally:
            for model in models:
                model.gradient_checkpointing_disable()
                model.disable_input_require_grads()  # or a hook on the word embeddings would stay


TECHNIQUES: dict[str, Technique] = {
    "no padding": Technique(lambda bench: mock.patch.object(bench, "pack", pack_filled), at_door=True),
    "last layer for the needed rows": Technique(
        lambda _: mock.patch.object(RecformerModel, "_last_layer", whole_last_layer)
    ),
    "<s> by algebra": Technique(lambda _: mock.patch.object(first_token, "is_plain_linear", always(False))),
    "window in blocks": Technique(lambda _: window(dense_window)),
    "flash kernel on overlapping views": Technique(
        lambda _: mock.patch.object(kernels, "flash_kernel", always(None)), INFERENCE
    ),
    "the window's own backward": Technique(lambda _: window(window_by_autograd), TRAINING),
    "products through oneDNN": Technique(lambda _: mock.patch.object(onednn, "is_exact", always(False))),
    "bias and GELU fused": Technique(lambda _: mock.patch.object(onednn, "_fused_linear", always(None)), INFERENCE),
    "cheap dropout masks": Technique(lambda _: masks(drawn_mask), TRAINING),
    "scores as one product": Technique(
        lambda _: mock.patch.object(heads_scores, "similarity_scores", broadcast_scores),
        ("scores_1", "scores_16", "finetune_4", "finetune_8"),
    ),
    "gradient checkpointing": Technique(checkpointing, TRAINING),
}


def ours(bench: Bench, work: str, dtype: str) -> Callable[[], Tensor]:
    made: Work = bench.work(work, [f"ours_{dtype}"])
    return made.functions[f"ours_{dtype}"]


def without(bench: Bench, technique: str, work: str, dtype: str) -> Callable[[], Tensor]:
    """The work's function with a technique switched off while it runs."""
    entry = TECHNIQUES[technique]
    with entry.off(bench) if entry.at_door else nullcontext():
        function = ours(bench, work, dtype)
    if entry.at_door:
        return function

    def run() -> Tensor:
        with entry.off(bench):
            return function()

    return run


def measure(bench: Bench, work: str, techniques: list[str], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    dtype = arguments.dtype
    functions = {ALL: ours(bench, work, dtype)}
    functions |= {name: without(bench, name, work, dtype) for name in techniques if work in TECHNIQUES[name].works}
    seconds = interleaved_medians(functions, arguments.repeats)
    rows = []
    for name, values in seconds.items():
        row = {"work": work, "dtype": dtype, "without": name, "seconds": statistics.median(values)}
        row["times"] = median_ratio(values, seconds[ALL])
        if arguments.memory:
            common = ["benchmarks.ablation", "--size", arguments.size, "--dtype", dtype, "--works", work]
            row["peak_gb"] = peak_memory([*common, "--only", name]) / 1e9
        rows.append(row)
    rows[0]["without"] = "(all on)"
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=["encode_items", "scores_16", "finetune_8"])
    parser.add_argument("--techniques", nargs="+", choices=TECHNIQUES, default=list(TECHNIQUES))
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", action="store_true", help="also measure peak memory, in fresh processes")
    parser.add_argument("--only", choices=[ALL, *TECHNIQUES], help="run one work once without it (for --memory)")
    parser.add_argument("--output", help="write the results here as JSON")
    arguments = parser.parse_args()
    bench = Bench(arguments.size)
    if arguments.only:
        work, dtype = arguments.works[0], arguments.dtype
        function = ours(bench, work, dtype) if arguments.only == ALL else without(bench, arguments.only, work, dtype)
        gc.collect()
        reset_peak()
        function()
        print(f"{PEAK}{peak_bytes()}")
        return
    report_rows(arguments, arguments.works, lambda work: measure(bench, work, arguments.techniques, arguments))


if __name__ == "__main__":
    main()
