"""Small valid files of every format, and everything that happens to files: the material of the readers' fuzzing.

Every function takes a `random.Random`. hypothesis draws one that it can shrink (`strategies.randoms`); a number as the
seed gives the same file everywhere.
"""

from __future__ import annotations

import bz2
import csv
import datetime as dt
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable, Sequence
from decimal import Decimal
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pa_parquet

Row = dict[str, Any]

# Values

_TITLES = (
    "Red kettle", "Café \"Noir\", 2 cups", "Zelda: Ocarina", "nan", "NA", "null", "None", "inf", "", "  spade ",
    "007", "1.0", "1e5", "True", "写真 album", "family \U0001f468\u200d\U0001f469\u200d\U0001f467", "it's 5\" long",
    "a\\b", "[x]", "{\"a\": 1}", "#1", "R&D; café", "-", "\u00a0wide\u00a0",
)  # fmt: skip

_ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 7, 12.5, 5.0, 1e-05, 1e20, 1e300, -0.0, 0.1 + 0.2, 2**53, 2.0**53, 2.0**54,
    2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, float("nan"), float("inf"), float("-inf"), "", " ", "nan", "NaN",
    "None", "null", "inf", "1.0", "x", "é", "a\0b", "\0", "\ud83d", "\ude00\ud83d", "a\ud83db", "tab\there",
    "two\nlines", "cr\rhere", "\u2028", "\ufeff", "'", '"', '""', ",", "\\", [], [None], ["A", "B"], ["A", None, 3],
    ["", " "], [[]], [["A"], ["B", 1.5]], {}, {"a": 1}, {"a": None}, {"a": {"b": [1, "x"]}, "c": ""},
    [{"a": "x"}, {"b": 2}], [True, float("nan"), 2.0], "<b>x</b>", "&amp;", "A&B", "soft\u00adware", 1_500_000_000,
    "1500000000", 1_500_000_000_123,
)  # fmt: skip

_ODD_TIMES: tuple[Any, ...] = (
    0, -1, 1, 20170918, "20170918", 1_400_000_000, 1_400_000_000.0, 1_400_000_000.75, 1_400_000_000_000,
    4_102_444_800, 4_102_444_801, 10**18, 10**30, "1400000000", " 1400000000 ", "1400000000.5", "1.4e9", "2019-03-31",
    "2019-03-31 17:05", "2019-03-31 17:05:00", "2019-03-31T17:05:00", "2019-03-31T17:05:00.250",
    "2019-03-31T17:05:00Z", "2019-03-31 17:05:00 UTC", "2019-03-31T17:05:00+02:00", "2019-03-31T17:05:00+0200",
    "2019-03-31T17:05:00.123456789Z", "2019-02-30", "1969-12-31", "2100-01-02", "11/15/2019 9:12:12 AM",
    "09 13, 2009", "Mar 31", "yesterday", "", "NaT", None, True, float("nan"), "1e400", "0x10", "1_000_000_000",
    "١٤٠٠٠٠٠٠٠٠", "2019-3-1", "2019-03-31 7:05", "24:00", [], {"a": 1}, "2019-03-31T25:00:00",
)  # fmt: skip


def log_rows(rng: Random, columns: Sequence[str] = ("user_id", "item_id", "timestamp"), unit: int = 1) -> list[Row]:
    """Rows of interactions, some of them with another column."""
    user, item, time = columns
    rows = []
    for number in range(rng.randint(3, 15)):
        row = {user: f"u{rng.randint(0, 3)}", item: f"B{rng.randint(0, 7)}"}
        if rng.random() < 0.5:
            row["rating"] = rng.choice((5, 4.0, 3.5))
        rows.append({**row, time: (1_400_000_000 + 86_400 * number + rng.randint(0, 9)) * unit})
    return rows


