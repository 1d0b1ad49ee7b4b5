"""What a `SequentialDataset` says of itself: its statistics, and the card that the Hub shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from huggingface_hub import DatasetCardData

if TYPE_CHECKING:
    from .dataset import Sequences, SequentialDataset

TIED_TIMESTAMPS = "share_tied_timestamps"
"""Statistic that only a dataset's preparation knows; it is taken from `info` or `info["statistics"]`."""

LARGEST_OF_SIZE = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
)


def dataset_statistics(dataset: SequentialDataset) -> dict[str, Any]:
    """The columns of the paper's dataset table, and what to know before believing a metric.

    Returns:
        `users`, with a row in any split; `items` of the catalogue; `interactions`: of every user the longest sequence
        that any split shows, targets counted; `mean_length` = interactions / users; `density` = interactions / (users *
        items), in [0, 1]; `items_in_training`; `share_test_targets_not_in_training`: of the test rows, those whose
        target occurs in no training sequence; `share_tests_repeating_history`: those whose target is in their own
        history; `share_tied_timestamps`, if the preparation counted it; and `rows` and `mean_history` of each split in
        `splits`. Shares are in [0, 1], `None` where unknown or without a test split.
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


def _users_and_interactions(dataset: SequentialDataset) -> tuple[int, int]:
    splits = list(dataset.splits.values())
    lengths = [split.lengths + (split.targets is not None) for split in splits]
    if all(split.user_ids.equals(dataset.train.user_ids) for split in splits):  # leave-one-out without short users
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


def dataset_card(dataset: SequentialDataset, statistics: dict[str, Any], configs: list[str]) -> str:
    """The README.md of a dataset's folder: metadata that `load_dataset` reads, then a page for people.

    Args:
        dataset: the dataset.
        statistics: of `dataset_statistics`.
        configs: names of the parquet files, each a configuration with one split of its name.
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
        f"- **Seed:** {info['seed'] if info.get('seed') is not None else 'none drawn'}",
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


def _splits_table(dataset: SequentialDataset) -> str:
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
    """A section with the settings and counts of the preparation and of the split, if `info` has them."""
    settings = {key: info[key] for key in ("preparation", "split") if key in info}
    if not settings:
        return []
    text = json.dumps(settings, indent=2, ensure_ascii=False)
    return [f"## Settings and counts of the preparation\n\n```json\n{text}\n```"]


def _columns(dataset: SequentialDataset) -> str:
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
    return next((name for largest, name in LARGEST_OF_SIZE if rows < largest), "n>100M")
