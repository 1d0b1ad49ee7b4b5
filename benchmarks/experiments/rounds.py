"""Does pretraining by finetuning work? Several shops joined into one, and weights averaged with the start's each round.

    python -m benchmarks.experiments.rounds --model warm --sources games toys beauty --exclude_users_of scientific \
        --output_dir rounds

In-batch contrastive learning (the paper's pretraining, examples/pretrain.py) takes the other positives of a batch as
negatives, never an item of the history. Here the shops are joined into one catalogue, and stage 1 of finetuning trains
on their users, with a full softmax over all items, the history's among them, and item vectors that stay fixed for a
round. Each round takes its share of the users, once each. What a round learns costs text knowledge. The mean of the
round's weights and the start's keeps most of both: it starts the next round, and after the last round it is the
result, `round-K-mean` in the output folder.

All training runs `accelerate launch examples/finetune.py` on two CPU processes; docs/results.md has the figures.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from recformer_hf import RecformerForSeqRec, RecformerTokenizer
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.sequences import Sequences
from recformer_hf.data.splits.arrays import concatenated, joined_catalog
from recformer_hf.training.pretraining.zero_shot import without_users

EXAMPLES = Path(__file__).parents[2] / "examples"
VALIDATION_USERS = 200
"""Validation users of each shop. They show that a round learns; nothing is selected by them."""


def joined(shops: dict[str, SequentialDataset], rounds: int) -> list[SequentialDataset]:
    """Join the shops into `rounds` datasets with one catalogue, each with its share of every shop's users."""
    catalog, rows = joined_catalog({name: shop.catalog for name, shop in shops.items()})
    rng = np.random.default_rng(0)
    parts: list[list[Sequences]] = [[] for _ in range(rounds)]
    validation = []
    for name, shop in shops.items():
        order, train = rng.permutation(len(shop.train)), in_catalog(shop.train, name, rows[name])
        for number, part in enumerate(parts):
            share = order[len(order) * number // rounds : len(order) * (number + 1) // rounds]
            part.append(train.select(np.sort(share)))
        if shop.validation is None:
            raise ValueError(f"{name} has no validation split, which finetuning needs. Prepare the shop with one.")
        drawn = np.sort(rng.permutation(len(shop.validation))[:VALIDATION_USERS])
        validation.append(in_catalog(shop.validation, name, rows[name]).select(drawn))
    return [
        SequentialDataset(catalog, concatenated(part), concatenated(validation), None, {"name": f"round {number}"})
        for number, part in enumerate(parts)
    ]


def in_catalog(sequences: Sequences, shop: str, rows: np.ndarray) -> Sequences:
    """The sequences with rows of the joined catalogue; the shop's name keeps its users apart from other shops'."""
    users = pa.array([f"{shop}:{user}" for user in sequences.user_ids.to_pylist()])
    targets = None if sequences.targets is None else rows[sequences.targets]
    return Sequences(users, rows[sequences.items], sequences.offsets, targets)


def half_way(start: Path, trained: Path, output: Path) -> None:
    """Save the mean of two models' weights, without item vectors: the trained ones belong to another catalogue."""
    model, before = (RecformerForSeqRec.from_pretrained(folder) for folder in (trained, start))
    model.set_item_embeddings(model.item_embeddings[:0])
    weights = dict(before.named_parameters())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name != "item_embeddings":
                weight.add_(weights[name]).div_(2)
    model.save_pretrained(output)
    RecformerTokenizer.from_pretrained(start).save_pretrained(output)


def train_round(model: Path, dataset: Path, output: Path, arguments: argparse.Namespace, last: bool) -> None:
    command = [
        sys.executable, "-m", "accelerate.commands.launch",
        "--config_file", str(EXAMPLES / "configs/two_cpu_processes.yaml"), str(EXAMPLES / "finetune.py"),
        "--model", str(model), "--dataset", str(dataset), "--output_dir", str(output),
        "--bf16", str(not arguments.float32),
        "--per_device_train_batch_size", str(arguments.batch_size), "--learning_rate", str(arguments.learning_rate),
        "--warmup_steps", "0.05", "--lr_scheduler_type", "linear" if last else "constant_with_warmup",
        "--num_train_epochs", "1", "--skip_stage2", "true", "--logging_steps", "20", "--seed", "0",
    ]  # fmt: skip
    subprocess.run(command, check=True, env={"OMP_NUM_THREADS": "1"} | os.environ)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, help="folder of the Recformer to start from")
    parser.add_argument("--sources", required=True, nargs="+", help="folders of examples/prepare_data.py")
    parser.add_argument("--exclude_users_of", nargs="*", default=[], help="datasets whose users are not trained on")
    parser.add_argument("--output_dir", required=True, type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch_size", type=int, default=32, help="users of a batch, per process")
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--float32", action="store_true", help="train in float32, not in bfloat16 autocast")
    arguments = parser.parse_args()
    excluded = [SequentialDataset.load(name) for name in arguments.exclude_users_of]
    shops = {Path(name).name: without_users(SequentialDataset.load(name), excluded) for name in arguments.sources}
    start = arguments.model
    for number, dataset in enumerate(joined(shops, arguments.rounds), start=1):
        trained, data, mean = (arguments.output_dir / f"round-{number}{part}" for part in ("", "-data", "-mean"))
        dataset.save_to_disk(data)
        train_round(start, data, trained, arguments, last=number == arguments.rounds)
        half_way(arguments.model, trained, mean)
        start = mean
    print(f"Pretrained: {start}")


if __name__ == "__main__":
    main()
