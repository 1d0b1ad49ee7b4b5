"""Other people's text, numbers and tables as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_MARKUP = "\\`*_[]|#~$"


def table(header: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; cells are Markdown already."""
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in [header, ["---"] * len(header), *rows])


def plain(value: Any, longest: int = 100) -> str:
    """Any text on one line of at most `longest` characters, without a meaning in Markdown or HTML."""
    text = " ".join(str(value).split())
    text = text if len(text) <= longest else text[: longest - 1].rstrip() + "…"
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{char}" if char in _MARKUP else char for char in text)


def item_text(item: Mapping[str, str]) -> str:
    """The title (or else the first attribute), the others in brackets."""
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
    """A share in [0, 1]."""
    return f"{share:.1%}".replace("%", " %")


def number(value: Any) -> str:
    """A cell: a metric with four digits, or that there is none."""
    return "–" if value is None else f"{value:.4f}"


def setting(value: Any) -> str:
    """A cell; of a path of the machine that trained, the last part alone."""
    text = Path(value).name if isinstance(value, str) and Path(value).is_absolute() else str(value)
    return f"`{text}`".replace("|", "\\|")
