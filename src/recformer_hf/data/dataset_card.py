"""Statistics of a `SequentialDataset`, and the dataset card that the Hub shows."""

from __future__ import annotations

import json
from typing import Any, Protocol

import numpy as np
from huggingface_hub import DatasetCardData

from ..items.catalog import ItemCatalog
from .sequences import Sequences

TIED_TIMESTAMPS = "share_tied_timestamps"
"""Statistic that only a dataset's preparation can count; it is copied from `info` or `info["statistics"]`."""

# The Hub's own names (`size_categories`), each with the number of rows that it stays below.
SIZE_CATEGORIES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
)


class DescribedDataset(Protocol):
    """What statistics and card need of a `SequentialDataset`, whose module imports this one."""

    catalog: ItemCatalog
    train: Sequences
    test: Sequences | None
    info: dict[str, Any]

    @property
    def splits(self) -> dict[str, Sequences]: ...


def dataset_statistics(dataset: DescribedDataset) -> dict[str, Any]:
    """The columns of the paper's dataset table, and what to know before trusting a metric.

    Returns:
        a dictionary with these entries. Shares are in [0, 1], and `None` if unknown or if there is no test split.

        - `users`: number of users with a row in any split;
        - `items`: number of items of the catalogue;
        - `interactions`: sum over users of the longest sequence that any split holds, its target included;
        - `mean_length`: interactions / users;
        - `density`: interactions / (users * items), in [0, 1];
        - `items_in_training`: number of items that occur in training;
        - `share_test_targets_not_in_training`: share of test rows whose target occurs in no training sequence;
        - `share_tests_repeating_history`: share of test rows whose target is in their own history;
        - `share_tied_timestamps`: share of interactions at the same time as another of the same user, if the
          preparation counted it;
        - `splits`: `rows` and `mean_history` of each split.
    """
    users, interactions = _users_and_interactions(dataset)
    trained = np.zeros(len(dataset.catalog), dtype=bool)
    trained[dataset.train.items] = True
    statistics: dict[str, Any] = {
        "users": users,
        "items": len(dataset.catalog),
        "interactions": interactions,
        "mean_length": interactions / users,
        "density": interactions / (users * len(dataset.catalog)),
        "items_in_training": int(trained.sum()),
        "share_test_targets_not_in_training": None,
        "share_tests_repeating_history": None,
    }
    if dataset.test is not None and dataset.test.targets is not None:
        # reduceat is right only for rows that are not empty, which Sequences guarantees.
        repeated = np.logical_or.reduceat(
            dataset.test.items == np.repeat(dataset.test.targets, dataset.test.lengths), dataset.test.offsets[:-1]
        )
        statistics["share_test_targets_not_in_training"] = float((~trained[dataset.test.targets]).mean())
        statistics["share_tests_repeating_history"] = float(repeated.mean())
    known = {**dataset.info, **dataset.info.get("statistics", {})}
    statistics[TIED_TIMESTAMPS] = known.get(TIED_TIMESTAMPS)
    statistics["splits"] = {
        name: {"rows": len(split), "mean_history": len(split.items) / len(split)}
        for name, split in dataset.splits.items()
    }
    return statistics


def _users_and_interactions(dataset: DescribedDataset) -> tuple[int, int]:
    splits = list(dataset.splits.values())
    lengths = [split.lengths + (split.targets is not None) for split in splits]
    # Leave-one-out without short users has the same users in every split: no grouping of millions of ids is needed.
    if all(split.user_ids.equals(dataset.train.user_ids) for split in splits):
        return len(dataset.train), int(np.max(lengths, axis=0).sum())
    import pyarrow as pa

    rows = pa.table(
        {
            "user": pa.chunked_array([split.user_ids.cast(pa.large_string()) for split in splits]),
            "length": pa.chunked_array([pa.array(length) for length in lengths]),
        }
    )
    longest = rows.group_by("user").aggregate([("length", "max")])
    return len(longest), int(longest["length_max"].to_numpy().sum())


