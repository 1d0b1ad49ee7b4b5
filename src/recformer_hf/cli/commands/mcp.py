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
from .serve import MODEL, LoadingOptions

COMMON = ("model", "changes", "revision", "dtype", "max_top_k", "max_history_items", "timeout_seconds")


@dataclass
class McpArguments:
    """What answers."""

    model: str = field(metadata={"help": f"{MODEL}."})


def run(arguments: McpArguments, options: LoadingOptions, limits: ServingLimits) -> None:
    with needs_extra("mcp"):
        from ...serving.mcp_server import build_server
        from ...serving.serve import service_of
    with loading(arguments.model):
        service = service_of(arguments.model, limits, None, options.changes, options.for_loading)
    build_server(service).run("stdio")


def main(command_line: Sequence[str] | None = None, prog: str = "recformer mcp") -> None:
    with running(prog):
        run(*CommandParser([McpArguments, LoadingOptions, ServingLimits], prog, __doc__, COMMON).parse(command_line))
