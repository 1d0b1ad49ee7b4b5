"""Answers requests over HTTP: recommendations, similar items, explanations, and changes of items.

    # the invented demo shop: a tiny recommender is trained first, in about a minute, and kept for the next time
    recformer serve

    recformer serve --model shop --port 8000
    curl -s localhost:8000/recommend -H 'Content-Type: application/json' -d '{"histories": [["B01"]], "top_k": 3}'
    recformer serve --model shop --admin_token_file token.txt --host 0.0.0.0
    recformer serve --model shop --write_handler

`http://localhost:8000/docs` describes the requests. Requests that arrive together share a forward pass. The model's
folder is watched: a new checkpoint is taken over while the old one answers. docs/serving.md has the details.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...serving import ServingLimits, needs_extra
from ...serving.handler_files import write_handler
from ..demo_shop import demo_model
from ..output import say
from ..parser import CommandParser
from ..running import loading, running

COMMON = (
    "model", "host", "port", "admin_token_file", "changes", "revision", "dtype", "max_top_k", "max_history_items",
    "max_waiting", "timeout_seconds", "write_handler",
)  # fmt: skip


MODEL = "A recommender with its catalogue, or a neural baseline: folder or Hub id"


@dataclass
class LoadingOptions:
    """How the model is loaded, over HTTP or for the tools of `recformer mcp`."""

    changes: str | None = field(
        default=None, metadata={"help": "File of the changes of items; default: MODEL.item_changes, beside the model."}
    )
    revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of a repository on the Hub."})
    dtype: str | None = field(default=None, metadata={"help": "float32 or bfloat16; default: the checkpoint's."})

    @property
    def for_loading(self) -> dict[str, str]:
        """What is passed to `from_pretrained`."""
        given = {"revision": self.revision, "dtype": self.dtype}
        return {name: value for name, value in given.items() if value is not None}


@dataclass
class ServeArguments:
    """What to serve, where, and who may change items."""

    model: str | None = field(default=None, metadata={"help": f"{MODEL}; without: the demo shop."})
    host: str = field(default="127.0.0.1", metadata={"help": "Address to listen at; 0.0.0.0: all of this machine."})
    port: int = field(default=8000, metadata={"help": "Port to listen at; 0: any free one."})
    admin_token_file: str | None = field(
        default=None, metadata={"help": "File with the token that changing items needs; without it nobody can."}
    )
    write_handler: bool = field(
        default=False,
        metadata={"help": "Write handler.py for Hugging Face Inference Endpoints into the model's folder, and end."},
    )


def run(arguments: ServeArguments, options: LoadingOptions, limits: ServingLimits) -> None:
    if arguments.write_handler:
        if arguments.model is None:
            raise ValueError("--write_handler writes into the folder of a model: name it with --model.")
        for path in write_handler(arguments.model):
            say(f"Wrote {path}")
        return
    with needs_extra("serve"):  # before a model is trained for nothing
        from ...serving.serve import serve
    model = demo_model() if arguments.model is None else arguments.model
    say(f"Loading {model}. Then http://{arguments.host}:{arguments.port}/docs describes the requests.")
    with loading(model):
        serve(
            model, limits, host=arguments.host, port=arguments.port, changes=options.changes,
            admin_token_file=arguments.admin_token_file, **options.for_loading,
        )  # fmt: skip


def main(command_line: Sequence[str] | None = None, prog: str = "recformer serve") -> None:
    with running(prog):
        run(*CommandParser([ServeArguments, LoadingOptions, ServingLimits], prog, __doc__, COMMON).parse(command_line))
