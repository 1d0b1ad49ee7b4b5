"""A mutated folder of the public replication's six files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from recformer_hf.data.readers.replication import read_replication
from tests.support import mutated_files as made
from tests.support.plain_reading import Items, Refused
from tests.support.plain_values import joined_surrogates
from tests.support.reader_checks import Example, WrongError, checked_error, fits


def replication_example(rng: Random) -> Example:
    """The six files, one or two of them changed."""
    items = {
        f"B{number}": {"title": f"Title {number}", "brand": "é", "price": rng.choice(("1", 2, 3.5, None))}
        for number in range(rng.randint(2, 6))
    }
    users = {f"u{number}": number for number in range(rng.randint(1, 5))}
    content: dict[str, Any] = {
        "meta_data": items,
        "smap": {item: number for number, item in enumerate(items)},
        "umap": users,
        "train": {
            str(number): [rng.randrange(len(items)) for _ in range(rng.randint(1, 5))] for number in users.values()
        },
        "val": {str(number): [rng.randrange(len(items))] for number in users.values()},
        "test": {str(number): [rng.randrange(len(items))] for number in users.values()},
    }
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        part = content[rng.choice(list(content))]
        name = rng.choice(list(part)) if part else None
        change = rng.randint(0, 3)
        if name is None or change == 0:
            part["new"] = made.odd_value(rng)
        elif change == 1:
            part[name] = made.odd_value(rng)
        elif change == 2:
            del part[name]
        elif isinstance(part[name], list):
            part[name] = [*part[name], rng.choice((0, 1, 99, -1, 2**70, "0", 0.0, True, None))]
    files = {
        f"{name}.json": made.as_bytes(json.dumps(part, ensure_ascii=rng.random() < 0.5))
        for name, part in content.items()
    }
    if rng.random() < 0.7:
        name = rng.choice(list(files))
        files[name] = made.mutated(rng, files[name], packable=False)
    return Example(files, read_replication, ReplicationCheck(files))


@dataclass
class ReplicationCheck:
    """Checks a dataset that was read from the six files."""

    files: dict[str, bytes]

    def __call__(self, found: Any) -> str:
        try:
            wanted: Any = self._plain()
        except Refused as error:
            wanted = error
        if isinstance(found, BaseException):
            checked_error(found, [*self.files, Path(self.folder_name).name] if self.folder_name else self.files)
            if not isinstance(wanted, Refused):
                raise WrongError(f"refused, but can be read: {type(found).__name__}: {str(found)[:400]}")
            return f"refused: {type(found).__name__}"
        if isinstance(wanted, Refused):
            raise WrongError(f"read although it has to be refused: {wanted}")
        got = {"items": list(zip(found.catalog.ids, found.catalog, strict=True))}
        for split in ("train", "validation", "test"):
            rows = getattr(found, split)
            got[split] = [] if rows is None else [
                (user, rows.history(place).tolist(), None if rows.targets is None else int(rows.targets[place]))
                for place, user in enumerate(rows.user_ids.to_pylist())
            ]  # fmt: skip
        items, wanted_items = got.pop("items"), wanted.pop("items")
        if len(items) != len(wanted_items) or not all(fits(a, b) for a, b in zip(items, wanted_items, strict=True)):
            raise WrongError(f"items {items}, expected {wanted_items}")
        if got != wanted:
            raise WrongError(f"read {got}, expected {wanted}")
        return "same result"

    folder_name: str = ""

    def _plain(self) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        for name, data in self.files.items():
            try:
                parts[name.removesuffix(".json")] = json.loads(data)
            except (ValueError, RecursionError) as error:
                raise Refused(f"{name}: {error}") from error
            if not isinstance(parts[name.removesuffix(".json")], dict):
                raise Refused(f"{name} is no object")
        items = self._items(parts["meta_data"], parts["smap"])
        users = _numbers(parts["umap"], "umap")
        splits = {name: _sequences(parts[name], users, len(items)) for name in ("train", "val", "test")}
        wanted: dict[str, Any] = {"items": items, "train": [], "validation": [], "test": []}
        for number, user in sorted(users.items()):
            history, val, test = (splits[name].get(number, []) for name in ("train", "val", "test"))
            if len(val) > 1 or len(test) > 1:
                raise Refused(f"{user} has several targets")
            if not history and (val or test):
                raise Refused(f"{user} has no history")
            if history:
                wanted["train"].append((user, history, None))
            if val:
                wanted["validation"].append((user, history, val[0]))
            if test:
                wanted["test"].append((user, history + val, test[0]))
        if not wanted["train"]:
            raise Refused("no user has items")
        return wanted

    def _items(self, metadata: dict[str, Any], smap: dict[str, Any]) -> list[tuple[str, dict[str, str]]]:
        numbers = _numbers(smap, "smap")
        if sorted(numbers) != list(range(len(numbers))):
            raise Refused("gaps")
        items = []
        for _, item_id in sorted(numbers.items()):
            if not isinstance(metadata.get(item_id), dict):
                raise Refused(f"{item_id!r} has no attributes")
            outcomes = Items(id="\1id").outcomes({"\1id": item_id, **metadata[item_id]})
            if not isinstance(outcomes[0], tuple) or not outcomes[0][1]:
                raise Refused(f"{item_id!r}: {outcomes}")
            items.append(outcomes[0])
        return items


def _numbers(ids: dict[str, Any], name: str) -> dict[int, str]:
    if not ids or not all(
        isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**31 for number in ids.values()
    ):
        raise Refused(f"{name} has no numbers")
    numbers = {number: joined_surrogates(key) for key, number in ids.items()}
    if len(numbers) < len(ids) or len(set(numbers.values())) < len(ids):
        raise Refused(f"{name} repeats numbers")
    return numbers


def _sequences(sequences: dict[str, Any], users: dict[int, str], num_items: int) -> dict[int, list[int]]:
    found = {}
    for key, items in sequences.items():
        if not key.isdecimal() or int(key) not in users or not isinstance(items, list):
            raise Refused(f"user {key!r}")
        if not all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item < num_items for item in items):
            raise Refused(f"items of {key!r}")
        if int(key) in found:
            raise Refused(f"user {key!r} twice")
        found[int(key)] = items
    return found
