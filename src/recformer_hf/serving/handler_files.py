"""Writes what Hugging Face Inference Endpoints need beside a checkpoint: `handler.py` and `requirements.txt`."""

from __future__ import annotations

import os
from pathlib import Path

from .._version import __version__
from ..storage.atomic import atomic_file

SOURCE = Path(__file__).with_name("handler.py")


def write_handler(folder: str | os.PathLike[str]) -> list[Path]:
    """Writes the two files; the rest of the folder stays as it is. Push it to the Hub as it is afterwards.

    Args:
        folder: of a checkpoint.

    Returns:
        the files.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        FileExistsError: if another handler is there.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} has no config.json. Name the folder of a model; a handler lies beside it.")
    handler, requirements = folder / "handler.py", folder / "requirements.txt"
    text = SOURCE.read_text("utf-8")
    first_line = text.splitlines()[0]
    if handler.exists() and handler.read_text("utf-8").splitlines()[:1] != [first_line]:
        raise FileExistsError(f"{handler} was not written by this package. Move it elsewhere first.")
    needed = requirements.read_text("utf-8").splitlines() if requirements.exists() else []
    needed = [line for line in needed if not line.replace("_", "-").startswith("recformer-hf")]
    for path, content in ((handler, text), (requirements, "\n".join([*needed, f"recformer-hf>={__version__}", ""]))):
        with atomic_file(path) as temporary:
            temporary.write_text(content, "utf-8")
    return [handler, requirements]


__all__ = ["write_handler"]
