"""Notes and bars: silenced by `--quiet`, and as before when a command has ended."""

from __future__ import annotations

import contextlib
import sys

import pytest
from huggingface_hub.utils import are_progress_bars_disabled
from transformers.utils import logging

from recformer_hf.cli.output import be_quiet, is_quiet, say, shown_to_a_person


def state() -> tuple[int, bool, bool]:
    return logging.get_verbosity(), logging.is_progress_bar_enabled(), are_progress_bars_disabled()


def test_quiet_silences_notes_and_ends_with_the_command(capsys):
    before = state()
    with shown_to_a_person():
        say("one")
        be_quiet()
        say("two")
        assert is_quiet()
        assert logging.get_verbosity() == logging.ERROR
    say("three")
    assert capsys.readouterr().out == "one\nthree\n"
    assert state() == before


@pytest.mark.parametrize("terminal", [True, False])
def test_bars_are_for_terminals(monkeypatch, terminal):
    before = state()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with shown_to_a_person():
        assert logging.is_progress_bar_enabled() is (terminal and before[1])
    assert state() == before


def test_an_error_restores_them_too():
    before = state()
    with contextlib.suppress(ValueError), shown_to_a_person():
        be_quiet()
        raise ValueError
    assert state() == before
    assert not is_quiet()
