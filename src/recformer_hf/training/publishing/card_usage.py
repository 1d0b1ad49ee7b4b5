"""How to load a model, and an example of what it recommends, for its card."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np

from ...data.dataset import SequentialDataset
from ...data.sequences import Sequences
from ...evaluation.ranking import Ranking
from ...items.catalog import ItemCatalog
from .card_text import item_text


@dataclass(frozen=True)
class Example:
    """A history and what is recommended after it.

    Args:
        catalog: what is recommended from.
        history: catalogue rows, oldest first.
        recommended: rows, best first; without those of the history.
        target: the row that came next.
        rank: its place among all items but those of the history, from 1; infinite where it is one of those.
    """

    catalog: ItemCatalog
    history: list[int]
    recommended: list[int]
    target: int
    rank: float


def choose_example(dataset: SequentialDataset, split: Sequences, ranking: Ranking) -> Example:
    """The first user of a split whose history has 3 to 10 items, or else the first user.

    Args:
        dataset: whose catalogue it is.
        split: what was ranked.
        ranking: of it, without the items of the histories.
    """
    assert split.targets is not None
    fitting = np.flatnonzero((split.lengths >= 3) & (split.lengths <= 10))
    row = int(fitting[0]) if fitting.size else 0
    recommended = [item for item in ranking.recommended[row].tolist() if item >= 0]
    return Example(
        dataset.catalog, split.history(row).tolist(), recommended, int(split.targets[row]), float(ranking.ranks[row])
    )


def example_text(example: Example) -> str:
    """The history, the top 10, and where what came next stands."""
    had = [f"{place}. {item_text(example.catalog[row])}" for place, row in enumerate(example.history, start=1)]
    best = [
        f"{place}. {item_text(example.catalog[row])}" + (" **(what came next)**" if row == example.target else "")
        for place, row in enumerate(example.recommended, start=1)
    ]
    if example.target not in example.recommended:
        place = "was had before" if math.isinf(example.rank) else f"is in place {example.rank:g}"
        best.append(f"\nWhat came next {place}: {item_text(example.catalog[example.target])}")
    return (
        "A user of the test split: the first with 3 to 10 items, where there is one, not chosen by how well it went. "
        "History, oldest first:\n\n" + "\n".join(had) + "\n\nTop 10, without these items:\n\n" + "\n".join(best)
    )


def loading_encoder(name: str) -> str:
    """Code that loads a pretrained model: a repository's or a folder's name."""
    return f"""```python
from recformer_hf import RecformerForSeqRec, RecformerTokenizer

name = {json.dumps(name, ensure_ascii=False)}  # a repository on the Hub, or this folder
tokenizer = RecformerTokenizer.from_pretrained(name)
model = RecformerForSeqRec.from_pretrained(name).eval()  # to finetune, or as it is:
model.set_item_embeddings(model.encode_items(items, tokenizer))  # a list of dictionaries of text, or an ItemCatalog
```"""


def loading_recommender(name: str, item_ids: list[str]) -> str:
    """Code that loads a recommender and asks it what comes after a history of these items."""
    name, history = (json.dumps(each, ensure_ascii=False) for each in (name, item_ids))
    return f"""```python
import recformer_hf  # registers the task
from transformers import pipeline

recommender = pipeline("sequential-recommendation", model={name})  # a repository on the Hub, or this folder
history = {history}  # oldest first
recommended = recommender(history, top_k=10)  # what is in the history is left out
```

The items of a history are ids of the catalogue, or any dictionaries of text attributes. The parts by themselves:

```python
import torch
from recformer_hf import ItemCatalog, RecformerForSeqRec, RecformerTokenizer

model = RecformerForSeqRec.from_pretrained({name}).eval()
tokenizer = RecformerTokenizer.from_pretrained({name})
catalog = ItemCatalog.from_pretrained({name})

rows = catalog.rows_of(history).tolist()
with torch.no_grad():
    scores = model(**tokenizer([catalog[row] for row in rows], return_tensors="pt")).scores[0]
scores[rows] = float("-inf")
recommended = [catalog.id_of(row) for row in scores.topk(10).indices.tolist()]
```"""
