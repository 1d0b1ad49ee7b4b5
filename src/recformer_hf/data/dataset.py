"""`SequentialDataset`: a catalogue and the users' sequences over it, in memory, on disk and on the Hub."""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from huggingface_hub import CommitInfo, HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

from ..items.catalog import ItemCatalog
from ..storage.atomic import atomic_folder, recover_folder
from .dataset_card import dataset_card, dataset_statistics
from .given_splits import ItemsAre, SplitLike, given_split
from .mapped_files import mapped_copy, unless_damaged
from .sequence_files import HISTORY, ITEMS, ROW_GROUP_ROWS, TARGET, USER_ID, read_sequences, write_sequences
from .sequences import Sequences, UserSequence

SPLITS = ("train", "validation", "test")
ITEMS_FILE = "items.parquet"
INFO_FILE = "sequential_dataset.json"
"""Holds `info`, the names of the splits, and the version of the format."""
CARD_FILE = "README.md"
FORMAT = 1

# What `save_to_disk` may replace: its own files, and what git and the Hub's client store beside them.
_REPLACEABLE = (CARD_FILE, INFO_FILE, ITEMS_FILE, *(f"{name}.parquet" for name in SPLITS), ".gitattributes", ".cache")


class SequentialDataset:
    """A catalogue and the users' sequences over it: readers and preparation create it, everything else reads it.

    On disk it is a folder of parquet files with a dataset card: `items`, `train`, and if the dataset has them
    `validation` and `test`. `datasets.load_dataset(folder, "items")` (or the name of another file) reads it without
    this package.

    Args:
        catalog: the items; sequences hold its rows.
        train: whole training sequences, one for each user.
        validation: histories with their targets, or `None`.
        test: histories with their targets, or `None`.
        info: what a reader of results has to know, as JSON values: `name`, `source`, `protocol` (how it was split),
            `seed`, the settings of its preparation, `share_tied_timestamps` in [0, 1] if it is known, `order` if the
            interactions have no times, `license`. A loaded dataset also has `statistics`.

    Raises:
        ValueError: if items or targets lie outside the catalogue, a user has two training sequences, `train` has
            targets, or another split has none.
        TypeError: if `info` cannot be written as JSON.
    """

    def __init__(
        self,
        catalog: ItemCatalog,
        train: Sequences,
        validation: Sequences | None,
        test: Sequences | None,
        info: dict[str, Any],
    ) -> None:
        self.catalog = catalog
        self.train = train
        self.validation = validation
        self.test = test
        self.info = info
        for name, split in self.splits.items():
            _check_split(name, split, len(catalog))
        try:
            json.dumps(info)  # here rather than in `save_to_disk`, which may be called hours later
        except (TypeError, ValueError) as error:
            raise TypeError(f"info cannot be saved as JSON: {error}. Use text, numbers, lists and dicts.") from error

    @property
    def splits(self) -> dict[str, Sequences]:
        """The splits that the dataset has, by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """Counts and shares of the dataset card; `dataset_statistics` defines each of them."""
        return dataset_statistics(self)

    def __eq__(self, other: object) -> bool:
        """Whether catalogue and splits are the same; `info` is not compared."""
        return isinstance(other, SequentialDataset) and self.catalog == other.catalog and self.splits == other.splits

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {len(split):,}" for name, split in self.splits.items())
        return f"SequentialDataset({self.info.get('name', 'unnamed')}: {len(self.catalog):,} items; users: {rows})"

    @classmethod
    def from_frames(
        cls,
        interactions: Any,
        items: Any,
        *,
        split: Literal["leave_one_out", "temporal", "users_held_out"] = "leave_one_out",
        name: str = "data frames",
        **options: Any,
    ) -> SequentialDataset:
        """A dataset of tables in memory, prepared and split as `recformer prepare` does it.

        Args:
            interactions: the log: a frame of pandas or polars (lazy, too), a `pyarrow.Table` or what streams Arrow, a
                relation of duckdb, a `datasets.Dataset`, a list of dictionaries, or a dictionary of columns.
            items: the items, in one of these forms; or an `ItemCatalog`; or a dictionary of id to attributes.
            split: how to split; `recformer_hf.data.splits` explains it.
            name: the dataset's name in its card.
            **options: which columns to read, by default `user_column="user_id"`, `item_column="item_id"`,
                `timestamp_column="timestamp"` (None: the rows are in order) and others (`readers.frames.read_frames`);
                how to prepare, such as `min_user_interactions=5`, `min_item_interactions=5`, `seed=0`
                (`preparation.prepare`); how to split, such as `validation_from` of `temporal`; and
                `low_resource_share`.

        Raises:
            MissingColumnsError, DamagedFileError, DataError: as for files. All are `ValueError`s, and name the column.
            TypeError: for another kind of table, a value that cannot become text, or an unknown option.
            ImportError: without polars, which `pip install 'recformer-hf[data]'` installs.

        Example:

        ```python
        >>> log = [{"user_id": u, "item_id": i, "timestamp": t} for u in (1, 2) for t, i in enumerate("abc")]
        >>> items = {"a": {"title": "Hammer"}, "b": {"title": "Nails"}, "c": {"title": "Saw"}}
        >>> SequentialDataset.from_frames(log, items, min_user_interactions=1, min_item_interactions=1)
        SequentialDataset(data frames: 3 items; users: train 2, validation 2, test 2)
        ```
        """
        # Imported by name when it is needed: the steps need polars, and the splits are made of this class.
        steps = importlib.import_module(".from_frames", __package__)
        made: SequentialDataset = steps.dataset_from_frames(interactions, items, split=split, name=name, **options)
        return made

    @classmethod
    def from_sequences(
        cls,
        catalog: ItemCatalog,
        train: SplitLike,
        validation: SplitLike | None = None,
        test: SplitLike | None = None,
        *,
        items: ItemsAre = "ids",
        name: str = "given splits",
        info: Mapping[str, Any] | None = None,
    ) -> SequentialDataset:
        """A dataset of splits that were made elsewhere.

        Args:
            catalog: the items.
            train: `{user: [item, ...], ...}`, oldest item first; or a list of (user, [item, ...]); or `Sequences`.
            validation: `{user: ([item, ...], target), ...}`: what came before the target, oldest first, and the target;
                or a list of (user, [item, ...], target), in which a user may occur several times; or `Sequences`.
            test: as `validation`.
            items: "ids", which are looked up in the catalogue (whole numbers become their digits), or "rows" of the
                catalogue, from 0. `Sequences` always hold rows.
            name: the dataset's name in its card.
            info: what else the card should say, see the class; `protocol` is how the splits were made.

        Raises:
            ValueError: if ids are unknown or missing, a user has two training sequences, a row lies outside the
                catalogue, or a history is empty. The message names split, user and item.
            TypeError: if something has another form, or rows are not integers.

        Example:

        ```python
        >>> catalog = ItemCatalog.from_items({"a": {"title": "Hammer"}, "b": {"title": "Nails"}, "c": {"title": "Saw"}})
        >>> SequentialDataset.from_sequences(catalog, {"ada": ["a"]}, test={"ada": (["a", "b"], "c")})
        SequentialDataset(given splits: 3 items; users: train 1, test 1)
        ```
        """
        if not isinstance(catalog, ItemCatalog):
            advice = "Create one with ItemCatalog.from_items, from_pandas or another from_* method."
            raise TypeError(f"catalog is a {type(catalog).__name__}; expected an ItemCatalog. {advice}")
        if items not in ("ids", "rows"):
            raise ValueError(f'items is {items!r}; expected "ids" or "rows".')
        given = {"train": train, "validation": validation, "test": test}
        splits = {
            split: given_split(value, catalog, split, items, with_targets=split != "train")
            for split, value in given.items()
            if value is not None or split == "train"
        }
        made = {"name": name, "source": "splits given by the caller", "protocol": "made by the caller", "seed": None}
        return cls(catalog, splits["train"], splits.get("validation"), splits.get("test"), {**made, **(info or {})})

    def save_to_disk(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the folder, completely or not at all.

        Args:
            folder: a new or empty folder.
            overwrite: replace a dataset that the folder already holds. A folder with any other files is never
                replaced.

        Raises:
            FileExistsError: before anything is written, if the folder may not be replaced.
        """
        import pyarrow.parquet as pq

        info = {**self.info, "statistics": self.statistics}
        with atomic_folder(folder, overwrite=overwrite, replaceable=_REPLACEABLE) as temporary:
            items = temporary / ITEMS_FILE
            pq.write_table(self.catalog.table, items, compression="zstd", row_group_size=ROW_GROUP_ROWS)
            for name, split in self.splits.items():
                write_sequences(split, temporary / f"{name}.parquet")
            described = {"format": FORMAT, "splits": list(self.splits), "info": info}
            (temporary / INFO_FILE).write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", "utf-8")
            card = dataset_card(self, self.statistics, ["items", *self.splits])
            (temporary / CARD_FILE).write_text(card, "utf-8")

    @classmethod
    def load(
        cls,
        name_or_folder: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> SequentialDataset:
        """Load a folder that [`~SequentialDataset.save_to_disk`] wrote, or a dataset repository on the Hub.

        Args:
            name_or_folder: the folder, or the repository.
            revision, token, cache_dir, force_download, local_files_only: as in `huggingface_hub.snapshot_download`.

        Raises:
            FileNotFoundError: if there is no such folder or repository, or files are missing from it (the message
                names all of them).
            ValueError: if a file is damaged, has other columns, or holds items outside the catalogue.
        """
        recover_folder(name_or_folder)  # a killed `save_to_disk` may have left the earlier dataset moved aside
        if os.path.isdir(name_or_folder):
            return cls._load_folder(Path(name_or_folder))
        try:
            downloaded = snapshot_download(
                os.fspath(name_or_folder),
                repo_type="dataset",
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                allow_patterns=["*.parquet", INFO_FILE, CARD_FILE],
            )
        except (HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError) as error:
            raise FileNotFoundError(
                f"{os.fspath(name_or_folder)!r} is neither a local folder nor a dataset repository that can be "
                f"reached: {error}"
            ) from error
        return cls._load_folder(Path(downloaded))

    @classmethod
    def _load_folder(cls, folder: Path) -> SequentialDataset:
        described = _read_description(folder)
        splits = described["splits"]
        files = [ITEMS_FILE, *(f"{name}.parquet" for name in splits)]
        missing = [name for name in files if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}. Copy or download the whole folder again.")
        catalog = _read_items(folder / ITEMS_FILE)
        sequences = {name: read_sequences(folder / f"{name}.parquet", name != "train") for name in splits}
        try:
            return cls(
                catalog, sequences["train"], sequences.get("validation"), sequences.get("test"), described["info"]
            )
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from error

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        commit_message: str = "Upload sequential dataset",
        create_pr: bool = False,
    ) -> CommitInfo:
        """Upload the folder to a dataset repository on the Hub in one commit; the repository is created if needed.

        Args:
            repo_id: `"name"` or `"organisation/name"`.
            private, revision, token, commit_message, create_pr: as in `huggingface_hub.HfApi`.
        """
        api = HfApi(token=token)
        repo_id = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True).repo_id
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent, "dataset")
            self.save_to_disk(folder)
            return api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                repo_type="dataset",
                revision=revision,
                commit_message=commit_message,
                create_pr=create_pr,
                delete_patterns=["*.parquet"],  # a split of an earlier version that this one does not have
            )


