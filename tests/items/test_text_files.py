"""Text files of every compression and encoding; a damaged one is named with its place."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile

import pyarrow as pa
import pytest

from recformer_hf.items.text_files import lines_of, text_of

TEXT = "item_id,title\n1,Pokémon\n2,日本\n"
PLAIN = TEXT.encode()


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


COMPRESSED = {
    "gzip": gzip.compress(PLAIN * 50),
    "bzip2": bz2.compress(PLAIN * 50),
    "xz": lzma.compress(PLAIN * 50),
    "zstd": pa.compress(PLAIN * 50, codec="zstd", asbytes=True),
    "zip": zipped(items=PLAIN * 50),
}


@pytest.mark.parametrize("kind", COMPRESSED)
def test_the_content_decides_and_not_the_name(tmp_path, kind):
    path = tmp_path / "items.csv"
    path.write_bytes(COMPRESSED[kind])
    assert text_of(path) == TEXT * 50
    assert "".join(line for _, line in lines_of(path)) == TEXT * 50
    assert [number for number, _ in lines_of(path)] == list(range(1, 151))


@pytest.mark.parametrize("kind", COMPRESSED)
def test_truncated_and_corrupt_files_are_named(tmp_path, kind):
    path, content = tmp_path / "items.csv.gz", COMPRESSED[kind]
    middle = len(content) // 2
    corrupt = [content[:middle] + bytes(20) + content[middle + 20 :]] if kind != "zstd" else []  # it has no checksum
    for damaged in (content[:-9], content[:middle], *corrupt):
        path.write_bytes(damaged)
        for read in (text_of, lambda path: list(lines_of(path))):
            with pytest.raises(ValueError, match=r"items\.csv\.gz: the compressed data are damaged or end too early"):
                read(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_a_mark_names(tmp_path, encoding):
    path = tmp_path / "items.csv"
    path.write_bytes(TEXT.encode(encoding))
    assert text_of(path) == TEXT
    assert list(lines_of(path)) == list(enumerate(TEXT.splitlines(keepends=True), start=1))


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "latin-1"])
def test_encodings_that_must_be_told(tmp_path, encoding):
    path, text = tmp_path / "items.csv", "item_id,title\n1,Pokémon\n"
    path.write_bytes(text.encode(encoding))
    usual = "utf-16-le" if "16" in encoding else "latin-1"
    for read in (text_of, lambda path: list(lines_of(path))):
        with pytest.raises(ValueError, match=rf"items\.csv: byte \d+ of line 2 is 0xe9, which is not utf-8.*{usual}"):
            read(path)
    assert text_of(path, encoding) == "".join(line for _, line in lines_of(path, encoding)) == text
    with pytest.raises(ValueError, match="Python has no text encoding 'klingon'"):
        text_of(path, "klingon")
    with pytest.raises(ValueError, match="Python has no text encoding 'rot13'"):
        text_of(path, "rot13")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"PAR1\x15\x04", "is a parquet file; read it with from_parquet"),
        (b"ARROW1\0\0", "is an Arrow file"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (zipped(a=b"x", b=b"y"), r"zip archive of 2 files \(a, b\)"),
        (zipped(**{"[Content_Types].xml": b"", "xl": b""}), "Excel workbook"),
    ],
)
def test_other_files_are_named(tmp_path, content, problem):
    (tmp_path / "items.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"items\.csv.*{problem}"):
        text_of(tmp_path / "items.csv")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="A folder, not a file"):
        text_of(tmp_path)
    with pytest.raises(FileNotFoundError, match="No file"):
        list(lines_of(tmp_path / "nothing"))


def test_a_zip_archive_that_begins_before_the_file_does(tmp_path):
    """Bytes that are lost in the middle make the operating system refuse a negative position."""
    path = tmp_path / "items.csv.zip"
    whole = COMPRESSED["zip"]
    end = whole.rfind(b"PK\5\6")
    for lost in range(1, len(whole) - 60):
        path.write_bytes(whole[:20] + whole[20 + lost : end] + whole[end:])
        with pytest.raises(ValueError, match=r"items\.csv\.zip"):
            text_of(path)
