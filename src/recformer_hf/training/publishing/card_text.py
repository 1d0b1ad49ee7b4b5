"""Text, numbers and tables as Markdown, for the model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

# Items and datasets come from outside: in their text, a `|` would break a table and a `#` would start a heading.
_MARKUP = "\\`*_[]|#~$"


def table(header: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table. Cells are inserted as they are and may contain Markdown."""
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in [header, ["---"] * len(header), *rows])


def plain(value: object, longest: int = 100) -> str:
    """Escapes a text for Markdown and HTML, and puts it on one line of at most `longest` characters."""
    text = " ".join(str(value).split())
    text = text if len(text) <= longest else text[: longest - 1].rstrip() + "…"
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{char}" if char in _MARKUP else char for char in text)


def item_text(item: Mapping[str, str]) -> str:
    """An item's title, or its first attribute if it has no title, with the other attributes in brackets."""
    first = "title" if "title" in item else next(iter(item))
    rest = ", ".join(plain(value, 60) for key, value in item.items() if key != first)
    return plain(item[first]) + (f" ({rest})" if rest else "")


def metric_title(name: str) -> str:
    """`ndcg@10` -> `NDCG@10`, `recall@10` -> `Recall@10`, `mlm_loss` -> `MLM loss`."""
    kind, at, k = name.partition("@")
    first, _, rest = kind.replace("_", " ").partition(" ")
    first = first.upper() if first in ("ndcg", "mrr", "auc", "mlm") else first.capitalize()
    return f"{first} {rest}".rstrip() + at + k


def percent(share: float) -> str:
    """A share in [0, 1] as a percentage."""
    return f"{share:.1%}".replace("%", " %")


def number(value: float | None) -> str:
    """A metric with four decimals, or a dash if there is none."""
    return "–" if value is None else f"{value:.4f}"


def setting(value: object) -> str:
    """A setting as code. An absolute path is cut to its last part: the card must not show the machine's folders."""
    text = Path(value).name if isinstance(value, str) and Path(value).is_absolute() else str(value)
    return f"`{text}`".replace("|", "\\|")
