"""How a command ends: errors in one line, Ctrl-C with how to continue."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub.errors import HFValidationError, StrictDataclassError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from ..training.finite_loss import LossNotFiniteError
from .output import shown_to_a_person

FAILURES = (ValueError, OSError, ImportError, StrictDataclassError, LossNotFiniteError)
"""Errors of arguments, data, disk and missing packages, whose message says everything. The rest are faults of this
package, or of one that it uses: they keep their traceback, which a report of them needs."""


@contextmanager
def running(prog: str, resume: str = "") -> Iterator[None]:
    """What surrounds every command.

    Args:
        prog: the command as it was called, `recformer finetune`, which begins every message.
        resume: what Ctrl-C says about continuing.

    Raises:
        SystemExit: with a line that names what failed, or with 130 after Ctrl-C.
    """
    try:
        with shown_to_a_person():
            yield
    except KeyboardInterrupt:
        after_bar = "\n" if sys.stderr.isatty() else ""  # the cursor stands behind a bar and ^C
        print(f"{after_bar}{prog}: stopped. {resume}".rstrip(), file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # `recformer recommend ... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except torch.OutOfMemoryError as error:
        raise SystemExit(
            f"{prog}: the accelerator has too little memory; take smaller batches: {_line(error)}"
        ) from error
    except FAILURES as error:
        raise SystemExit(f"{prog}: {_line(error)}") from error


@contextmanager
def loading(name: str, option: str = "--model") -> Iterator[None]:
    """Names the option in the errors of loading a checkpoint that is neither a folder here nor found on the Hub.

    Raises:
        ValueError: if the name can be neither.
        OSError: if it cannot be loaded.
    """
    if Path(name).is_dir():
        yield
        return
    try:
        validate_repo_id(name)
        yield
    except HFValidationError as error:
        raise ValueError(f"{option} {name} is neither a local folder nor a valid Hub id.") from error
    except OSError as error:
        raise OSError(
            f"{option} {name} is no folder here, and cannot be loaded from the Hub: {_line(error)}"
        ) from error


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.filename is not None and text.startswith("[Errno"):
        return f"{error.filename}: {error.strerror}"
    return text
