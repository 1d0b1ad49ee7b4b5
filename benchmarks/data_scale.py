"""From a raw log of the paper's size to an epoch of packed batches: seconds and memory of every step.

    python -m benchmarks.data_scale --share 0.01                                  # a minute
    python -m benchmarks.data_scale --share 0.1 --work_dir /tmp/data_scale
    python -m benchmarks.data_scale --share 1.0 --output data_scale_100.json      # 12 GB of disk

The raw log is invented (`raw_log.py`): reviews and metadata in the layout of the Amazon 2018 files, gzipped JSON
lines. At share 1 its 5-core has the size of the paper's pretraining set: 3.6 M users, 1.02 M items, 33.6 M
interactions.

The steps read the log, take its 5-core, split, save and tokenize it. Each stage runs in its own process. `peak` is the
largest resident memory during a step; where the system does not let a process reset it, it is the largest so far. The
log and everything created from it are deleted at the end, unless --keep is given.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.memory import peak_bytes, reset_peak

STAGES = ("generate", "prepare", "tokenize", "batches")
VOCABULARY = 50_000
SAMPLE_OF_ITEMS = 100_000
BATCH_SIZE = 64


class Steps:
    """Seconds and peak memory of the steps of a stage."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Measure the block. The counts that it puts into the yielded dictionary are reported in the same row."""
        reset_peak()
        counts: dict[str, Any] = {}
        start = time.perf_counter()
        yield counts
        seconds = time.perf_counter() - start
        peak = round(peak_bytes() / 2**30, 3)
        self.rows.append({"step": name, "seconds": round(seconds, 2), "peak_gib": peak, **counts})


def generate(folder: Path, share: float) -> list[dict[str, Any]]:
    from benchmarks.raw_log import write_raw_log

    steps = Steps()
    with steps.step("generate the raw log") as counts:
        counts |= write_raw_log(folder / "raw", share)
    return steps.rows


def prepare(folder: Path, share: float) -> list[dict[str, Any]]:
    from benchmarks.raw_log import raw_files
    from recformer_hf.data.preparation import prepare as prepare_source
    from recformer_hf.data.readers.amazon import read_amazon
    from recformer_hf.data.splits import leave_one_out

    steps = Steps()
    reviews, metadata = raw_files(folder / "raw")
    with steps.step("read reviews and metadata") as counts:
        source = read_amazon(reviews, metadata, "2018")
        counts |= {"interactions": source.interactions.height, "items": source.items.height}
        counts |= {"damaged_lines": sum(file.damaged for file in source.report.files)}
    with steps.step("5-core and order") as counts:
        prepared = prepare_source(source)
        counts |= {"users": len(prepared.user_ids), "items": len(prepared.catalog), "interactions": len(prepared.items)}
        counts |= {"rounds": len(prepared.info["preparation"]["k_core_rounds"]) - 1}
    del source
    with steps.step("leave-one-out split"):
        dataset = leave_one_out(prepared)
    with steps.step("save the dataset"):
        dataset.save_to_disk(folder / "dataset", overwrite=True)
    return steps.rows


def tokenize(folder: Path, share: float) -> list[dict[str, Any]]:
    from recformer_hf import RecformerTokenizer
    from recformer_hf.data.dataset import SequentialDataset
    from recformer_hf.data.tokenized_catalog import TokenizedCatalog

    steps = Steps()
    with steps.step("open the dataset"):
        dataset = SequentialDataset.load(folder / "dataset")
    with steps.step("train a tokenizer (on at most 100,000 items)"):
        tokenizer = RecformerTokenizer.train_from_catalog(dataset.catalog[:SAMPLE_OF_ITEMS], vocab_size=VOCABULARY)
        tokenizer.save_pretrained(folder / "tokenizer")
    with steps.step("tokenize the catalogue") as counts:
        start = time.perf_counter()
        tokenized = TokenizedCatalog.build(dataset.catalog, tokenizer, folder / "tokenized")
        counts |= {"items_per_second": round(len(tokenized) / (time.perf_counter() - start))}
        counts |= {"tokens_per_item": round(float(tokenized.offsets[-1]) / len(tokenized), 1)}
    return steps.rows


