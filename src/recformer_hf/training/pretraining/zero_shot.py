"""Zero-shot ranking: how well an encoder ranks shops that it is not trained on, while it is being pretrained."""

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
from ...modeling_recformer import RecformerForSeqRec, RecformerModel
from ...storage.atomic import atomic_file
from ...tokenization_recformer import RecformerTokenizer
from ..run_files import read_rows
from ..validation_sample import sample_users

logger = logging.get_logger(__name__)

ROWS_FILE = "zero_shot.jsonl"
PLOT_FILE = "zero_shot.png"
# An underscore separates a dataset's name from the split and the metric.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


@dataclass(frozen=True)
class ZeroShotTarget:
    """A tokenized dataset to rank.

    Args:
        name: name of the dataset in the names of its metrics.
        num_items: number of items in its catalogue.
        item_collator: collator of its items.
        collator: collator of its histories.
        splits: the splits to rank, by the prefix of their metrics ([`split_label`]).
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
        """Tokenizes a dataset and samples the users of its splits.

        Args:
            name: name of the dataset, of letters, digits, `.` and `-`.
            dataset: dataset to rank.
            tokenizer: tokenizer of the encoder.
            split_names: splits to rank, of `"validation"` and `"test"`.
            max_users: rank at most this many users of each split, chosen by a hash of their ids; `None` for all.
            cache_dir: folder for the tokenized catalogue.

        Raises:
            ValueError: if the name has other characters, or the dataset has no such split.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"The zero-shot dataset {name!r} needs a name of letters, digits, '.' and '-': the names of its "
                "metrics contain it."
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
    """Prefix of a split's metrics: `name` for the validation split, `name_test` for the test split."""
    return name if split_name == "validation" else f"{name}_{split_name}"


def scoring_head(encoder: RecformerModel, num_items: int) -> RecformerForSeqRec:
    """Puts a recommendation head around an encoder without copying any of its weights.

    Args:
        encoder: encoder to share with the head.
        num_items: number of item vectors, which are zeros for the caller to fill.
    """
    config = copy.deepcopy(encoder.config)
    config.num_items = 0
    with torch.device("meta"):  # the head builds an encoder of its own, which is thrown away
        head = RecformerForSeqRec(config)
    head.recformer = encoder
    vectors = torch.zeros(num_items, config.hidden_size, dtype=torch.float32, device=encoder.device)
    head.item_embeddings = nn.Parameter(vectors, requires_grad=False)
    head.config.num_items = num_items
    return head


class ZeroShotLog:
    """The metrics of every evaluation in `zero_shot.jsonl`, a row for each step, and their plot in `zero_shot.png`.

    Args:
        folder: folder of the run.
        history: protocol of the ranking. If the run was resumed under another protocol, the file keeps the rows of
            both, but only rows of this one are returned and drawn.
    """

    def __init__(self, folder: Path, history: RankingProtocol) -> None:
        self.folder = folder
        self.history = history

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows written so far, in the order of their steps."""
        # Rows of older versions name no protocol.
        return [row for row in self._written() if row.get("history", self.history) == self.history]

    def _written(self) -> list[dict[str, Any]]:
        return read_rows(self.folder / ROWS_FILE)

    def write(self, step: int, epoch: float, metrics: Mapping[str, float]) -> None:
        """Adds the row of a step, and drops rows of this or later steps, which the run wrote before it was resumed."""
        earlier = [row for row in self._written() if row["step"] < step]
        with atomic_file(self.folder / ROWS_FILE) as temporary:
            rows = [*earlier, {"step": step, "epoch": epoch, "history": self.history, **metrics}]
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")

    def plot(self, metric: str) -> None:
        """Plots a metric of every dataset against steps, if matplotlib is installed (`pip install matplotlib`).

        Args:
            metric: name of the metric, such as `"ndcg@10"`.
        """
        try:
            from matplotlib.figure import Figure  # not pyplot, which would take over a notebook's state
        except ImportError:
            logger.warning_once(
                f"{PLOT_FILE} is not drawn because matplotlib is not installed; {ROWS_FILE} has the numbers."
            )
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
            # matplotlib writes its version into the file by default: the bytes would depend on it.
            figure.savefig(temporary, format="png", metadata={"Software": None})


def without_users(dataset: SequentialDataset, others: Iterable[SequentialDataset]) -> SequentialDataset:
    """A dataset without the users of other datasets, by user id, to measure strict transfer.

    A shop's customers may buy in several of its departments. Pretraining on some departments has then seen what the
    users of another department bought elsewhere.

    Args:
        dataset: dataset to pretrain on.
        others: datasets whose users, of all splits, are removed from every split of `dataset`.

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
        logger.info(f"{name}: left out {len(split) - rows.size:,} of {len(split):,} users, who also use a target shop.")
    train = kept["train"]
    if train is None:
        raise ValueError(
            f"All {len(dataset.train):,} training users are also users of a target dataset: nothing is left to train "
            "on."
        )
    # Statistics are those of the whole dataset; they are computed again from what is left.
    info = {key: value for key, value in dataset.info.items() if key != "statistics"}
    return SequentialDataset(dataset.catalog, train, kept.get("validation"), kept.get("test"), info)
