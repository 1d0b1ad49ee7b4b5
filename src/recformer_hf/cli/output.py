"""What a command shows besides its result: notes, and progress on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.utils import are_progress_bars_disabled as hub_bars_hidden  # type: ignore[attr-defined]
from huggingface_hub.utils import disable_progress_bars as hide_hub_bars  # type: ignore[attr-defined]
from huggingface_hub.utils import enable_progress_bars as show_hub_bars  # type: ignore[attr-defined]
from transformers.utils import logging

_quiet = False


def say(text: str) -> None:
    """Prints a note for a person, unless `--quiet` was given."""
    if not _quiet:
        print(text, flush=True)


def is_quiet() -> bool:
    """Whether `--quiet` was given."""
    return _quiet


def be_quiet() -> None:
    """No notes, bars and infos any more; warnings stay."""
    global _quiet
    _quiet = True
    logging.set_verbosity_error()
    _hide_bars()


@contextmanager
def shown_to_a_person() -> Iterator[None]:
    """Bars on a terminal only: a file would hold every redraw. What `be_quiet` changes is undone at the end."""
    global _quiet
    verbosity, bars, hub = (
        logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
        not hub_bars_hidden(),
    )
    if not sys.stderr.isatty():
        _hide_bars()
    try:
        yield
    finally:
        _quiet = False
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
        if hub:
            show_hub_bars()


def _hide_bars() -> None:
    logging.disable_progress_bar()
    hide_hub_bars()
