"""What do other shops teach? A small sequential model over frozen item vectors, trained with and without them.

    python -m benchmarks.experiments.transfer --model warm --target scientific --sources games toys beauty \
        --output transfer.json

Finetuning changes a Recformer's item vectors and its reading of histories at once, and takes most of an hour. Here the
item vectors are the model's and stay fixed, and a small network turns them into a vector of the history, in minutes.
The rows of one model therefore show what pretraining gives to the reading of histories, and the rows of several models
show how good their item vectors are as inputs and targets. Nothing is selected: every training has the length it was
given, and the validation split is ranked after it.

`--target` and `--sources` are folders of examples/prepare_data.py. Users of the target are removed from the sources.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measure import difference_text, report_rows
from recformer_hf import RecformerForSeqRec, RecformerTokenizer
from recformer_hf.baselines import LastItemText
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.evaluation import Ranking, Scorer, paired_test, rank_protocols
from recformer_hf.training.pretraining.zero_shot import without_users

NEWEST = 6
"""Items of a history that are read: as many as its 128 tokens hold."""
TEMPERATURE = 0.05


class HistoryReader(nn.Module):
    """Turns the vectors of a history's newest items into one vector.

    Before training this is their weighted mean, where each item weighs `exp(-1/2)` of the next newer one. Training may
    change the weights, by place and by content, and add a correction from that mean and the newest item.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.place = nn.Parameter(-torch.arange(NEWEST) / 2)
        self.positions = nn.Parameter(torch.zeros(NEWEST, width))
        self.content = nn.Linear(width, width)
        self.correction = nn.Sequential(
            nn.Linear(2 * width, 2 * width), nn.GELU(), nn.Dropout(0.3), nn.Linear(2 * width, width)
        )
        nn.init.zeros_(self.content.weight)
        nn.init.zeros_(self.correction[3].weight)
        nn.init.zeros_(self.correction[3].bias)

    def forward(self, vectors: Tensor, real: Tensor) -> Tensor:
        """Vectors `[batch, NEWEST, width]`, newest first, and which are real -> unit vectors `[batch, width]`."""
        placed = vectors + self.positions
        weights = (self.content(placed) * placed[:, :1]).sum(-1) + self.place
        weights = weights.masked_fill(~real, -torch.inf).softmax(-1)
        mean = (weights[..., None] * vectors).sum(1)
        return F.normalize(mean + self.correction(torch.cat([mean, vectors[:, 0]], -1)), dim=-1)


@dataclass
class Shop:
    """A shop's item vectors `[num_items, width]` of length 1, and every next item of its training sequences."""

    vectors: Tensor
    contexts: Tensor  # int64 [num_targets, NEWEST], newest first, -1 for none
    targets: Tensor

    @classmethod
    def of(cls, dataset: SequentialDataset, model: RecformerForSeqRec, tokenizer: RecformerTokenizer) -> Shop:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            vectors = model.encode_items(dataset.catalog, tokenizer, progress=False)
        sequences = [dataset.train.history(row) for row in range(len(dataset.train))]
        contexts = [newest(sequence[:end]) for sequence in sequences for end in range(1, len(sequence))]
        targets = np.concatenate([sequence[1:] for sequence in sequences])
        return cls(F.normalize(vectors.float(), dim=-1), torch.from_numpy(np.stack(contexts)), torch.tensor(targets))


def newest(history: np.ndarray) -> np.ndarray:
    """int64 `[NEWEST]`: the newest items, newest first, padded with -1."""
    rows = np.full(NEWEST, -1)
    kept = history[-NEWEST:][::-1]
    rows[: len(kept)] = kept
    return rows


def gathered(vectors: Tensor, contexts: Tensor) -> tuple[Tensor, Tensor]:
    real = contexts >= 0
    return vectors[contexts.clamp(min=0)] * real[..., None], real


@dataclass
class ReaderScorer:
    """[`HistoryReader`] as a [`Scorer`]."""

    reader: HistoryReader
    vectors: Tensor

    def fit(self, dataset: SequentialDataset) -> ReaderScorer:
        return self

    @torch.no_grad()
    def scores(self, histories: Sequence[np.ndarray]) -> Tensor:
        contexts = torch.from_numpy(np.stack([newest(history) for history in histories]))
        return self.reader.eval()(*gathered(self.vectors, contexts)) @ self.vectors.T


