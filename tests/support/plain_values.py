"""What single values have to become: ids, texts and times, by a slow and obvious reading.

It shares no code with the readers. A value may have several outcomes that are right: a number written as "1e9" may be
a time or damage a line.
"""

from __future__ import annotations

import datetime as dt
import html
import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

MAX_DEPTH = 8
# Python's `str.strip` also takes four control characters for white space.
WHITE_SPACE = "".join(char for char in map(chr, range(0x3001)) if char.isspace() and not "\x1c" <= char <= "\x1f")
LATEST = 4_102_444_800  # the first moment of 2100
JANUARY = 31 * 86_400
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class Mark:
    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


DAMAGED = Mark("damaged")
BLANK = Mark("blank")
WHOLE_FILE = Mark("whole file refused")
"""The reader may refuse the file because of this row."""


# Values


def joined_surrogates(text: str) -> str:
    """Pairs of surrogates joined, single ones as U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def bare(text: str | None) -> str | None:
    """Text without the white space around it; None if nothing is left."""
    return (text or "").strip().strip("\x1c\x1d\x1e\x1f\ufeff").strip() or None


class Joined(str):
    """The text of a list or mapping; the white space between its parts may differ."""


def text_of(value: object, depth: int = 0) -> str | None:
    """An attribute's value as text; None if it is missing.

    Raises:
        TypeError: if it cannot become text.
    """
    if depth > MAX_DEPTH:
        raise TypeError("nested too deeply")
    if value is None or isinstance(value, str):
        return bare(joined_surrogates(value)) if value else None
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return str(value) if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else None
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return None if value != value else str(value)  # NaT differs from itself
    if isinstance(value, Mapping):
        parts = [(joined_surrogates(str(key)), text_of(part, depth + 1)) for key, part in value.items()]
        return Joined(", ".join(f"{key}: {part}" for key, part in parts if part is not None)) or None
    if isinstance(value, (list, tuple, np.ndarray)):
        texts = (text_of(part, depth + 1) for part in value)
        return Joined(" ".join(text for text in texts if text is not None)) or None
    raise TypeError(f"a {type(value).__name__}")


def id_outcomes(value: object, *, strip: bool = False) -> list[Any]:
    """What an id may become: text or `DAMAGED`."""
    if isinstance(value, str):
        text = joined_surrogates(value)
        kept = list(dict.fromkeys((text.strip(), text.strip(WHITE_SPACE)))) if strip else [text]
        return kept if bare(text) is not None else [DAMAGED, *(text for text in kept if text)]
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return [str(int(value))]
    if isinstance(value, (float, np.floating)) and math.isfinite(value) and value == int(value):
        digits = [str(int(value))] if abs(value) <= 2**53 else []
        return digits if abs(value) < 2**53 else [*digits, DAMAGED, WHOLE_FILE]
    if isinstance(value, Decimal) and value.is_finite() and value == int(value):
        return [str(int(value)), DAMAGED, WHOLE_FILE]
    return [DAMAGED] if value is None else [DAMAGED, WHOLE_FILE]


# Times

_CLOCK = r"(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:[.,](\d*))?)?"
_TIME = re.compile(
    rf"(\d{{4}})-(\d{{1,2}})-(\d{{1,2}})(?:[Tt\s]+{_CLOCK})?\s*(Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?", re.ASCII
)
_USUAL_TIME = re.compile(
    r"\d{4}-\d\d-\d\d|\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?|"
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z| UTC|[+-]\d\d:?\d\d)",
    re.ASCII,
)


def time_outcomes(value: object, unit: str = "s") -> list[Any]:
    """What a time may become: seconds since 1970 or `DAMAGED`."""
    if isinstance(value, (bool, np.bool_)) or value is None or value != value:
        return [DAMAGED]
    if isinstance(value, (int, float, Decimal, np.integer, np.floating)):
        return _seconds_of_number(value, unit)
    if isinstance(value, dt.datetime):
        zoned = value if value.tzinfo else value.replace(tzinfo=dt.timezone.utc)
        return [_in_range(math.floor(Fraction((zoned - _EPOCH) // dt.timedelta(microseconds=1), 10**6)))]
    if isinstance(value, dt.date):
        return [_in_range((value - dt.date(1970, 1, 1)).days * 86_400)]
    if not isinstance(value, str):
        return [DAMAGED, WHOLE_FILE]
    found = _seconds_of_text(value.strip(), unit)
    return found if value.strip() == value.strip(WHITE_SPACE) else [*found, DAMAGED]


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


def _in_range(seconds: int) -> Any:
    return seconds if 0 <= seconds <= LATEST else DAMAGED


def _seconds_of_number(value: Any, unit: str) -> list[Any]:
    if isinstance(value, Decimal):
        finite, exact = value.is_finite(), Fraction(value) if value.is_finite() else None
    else:
        finite = math.isfinite(value) if not isinstance(value, int) else True
        exact = Fraction(value if isinstance(value, int) else float(value)) if finite else None
    if not finite or exact is None:
        return [DAMAGED]
    found = [_in_range(math.floor(exact / PER_SECOND[unit]))]
    # A float that is divided as a float may come out one second off at the edge of a second.
    if not isinstance(value, (int, np.integer)) and exact / PER_SECOND[unit] < LATEST * 2:
        found.append(_in_range(math.floor(float(value) / PER_SECOND[unit])))
    return found


def _seconds_of_text(text: str, unit: str) -> list[Any]:
    if re.fullmatch(r"[+-]?\d{1,400}", text, re.ASCII):
        found = _seconds_of_number(int(text), unit)
        return found if re.fullmatch(r"\d{1,18}", text) else [*found, DAMAGED]
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII):
        found = _seconds_of_number(float(text), unit)
        return found if re.fullmatch(r"\d{1,15}\.\d{1,9}", text) else [*found, DAMAGED]
    match = _TIME.fullmatch(text)
    if not match:
        return [DAMAGED]
    try:
        found = _in_range(_seconds_of_match(match))
    except (ValueError, OverflowError):
        return [DAMAGED]
    return [found] if _USUAL_TIME.fullmatch(text) else [found, DAMAGED]


def _seconds_of_match(match: re.Match[str]) -> int:
    year, month, day, hour, minute, second, _, zone = match.groups()
    found = dt.datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), min(int(second or 0), 59))
    offset = 0
    if zone and zone[0] in "+-":
        hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
        if hours > 23 or minutes > 59:
            raise ValueError(zone)
        offset = (1 if zone[0] == "+" else -1) * (hours * 3600 + minutes * 60)
    if int(second or 0) > 60:
        raise ValueError(second)
    leap = int(second or 0) == 60
    return (found - dt.datetime(1970, 1, 1)) // dt.timedelta(seconds=1) - offset + leap


def looks_like_another_notation(values: Iterable[object], seconds: Iterable[int]) -> bool:
    """Whether a log's times are all dates written as numbers, or all in January 1970: another unit was meant."""
    values, seconds = [str(value).strip().removesuffix(".0") for value in values], list(seconds)
    if not seconds:
        return False
    dates = all(re.fullmatch(r"(19[789]\d|20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", value) for value in values)
    return dates or max(seconds) < JANUARY


# Texts that are known only in part


class Cleaned:
    """A text that the reader of Amazon's files cleans: exactly known if it has nothing to clean."""

    def __init__(self, text: str | None, *, may_be_cut: bool = False) -> None:
        self.text, self.may_be_cut = text, may_be_cut

    def fits(self, found: str | None) -> bool:
        words = (self.text or "").split()
        if all(char.isalnum() or char.isspace() or char in ",.'\"-:#[]()!?;+*%$@^~|" for char in " ".join(words)):
            got = (found or "").split()
            if isinstance(self.text, Joined):
                return "".join(got) == "".join(words)
            return got == words or (self.may_be_cut and words[: len(got)] == got and bool(got))
        source = html.unescape(html.unescape(self.text or ""))
        source = re.sub("[\u00ad\u200b\ufeff]", "", source) + " " + (self.text or "")
        return all(word in source for word in (found or "").split())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cleaned) and self.text == other.text

    def __repr__(self) -> str:
        return f"Cleaned({self.text!r})"