def batches(folder: Path, share: float) -> list[dict[str, Any]]:
    from recformer_hf import RecformerTokenizer
    from recformer_hf.data.collators import FinetuningCollator, PretrainingCollator
    from recformer_hf.data.dataset import SequentialDataset
    from recformer_hf.data.sampling import SequenceSampler
    from recformer_hf.data.tokenized_catalog import TokenizedCatalog
    from recformer_hf.data.torch_datasets import TrainingSequences

    steps = Steps()
    with steps.step("open dataset, tokenizer and tokens"):
        dataset = SequentialDataset.load(folder / "dataset")
        tokenizer = RecformerTokenizer.from_pretrained(folder / "tokenizer")
        tokenized = TokenizedCatalog.build(dataset.catalog, tokenizer, folder / "tokenized")
        sequences = TrainingSequences([dataset.train])
    collators = {
        "pretraining": PretrainingCollator([tokenized], tokenizer, seed=0),
        "finetuning": FinetuningCollator(tokenized, tokenizer, seed=0),
    }
    for name, collator in collators.items():
        with steps.step(f"one epoch of {name} batches of {BATCH_SIZE}") as counts:
            sampler = SequenceSampler(sequences.users, collator.lengths(sequences), seed=0, batch_size=BATCH_SIZE)
            tokens, start = 0, time.perf_counter()
            for index in sampler:
                tokens += collator(sequences[index])["input_ids"].shape[1]
            seconds = time.perf_counter() - start
            counts |= {"batches": len(sampler), "tokens": tokens, "tokens_per_second": round(tokens / seconds)}
    return steps.rows


def run_stage(stage: str, folder: Path, share: float) -> list[dict[str, Any]]:
    """Run a stage in its own process, so that its peak memory is its own."""
    arguments = ["--stage", stage, "--work_dir", str(folder), "--share", str(share)]
    command = [sys.executable, "-m", "benchmarks.data_scale", *arguments]
    with tempfile.TemporaryDirectory() as results:
        path = Path(results, "rows.json")
        subprocess.run([*command, "--output", str(path)], check=True)
        return [{"stage": stage, **row} for row in json.loads(path.read_text())]


def print_table(rows: list[dict[str, Any]]) -> None:
    known = {"stage", "step", "seconds", "peak_gib"}
    print(f"\n| {'step':48} | seconds | peak GiB | |\n|---|---:|---:|---|")
    for row in rows:
        more = ", ".join(f"{name} {value:,}" for name, value in row.items() if name not in known)
        print(f"| {row['step']:48} | {row['seconds']:,.1f} | {row['peak_gib']:.2f} | {more} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.01, help="share of the paper's size, above 0 and up to 1")
    parser.add_argument("--work_dir", type=Path, help="folder of the log (default: a temporary one)")
    parser.add_argument("--output", type=Path, help="a JSON file for the results")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--keep", action="store_true", help="keep the log and everything created from it")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)  # only for its own processes
    arguments = parser.parse_args()
    if arguments.stage:
        work = {"generate": generate, "prepare": prepare, "tokenize": tokenize, "batches": batches}[arguments.stage]
        arguments.output.write_text(json.dumps(work(arguments.work_dir, arguments.share)))
        return
    folder = arguments.work_dir or Path(tempfile.mkdtemp(prefix="data_scale_"))
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    try:
        for stage in arguments.stages:
            rows += run_stage(stage, folder, arguments.share)
            print_table(rows)
            if arguments.output:
                machine = {"processors": len(os.sched_getaffinity(0)), "load_average": os.getloadavg()}
                report = {"share": arguments.share, **machine, "steps": rows}
                arguments.output.write_text(json.dumps(report, indent=2))
    finally:
        if not arguments.keep:
            for name in ("raw", "dataset", "tokenizer", "tokenized"):
                shutil.rmtree(folder / name, ignore_errors=True)


if __name__ == "__main__":
    main()