def train(reader: HistoryReader, shops: list[Shop], epochs: int, learning_rate: float, batch_size: int) -> None:
    """Full softmax over the catalogue of the batch's shop; the learning rate falls to 0."""
    steps = epochs * sum(-(-len(shop.targets) // batch_size) for shop in shops)
    optimizer = torch.optim.AdamW(reader.parameters(), learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    reader.train()
    for shop, rows in (batch for _ in range(epochs) for batch in batches(shops, batch_size)):
        vectors, real = gathered(shop.vectors, shop.contexts[rows])
        scores = reader(F.dropout(vectors, 0.1), real) @ shop.vectors.T / TEMPERATURE
        optimizer.zero_grad()
        F.cross_entropy(scores, shop.targets[rows].long()).backward()
        optimizer.step()
        schedule.step()


def batches(shops: list[Shop], batch_size: int) -> Iterator[tuple[Shop, Tensor]]:
    """Every target once, each batch of one shop, the shops' batches shuffled."""
    found = [(shop, rows) for shop in shops for rows in torch.randperm(len(shop.targets)).split(batch_size)]
    return (found[place] for place in torch.randperm(len(found)).tolist())


def study(arguments: argparse.Namespace, folder: str) -> Iterator[dict[str, Any]]:
    """The rows of one model: each reader's NDCG@10 on the target's validation split, in both protocols."""
    model, tokenizer = RecformerForSeqRec.from_pretrained(folder).eval(), RecformerTokenizer.from_pretrained(folder)
    target = SequentialDataset.load(arguments.target)
    if target.validation is None:
        raise SystemExit(f"{arguments.target} has no validation split to rank.")
    sources = [without_users(SequentialDataset.load(name), [target]) for name in arguments.sources]
    shop = Shop.of(target, model, tokenizer)
    others = [Shop.of(source, model, tokenizer) for source in sources]

    def row(history: str, scorer: Scorer, **more: Any) -> tuple[dict[str, Any], dict[Any, Ranking]]:
        rankings = rank_protocols(scorer, target.validation, progress=False)
        figures = {protocol: round(ranking.metrics()["ndcg@10"], 4) for protocol, ranking in rankings.items()}
        return {"model": folder, "history": history, **figures, **more}, rankings

    yield row("newest item alone", LastItemText(shop.vectors))[0]
    for seed in arguments.seeds:
        torch.manual_seed(seed)
        untaught = HistoryReader(shop.vectors.shape[1])
        if seed == arguments.seeds[0]:
            yield row("mean, newest first", ReaderScorer(untaught, shop.vectors))[0]
        taught = HistoryReader(shop.vectors.shape[1])
        taught.load_state_dict(untaught.state_dict())
        train(taught, others, 1, arguments.source_learning_rate, arguments.batch_size)
        yield row("the sources", ReaderScorer(taught, shop.vectors), seed=seed)[0]
        for epochs in arguments.epochs:
            ranked: dict[str, dict[Any, Ranking]] = {}
            for start, reader in (("the target", untaught), ("the sources, then the target", taught)):
                finetuned = HistoryReader(shop.vectors.shape[1])
                finetuned.load_state_dict(reader.state_dict())
                torch.manual_seed(seed)
                train(finetuned, [shop], epochs, arguments.learning_rate, arguments.batch_size)
                scorer = ReaderScorer(finetuned, shop.vectors)
                found, ranked[start] = row(start, scorer, seed=seed, epochs=epochs)
                yield found
            for protocol in ("kept", "excluded"):
                test = paired_test(ranked["the sources, then the target"][protocol], ranked["the target"][protocol])
                span = {protocol: difference_text(test)}
                yield {"model": folder, "history": "difference", **span, "seed": seed, "epochs": epochs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", required=True, help="folders of Recformers, one group of rows each")
    parser.add_argument("--target", required=True)
    parser.add_argument("--sources", nargs="+", required=True, help="shops to train on first, one epoch each")
    parser.add_argument("--epochs", nargs="+", type=int, default=[2, 12], help="epochs on the target, one row each")
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--source_learning_rate", type=float, default=1e-3)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--output", help="JSON file of the rows")
    arguments = parser.parse_args()
    report_rows(arguments, arguments.model, lambda folder: list(study(arguments, folder)))


if __name__ == "__main__":
    main()
