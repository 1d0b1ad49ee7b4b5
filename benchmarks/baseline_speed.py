"""How long an epoch of a neural baseline takes beside a bare PyTorch loop, and what a step costs with many items.

    python -m benchmarks.baseline_speed --dataset shop
    python -m benchmarks.baseline_speed --dataset shop --model gru4rec --epochs 5
    python -m benchmarks.baseline_speed --items 1000000          # steps over so many items, each loss in a process
    python -m benchmarks.baseline_speed --items 1000000 --model unisrec --width 128 --losses ce sampled_softmax

Three sides take turns, each for an epoch: the trainer; a bare loop over the same model and the same batches; and, for
SASRec, a bare loop over torch's own layers and padded batches, as such loops are usually written. Sequences, batch
size, loss (softmax over the whole catalogue) and optimizer are the same. Nothing is evaluated or saved.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import TrainerCallback

from benchmarks.memory import peak_bytes, reset_peak, resident_bytes
from recformer_hf.baselines import NEURAL, BaselineModel, BaselineTrainer, BaselineTrainingArguments
from recformer_hf.baselines.sasrec import SASRec
from recformer_hf.baselines.shared.text_model import TextModel
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.opening import open_dataset
from recformer_hf.data.sequences import Sequences
from recformer_hf.items.catalog import ItemCatalog

LOSSES = ("ce", "bce", "gbce", "sampled_softmax")
RATE = 1e-3


def trainer_of(model: BaselineModel, dataset: SequentialDataset, batch: int, folder: str) -> BaselineTrainer:
    args = BaselineTrainingArguments(
        output_dir=folder, num_train_epochs=1, per_device_train_batch_size=batch, learning_rate=RATE, use_cpu=True,
        eval_strategy="no", save_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip
    trainer = BaselineTrainer(model, args, train_datasets=[dataset])
    trainer.callback_handler.callbacks = [
        each for each in trainer.callback_handler.callbacks if type(each).__name__ != "PrinterCallback"
    ]
    return trainer


class EpochClock(TrainerCallback):
    """Notes how long each epoch of a run takes, without what the run does once."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.began = 0.0

    def on_epoch_begin(self, *args: Any, **kwargs: Any) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds.append(time.perf_counter() - self.began)


def by_trainer(trainer: BaselineTrainer) -> Callable[[], float]:
    """A function that trains for an epoch and returns its seconds."""
    clock = EpochClock()
    trainer.add_callback(clock)

    def epoch() -> float:
        trainer.train_from(None)  # not `train`, which writes a result
        return clock.seconds[-1]

    return epoch


def bare_loop(
    model: nn.Module, trainer: BaselineTrainer, loss_of: Callable[[dict[str, Any]], Tensor]
) -> Callable[[], float]:
    """The same, without a trainer, over its batches."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)

    def epoch() -> float:
        began = time.perf_counter()
        model.train()
        for batch in trainer.get_train_dataloader():
            loss_of(batch).backward()
            optimizer.step()
            optimizer.zero_grad()
        return time.perf_counter() - began

    return epoch


class TorchsSASRec(nn.Module):
    """SASRec of torch's own layers, over padded batches."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.hidden_size
        self.items = nn.Embedding(config.num_items + 1, width, padding_idx=config.num_items)
        self.positions = nn.Embedding(config.max_length, width)
        self.dropout = nn.Dropout(config.dropout)
        layer = nn.TransformerEncoderLayer(
            width, config.num_heads, config.intermediate_size or width, config.dropout, batch_first=True,
            norm_first=True,
        )  # fmt: skip
        norm = nn.LayerNorm(width)
        self.encoder = nn.TransformerEncoder(layer, config.num_layers, norm, enable_nested_tensor=False)

    def loss(self, batch: dict[str, Any]) -> Tensor:
        lengths = batch["lengths"].tolist()
        rows, labels = (
            nn.utils.rnn.pad_sequence(batch[name].split(lengths), batch_first=True, padding_value=filler)
            for name, filler in (("history_rows", self.items.padding_idx), ("labels", -100))
        )
        length = rows.shape[1]
        hidden = self.items(rows) * math.sqrt(self.items.embedding_dim) + self.positions.weight[:length]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        states = self.encoder(self.dropout(hidden), mask, is_causal=True)
        real = labels != -100
        return F.cross_entropy(states[real] @ self.items.weight[:-1].T, labels[real])