def item_rows(rng: Random, id_column: str = "item_id") -> list[Row]:
    """Rows of items with attributes of several types, one of which few items have."""
    rows: list[Row] = []
    for number in range(rng.randint(2, 10)):
        row: Row = {id_column: f"B{number}", "title": rng.choice(_TITLES), "brand": f"Brand {number % 3}"}
        if rng.random() < 0.7:
            row["price"] = rng.choice((9.99, 12, 5.0, None))
        if rng.random() < 0.6:
            row["category"] = rng.choice((["Toys", "Games"], ["Home"], []))
        if rng.random() < 0.2:
            row["details"] = {"Colour": "red", "Weight": None, "Size": {"w": 2, "h": 3.5}}
        rows.append(row)
    return rows


def changed_values(rng: Random, rows: list[Row], *, times: Sequence[str] = ()) -> list[Row]:
    """Rows after up to three changes of values, types and keys."""
    rows = [dict(row) for row in rows]
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        row = rng.choice(rows)
        if not row:
            continue
        name = rng.choice(list(row))
        change = rng.randint(0, 7)
        if change <= 1:
            row[name] = odd_value(rng, time=name in times)
        elif change == 2:
            del row[name]
        elif change == 3:
            row[rng.choice(("", " ", name + " ", name.upper(), "é", "\0", "\ud83d", "new", "item_id", "key"))] = (
                row.pop(name)
            )
        elif change == 4:
            row[rng.choice(("new", "late", "a b", "key", "value", "attributes"))] = odd_value(rng)
        elif change == 5:
            _change_column(rng, rows, name, time=name in times)
        elif change == 6:
            rows.insert(rng.randint(0, len(rows)), dict(row))
        else:
            rows[rng.randrange(len(rows))] = rng.choice(({}, {name: row[name]}))
    return rows


def odd_value(rng: Random, *, time: bool = False) -> Any:
    """Any value that JSON can hold."""
    if time and rng.random() < 0.8:
        return rng.choice(_ODD_TIMES)
    if rng.random() < 0.03:
        value: Any = "deep"
        for _ in range(rng.choice((7, 8, 9, 40))):
            value = [value] if rng.random() < 0.5 else {"a": value}
        return value
    return rng.choice(_ODD_VALUES)


def _change_column(rng: Random, rows: list[Row], name: str, *, time: bool) -> None:
    """Another type for all values under a key."""
    kinds: list[Callable[[int, Any], Any]] = [
        lambda place, value: place,
        lambda place, value: float(place),
        lambda place, value: place + 0.5,
        lambda place, value: [value],
        lambda place, value: str(value),
        lambda place, value: {"name": value, "place": place},
        lambda place, value: place % 2 == 0,
        lambda place, value: None if place % 2 else value,
    ]
    if time:
        kinds += [
            lambda place, value: 20170901 + place,
            lambda place, value: 1_400_000_000 // 1000 + place,
            lambda place, value: f"2019-03-{place + 1:02d}",
            lambda place, value: f"2019-03-{place + 1:02d}T10:00:00Z",
            lambda place, value: float(value) if isinstance(value, int) else value,
        ]
    change = rng.choice(kinds)
    for place, row in enumerate(rows):
        if name in row:
            row[name] = change(place, row[name])


# JSON


def json_line(rng: Random, row: Row) -> str:
    """A row as JSON, in one of the ways in which programs write it."""
    ascii_only, separators = rng.random() < 0.5, rng.choice(((", ", ": "), (",", ":"), (" , ", " : ")))
    text = json.dumps(row, ensure_ascii=ascii_only, separators=separators)
    if row and rng.random() < 0.03:
        name = rng.choice(list(row))  # a key twice: the last one counts
        text = text[:-1] + "," + json.dumps({name: odd_value(rng)})[1:]
    return text


def as_bytes(text: str) -> bytes:
    """UTF-8, lone surrogates as the three bytes that some programs write for them."""
    return text.encode("utf-8", "surrogatepass")


def json_lines(rng: Random, rows: list[Row]) -> bytes:
    return b"".join(as_bytes(json_line(rng, row)) + b"\n" for row in rows)


def json_array(rng: Random, rows: list[Row]) -> bytes:
    indent = rng.choice((None, None, 2))
    return as_bytes(json.dumps(rows, indent=indent, ensure_ascii=rng.random() < 0.5))


