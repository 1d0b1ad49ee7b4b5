"""The content of text files: inflated, as UTF-8, with line breaks."""

from __future__ import annotations

import gzip

import pytest

from recformer_hf.storage.file_kinds import PARQUET, DamagedBytesError, UnreadableFileError
from recformer_hf.storage.text_pieces import text_pieces


def content(path, piece_bytes=1 << 20, **options):
    return b"".join(piece for piece, _ in text_pieces(path, piece_bytes, **options))


@pytest.mark.parametrize("piece_bytes", [8, 1 << 20])
@pytest.mark.parametrize("data", [b"a\rb\r\rc", b"a\rb\r\rc\r", b"a\rb\r\nc\r"])
def test_carriage_returns_alone_are_line_breaks_if_the_first_line_ends_in_one(tmp_path, data, piece_bytes):
    (tmp_path / "mac.csv").write_bytes(data)
    assert content(tmp_path / "mac.csv", piece_bytes) == data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


@pytest.mark.parametrize("data", [b"a\r\nb\rc\r\n", b"a\nb\rc", b"\r\n\r", b"a", b""])
def test_in_other_files_carriage_returns_stay(tmp_path, data):
    (tmp_path / "log.csv").write_bytes(data)
    assert content(tmp_path / "log.csv", 8) == data


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("piece_bytes", [4, 7, 1 << 20])
def test_pieces_are_utf8_whatever_the_file_is(tmp_path, compress, piece_bytes):
    path, text = tmp_path / "log.csv", "a,é\n" * 300
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        path.write_bytes(compress(text.encode(encoding)))
        assert content(path, piece_bytes) == text.encode()
    path.write_bytes(compress(text.encode("cp1252")))
    assert content(path, piece_bytes, encoding="cp1252") == text.encode()
    last = list(text_pieces(path, piece_bytes, "cp1252"))[-1]
    assert last[1] == path.stat().st_size


def test_what_is_refused(tmp_path):
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(b"<!doctype html><html>Not found"))
    with pytest.raises(DamagedBytesError, match=r"log\.csv\.gz is not a text file but a web page"):
        content(path)
    path.write_bytes(b"PAR1\x15\x04")
    with pytest.raises(DamagedBytesError, match=r"but a parquet file\. Read it otherwise\."):
        content(path, advice={PARQUET: "Read it otherwise"})
    with pytest.raises(UnreadableFileError, match="encoding is 'klingon'"):
        content(path, encoding="klingon")
