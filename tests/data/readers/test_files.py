"""Opening files: compression, damaged downloads and missing files."""

from __future__ import annotations

import gzip

import pytest

from recformer_hf.data.readers.amazon import read_amazon
from recformer_hf.data.readers.files import existing_file, header_line, line_blocks, numbered_lines
from recformer_hf.data.readers.source import DamagedFileError, MissingFileError
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


def test_a_header_line_is_read_without_its_mark_and_end(tmp_path):
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress("\ufeffa,é\r\n1,2\r\n".encode()))
    assert header_line(path, "utf8") == "a,é"


def test_lines_that_are_not_blank_are_numbered(tmp_path):
    (tmp_path / "movies.dat").write_bytes("é\r\n\r\n b \n".encode("latin-1"))
    assert list(numbered_lines(tmp_path / "movies.dat", "latin-1")) == [(1, "é"), (3, " b ")]


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(MissingFileError, match="is a folder; expected a file"):
        existing_file(tmp_path)