def python_lines(rng: Random, rows: list[Row]) -> bytes:
    """Python literals, as the metadata of 2014."""
    return b"".join(repr(row).encode("utf-8", "backslashreplace") + b"\n" for row in rows)


# Delimited text


def delimited(
    rng: Random, rows: list[Row], delimiter: str = ",", *, quoted: bool = True, types: dict[str, str] | None = None
) -> bytes:
    """A table with a header; values as pandas writes them."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    header = [name if types is None else f"{name}:{types.get(name, 'token')}" for name in names]
    body = [["" if row.get(name) is None else _cell(row[name]) for name in names] for row in rows]
    _change_table(rng, header, body)
    clean: dict[int, str] = {0: "", 0xD83D: "", 0xDE00: "", 0xDC00: ""}
    if not quoted:
        clean |= str.maketrans(dict.fromkeys(f"{delimiter[0]}\n\r", " "))
        lines = [delimiter.join(cell.translate(clean) for cell in record) for record in [header, *body]]
        return as_bytes("".join(line + "\n" for line in lines))
    out = io.StringIO()
    style = rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    writer = csv.writer(out, delimiter=delimiter, quoting=style, lineterminator=rng.choice(("\n", "\n", "\r\n")))
    writer.writerows([[cell.translate(clean) for cell in record] for record in [header, *body]])
    return as_bytes(out.getvalue())


def _cell(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _change_table(rng: Random, header: list[str], body: list[list[str]]) -> None:
    """What programs do to headers: an index, a trailing delimiter, spaces, a name twice."""
    change = rng.randint(0, 24)
    records = [header, *body]
    if change == 0:
        for place, record in enumerate(records):
            record.insert(0, str(place - 1) if place else rng.choice(("", "Unnamed: 0")))
    elif change == 1:
        for place, record in enumerate(records):
            record.append("" if place == 0 or rng.random() < 0.9 else "x")
    elif change == 2:
        header[:] = [f" {name} " for name in header]
    elif change == 3 and header:
        header[rng.randrange(len(header))] = rng.choice(header)
    elif change == 4 and len(body) > 1:
        rng.choice(body).append(rng.choice(("", "more")))
    elif change == 5 and len(body) > 1:
        rng.choice(body).pop()
    elif change == 6 and header:
        header[rng.randrange(len(header))] = rng.choice(("", " ", "Title", "x"))
    elif change == 7 and body:
        record = rng.choice(body)
        record[rng.randrange(len(record))] = rng.choice(
            ("two\nlines", "of two lines\nhere", 'a "quoted" word', ",", "\t", "'")
        )


# Parquet


def parquet(rng: Random, rows: list[Row], *, times: Sequence[str] = ()) -> bytes:
    """A table of the types that Arrow infers, or others."""
    rows = [_without_surrogates(row) for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: _column(rng, [row.get(name) for row in rows], time=name in times) for name in names}
    fields = [pa.field(name, column.type) for name, column in columns.items()]
    table = pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields))
    if rng.random() < 0.05 and names:
        table = table.append_column(rng.choice((*names, "__index_level_0__")), pa.array(range(len(rows))))
    out = io.BytesIO()
    pa_parquet.write_table(
        table, out, compression=rng.choice(("snappy", "zstd", "gzip", "none")), use_dictionary=rng.random() < 0.5,
        row_group_size=rng.choice((None, 2)), data_page_version=rng.choice(("1.0", "2.0")),
    )  # fmt: skip
    return out.getvalue()


def _column(rng: Random, values: list[Any], *, time: bool) -> pa.Array:
    if rng.random() < 0.25:
        try:
            return _typed_column(rng, values, time=time)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            pass
    try:
        column = pa.array(values)
        pa_parquet.write_table(pa.table({"column": column}), io.BytesIO())  # parquet has no struct without fields
        return column
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_without_surrogates(part) for part in value]
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(part) for name, part in value.items()}
    return value


def _typed_column(rng: Random, values: list[Any], *, time: bool) -> pa.Array:
    """A column of a type that is not the usual one."""
    n = len(values)
    moments = [dt.datetime(2019, 3, 31, 17, 5, place, 250_000) for place in range(n)]
    some = [
        lambda: pa.array(values, pa.large_string()),
        lambda: pa.array(values).dictionary_encode(),
        lambda: pa.array(values, pa.string_view()),
        lambda: pa.array([float(place) for place in range(n)], pa.float32()),
        lambda: pa.array([place + 0.1 for place in range(n)], pa.float32()),
        lambda: pa.array([float("nan") if place % 2 else float(place) for place in range(n)]),
        lambda: pa.array(list(range(n)), pa.uint64()),
        lambda: pa.array([2**64 - 1 - place for place in range(n)], pa.uint64()),
        lambda: pa.array([place % 2 == 0 for place in range(n)]),
        lambda: pa.array([str(value).encode() for value in values], pa.binary()),
        lambda: pa.array([Decimal(f"{place}.50") for place in range(n)], pa.decimal128(12, 2)),
        lambda: pa.array([Decimal(place) for place in range(n)], pa.decimal256(40, 0)),
        lambda: pa.array([[place, None] for place in range(n)], pa.list_(pa.float64())),
        lambda: pa.array([["a", None, "b "] for _ in range(n)], pa.large_list(pa.string())),
        lambda: pa.array([[["a"], ["b"]] for _ in range(n)]),
        lambda: pa.array([[1.5, 2.0] for _ in range(n)], pa.list_(pa.float32(), 2)),
        lambda: pa.array([[("a", place), ("b", None)] for place in range(n)], pa.map_(pa.string(), pa.int64())),
        lambda: pa.array([{"a": place, "b": [1.5, None], "c": {"d": "x"}} for place in range(n)]),
        lambda: pa.array([[{"a": "x"}, {"a": None}] for _ in range(n)]),
        lambda: pa.nulls(n),
        lambda: pa.array([dt.timedelta(seconds=place) for place in range(n)]),
        lambda: pa.array([dt.time(17, 5, place) for place in range(n)]),
    ]
    temporal = [
        lambda: pa.array(moments, pa.timestamp("us")),
        lambda: pa.array(moments, pa.timestamp("ms", tz="UTC")),
        lambda: pa.array(moments, pa.timestamp("us", tz="+02:00")),
        lambda: pa.array([10**18 + place for place in range(n)], pa.timestamp("ns")),
        lambda: pa.array([moment.replace(microsecond=0) for moment in moments], pa.timestamp("s")),
        lambda: pa.array([moment.date() for moment in moments], pa.date32()),
        lambda: pa.array([moment.date() for moment in moments], pa.date64()),
    ]
    return rng.choice(temporal if time and rng.random() < 0.7 else some + temporal)()


# Bytes, lines, encodings and compression of any file

_INSERTED = (
    b'"', b"'", b"\\", b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b",", b";", b"\t", b"|", b":", b"::",
    b"{", b"}", b"[", b"]", b"null", b"NaN", b"1e999", b"-", b"\xed\xa0\x80", b"\xc3", b"\xc3\xa9", b"\xe9", b"\x85",
    b"\x1c", b" ", b"  ", b"\xc2\xa0", b"\xe2\x80\xa8", b"\\u0000", b"\\ud83d", b"True", b"0", b"9", b".", b"#",
    b"//", b"\n\n", b'""', b"{}", b"[]",
)  # fmt: skip


def changed_bytes(rng: Random, data: bytes) -> bytes:
    """A file after one change of bytes."""
    if not data:
        return rng.choice(_INSERTED)
    place = rng.randrange(len(data))
    change = rng.randint(0, 6)
    if change == 0:
        return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]
    if change == 1:
        return data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]
    if change == 2:
        return data[:place] + rng.choice(_INSERTED) + data[place:]
    if change == 3:
        return data[:place] + data[place + rng.choice((1, 1, 2, 5, 40)) :]
    if change == 4:
        end = place + rng.choice((1, 5, 40))
        return data[:end] + data[place:end] + data[end:]
    if change == 5:
        return data[:place] + rng.choice(_INSERTED) + data[place + 1 :]
    return data[:place]


def changed_lines(rng: Random, data: bytes) -> bytes:
    """A file after one change of lines."""
    lines = data.split(b"\n")
    place, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    change = rng.randint(0, 11)
    if change == 0:
        del lines[place]
    elif change == 1:
        lines.insert(other, lines[place])
    elif change == 2:
        lines[place], lines[other] = lines[other], lines[place]
    elif change == 3:
        lines[place] = lines[place][: rng.randint(0, len(lines[place]))]
    elif change == 4:
        lines[place : place + 2] = [b"".join(lines[place : place + 2])]
    elif change == 5:
        lines[place:place] = [
            rng.choice((b"", b" ", b"\t", b"\r", b"null", b"[]", b"{}", b"5", b'"x"', b"# comment", b",,"))
        ]
    elif change == 6:
        return data.replace(b"\n", rng.choice((b"\r\n", b"\r\n", b"\r", b"\n\n", b"\n\r")))
    elif change == 7:
        lines[place] += rng.choice((b"\r", b" ", b",", b"\t", b"\0"))
    elif change == 8:
        return data.rstrip(b"\n") + rng.choice((b"", b"\n\n\n", b"\0", b"\x1a", b" "))
    elif change == 9:
        old, new = rng.choice(
            ((b",", b";"), (b",", b"\t"), (b"\t", b","), (b"::", b":"), (b'"', b"'"), (b'"', b""), (b"|", b","))
        )
        if rng.random() < 0.7:
            lines[place] = lines[place].replace(old, new)
        else:
            return data.replace(old, new)
    elif change == 10:
        cut = rng.randint(0, len(lines[place]))
        lines[place : place + 1] = [lines[place][:cut], lines[place][cut:]]
    else:
        lines[place] = rng.choice((b'"', b"'")) + lines[place] + rng.choice((b"", b'"', b"'"))
    return b"\n".join(lines)


def changed_encoding(rng: Random, data: bytes) -> bytes:
    """A text file in another encoding."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return data
    encoding = rng.choice(("latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-8-sig", "utf-32"))
    encoded = text.encode(encoding, "replace")
    return b"\xfe\xff" + encoded if encoding == "utf-16-be" and rng.random() < 0.5 else encoded