def dataset_card(dataset: DescribedDataset, statistics: dict[str, Any], configs: list[str]) -> str:
    """The README.md of a dataset's folder: metadata that `load_dataset` reads, then a page for human readers.

    Args:
        dataset: the dataset.
        statistics: from `dataset_statistics`.
        configs: names of the parquet files without `.parquet`; each is a configuration with one split of that name.
    """
    info = dataset.info
    name = str(info.get("name", "sequential dataset"))
    metadata = DatasetCardData(
        pretty_name=name,
        license=info.get("license"),
        tags=["sequential-recommendation", "recommendation", "recformer"],
        size_categories=[_size(statistics["users"])],
        configs=[
            {"config_name": config, "data_files": [{"split": config, "path": f"{config}.parquet"}]}
            for config in configs
        ],
    )
    sections = [
        f"---\n{metadata.to_yaml()}\n---",
        f"# {name}",
        "Users' sequences of items, and the items' texts, for sequential recommendation.",
        f"- **Source:** {info.get('source', 'not stated')}\n- **Protocol:** {info.get('protocol', 'not stated')}\n"
        f"- **Seed:** {info['seed'] if info.get('seed') is not None else 'none drawn'}"
        + (f"\n- **Order of the interactions:** {info['order']}" if "order" in info else ""),
        f"## Counts\n\n{_counts_table(statistics)}\n\n{_splits_table(dataset)}\n\n{_shares_table(statistics)}",
        *_settings(info),
        f"## Columns\n\n{_columns(dataset)}",
        f"## How to load it\n\n{_loading(configs)}",
    ]
    return "\n\n".join(sections) + "\n"


def _counts_table(statistics: dict[str, Any]) -> str:
    cells = [f"{statistics[name]:,}" for name in ("users", "items", "interactions")]
    cells += [f"{statistics['mean_length']:.2f}", f"{statistics['density']:.2e}"]
    return _table(["Users", "Items", "Interactions", "Mean length", "Density"], [cells])


def _splits_table(dataset: DescribedDataset) -> str:
    def row(name: str, split: Sequences) -> list[str]:
        lengths = split.lengths
        return [name, f"{len(split):,}", f"{lengths.mean():.2f}", f"{np.median(lengths):g}", f"{lengths.max():,}"]

    rows = [row(name, split) for name, split in dataset.splits.items()]
    return _table(["Split", "Rows", "Mean history", "Median history", "Longest history"], rows)


def _shares_table(statistics: dict[str, Any]) -> str:
    shares = {
        "test targets that occur in no training sequence": statistics["share_test_targets_not_in_training"],
        "tests whose target is in their own history": statistics["share_tests_repeating_history"],
        "interactions tied in time with another of the same user": statistics[TIED_TIMESTAMPS],
        "catalogue items that occur in training": statistics["items_in_training"] / statistics["items"],
    }
    rows = [[text, "not known" if share is None else f"{share:.2%}"] for text, share in shares.items()]
    return _table(["Of all", "Share"], rows)


def _settings(info: dict[str, Any]) -> list[str]:
    """A list of one section with the settings and counts of preparation and split, or of none if `info` lacks them."""
    settings = {key: info[key] for key in ("preparation", "split") if key in info}
    if not settings:
        return []
    text = json.dumps(settings, indent=2, ensure_ascii=False)
    return [f"## Settings and counts of the preparation\n\n```json\n{text}\n```"]


def _columns(dataset: DescribedDataset) -> str:
    held_out = " and ".join(f"`{name}`" for name in dataset.splits if name != "train")
    names = ", ".join(f"`{name}`" for name in dataset.catalog.attribute_names[:20])
    lines = [
        "- `items`: `item_id`, and `attributes` as a list of `key` and `value` in the order that they are read in "
        f"({names}). The first item is number 0; sequences hold these numbers.",
        "- `train`: `user_id`, and `items`: the user's whole training sequence, oldest first.",
    ]
    if held_out:
        lines.append(f"- {held_out}: `user_id`, `history` (oldest first), and `target`, the item that came next.")
    return "\n".join(lines)


def _loading(configs: list[str]) -> str:
    return f"""```python
from recformer_hf.data.dataset import SequentialDataset

dataset = SequentialDataset.load("<this folder or repository>")
dataset.train[0], dataset.catalog[0]
```

or without recformer_hf, each of {", ".join(f"`{config}`" for config in configs)}:

```python
from datasets import load_dataset

items = load_dataset("<this folder or repository>", "items", split="items")
train = load_dataset("<this folder or repository>", "train", split="train")
```"""


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _size(rows: int) -> str:
    return next((name for limit, name in SIZE_CATEGORIES if rows < limit), "n>100M")
