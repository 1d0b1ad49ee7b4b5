"""How commands end: errors in one line, Ctrl-C, a reader that went away."""

from __future__ import annotations

import os
import sys

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from recformer_hf.cli.running import loading, running
from recformer_hf.training import LossNotFiniteError


@pytest.mark.parametrize(
    "kind", [ValueError, OSError, ImportError, FileNotFoundError, StrictDataclassError, LossNotFiniteError]
)
def test_a_failure_is_one_line_and_exit_code_1(kind):
    with pytest.raises(SystemExit) as error, running("recformer some"):
        raise kind("the\n  line is\nlong")
    assert error.value.code == "recformer some: the line is long"  # Python prints it on stderr, and exits with 1


def test_an_error_of_a_file_begins_with_its_name(tmp_path):
    with pytest.raises(SystemExit) as error, running("recformer some"):
        (tmp_path / "absent").read_text()
    assert error.value.code == f"recformer some: {tmp_path / 'absent'}: No such file or directory"


def test_an_error_without_a_message_is_named():
    with pytest.raises(SystemExit, match="recformer some: ValueError"), running("recformer some"):
        raise ValueError


def test_too_little_memory_says_what_to_do():
    with pytest.raises(SystemExit, match="take smaller batches: CUDA"), running("recformer some"):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), running("recformer some"):
        1 / 0  # noqa: B018


@pytest.mark.parametrize("terminal", [False, True])
def test_ctrl_c_says_how_to_continue(terminal, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with pytest.raises(SystemExit) as error, running("recformer some", "Again."):
        raise KeyboardInterrupt
    assert error.value.code == 130
    assert capsys.readouterr().err == "\n" * terminal + "recformer some: stopped. Again.\n"


def test_a_reader_that_went_away_is_no_message(monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit) as error, running("recformer some"):
            print("x" * 100_000, flush=True)
        monkeypatch.undo()
    assert error.value.code == 1
    assert capsys.readouterr().err == ""


def test_errors_of_loading_name_the_option(tmp_path):
    with pytest.raises(ValueError, match="--model a//b is neither a local folder nor a valid Hub id"), loading("a//b"):
        pytest.fail("loaded")
    message = "--tokenizer shop is no folder here, and cannot be loaded from the Hub: why"
    with pytest.raises(OSError, match=message), loading("shop", "--tokenizer"):
        raise OSError("why")
    with pytest.raises(OSError, match=r"^damaged$"), loading(str(tmp_path)):
        raise OSError("damaged")