def zstd(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(data)
    return bytes(out.getvalue())


def zipped(data: bytes, *names: str) -> bytes:
    """A zip archive; every member holds the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, data)
    return out.getvalue()


def compressed(rng: Random, data: bytes) -> bytes:
    """A compressed file, sometimes damaged."""
    half = len(data) // 2
    ways: list[Callable[[], bytes]] = [
        lambda: gzip.compress(data, mtime=0),
        lambda: gzip.compress(data[:half], mtime=0) + gzip.compress(data[half:], mtime=0),
        lambda: gzip.compress(data, mtime=0) + bytes(rng.choice((1, 512))),
        lambda: bz2.compress(data),
        lambda: zstd(data),
        lambda: zstd(data[:half]) + zstd(data[half:]),
        lambda: lzma.compress(data),
        lambda: zipped(data, "table"),
        lambda: zipped(data, "a", "b"),
    ]
    packed = rng.choice(ways)()
    damage = rng.randint(0, 5)
    if damage == 0:
        return packed[: rng.randint(1, len(packed))]
    if damage == 1:
        place = rng.randrange(len(packed))
        return packed[:place] + bytes([packed[place] ^ (1 << rng.randrange(8))]) + packed[place + 1 :]
    return packed


def mutated(rng: Random, data: bytes, *, binary: bool = False, packable: bool = True) -> bytes:
    """A file after up to three changes of bytes and lines, perhaps in another encoding and compressed."""
    for _ in range(rng.choice((0, 0, 0, 1) if binary else (0, 0, 1, 1, 2, 3))):
        data = (changed_bytes if binary or rng.random() < 0.5 else changed_lines)(rng, data)
    if not binary and rng.random() < 0.12:
        data = changed_encoding(rng, data)
    if packable and not binary and rng.random() < 0.2:
        data = compressed(rng, data)
    return data
