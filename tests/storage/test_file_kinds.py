"""Files of other kinds under the name of a text file."""

from __future__ import annotations

import io
import pickle
import sqlite3
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recformer_hf.storage.file_kinds import PARQUET, START_BYTES, DamagedBytesError, refuse_other_kinds

PATH = Path("items.csv")


def parquet():
    pl.DataFrame({"a": [1]}).write_parquet(buffer := io.BytesIO())
    return buffer.getvalue()


def arrow():
    pl.DataFrame({"a": [1]}).write_ipc(buffer := io.BytesIO())
    return buffer.getvalue()


def tar():
    with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w") as archive:
        archive.add(__file__, "items.csv")
    return buffer.getvalue()


def sqlite():
    with sqlite3.connect(":memory:") as connection:
        connection.execute("create table a (b)")
        return connection.serialize() if hasattr(connection, "serialize") else b"SQLite format 3\0"


def numpy():
    np.save(buffer := io.BytesIO(), np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (parquet(), "parquet"),
        (arrow(), "Arrow"),
        (tar(), "tar archive"),
        (sqlite(), "SQLite"),
        (numpy(), "NumPy"),
        (pickle.dumps({"a": 1}), "pickle"),
        (pickle.dumps({"a": 1}, protocol=2), "pickle"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", r"\.xls"),
        (b" \n<!DOCTYPE html><html>", "web page"),
        (b"\xef\xbb\xbf<html lang='en'>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"%PDF-1.7", "PDF"),
        (b"\x1f\x8b\x08", "compressed twice"),
    ],
)
def test_a_file_of_another_kind_is_named(data, name):
    with pytest.raises(DamagedBytesError, match=rf"items\.csv is not a text file but .*{name}.*\.$"):
        refuse_other_kinds(PATH, data[:START_BYTES])


def test_the_advice_can_be_another(tmp_path):
    advice = {PARQUET: "Read it with from_parquet"}
    for data, message in ((parquet(), "but a parquet file. Read it with from_parquet."), (tar(), "Unpack it first.")):
        with pytest.raises(DamagedBytesError) as error:
            refuse_other_kinds(PATH, data[:START_BYTES], advice)
        assert str(error.value).endswith(message)


@pytest.mark.parametrize("start", ["PAR1,b\n", "item_id,title\n1,<html>\n", "", "﻿a,b\n", "ARROW1,b\n", '{"a": 1}'])
def test_text_is_text(start):
    refuse_other_kinds(PATH, start.encode())
