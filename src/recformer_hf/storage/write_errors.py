"""Errors of writing as `OSError`s that name the file: libraries have types and texts of their own for a full disk."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NUMBER = re.compile(r"\b(?:os error|errno) (\d+)\b", re.IGNORECASE)

_SHORT = re.compile(r"PytorchStreamWriter failed|unexpected pos \d+ vs \d+|\d+ requested and \d+ written")

_NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def write_errno(error: BaseException) -> int | None:
    """The system's number of an error of writing; None if the error is of another kind.

    safetensors and tokenizers write the number into their text. torch and numpy only say that fewer bytes were written
    than they passed on, which is what a full disk does.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    text = str(error)
    if match := _NUMBER.search(text):
        return int(match[1])
    return errno.ENOSPC if _SHORT.search(text) else None


@contextmanager
def named_write_errors(path: str | os.PathLike[str], state: str) -> Iterator[None]:
    """Raises an error of writing in the block as an `OSError` that names the path; other errors stay as they are.

    Args:
        path: file or folder that is written.
        state: a sentence on what is there after the error.

    Raises:
        OSError: with the system's number.
    """
    try:
        yield
    except Exception as error:
        number = write_errno(error)
        named = isinstance(error, OSError) and (number not in _NO_ROOM or isinstance(error, WriteError))
        if number is None or named:
            raise
        why = "the disk is full" if number in _NO_ROOM else "the system refused"
        raise WriteError(
            number, f"{Path(path)} could not be written, because {why} ({os.strerror(number)}). {state}"
        ) from error


class WriteError(OSError):
    """An error of writing whose message names the path."""


__all__ = ["WriteError", "named_write_errors", "write_errno"]
