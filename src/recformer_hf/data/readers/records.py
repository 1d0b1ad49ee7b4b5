"""Divides delimited text into records and their fields, in Python: what quotes, line breaks and odd lines mean.

`delimited` leaves ordinary blocks to pyarrow, which agrees with this module on them and is much faster.
"""

from __future__ import annotations

import string
from dataclasses import dataclass

# A quoted field that goes on for longer is held to lack its closing quote.
MAX_FIELD_CHARACTERS = 16 << 20


@dataclass(frozen=True)
class Record:
    """A record of delimited text.

    Args:
        line: number of the line on which it begins, from 0 for the first line of the text.
        fields: its fields; empty if it has a problem.
        problem: what is wrong with it.
        is_blank: whether it holds nothing but delimiters, quotes and white space.
    """

    line: int
    fields: list[str]
    problem: str | None = None
    is_blank: bool = False


@dataclass(frozen=True)
class RecordSyntax:
    """How records are written.

    A field that begins with a quote is quoted: it may hold delimiters, line breaks, and quotes written twice, and ends
    with the next single quote. A field that goes on behind this quote, such as `"A" story`, is read as `A story`, as
    Python's `csv` does, if it is all on one line. If no quote closes it, or that quote is the first of another field,
    only the line on which it begins is damaged.

    Args:
        delimiter: the text between two fields.
        quote: the quoting character, or None if there is none.
        whole_fields: quotes only count if they enclose a field completely; all others are part of its value. Files
            with tabs between fields are usually written without quoting.
    """

    delimiter: str
    quote: str | None
    whole_fields: bool

    def records(self, text: str, is_last: bool) -> tuple[list[Record], int]:
        """The records of some lines.

        Args:
            text: whole lines, beginning with a record.
            is_last: whether nothing follows the text.

        Returns:
            (the records; the number of characters that they take up). The rest is the beginning of a record that ends
            in the lines that follow.
        """
        found: list[Record] = []
        start = line = 0
        while start < len(text):
            try:
                fields, end = self._record(text, start, is_last)
                problem = "a NUL character" if "\0" in text[start:end] else None
                is_blank = not text[start:end].strip(string.whitespace + self.delimiter + (self.quote or ""))
                found.append(Record(line, fields, problem, is_blank))
            except _UnfinishedError:
                if len(text) - start <= MAX_FIELD_CHARACTERS:
                    return found, start
                end = _line_end(text, start)
                found.append(Record(line, [], "a quoted field without a closing quote"))
            except _NeverClosedError:
                end = _line_end(text, start)
                found.append(Record(line, [], "a quoted field without a closing quote"))
            line += text.count("\n", start, end + 1)
            start = end + 1
        return found, min(start, len(text))

    def first_record(self, text: str) -> tuple[list[str], int]:
        """The fields of the first record, and the number of characters that it takes up.

        If it has a quoted field without an end, its quotes are read as part of the values.
        """
        try:
            fields, end = self._record(text, 0, is_last=True)
        except _NeverClosedError:
            fields, end = RecordSyntax(self.delimiter, None, whole_fields=False)._record(text, 0, is_last=True)
        return fields, min(end + 1, len(text))

    def _record(self, text: str, start: int, is_last: bool) -> tuple[list[str], int]:
        """The fields of the record at `start`, and the position of the line break after it."""
        end = _line_end(text, start)
        if self.quote is None or text.find(self.quote, start, end) < 0:
            return text[start:end].removesuffix("\r").split(self.delimiter), end
        fields: list[str] = []
        at = start
        while True:
            if text.startswith(self.quote, at):
                value, at = self._quoted_field(text, at, is_last)
            else:
                value, at = self._plain_field(text, at)
            fields.append(value)
            if not text.startswith(self.delimiter, at):
                return fields, _line_end(text, at)
            at += len(self.delimiter)

    def _plain_field(self, text: str, at: int) -> tuple[str, int]:
        """A field up to the next delimiter or line break, and the position of either."""
        end = _line_end(text, at)
        stop = text.find(self.delimiter, at, end)
        return (text[at:stop], stop) if stop >= 0 else (text[at:end].removesuffix("\r"), end)

    def _quoted_field(self, text: str, at: int, is_last: bool) -> tuple[str, int]:
        """A field that begins with a quote, and the position of the delimiter or line break after it."""
        assert self.quote is not None
        end = _line_end(text, at)
        close = _closing_quote(text, self.quote, at + 1)
        # With `whole_fields`, a delimiter in a field of several lines shows that its quote is no more than a character.
        inside = text.find(self.delimiter, at, close if close >= 0 else len(text)) if self.whole_fields else -1
        if inside >= 0 and not at < close < end:
            return self._plain_field(text, at)
        if close < 0:
            if self.whole_fields and is_last:
                return self._plain_field(text, at)
            raise _NeverClosedError if is_last else _UnfinishedError
        after = close + len(self.quote)
        value = text[at + 1 : close].replace(self.quote * 2, self.quote)
        if text.startswith((self.delimiter, "\n", "\r\n"), after) or text[after : after + 2] in ("", "\r"):
            return value, after
        if self.whole_fields:
            return self._plain_field(text, at)
        if close > end:
            raise _NeverClosedError
        more, stop = self._plain_field(text, after)
        return value + more, stop


class _NeverClosedError(Exception):
    """A quoted field has no closing quote."""


class _UnfinishedError(Exception):
    """A quoted field has no closing quote in the text so far."""


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _closing_quote(text: str, quote: str, at: int) -> int:
    """The position of the first quote that is not written twice, or -1."""
    while (close := text.find(quote, at)) >= 0:
        if not text.startswith(quote, close + 1):
            return close
        at = close + 2
    return -1
