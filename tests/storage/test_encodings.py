"""Encodings: what a file is told to be, its mark, and bytes that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from recformer_hf.storage.encodings import as_utf8, check_encoding, decoded_block
from recformer_hf.storage.file_kinds import DamagedBytesError, UnreadableFileError

PATH = Path("folder/items.csv")
TEXT = "a,b\n1,Pokémon €\n2,東京\n"


def utf8(data, encoding=None, piece_bytes=5):
    pieces = ((data[i : i + piece_bytes], i) for i in range(0, len(data), piece_bytes))
    return b"".join(piece for piece, _ in as_utf8(PATH, pieces, check_encoding(encoding)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "gb18030"])
@pytest.mark.parametrize("piece_bytes", [4, 5, 1000])
def test_any_encoding_becomes_utf8_without_a_mark(encoding, piece_bytes):
    assert utf8(TEXT.encode(encoding), encoding, piece_bytes).decode() == TEXT
    if encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert utf8(TEXT.encode(encoding), None, piece_bytes).decode() == TEXT
    assert utf8("é,b\n".encode("latin-1"), "latin-1").decode() == "é,b\n"
    assert utf8(b"") == b""


def test_bytes_that_do_not_fit_are_named():
    with pytest.raises(DamagedBytesError, match=r"items\.csv: line 3 has the byte 0x81, which is not cp1252"):
        utf8(b"a,b\n1,x\n2,\x81\n", "cp1252")
    with pytest.raises(DamagedBytesError, match=r"line 2 has the byte 0x31, which is not utf-16"):
        utf8("a\n1".encode("utf-16")[:-1])
    with pytest.raises(DamagedBytesError, match=r"items\.csv is not utf-16 \(UTF-16 stream does not start with BOM\)"):
        utf8(b"a,b\n1,x\n", "utf-16")
    with pytest.raises(DamagedBytesError, match="byte order mark of UTF-8, so that it is not iso8859-1"):
        utf8(TEXT.encode("utf-8-sig"), "latin-1")


def test_a_wrong_byte_of_utf8_is_named_by_line_and_place():
    block = "a,b\n1,é\n2,".encode() + b"Pok\xe9mon\n"
    with pytest.raises(
        DamagedBytesError, match=r"items\.csv: byte 6 of line 12 is 0xe9.*not UTF-8.*'latin-1' or 'cp1252'"
    ):
        decoded_block(PATH, block, 10)
    with pytest.raises(DamagedBytesError, match=r"line 1 is 0xe9.*NUL.*") as error:
        decoded_block(PATH, "a,é\n".encode("utf-16-le"), 1)
    assert "encoding='utf-16-le' or 'utf-16-be'" in str(error.value)
    assert decoded_block(PATH, TEXT.encode(), 1) == TEXT


@pytest.mark.parametrize("encoding", ["latin-7000", "base64", "", 8, "undefined"])
def test_an_encoding_that_python_does_not_know_is_refused(encoding):
    with pytest.raises(UnreadableFileError, match=r"encoding is .*Usual ones are 'utf-8', 'latin-1'"):
        check_encoding(encoding)
