"""Opens a page in the browser to try a recommender: a history is clicked together, and the page says what comes next.

    # the invented demo shop: a tiny recommender is trained first, in about a minute, and kept for the next time
    recformer demo

    recformer demo --model shop
    recformer demo --model shop --host 0.0.0.0 --port 8080
    recformer demo --model shop --export_space space

The last one writes a Hugging Face Space, a folder that runs on the Hub. docs/demo_page.md describes the page.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...demo_page import TITLE, launch_page, load_page
from ...serving import needs_extra
from ..demo_shop import FOLDER, demo_model
from ..output import say
from ..parser import CommandParser
from ..running import loading, running

COMMON = ("model", "host", "port", "title", "export_space", "revision", "output_dir")


@dataclass
class DemoArguments:
    """What to show, and where."""

    model: str | None = field(
        default=None, metadata={"help": "A recommender with its catalogue: folder or Hub id; without: the demo shop."}
    )
    host: str = field(default="127.0.0.1", metadata={"help": "Address to listen at; 0.0.0.0: all of this machine."})
    port: int = field(default=7860, metadata={"help": "Port to listen at; 0: the first free one from 7860 on."})
    title: str = field(default=TITLE, metadata={"help": "Heading of the page."})
    export_space: str | None = field(
        default=None, metadata={"help": "Folder to write a Hugging Face Space to, instead of opening the page."}
    )
    revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of a repository on the Hub."})
    output_dir: str = field(default=FOLDER, metadata={"help": "Where the recommender of the demo shop is kept."})


def run(arguments: DemoArguments) -> None:
    with needs_extra("demo"):  # before a model is trained for nothing
        import gradio  # noqa: F401
    name = demo_model(arguments.output_dir) if arguments.model is None else arguments.model
    options = {} if arguments.revision is None else {"revision": arguments.revision}
    say(f"Loading {name}.")
    if arguments.export_space is not None:
        from ...demo_page.space import export_space

        with loading(name):
            export_space(arguments.export_space, name, arguments.title, **options)
        say(
            f"Wrote the Space {arguments.export_space}. Try it with python {Path(arguments.export_space, 'app.py')}; "
            "its README.md says how to put it on the Hub."
        )
        return
    with loading(name):
        page = load_page(name, arguments.title, **options)
    _, url, _ = launch_page(
        page, server_name=arguments.host, server_port=arguments.port or None, prevent_thread_lock=True, quiet=True
    )
    print(f"The page is at {url} until Ctrl-C.", flush=True)
    try:
        threading.Event().wait()  # Gradio's own waiting would hide Ctrl-C
    finally:
        page.close(verbose=False)


def main(command_line: Sequence[str] | None = None, prog: str = "recformer demo") -> None:
    with running(prog, "The same command continues; a training that had begun goes on from its last checkpoint."):
        run(*CommandParser([DemoArguments], prog, __doc__, COMMON).parse(command_line))
