"""A file of the changes of items that a service has acknowledged: they are in force again after a crash.

Each change is appended as one line and flushed to the disk before it is acknowledged. A line begins with its checksum,
so that a line that a power cut has torn is recognized. The last change of an id counts; from time to time the lines
that no longer count are removed.

Several processes may serve the same model. Each follows what the others append, under a lock that a killed process
gives up.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock

from ..storage.atomic import atomic_file, flush_to_disk
from ..storage.write_errors import named_write_errors

FEWEST_STALE = 1000
"""Lines that no longer count are removed only if there are at least this many, and as many as those that count."""


class Change(NamedTuple):
    """An item that was added or changed, or removed.

    Args:
        item_id: of the item.
        attributes: its text; None if it was removed.
        vector (float32 `[hidden_size]`, *optional*): of its text.
        encoder: which encoder the vector is from.
    """

    item_id: str
    attributes: dict[str, str] | None
    vector: np.ndarray | None = None
    encoder: str = ""

    def to_line(self) -> bytes:
        found: dict[str, Any] = {"item_id": self.item_id, "attributes": self.attributes}
        if self.vector is not None:
            vector = base64.b64encode(self.vector.astype("<f4").tobytes()).decode()
            found |= {"encoder": self.encoder, "vector": vector}
        text = json.dumps(found, ensure_ascii=False).encode()
        return b"%08x %s\n" % (zlib.crc32(text), text)

    @classmethod
    def from_line(cls, line: bytes) -> Change | None:
        """The change in a line; None if the line is torn."""
        checksum, _, text = line.partition(b" ")
        if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text[:-1]):
            return None
        found = json.loads(text)
        vector = None
        if "vector" in found:
            vector = np.frombuffer(base64.b64decode(found["vector"]), "<f4").astype(np.float32)
        return cls(found["item_id"], found["attributes"], vector, found.get("encoder", ""))


@dataclass(frozen=True)
class Position:
    """Up to where a journal was read."""

    inode: int = -1
    offset: int = 0


class ItemsJournal:
    """The journal of a service's changes.

    Args:
        path: the file; it is created by the first change.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from writing to the journal."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path}.lock"):  # a new one each time, because a forked process cannot use its parent's
            yield

    def has_more(self, position: Position) -> bool:
        """Whether there is something behind a position."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return False
        return (status.st_ino, status.st_size) != (position.inode, position.offset)

    def read(self, position: Position = Position()) -> tuple[list[Change], Position]:
        """The changes behind a position, and the new position. A journal that was rewritten is read from its beginning.

        Raises:
            ValueError: for a damaged line that others follow.
        """
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return [], Position()
        with file:
            status = os.fstat(file.fileno())
            offset = position.offset if position.inode == status.st_ino and position.offset <= status.st_size else 0
            file.seek(offset)
            lines = file.readlines()
        changes = []
        for number, line in enumerate(lines):
            change = Change.from_line(line)
            if change is None:
                if number + 1 < len(lines):
                    raise ValueError(
                        f"{self.path} is damaged at byte {offset:,}: the line does not fit its checksum. Restore the "
                        "file from a copy, or remove the line, whose change is then lost."
                    )
                break  # the last line was not acknowledged
            changes.append(change)
            offset += len(line)
        return changes, Position(status.st_ino, offset)

    def append(self, changes: Sequence[Change], position: Position) -> Position:
        """Writes changes to the disk. Call it inside [`locked`], with the position of the end.

        Args:
            changes: any number.
            position: what [`read`] returned inside the same lock.

        Raises:
            OSError: if they cannot be written; the journal is as it was.
        """
        if not changes:
            return position
        lines = b"".join(change.to_line() for change in changes)
        is_new = not self.path.exists()
        with named_write_errors(self.path, "Nothing was changed."), self.path.open("ab") as file:
            try:
                file.truncate(position.offset)  # what a killed process has left of a line
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                file.truncate(position.offset)
                raise
            status = os.fstat(file.fileno())
        if is_new:
            flush_to_disk(self.path.parent)
        return Position(status.st_ino, status.st_size)

    def compact(self) -> bool:
        """Removes the lines that no longer count, if there are many. Call it inside [`locked`]."""
        changes, _ = self.read()
        last = {change.item_id: change for change in changes}
        if len(changes) - len(last) < max(FEWEST_STALE, len(last)):
            return False
        with atomic_file(self.path) as temporary:
            temporary.write_bytes(b"".join(change.to_line() for change in last.values()))
        return True


__all__ = ["Change", "ItemsJournal", "Position"]
