"""Opening files: compression, damaged downloads and missing files."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest

from recformer_hf.data.readers import files
from recformer_hf.data.readers.amazon import read_amazon
from recformer_hf.data.readers.files import (
    decoded_block,
    existing_file,
    existing_files,
    is_utf8,
    line_blocks,
    zip_member,
)
from recformer_hf.data.readers.source import DamagedFileError, DataError, MissingFileError
from tests.support.data_sources import LOG, rows_of, write_amazon, write_lines


def test_half_of_a_gzip_file_is_an_error_and_two_members_are_not(tmp_path):
    reviews, meta = write_amazon(tmp_path, "2018")
    data = reviews.read_bytes()
    reviews.write_bytes(data + data)
    assert rows_of(read_amazon(reviews, meta, "2018")) == LOG + LOG
    reviews.write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedFileError, match=r"end too early.*Download the file again"):
        read_amazon(reviews, meta, "2018")
    reviews.write_bytes(data[:50] + bytes(40) + data[90:])
    with pytest.raises(DamagedFileError, match=r"corrupt|end too early"):
        read_amazon(reviews, meta, "2018")


def test_plain_files_are_read_like_gzipped_ones(tmp_path):
    reviews, meta = write_amazon(tmp_path, "2018")
    plain = tmp_path / "plain.json"
    plain.write_bytes(gzip.decompress(reviews.read_bytes()).rstrip(b"\n"))  # the last line without its end
    assert rows_of(read_amazon(plain, meta, "2018")) == LOG


def test_a_missing_file_is_named_before_anything_is_read(tmp_path):
    reviews, _ = write_amazon(tmp_path, "2018")
    with pytest.raises(MissingFileError, match=r"No file .*nowhere\.json\.gz .*Shop\.json\.gz"):
        read_amazon(reviews, tmp_path / "nowhere.json.gz", "2018")
    with pytest.raises(FileNotFoundError, match="folder does not exist"):
        read_amazon(tmp_path / "no" / "where.json.gz", reviews, "2018")


@pytest.mark.parametrize("name", ["lines.txt", "lines.txt.gz"])
def test_blocks_are_whole_lines_with_the_number_of_their_first(tmp_path, name):
    path = write_lines(tmp_path / name, ["first", "", "third", "a line that is longer than a block", "fifth"])
    blocks = list(line_blocks(path, block_bytes=8))
    assert b"".join(block for _, block in blocks) == b"first\n\nthird\na line that is longer than a block\nfifth\n"
    assert all(block.endswith(b"\n") for _, block in blocks)
    numbers = [1 + sum(block.count(b"\n") for _, block in blocks[:i]) for i in range(len(blocks))]
    assert [number for number, _ in blocks] == numbers
    assert len(blocks) > 2


def test_zeros_after_gzip_data_are_padding(tmp_path):
    path = tmp_path / "padded.gz"
    path.write_bytes(gzip.compress(b"line\n") + bytes(512))
    assert list(line_blocks(path)) == [(1, b"line\n")]


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(MissingFileError, match="is a folder; expected a file"):
        existing_file(tmp_path)


def test_lists_and_patterns_name_files(tmp_path):
    names = ["part-2.csv", "part-10.csv", "other.csv", "odd[1].csv"]
    paths = {name: write_lines(tmp_path / name, ["a"]) for name in names}
    assert existing_files(tmp_path / "part-*.csv") == [paths["part-10.csv"], paths["part-2.csv"]]
    assert existing_files(str(tmp_path / "odd[1].csv")) == [paths["odd[1].csv"]]
    given = [paths["part-2.csv"], str(tmp_path / "o[t]her.csv")]
    assert existing_files(given) == [paths["part-2.csv"], paths["other.csv"]]
    with pytest.raises(MissingFileError, match=r"No file matches .*shard-\*"):
        existing_files(tmp_path / "shard-*")
    with pytest.raises(DataError, match=r"part-2\.csv is given twice"):
        existing_files([tmp_path / "part-*.csv", paths["part-2.csv"]])
    with pytest.raises(DataError, match="list of files is empty"):
        existing_files([])


def test_blocks_are_utf8_whatever_the_file_is(tmp_path):
    (tmp_path / "log.csv").write_bytes("a\né\n".encode("utf-16"))
    assert list(line_blocks(tmp_path / "log.csv")) == [(1, "a\né\n".encode())]
    (tmp_path / "log.csv").write_bytes("a\né\n".encode("cp1252"))
    assert list(line_blocks(tmp_path / "log.csv", encoding="cp1252")) == [(1, "a\né\n".encode())]
    assert not is_utf8(tmp_path / "log.csv")
    (tmp_path / "log.csv").write_bytes("a\né\n".encode())
    assert is_utf8(tmp_path / "log.csv")


def test_errors_are_those_of_readers(tmp_path):
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(b"<!doctype html><html>Not found"))
    with pytest.raises(DamagedFileError, match=r"log\.csv\.gz is not a text file but a web page"):
        list(line_blocks(tmp_path / "log.csv.gz"))
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(b"a\n")[:-9])
    with pytest.raises(DamagedFileError, match=r"log\.csv\.gz: the gzip data end too early"):
        list(line_blocks(tmp_path / "log.csv.gz"))
    with pytest.raises(DamagedFileError, match=r"log: byte 1 of line 3 is 0xff"):
        decoded_block(Path("log"), b"a\n\xff\n", 2)
    with zipfile.ZipFile(tmp_path / "log.zip", "w") as archive:
        archive.writestr("a.csv", "a")
        archive.writestr("b.csv", "b")
    for read in (zip_member, lambda path: list(line_blocks(path))):
        with pytest.raises(DataError, match=r"log\.zip is a zip archive of 2 files") as error:
            read(tmp_path / "log.zip")
        assert type(error.value) is DataError
    with pytest.raises(DataError, match="encoding is 'klingon'") as error:
        list(line_blocks(tmp_path / "log.zip", encoding="klingon"))
    assert type(error.value) is DataError
    (tmp_path / "log.zip").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DamagedFileError, match="zip archive is damaged"):
        zip_member(tmp_path / "log.zip")


def test_a_line_without_end_is_an_error_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 4 << 20)
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"a\n" + bytes(256 << 20)))
    with pytest.raises(DamagedFileError, match=r"bomb\.csv\.gz: line 2 is longer than 4 MiB"):
        list(line_blocks(tmp_path / "bomb.csv.gz", 1 << 20))
