"""Text files of every compression and encoding; a damaged one is named with its place."""

from __future__ import annotations

import bz2
import gzip
import lzma

import pyarrow as pa
import pytest

from recformer_hf.items.text_files import lines_of, text_of
from tests.support.archives import zipped

TEXT = "item_id,title\n1,Pokémon\n2,日本\n"
PLAIN = TEXT.encode()


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
    wrong = (
        rf"items\.csv\.gz: the {kind} (data (end too early|are corrupt)|archive is damaged).*Download the file again"
    )
    for damaged in (content[:-9], content[:middle], *corrupt):
        path.write_bytes(damaged)
        for read in (text_of, lambda path: list(lines_of(path))):
            with pytest.raises(ValueError, match=wrong):
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
        with pytest.raises(ValueError, match=rf"items\.csv: byte \d+ of line 2 is 0xe9, which is not UTF-8.*{usual}"):
            read(path)
    assert text_of(path, encoding) == "".join(line for _, line in lines_of(path, encoding)) == text
    with pytest.raises(ValueError, match="encoding is 'klingon', which Python does not know"):
        text_of(path, "klingon")
    with pytest.raises(ValueError, match="encoding is 'rot13', which Python does not know"):
        text_of(path, "rot13")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"PAR1\x15\x04", r"not a text file but a parquet file\. Read it with from_parquet\.$"),
        (b"ARROW1\0\0", r"an Arrow .* file\. A saved catalogue is opened by from_pretrained or open_file"),
        (b"<!DOCTYPE html><html>", "but a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (zipped(a=b"x", b=b"y"), r"zip archive of 2 files \(a, b\)"),
        (zipped(**{"[Content_Types].xml": b"", "xl": b""}), r"Excel workbook .*document\. Save its table as CSV\.$"),
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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_lines_end_in_line_breaks_alone(tmp_path, encoding):
    """And not in the other characters at which `str.splitlines` cuts; lines may be longer than what is read at once."""
    path, long = tmp_path / "items.jsonl", "é" * (3 << 20)
    lines = ["a\x0bb\x1cc\x85d\n", "\n", f"{long}\r\n", "é"]
    path.write_bytes("".join(lines).encode(encoding))
    assert list(lines_of(path)) == list(enumerate(lines, start=1))
    path.write_bytes(b"a\nb\n" + "é".encode("cp1252"))
    with pytest.raises(ValueError, match="byte 1 of line 3 is 0xe9"):
        list(lines_of(path))
    path.write_bytes(b"")
    assert list(lines_of(path)) == []


def test_carriage_returns_alone_end_lines(tmp_path):
    (tmp_path / "items.jsonl").write_bytes(b"{}\r{}\r")
    assert list(lines_of(tmp_path / "items.jsonl")) == [(1, "{}\n"), (2, "{}\n")]
    assert text_of(tmp_path / "items.jsonl") == "{}\n{}\n"
