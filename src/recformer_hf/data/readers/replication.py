"""The public Recformer replication's folder of six JSON files, read and written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging

from ...items.catalog import ItemCatalog
from ...storage.atomic import atomic_folder
from ..dataset import Sequences, SequentialDataset

logger = logging.get_logger(__name__)

FILES = ("meta_data", "smap", "umap", "train", "val", "test")

WITHOUT_TARGET = "replication_users_without_target"
"""Key of `info`: how `val.json` and `test.json` show users without a target there, `"empty list"` or `"absent"`."""


def read_replication(folder: str | os.PathLike[str], name: str | None = None) -> SequentialDataset:
    """Read a folder in the replication's layout; its splits are kept as they are.

    `smap.json` (item id -> number) gives the catalogue's order, `umap.json` (user id -> number) the users'.
    `train.json` (user number -> item numbers, oldest first) is training and the history of validation, whose target is
    in `val.json`; test's history is both, its target is in `test.json`. A user may lack either target. Items of
    `meta_data.json` without a number are left out and counted in a log line, as the replication does; so are users
    without any items.

    Args:
        folder: the folder.
        name: the dataset's name; the folder's where `None`.

    Raises:
        FileNotFoundError: if files are missing (all are named).
        ValueError: if a file is no JSON object; items are not numbered 0, 1, 2 ...; a numbered item has no attributes
            or no text; a sequence names a user or an item without a number; a user has a target but no history, or more
            than one target in a file.
    """
    folder = Path(folder)
    missing = [f"{file}.json" for file in FILES if not (folder / f"{file}.json").is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}; expected the replication's six files.")
    content = {file: _json_object(folder / f"{file}.json") for file in FILES}
    catalog = _catalog(content["meta_data"], content["smap"], folder)
    users = _numbered(content["umap"], folder / "umap.json")
    sequences = {file: _by_user(content[file], users, folder / f"{file}.json") for file in ("train", "val", "test")}
    targets = {file: _single_targets(sequences[file], users, folder / f"{file}.json") for file in ("val", "test")}

    train, validation, test = _Rows(), _Rows(), _Rows()
    for number, user in users.items():
        history = sequences["train"].get(number, [])
        target = {file: targets[file].get(number) for file in ("val", "test")}
        if history:
            train.add(user, history)
        elif target["val"] is not None or target["test"] is not None:
            raise ValueError(f"{folder}: user {user!r} ({number}) has a target but no items in train.json.")
        if target["val"] is not None:
            validation.add(user, history, target["val"])
        if target["test"] is not None:
            test.add(user, history if target["val"] is None else [*history, target["val"]], target["test"])
    if not train.user_ids:
        raise ValueError(f"{folder / 'train.json'} has no user with items.")
    if len(train.user_ids) < len(users):
        logger.warning(
            f"{folder}: {len(users) - len(train.user_ids):,} of {len(users):,} users have no items: left out."
        )
    empty = any(not items for file in ("val", "test") for items in sequences[file].values())
    info = {
        "name": name or folder.resolve().name,
        "source": "a folder in the layout of the public Recformer replication",
        "protocol": "leave-one-out, as found: the last item is test's target, the one before it validation's",
        "seed": None,
        WITHOUT_TARGET: "empty list" if empty else "absent",
    }
    return SequentialDataset(catalog, train.sequences(), validation.sequences(), test.sequences(), info)


def export_replication(dataset: SequentialDataset, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a leave-one-out dataset in the replication's layout; what `read_replication` read comes out the same.

    Items and users are numbered in the order of the catalogue and of training.

    Args:
        dataset: its validation histories are the training sequences, its test histories those and validation's target.
        folder: a new or empty folder, written whole or not at all.
        overwrite: replace a folder with the same six files.

    Raises:
        ValueError: if the splits are not leave-one-out: the layout has no room for other histories.
        FileExistsError: if the folder may not be replaced.
    """
    numbers = {user: number for number, user in enumerate(dataset.train.user_ids.to_pylist())}
    train = [dataset.train.history(row).tolist() for row in range(len(numbers))]
    targets: dict[str, dict[str, list[int]]] = {}
    before = train
    for file, name, split in (("val", "validation", dataset.validation), ("test", "test", dataset.test)):
        found = _checked_targets(name, split, numbers, before)
        empty_lists = dataset.info.get(WITHOUT_TARGET) == "empty list"
        users = range(len(numbers)) if empty_lists else sorted(found)
        targets[file] = {str(number): [found[number]] if number in found else [] for number in users}
        before = [[*items, found[number]] if number in found else items for number, items in enumerate(train)]
    content: dict[str, Mapping[str, Any]] = {
        "meta_data": dict(zip(dataset.catalog.ids, dataset.catalog, strict=True)),
        "smap": {item_id: row for row, item_id in enumerate(dataset.catalog.ids)},
        "umap": numbers,
        "train": {str(number): items for number, items in enumerate(train)},
        **targets,
    }
    with atomic_folder(folder, overwrite=overwrite, replaceable=[f"{file}.json" for file in FILES]) as temporary:
        for file in FILES:
            text = json.dumps(content[file], ensure_ascii=False, separators=(",", ":"))
            (temporary / f"{file}.json").write_text(text, encoding="utf-8")