def _read_items(path: Path) -> ItemCatalog:
    try:
        copy = mapped_copy(path, lambda copy: ItemCatalog.from_parquet(path).write_file(copy))
        if copy is not None:
            with unless_damaged(copy):
                return ItemCatalog.open_file(copy)
        return ItemCatalog.from_parquet(path)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _check_split(name: str, split: Sequences, num_items: int) -> None:
    if (split.targets is None) != (name == "train"):
        found, expected = ("no targets", "one per user") if split.targets is None else ("targets", "none")
        raise ValueError(f"{name} has {found}; expected {expected}.")
    if len(split) == 0:
        advice = "Training needs at least one." if name == "train" else "Pass None instead."
        raise ValueError(f"{name} has no users. {advice}")
    for kind, rows in (("items", split.items), ("targets", split.targets)):
        # The maximum needs no memory; which rows are wrong is only computed for the error.
        if rows is not None and rows.max() >= num_items:  # `Sequences` refuses negative rows
            outside = np.flatnonzero(rows >= num_items)
            user = outside[0] if kind == "targets" else np.searchsorted(split.offsets, outside[0], side="right") - 1
            raise ValueError(
                f"{outside.size:,} of {rows.size:,} {kind} of {name} are not in the catalogue (rows 0 to "
                f"{num_items - 1}), the first: {rows[outside[0]]} of user {split.user_ids[int(user)].as_py()!r}."
            )
    if name == "train":
        import pyarrow.compute as pc

        distinct = pc.count_distinct(split.user_ids).as_py()
        if distinct < len(split):
            raise ValueError(
                f"{len(split) - distinct:,} of {len(split):,} users of train occur again, the first: "
                f"{_first_repeated(split)!r}; expected every user once."
            )


