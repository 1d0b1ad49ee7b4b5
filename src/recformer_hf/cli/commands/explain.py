"""Says why an item is recommended for a history: what its items, attributes and words add to the score.

    recformer explain --model shop --history B01 B02
    recformer explain --model shop --history B01 '{"title": "Digital caliper, 150 mm"}' --item B07
    recformer explain --model shop --history B01 B02 --html why.html
    recformer explain --model shop --history B01 B02 --json > why.json

A history is item ids and JSON objects of attributes, oldest item first. docs/explaining.md says what the numbers mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...explaining import explain
from ...serving.loading import load_recommender
from ...storage.atomic import atomic_file
from ..output import say
from ..parser import CommandParser
from ..running import loading, running

COMMON = ("model", "history", "item", "html", "json", "keep_history", "attributes", "words", "revision")


@dataclass
class ExplainArguments:
    """The model, the history, and the item whose score is explained."""

    model: str = field(metadata={"help": "A recommender with its catalogue, or a neural baseline: folder or Hub id."})
    history: list[str] = field(
        metadata={"help": "Item ids, and items as JSON objects of attributes; the oldest first.", "nargs": "+"}
    )
    item: str | None = field(
        default=None, metadata={"help": "Whose score: an id, or a JSON object; default: the item recommended first."}
    )
    html: str | None = field(default=None, metadata={"help": "File to write, a page for a browser."})
    json: bool = field(default=False, metadata={"help": "Print JSON instead of a table."})
    keep_history: bool = field(
        default=False, metadata={"help": "The item recommended first may be one of the history."}
    )
    attributes: bool = field(default=True, metadata={"help": "Leave out each attribute, too."})
    words: bool = field(default=True, metadata={"help": "Estimate what words add; only --html and --json show it."})
    revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of a repository on the Hub."})


def entry_of(text: str, option: str) -> str | Mapping[str, Any]:
    """An item as a command line gives it: a JSON object of attributes, or else an id.

    Raises:
        ValueError: for something that begins like a JSON object, but is none.
    """
    if not text.lstrip().startswith("{"):
        return text
    try:
        item: Mapping[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{option}: {text[:80]} begins like a JSON object, but is none: {error}") from error
    return item


def run(arguments: ExplainArguments) -> None:
    history = [entry_of(text, "--history") for text in arguments.history]
    item = None if arguments.item is None else entry_of(arguments.item, "--item")
    options = {} if arguments.revision is None else {"revision": arguments.revision}
    with loading(arguments.model):
        recommender = load_recommender(arguments.model, **options)
    try:
        found = explain(
            recommender.model, recommender.tokenizer, history, item, exclude_history=not arguments.keep_history,
            attributes=arguments.attributes, words=arguments.words,
        )  # fmt: skip
    except (KeyError, TypeError) as error:  # ids and items that the user gave
        raise ValueError(str(error)) from error
    if arguments.html is not None:
        with atomic_file(Path(arguments.html)) as temporary:
            temporary.write_text(found.to_html(full_page=True), "utf-8")
        say(f"Wrote {arguments.html}")
    if arguments.json:
        print(json.dumps(found.to_dict()))
    elif arguments.html is None:
        print(found)


def main(command_line: Sequence[str] | None = None, prog: str = "recformer explain") -> None:
    with running(prog):
        run(*CommandParser([ExplainArguments], prog, __doc__, COMMON).parse(command_line))
