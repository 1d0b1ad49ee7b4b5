"""Zero-shot ranking: how well an encoder that is still being pretrained ranks shops that it was not trained on."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.utils import logging

from ...data.collators import EvaluationCollator, ItemCollator
from ...data.dataset import SequentialDataset
from ...data.sequences import Sequences
from ...data.tokenized_catalog import TokenizedCatalog
from ...evaluation.ranking import RankingProtocol
from ...modeling_recformer import RecformerForSeqRec
from ...storage.atomic import atomic_file
from ...tokenization_recformer import RecformerTokenizer
from .validation import sample_users

logger = logging.get_logger(__name__)

ROWS_FILE = "zero_shot.jsonl"
PLOT_FILE = "zero_shot.png"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


@dataclass(frozen=True)
class ZeroShotTarget:
    """A dataset to rank, tokenized.

    Args:
        name: of its metrics.
        num_items: of its catalogue.
        item_collator, collator: of its items and histories.
        splits: what is ranked, by the beginning of its metrics' names: the name, for a test split `name_test`.
    """

    name: str
    num_items: int
    item_collator: ItemCollator
    collator: EvaluationCollator
    splits: dict[str, Sequences]

    @classmethod
    def build(
        cls,
        name: str,
        dataset: SequentialDataset,
        tokenizer: RecformerTokenizer,
        split_names: Sequence[str],
        max_users: int | None,
        cache_dir: str | None = None,
    ) -> ZeroShotTarget:
        """Tokenizes a dataset, and takes `max_users` of each split, by a hash of their ids.

        Raises:
            ValueError: for a name that is none, or a split that the dataset does not have.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"The zero-shot dataset {name!r} needs a name of letters, digits, '.' and '-', which its metrics bear."
            )
        splits = {}
        for split_name in split_names:
            split = dataset.splits.get(split_name)
            if split is None or split.targets is None:
                raise ValueError(
                    f"The zero-shot dataset {name!r} has no {split_name} split to rank; it has "
                    f"{', '.join(dataset.splits)}. Set zero_shot_splits to validation, test or both."
                )
            splits[split_label(name, split_name)] = sample_users(split, max_users)
        catalog = TokenizedCatalog.build(dataset.catalog, tokenizer, cache_dir)
        return cls(
            name, len(dataset.catalog), ItemCollator(catalog, tokenizer), EvaluationCollator(catalog, tokenizer), splits
        )


def split_label(name: str, split_name: str) -> str:
    """How the metrics of a dataset's split begin."""
    return name if split_name == "validation" else f"{name}_{split_name}"


def scoring_head(encoder: Any, num_items: int) -> RecformerForSeqRec:
    """A recommendation head around an encoder that stays where it is: no weight is copied.

    Args:
        encoder: a [`RecformerModel`].
        num_items: its item vectors are zeros, to be filled.
    """
    config = copy.deepcopy(encoder.config)
    config.num_items = 0
    with torch.device("meta"):  # the encoder that it makes for itself costs neither time nor memory
        head = RecformerForSeqRec(config)
    head.recformer = encoder
    vectors = torch.zeros(num_items, config.hidden_size, dtype=torch.float32, device=encoder.device)
    head.item_embeddings = nn.Parameter(vectors, requires_grad=False)
    head.config.num_items = num_items
    return head


class ZeroShotLog:
    """Rows step -> metrics in `zero_shot.jsonl`, and their plot in `zero_shot.png`.

    Args:
        folder: of the run.
        history: the protocol. Rows of the other one, from before the run was resumed under this one, stay in the file
            and are neither given nor drawn.
    """

    def __init__(self, folder: Path, history: RankingProtocol) -> None:
        self.folder = folder
        self.history = history

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What was written so far, fewer steps first."""
        return [row for row in self._written() if row.get("history", self.history) == self.history]

    def _written(self) -> list[dict[str, Any]]:
        path = self.folder / ROWS_FILE
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []

    def write(self, step: int, epoch: float, metrics: Mapping[str, float]) -> None:
        """Adds the row of a step; a row of this step or a later one, from before the run was resumed, goes."""
        earlier = [row for row in self._written() if row["step"] < step]
        with atomic_file(self.folder / ROWS_FILE) as temporary:
            rows = [*earlier, {"step": step, "epoch": epoch, "history": self.history, **metrics}]
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")

    def plot(self, metric: str) -> None:
        """Draws a metric of every dataset against steps, where matplotlib is installed (`pip install matplotlib`).

        Args:
            metric: such as `"ndcg@10"`.
        """
        try:
            from matplotlib.figure import Figure  # not pyplot, which would take over a notebook's state
        except ImportError:
            logger.warning_once(f"matplotlib is not installed: {PLOT_FILE} is left out, {ROWS_FILE} has the numbers.")
            return
        rows = self.rows
        figure = Figure(figsize=(6, 4), dpi=150, layout="constrained")
        axes = figure.subplots()
        for name in dict.fromkeys(name for row in rows for name in row if name.endswith(f"_{metric}")):
            points = [(row["step"], row[name]) for row in rows if name in row]
            label = name.removesuffix(f"_{metric}").replace("_", ", ")
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
        axes.set_xlabel("pretraining steps")
        axes.set_ylabel(f"zero-shot {metric.upper()}, history {self.history}")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        with atomic_file(self.folder / PLOT_FILE) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


def without_users(dataset: SequentialDataset, others: Iterable[SequentialDataset]) -> SequentialDataset:
    """A dataset without the users of others, by user id: for figures of strict transfer.

    A shop's customers may buy in several of its departments, so that pretraining on some departments has seen what the
    users of another one bought elsewhere. Every split loses the users of every split of the others.

    Raises:
        ValueError: if no training sequence is left.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pa.large_string()
    known = [split.user_ids.cast(text) for other in others for split in other.splits.values()]
    if not known:
        return dataset
    known_ids = pc.unique(pa.chunked_array(known, text))
    kept: dict[str, Sequences | None] = {}
    for name, split in dataset.splits.items():
        shared = pc.is_in(split.user_ids.cast(text), value_set=known_ids)
        rows = np.flatnonzero(~shared.to_numpy(zero_copy_only=False))
        kept[name] = split.select(rows) if rows.size else None
        logger.info(f"{name}: {len(split) - rows.size:,} of {len(split):,} users are users of a target: left out.")
    train = kept["train"]
    if train is None:
        raise ValueError(
            f"Every one of the {len(dataset.train):,} training users is a user of a target dataset: nothing is left."
        )
    info = {key: value for key, value in dataset.info.items() if key != "statistics"}
    return SequentialDataset(dataset.catalog, train, kept.get("validation"), kept.get("test"), info)