def _first_repeated(split: Sequences) -> str:
    users: list[str] = split.user_ids.to_pylist()
    counts = Counter(users)
    return next(user for user in users if counts[user] > 1)


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / INFO_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"No {INFO_FILE} in {folder}: SequentialDataset.save_to_disk did not write this folder."
        )
    try:
        described = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        found = described.get("format") if isinstance(described, dict) else type(described).__name__
        raise ValueError(f"{path} has format {found!r}; this version reads format {FORMAT}. Update recformer_hf.")
    # Other names are refused, because the names become parts of file paths.
    splits, info = described.get("splits"), described.get("info")
    known = isinstance(splits, list) and "train" in splits and all(name in SPLITS for name in splits)
    if not known or not isinstance(info, dict):
        raise ValueError(
            f"{path} lists the splits {splits!r} and an info of type {type(info).__name__}; expected train, optionally "
            f"any of {SPLITS[1:]}, and an info of type dict. Save the dataset again."
        )
    statistics = info.get("statistics", {})
    if not isinstance(statistics, dict):
        raise ValueError(f"{path} has statistics of type {type(statistics).__name__}; expected dict.")
    return described


__all__ = [
    "HISTORY",
    "ITEMS",
    "TARGET",
    "USER_ID",
    "Sequences",
    "SequentialDataset",
    "UserSequence",
]