class _Rows:
    """The rows of a split while they are collected."""

    def __init__(self) -> None:
        self.user_ids: list[str] = []
        self.histories: list[list[int]] = []
        self.targets: list[int] = []

    def add(self, user_id: str, history: list[int], target: int | None = None) -> None:
        self.user_ids.append(user_id)
        self.histories.append(history)
        if target is not None:
            self.targets.append(target)

    def sequences(self) -> Any:
        """The split, or `None` if nobody is in it."""
        return Sequences.from_lists(self.user_ids, self.histories, self.targets or None) if self.user_ids else None


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:  # malformed JSON or malformed UTF-8
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected an object.")
    return content


def _catalog(metadata: dict[str, Any], smap: dict[str, Any], folder: Path) -> ItemCatalog:
    numbered = _numbered(smap, folder / "smap.json")
    if list(numbered) != list(range(len(numbered))):
        raise ValueError(
            f"{folder / 'smap.json'} numbers {len(numbered):,} items from {min(numbered)} to {max(numbered)}; expected "
            f"0 to {len(numbered) - 1} without gaps, since numbers are rows of the item embeddings."
        )
    absent = [item_id for item_id in numbered.values() if item_id not in metadata]
    if absent:
        raise ValueError(f"{folder}: {len(absent):,} items of smap.json are not in meta_data.json: {_some(absent)}.")
    extra = [item_id for item_id in metadata if item_id not in smap]
    if extra:
        logger.warning(f"{folder}: {len(extra):,} items of meta_data.json have no number, left out: {_some(extra)}.")
    try:
        return ItemCatalog.from_items({item_id: metadata[item_id] for item_id in numbered.values()})
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder / 'meta_data.json'}: {error}") from error


def _numbered(ids: dict[str, Any], path: Path) -> dict[int, str]:
    """Ids by their numbers, in the numbers' order."""
    wrong = [number for number in ids.values() if not _is_number(number)]
    if wrong or not ids:
        raise ValueError(f"{path} maps ids to {_some(wrong) if wrong else 'nothing'}; expected numbers from 0.")
    numbered = {number: identifier for identifier, number in sorted(ids.items(), key=lambda pair: pair[1])}
    if len(numbered) < len(ids):
        raise ValueError(f"{path} gives {len(ids) - len(numbered):,} numbers twice; expected one id each.")
    return numbered


def _by_user(sequences: dict[str, Any], users: dict[int, str], path: Path) -> dict[int, list[int]]:
    by_user = {}
    for key, items in sequences.items():
        if not key.isdecimal() or int(key) not in users:
            raise ValueError(f"{path} has the user {key!r}, who is not in umap.json.")
        if not isinstance(items, list) or not all(_is_number(item) for item in items):
            raise ValueError(f"{path}: user {key!r} has {str(items)[:80]}; expected a list of item numbers.")
        by_user[int(key)] = items
    return by_user


def _single_targets(sequences: dict[int, list[int]], users: dict[int, str], path: Path) -> dict[int, int]:
    several = [users[number] for number, items in sequences.items() if len(items) > 1]
    if several:
        raise ValueError(f"{path}: {len(several):,} users have more than one target: {_some(several)}. Expected one.")
    return {number: items[0] for number, items in sequences.items() if items}


def _checked_targets(
    name: str, split: Sequences | None, numbers: dict[str, int], expected: list[list[int]]
) -> dict[int, int]:
    """Targets by user number, if every history is what the layout implies."""
    if split is None or split.targets is None:
        return {}
    found: dict[int, int] = {}
    for row, (user, target) in enumerate(zip(split.user_ids.to_pylist(), split.targets.tolist(), strict=True)):
        number = numbers.get(user)
        if number is None or number in found or not np.array_equal(split.history(row), expected[number]):
            problem = (
                "does not train" if number is None else "comes twice" if number in found else "has another history"
            )
            raise ValueError(
                f"{name} is not leave-one-out: user {user!r} {problem}. The layout holds one target a user and "
                "takes histories from training; save_to_disk keeps any split."
            )
        found[number] = target
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _some(values: list[Any]) -> str:
    return ", ".join(map(repr, values[:5])) + (", ..." if len(values) > 5 else "")
