"""A full disk is named as one, whichever library met it, with the path and what is left there."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from recformer_hf.modeling_recformer import RecformerModel
from recformer_hf.storage.atomic import atomic_file, atomic_folder
from recformer_hf.storage.write_errors import WriteError, named_write_errors, write_errno
from recformer_hf.tokenization_recformer import RecformerTokenizer
from tests.support.faults import full_disk
from tests.support.models import small_config
from tests.support.tokenizers import CATALOG

WRITERS = {
    "torch": lambda path: torch.save(torch.zeros(100_000), path),
    "safetensors": lambda path: save_file({"a": torch.zeros(100_000)}, path),
    "numpy": lambda path: np.save(path.open("wb"), np.zeros(100_000)),
    "text": lambda path: path.write_text("x" * 100_000),
    "python": lambda path: os.write(os.open(path, os.O_CREAT | os.O_RDWR), b"x") and path.write_bytes(b"x" * 100_000),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_every_library(tmp_path, writer):
    path = tmp_path / "data.bin"
    path.write_text("before")
    with (
        full_disk(after=20_000),
        pytest.raises(
            OSError, match=r"data\.bin could not be written, because the disk is full .* unchanged\.$"
        ) as caught,
        atomic_file(path) as temporary,
    ):
        WRITERS[writer](temporary)
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["data.bin"]


def save(saved, path, in_folder: bool) -> None:
    if not in_folder:
        saved.save_pretrained(path)
        return
    with atomic_folder(path) as temporary:
        saved.save_pretrained(temporary / "x")


@pytest.mark.parametrize("in_folder", [False, True])
def test_models_and_tokenizers(tmp_path, in_folder):
    model, tokenizer = RecformerModel(small_config()), RecformerTokenizer.train_from_catalog(CATALOG, vocab_size=400)
    for saved in (model, tokenizer):
        with full_disk(after=4_000), pytest.raises(OSError, match=r"x could not be written, because the disk is full"):
            save(saved, tmp_path / "x", in_folder)
        assert not in_folder or not any(tmp_path.iterdir())


def test_a_file_where_a_folder_is_expected(tmp_path):
    (tmp_path / "x").write_text("kept")
    tokenizer = RecformerTokenizer.train_from_catalog(CATALOG, vocab_size=300)
    for saved in (RecformerModel(small_config()), tokenizer):
        with pytest.raises(NotADirectoryError, match="x is a file; save_pretrained writes a folder"):
            saved.save_pretrained(tmp_path / "x")
    assert (tmp_path / "x").read_text() == "kept"


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.EACCES, "denied"), errno.EACCES),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), 28),
        (Exception("Disk quota exceeded (os error 122)"), 122),
        (OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"), 28),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"), errno.ENOSPC),
        (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), errno.ENOSPC),
        (OSError("100000 requested and 2484 written"), errno.ENOSPC),
        (RuntimeError("CUDA out of memory"), None),
        (ValueError("other"), None),
    ],
    ids=str,
)
def test_the_number_of_an_error(error, number):
    assert write_errno(error) == number


def test_other_errors_stay_as_they_are(tmp_path):
    for error in (ValueError("other"), PermissionError(errno.EACCES, "denied", "path"), RuntimeError("CUDA")):
        with pytest.raises(type(error)) as caught, named_write_errors(tmp_path, "."):
            raise error
        assert caught.value is error


def test_the_innermost_path_is_the_one_that_is_named(tmp_path):
    with (
        pytest.raises(WriteError, match="inner could not be written") as caught,
        named_write_errors("outer", "."),
        named_write_errors("inner", "."),
    ):
        raise OSError(errno.ENOSPC, "full")
    assert "outer" not in str(caught.value)