def epochs(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Seconds of an epoch of each side, and the trainer's as a multiple of them."""
    from benchmarks.measure import median_ratio

    dataset = open_dataset(options.dataset)
    sides: dict[str, Callable[[], float]] = {}
    with TemporaryDirectory() as folder:
        trainer = trainer_of(NEURAL[options.model](hidden_size=options.width), dataset, options.batch, folder)
        sides["trainer"] = by_trainer(trainer)
        same = copy.deepcopy(trainer.model)
        sides["bare loop, same model"] = bare_loop(same, trainer, lambda batch: same(**batch).loss)
        if isinstance(same, SASRec):
            plain = TorchsSASRec(same.config)
            sides["bare loop, torch's layers"] = bare_loop(plain, trainer, plain.loss)
        turns = [{name: side() for name, side in sides.items()} for _ in range(options.epochs + 1)][1:]  # after warm-up
    seconds = {name: [turn[name] for turn in turns] for name in sides}
    return [
        {
            "side": name,
            "epoch_s": float(np.median(found)),
            "trainer / side": median_ratio(seconds["trainer"], found),
        }
        for name, found in seconds.items()
    ]


def step(loss: str, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and memory of a step over many items, of random sequences of 10."""
    draw = np.random.default_rng(0)
    users = 4 * options.batch
    catalog = ItemCatalog.from_items({f"i{row}": {"title": "x"} for row in range(options.items)})
    items = draw.integers(0, options.items, users * 11)
    train = Sequences([str(user) for user in range(users)], items, np.arange(users + 1) * 11)
    model = NEURAL[options.model](hidden_size=options.width, loss=loss)
    if isinstance(model, TextModel):
        model.with_text_vectors(catalog, draw.standard_normal((options.items, 384), np.float32))
    with TemporaryDirectory() as folder:
        trainer = trainer_of(model, SequentialDataset(catalog, train, None, None, {}), options.batch, folder)
        batches = list(trainer.get_train_dataloader())
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    reset_peak()
    before, seconds = resident_bytes(), []
    for batch in batches:
        began = time.perf_counter()
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - began)
    tables = (getattr(model.item_embeddings, "weight", None), getattr(model, "text_vectors", None))
    return {
        "loss": loss,
        "items": options.items,
        "targets": len(batches[0]["labels"]),
        "step_s": round(float(np.median(seconds[1:])), 3),
        "added_MB": round((peak_bytes() - before) / 2**20),
        "table_MB": round(sum(part.nbytes for part in tables if part is not None) / 2**20),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", help="a folder, a Hub id, or demo:NAME")
    parser.add_argument("--model", choices=list(NEURAL), default="sasrec")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128, help="sequences of a step")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of each side")
    parser.add_argument("--items", type=int, help="measure steps over this many random items")
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES), help="with --items")
    parser.add_argument("--output", help="write everything as JSON")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:  # in its own process
        print(json.dumps(step(options.losses[0], options)))
        return
    if options.dataset is None and options.items is None:
        parser.error("give --dataset, --items or both.")
    from benchmarks.measure import environment, print_table, row_of_own_process, write_report

    report: dict[str, Any] = {"options": vars(options), "environment": environment()}
    if options.dataset is not None:
        report["epochs"] = epochs(options)
        print_table(report["epochs"])
    if options.items is not None:
        line = [
            "--model", options.model, "--width", str(options.width), "--batch", str(options.batch),
            "--items", str(options.items), "--alone",
        ]  # fmt: skip
        report["steps"] = [
            row_of_own_process("benchmarks.baseline_speed", *line, "--losses", loss) for loss in options.losses
        ]
        print_table(report["steps"])
    write_report(options.output, report)


if __name__ == "__main__":
    main()
