"""Reads and writes the public Recformer replication's folder of six JSON files."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeGuard, cast

import numpy as np
from transformers.utils import logging

from ...items.catalog import ItemCatalog
from ...items.text import without_lone_surrogates
from ...storage.atomic import atomic_folder
from ..dataset import Sequences, SequentialDataset

logger = logging.get_logger(__name__)

FILES = ("meta_data", "smap", "umap", "train", "val", "test")

WITHOUT_TARGET = "replication_users_without_target"
"""Key of `info`: how `val.json` and `test.json` show users without a target there, `"empty list"` or `"absent"`."""

_JsonObject = dict[str, object]
_Targets = dict[int, int]
"""User number -> item number."""


def read_replication(folder: str | os.PathLike[str], name: str | None = None) -> SequentialDataset:
    """Read a folder in the replication's layout; its splits are kept as they are.

    `smap.json` (item id -> number) gives the order of the catalogue, `umap.json` (user id -> number) the order of the
    users. `train.json` (user number -> item numbers, oldest first) is training and also the history of validation,
    whose target is in `val.json`. The history of test is both together, and its target is in `test.json`. A user may
    lack either target. Items of `meta_data.json` without a number are skipped and counted in a log message, as the
    replication does; so are users without any items.

    Args:
        folder: the folder.
        name: the dataset's name; by default the folder's.

    Raises:
        FileNotFoundError: if files are missing (the message names all of them).
        ValueError: if a file is not a JSON object; items are not numbered 0, 1, 2 ...; a numbered item has no
            attributes or no text; a sequence names a user or an item without a number; a user has a target but no
            history, or more than one target in a file.
    """
    folder = Path(folder)
    missing = [f"{file}.json" for file in FILES if not (folder / f"{file}.json").is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}; expected the replication's six files.")
    content = {file: _json_object(folder / f"{file}.json") for file in FILES}
    catalog = _catalog(content["meta_data"], content["smap"], folder)
    numbered = _numbered(content["umap"], folder / "umap.json")
    users = {number: without_lone_surrogates(user) for number, user in numbered.items()}
    train, val, test = (_by_user(content[file], users, folder / f"{file}.json") for file in ("train", "val", "test"))
    val_targets = _single_targets(val, users, folder / "val.json")
    test_targets = _single_targets(test, users, folder / "test.json")
    splits = _leave_one_out_splits(users, train, val_targets, test_targets, folder)
    num_users = len(splits[0])
    if num_users < len(users):
        logger.warning(f"{folder}: {len(users) - num_users:,} of {len(users):,} users have no items; they are skipped.")
    empty_lists = not all([*val.values(), *test.values()])
    info = {
        "name": name or folder.resolve().name,
        "source": "a folder in the layout of the public Recformer replication",
        "protocol": "leave-one-out, as found: the last item is test's target, the one before it validation's",
        "seed": None,
        WITHOUT_TARGET: "empty list" if empty_lists else "absent",
    }
    try:
        return SequentialDataset(catalog, *splits, info)
    except ValueError as error:  # a sequence with an item that has no number
        raise ValueError(f"{folder}: {error}") from error


def export_replication(dataset: SequentialDataset, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a leave-one-out dataset in the replication's layout. A folder that `read_replication` read is written back
    unchanged.

    Items are numbered in the order of the catalogue, users in the order of training.

    Args:
        dataset: its validation histories are the training sequences; its test histories are those followed by
            validation's target.
        folder: a new or empty folder, written completely or not at all.
        overwrite: replace a folder with the same six files.

    Raises:
        ValueError: if the splits are not leave-one-out; the layout cannot hold other histories.
        FileExistsError: if the folder may not be replaced.
    """
    content = {**_metadata_files(dataset), **_sequence_files(dataset)}
    with atomic_folder(folder, overwrite=overwrite, replaceable=[f"{file}.json" for file in FILES]) as temporary:
        for file in FILES:
            # Written as the replication writes them, so that its files come back byte for byte.
            text = json.dumps(content[file], ensure_ascii=False, separators=(",", ":"))
            (temporary / f"{file}.json").write_text(text, encoding="utf-8")


def _metadata_files(dataset: SequentialDataset) -> dict[str, Mapping[str, object]]:
    catalog = dataset.catalog
    return {
        "meta_data": dict(zip(catalog.ids, catalog, strict=True)),
        "smap": {item_id: row for row, item_id in enumerate(catalog.ids)},
    }


def _sequence_files(dataset: SequentialDataset) -> dict[str, Mapping[str, object]]:
    numbers = {user: number for number, user in enumerate(dataset.train.user_ids.to_pylist())}
    train = [dataset.train.history(row).tolist() for row in range(len(numbers))]
    files: dict[str, Mapping[str, object]] = {
        "umap": numbers,
        "train": {str(number): items for number, items in enumerate(train)},
    }
    history = train
    for file, name, split in (("val", "validation", dataset.validation), ("test", "test", dataset.test)):
        found = _checked_targets(name, split, numbers, history)
        empty_lists = dataset.info.get(WITHOUT_TARGET) == "empty list"
        users = range(len(numbers)) if empty_lists else sorted(found)
        files[file] = {str(number): [found[number]] if number in found else [] for number in users}
        history = [[*items, found[number]] if number in found else items for number, items in enumerate(train)]
    return files


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

    def sequences(self) -> Sequences | None:
        """The split, or None if it has no rows."""
        return Sequences.from_lists(self.user_ids, self.histories, self.targets or None) if self.user_ids else None


