"""Compressed files: every kind is recognised by its bytes, and damage is named."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma

import pyarrow as pa
import pytest

from recformer_hf.storage import compression
from recformer_hf.storage.compression import decompressed, zip_member
from recformer_hf.storage.file_kinds import DamagedBytesError, UnreadableFileError
from tests.support.archives import zipped

CONTENT = b"".join(b"line %d\n" % number for number in range(20_000))


def zstd(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


COMPRESS = {
    "plain": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd,
    "zip": lambda data: zipped(**{"log.csv": data}),
}  # fmt: skip


def content(path, piece_bytes=1 << 20):
    return b"".join(data for data, _ in decompressed(path, piece_bytes))


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("piece_bytes", [100, 1 << 20])
def test_every_compression_is_recognised_whatever_the_name(tmp_path, kind, piece_bytes):
    path = tmp_path / "log.csv"
    path.write_bytes(COMPRESS[kind](CONTENT))
    pieces = list(decompressed(path, piece_bytes))
    assert b"".join(data for data, _ in pieces) == CONTENT
    assert max(len(data) for data, _ in pieces) <= piece_bytes
    assert 0 < pieces[-1][1] <= path.stat().st_size


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd"])
def test_files_may_have_several_members(tmp_path, kind):
    path = tmp_path / "log"
    path.write_bytes(COMPRESS[kind](b"one\n") + COMPRESS[kind](b"") + COMPRESS[kind](b"two\n"))
    assert content(path) == b"one\ntwo\n"


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz"])
def test_zeros_after_or_between_members_are_padding(tmp_path, kind):
    path = tmp_path / "log"
    path.write_bytes(COMPRESS[kind](b"one\n") + bytes(512) + COMPRESS[kind](b"two\n") + bytes(8 << 20))
    assert content(path) == b"one\ntwo\n"


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd", "zip"])
def test_damage_is_named_with_its_position(tmp_path, kind):
    path = tmp_path / "log"
    data = COMPRESS[kind](CONTENT)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedBytesError, match=rf"log: the {kind} .*(end too early|damaged).*Download the file again"):
        content(path)
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(40) + data[middle + 40 :])
    with pytest.raises(DamagedBytesError, match=rf"log: the {kind} data (are corrupt|end too early).* [\d,]+ bytes"):
        content(path)


@pytest.mark.parametrize(("kind", "length"), [("gzip", 2), ("bzip2", 8), ("xz", 6), ("zstd", 4), ("zip", 4)])
def test_a_file_that_was_cut_in_its_first_bytes_is_no_text(tmp_path, kind, length):
    (tmp_path / "log").write_bytes(COMPRESS[kind](CONTENT)[:length])
    with pytest.raises(DamagedBytesError, match=rf"log: the {kind} .*(end too early|damaged).*Download the file again"):
        content(tmp_path / "log")


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd", "zip"])
def test_a_small_file_that_inflates_to_much_is_read_in_small_pieces(tmp_path, kind):
    path = tmp_path / "log"
    path.write_bytes(COMPRESS[kind](bytes(64 << 20)))
    total = largest = 0
    for data, _ in decompressed(path, 1 << 20):
        total, largest = total + len(data), max(largest, len(data))
    assert (total, largest) == (64 << 20, 1 << 20)


def test_a_zip_archive_holds_one_file(tmp_path):
    path = tmp_path / "log.zip"
    path.write_bytes(zipped(**{"folder/": b"", "folder/log.csv": b"a\n", "__MACOSX/folder/._log.csv": b"x"}))
    assert zip_member(path).filename == "folder/log.csv"
    assert content(path) == b"a\n"
    for members, message in (
        ({"a.csv": b"", "b.csv": b""}, r"2 files \(a\.csv, b\.csv\); expected one"),
        ({}, "0 files"),
        (
            {"[Content_Types].xml": b"", "xl/workbook.xml": b""},
            "log.zip is not a text file but an Excel workbook.*Give it the ending .xlsx, or save it as CSV",
        ),
    ):
        path.write_bytes(zipped(**members))
        with pytest.raises(UnreadableFileError, match=message):
            content(path)
    path.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DamagedBytesError, match="zip archive is damaged"):
        content(path)


def test_a_zip_archive_with_a_password_is_refused(tmp_path):
    data = bytearray(zipped(**{"log.csv": b"a\n"}))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    (tmp_path / "log.zip").write_bytes(data)
    with pytest.raises(UnreadableFileError, match="password"):
        content(tmp_path / "log.zip")


def test_zstd_without_pyarrow_is_named_and_other_errors_are_left_alone(tmp_path, monkeypatch):
    (tmp_path / "log").write_bytes(zstd(b"a"))
    monkeypatch.setattr(compression.importlib, "import_module", lambda name: __import__("no_such_module"))
    with pytest.raises(ImportError, match=r"log is compressed by zstd, which needs pyarrow .*pip install pyarrow"):
        content(tmp_path / "log")
    (tmp_path / "log").write_bytes(gzip.compress(b"a"))

    def broken(*args):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(compression._GzipDecompressor, "decompress", broken)
    with pytest.raises(OSError, match=r"^\[Errno 5\] Input/output error$"):  # of the disk
        content(tmp_path / "log")


def test_a_zip_archive_that_begins_before_the_file_does(tmp_path):
    """Bytes that are lost in the middle make the operating system refuse a negative position."""
    path = tmp_path / "log.zip"
    whole = zipped(**{"log.csv": CONTENT[:500]})
    end = whole.rfind(b"PK\5\6")
    for lost in range(1, len(whole) - 60):
        path.write_bytes(whole[:20] + whole[20 + lost : end] + whole[end:])
        with pytest.raises(DamagedBytesError, match=r"log\.zip"):
            content(path)


def test_text_that_begins_like_a_compressed_file_is_text(tmp_path):
    (tmp_path / "log.csv").write_bytes(b"BZh,PK\n1,2\n")
    assert content(tmp_path / "log.csv") == b"BZh,PK\n1,2\n"
