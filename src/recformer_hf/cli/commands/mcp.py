"""Answers a chat agent's questions about a shop, as tools of the Model Context Protocol, over stdin and stdout.

    recformer mcp --model shop
    claude mcp add shop -- recformer mcp --model /path/to/shop

The tools are those requests of `recformer serve` that read: recommend, similar_items, explain, get_item.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...serving import ServingLimits, needs_extra
from ..parser import CommandParser
from ..running import loading, running

COMMON = ("model", "changes", "revision", "dtype", "max_top_k", "max_history_items", "timeout_seconds")


@dataclass
class McpArguments:
    """What to answer with."""

    model: str = field(metadata={"help": "A recommender with its catalogue, or a neural baseline: folder or Hub id."})
    changes: str | None = field(
        default=None, metadata={"help": "File of the changes of items; default: MODEL.item_changes, beside the model."}
    )
    revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of a repository on the Hub."})
    dtype: str | None = field(default=None, metadata={"help": "float32 or bfloat16; default: the checkpoint's."})


def run(arguments: McpArguments, limits: ServingLimits) -> None:
    with needs_extra("mcp"):
        from ...serving.mcp_server import build_server
        from ...serving.serve import service_of
    names = ("revision", "dtype")
    options = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    with loading(arguments.model):
        service = service_of(arguments.model, limits, None, arguments.changes, options)
    build_server(service).run("stdio")


def main(command_line: Sequence[str] | None = None, prog: str = "recformer mcp") -> None:
    with running(prog):
        run(*CommandParser([McpArguments, ServingLimits], prog, __doc__, COMMON).parse(command_line))
