"""The usage part of the card: how to load the model, and an example of what it recommends."""

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
    """A history and what the model recommends after it.

    Args:
        catalog: the catalogue that the rows belong to.
        history: catalogue rows, oldest first.
        recommended: catalogue rows, best first, without the items of the history.
        target: catalogue row of the item that came next.
        rank: rank of the target, from 1, among all items outside the history; infinite if the history contains it.
    """

    catalog: ItemCatalog
    history: list[int]
    recommended: list[int]
    target: int
    rank: float


def choose_example(dataset: SequentialDataset, split: Sequences, ranking: Ranking) -> Example:
    """The first user of a split whose history has 3 to 10 items, or the first user if there is none.

    Args:
        dataset: the dataset that the split belongs to.
        split: a split with targets.
        ranking: the split's ranking with the histories excluded.
    """
    assert split.targets is not None
    fitting = np.flatnonzero((split.lengths >= 3) & (split.lengths <= 10))
    row = int(fitting[0]) if fitting.size else 0
    # A ranking of fewer items than places ends in -1.
    recommended = [item for item in ranking.recommended[row].tolist() if item >= 0]
    return Example(
        dataset.catalog, split.history(row).tolist(), recommended, int(split.targets[row]), float(ranking.ranks[row])
    )


def example_text(example: Example) -> str:
    """The history, the top 10, and the place of the item that came next."""
    had = [f"{place}. {item_text(example.catalog[row])}" for place, row in enumerate(example.history, start=1)]
    best = [
        f"{place}. {item_text(example.catalog[row])}" + (" **(what came next)**" if row == example.target else "")
        for place, row in enumerate(example.recommended, start=1)
    ]
    if example.target not in example.recommended:
        place = "was already in the history" if math.isinf(example.rank) else f"is in place {example.rank:g}"
        best.append(f"\nWhat came next {place}: {item_text(example.catalog[example.target])}")
    return (
        "A user of the test split: the first with a history of 3 to 10 items, if there is one, not chosen by how good "
        "the recommendations are. History, oldest first:\n\n"
        + "\n".join(had)
        + "\n\nTop 10, without these items:\n\n"
        + "\n".join(best)
    )


def loading_encoder(name: str) -> str:
    """Code that loads a pretrained model.

    Args:
        name: id of a repository, or name of a folder.
    """
    # A JSON string is also a Python string: names and ids may contain quotes.
    return f"""```python
from recformer_hf import RecformerForSeqRec, RecformerTokenizer

name = {json.dumps(name, ensure_ascii=False)}  # a repository on the Hub, or this folder
tokenizer = RecformerTokenizer.from_pretrained(name)
model = RecformerForSeqRec.from_pretrained(name).eval()  # finetune it, or use it as it is:
model.set_item_embeddings(model.encode_items(items, tokenizer))  # dictionaries of text, or an ItemCatalog
```"""


def loading_recommender(name: str, item_ids: list[str]) -> str:
    """Code that loads a recommender and asks what comes after a history.

    Args:
        name: id of a repository, or name of a folder.
        item_ids: ids of the history's items, oldest first.
    """
    name, history = (json.dumps(each, ensure_ascii=False) for each in (name, item_ids))
    return f"""```python
import recformer_hf  # registers the task
from transformers import pipeline

recommender = pipeline("sequential-recommendation", model={name})  # a repository on the Hub, or this folder
history = {history}  # oldest first
recommended = recommender(history, top_k=10)  # leaves out the items of the history
```

The items of a history are ids of the catalogue, or any dictionaries of text attributes. The same without the pipeline:

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