def _leave_one_out_splits(
    users: dict[int, str], histories: dict[int, list[int]], val: _Targets, test: _Targets, folder: Path
) -> tuple[Sequences, Sequences | None, Sequences | None]:
    """Training, validation and test; `users` gives the order of the rows."""
    rows = {split: _Rows() for split in ("train", "validation", "test")}
    for number, user in users.items():
        history = histories.get(number, [])
        if history:
            rows["train"].add(user, history)
        elif number in val or number in test:
            raise ValueError(f"{folder}: user {user!r} ({number}) has a target but no items in train.json.")
        if number in val:
            rows["validation"].add(user, history, val[number])
        if number in test:
            rows["test"].add(user, [*history, val[number]] if number in val else history, test[number])
    train = rows["train"].sequences()
    if train is None:
        raise ValueError(f"{folder / 'train.json'} has no user with items.")
    return train, rows["validation"].sequences(), rows["test"].sequences()


def _json_object(path: Path) -> _JsonObject:
    try:
        # From bytes, `json` recognises UTF-8 with or without a byte order mark, and UTF-16.
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # malformed JSON or text, or lists a thousand deep
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected an object.")
    return content


def _catalog(metadata: _JsonObject, smap: _JsonObject, folder: Path) -> ItemCatalog:
    numbered = _numbered(smap, folder / "smap.json")
    if list(numbered) != list(range(len(numbered))):
        raise ValueError(
            f"{folder / 'smap.json'} numbers {len(numbered):,} items from {min(numbered)} to {max(numbered)}; expected "
            f"0 to {len(numbered) - 1} without gaps, because the numbers are rows of the item embeddings."
        )
    absent = [item_id for item_id in numbered.values() if item_id not in metadata]
    if absent:
        raise ValueError(f"{folder}: {len(absent):,} items of smap.json are not in meta_data.json: {_some(absent)}.")
    extra = [item_id for item_id in metadata if item_id not in smap]
    if extra:
        logger.warning(
            f"{folder}: {len(extra):,} items of meta_data.json have no number; they are skipped: {_some(extra)}."
        )
    try:
        # `from_items` checks that every value is a mapping of attributes.
        items = cast("dict[str, Mapping[str, object]]", metadata)
        return ItemCatalog.from_items({item_id: items[item_id] for item_id in numbered.values()})
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder / 'meta_data.json'}: {error}") from error


def _numbered(ids: _JsonObject, path: Path) -> dict[int, str]:
    """Number -> id, in the order of the numbers."""
    wrong = [number for number in ids.values() if not _is_number(number)]
    if wrong or not ids:
        raise ValueError(f"{path} maps ids to {_some(wrong) if wrong else 'nothing'}; expected numbers from 0.")
    numbered = dict(sorted((number, item_id) for item_id, number in ids.items() if _is_number(number)))
    if len(numbered) < len(ids):
        raise ValueError(f"{path} uses {len(ids) - len(numbered):,} numbers twice; expected one id for each number.")
    return numbered


def _by_user(sequences: _JsonObject, users: dict[int, str], path: Path) -> dict[int, list[int]]:
    """User number -> item numbers."""
    by_user = {}
    for key, items in sequences.items():
        if not key.isdecimal() or int(key) not in users:
            raise ValueError(f"{path} has the user {key!r}, who is not in umap.json.")
        if not isinstance(items, list) or not all(_is_number(item) for item in items):
            raise ValueError(f"{path}: user {key!r} has {str(items)[:80]}; expected a list of item numbers.")
        by_user[int(key)] = items
    return by_user


def _single_targets(sequences: dict[int, list[int]], users: dict[int, str], path: Path) -> _Targets:
    several = [users[number] for number, items in sequences.items() if len(items) > 1]
    if several:
        raise ValueError(f"{path}: {len(several):,} users have more than one target: {_some(several)}. Expected one.")
    return {number: items[0] for number, items in sequences.items() if items}


def _checked_targets(
    name: str, split: Sequences | None, numbers: dict[str, int], histories: list[list[int]]
) -> _Targets:
    """The targets of a split, whose histories must be those that the layout implies (`histories`, by user number)."""
    if split is None or split.targets is None:
        return {}
    found: _Targets = {}
    for row, (user, target) in enumerate(zip(split.user_ids.to_pylist(), split.targets.tolist(), strict=True)):
        number = numbers.get(user)
        if number is None or number in found or not np.array_equal(split.history(row), histories[number]):
            problem = (
                "does not train" if number is None else "occurs twice" if number in found else "has another history"
            )
            raise ValueError(
                f"{name} is not leave-one-out: user {user!r} {problem}. The layout holds one target for each user and "
                "takes histories from training. Use save_to_disk, which keeps any split."
            )
        found[number] = target
    return found


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _some(values: Collection[object]) -> str:
    return ", ".join(map(repr, list(values)[:5])) + (", ..." if len(values) > 5 else "")
