"""Recommends items for a stream of histories: JSON lines in, JSON lines out.

    recformer recommend --model shop --histories histories.jsonl --output answers.jsonl
    echo '["B01", {"title": "Digital caliper, 150 mm"}]' | recformer recommend --model shop --top_k 3

A line is a history, oldest item first: a list of item ids and item dictionaries, or an object with that list under
`history`. Other keys of the object are passed on (`{"user": "u1", "history": ["B01", "B02"]}`). A line of the answer is
that object with `recommendations`, a list of `item_id`, `score` and `attributes`. A line that cannot be answered stops
the run with an error that has its number; with `--on_error report` its answer is an `error`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import TextIOWrapper
from itertools import islice
from typing import Any, Literal, TextIO

import torch
from transformers import pipeline

from ..parser import CommandParser
from ..running import loading, running

COMMON = (
    "model", "histories", "output", "top_k", "keep_history", "exclude", "candidates", "on_error", "attributes",
    "batch_size", "device", "dtype",
)  # fmt: skip


@dataclass
class RecommendationArguments:
    """The checkpoint, the histories and the items to choose from."""

    model: str = field(metadata={"help": "A RecformerForSeqRec with catalogue and tokenizer: folder or Hub id."})
    histories: str = field(default="-", metadata={"help": "File of JSON lines; - for standard input."})
    output: str = field(default="-", metadata={"help": "File to write; - for standard output."})
    top_k: int = field(default=10, metadata={"help": "Items per history."})
    keep_history: bool = field(default=False, metadata={"help": "Also recommend items of the history."})
    candidates: str | None = field(
        default=None, metadata={"help": "File of the item ids to choose from, one per line."}
    )
    exclude: str | None = field(
        default=None, metadata={"help": "File of item ids that are not recommended, one per line."}
    )
    batch_size: int = field(default=64, metadata={"help": "Lines that are answered together."})
    on_error: Literal["raise", "report"] = field(
        default="raise", metadata={"help": "Whether a bad line ends the run or is answered with an error."}
    )
    attributes: bool = field(default=True, metadata={"help": "Write the items' attributes."})
    device: str | None = field(default=None, metadata={"help": "cpu, cuda:0, ...; default: the first accelerator."})
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = field(
        default="auto", metadata={"help": "dtype of the weights."}
    )


def read_lines(file: Iterable[str]) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(file, start=1) if line.strip())


def read_history(line: str) -> tuple[dict[str, Any], list[Any]]:
    """The object that is passed on to the answer, and the history."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if isinstance(content, list):
        return {"history": content}, content
    if not isinstance(content, dict) or not isinstance(content.get("history"), list):
        raise ValueError('expected a list of items, or an object with that list under "history"')
    return content, content["history"]


def answer(
    recommender: Callable[..., Any], lines: list[tuple[int, str]], options: RecommendationArguments, **wanted: Any
) -> Iterator[Any]:
    """Answers to a batch of lines, in order. If one of them is bad, the batch is answered line by line."""
    try:
        read = [read_history(line) for _, line in lines]
        answers = recommender([history for _, history in read], **wanted)
    except (TypeError, ValueError, KeyError) as error:
        if len(lines) > 1:
            for line in lines:
                yield from answer(recommender, [line], options, **wanted)
            return
        if options.on_error == "raise":
            raise ValueError(f"line {lines[0][0]}: {error}") from error
        yield {"line": lines[0][0], "error": str(error)}
        return
    for (given, _), items in zip(read, answers, strict=True):
        if not options.attributes:
            items = [{"item_id": item["item_id"], "score": item["score"]} for item in items]
        yield {**given, "recommendations": items}


def read_ids(path: str | None) -> list[str] | None:
    if path is None:
        return None
    with open(path, encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip()]


def run(options: RecommendationArguments) -> None:
    try:
        device = None if options.device is None else torch.device(options.device)
    except RuntimeError as error:
        raise ValueError(f"--device {options.device} is no device of torch: cpu, cuda:0, ...") from error
    with loading(options.model):
        recommender = pipeline(  # type: ignore[call-overload]
            "sequential-recommendation", model=options.model, device=device, dtype=options.dtype
        )
    if recommender.model.config.num_items == 0:
        raise ValueError(
            f"{options.model} has no items to recommend. This gives it some: recformer encode --model {options.model} "
            "--catalog ITEMS --output_dir vectors --save_model shop"
        )
    wanted = {
        "top_k": options.top_k,
        "exclude_history": not options.keep_history,
        "candidates": read_ids(options.candidates),
        "exclude": read_ids(options.exclude),
    }
    with ExitStack() as files:
        source: TextIO = sys.stdin
        target: TextIO = sys.stdout
        if options.histories != "-":
            source = files.enter_context(open(options.histories, encoding="utf-8"))
        if isinstance(source, TextIOWrapper):  # a damaged byte must not end the run
            source.reconfigure(encoding="utf-8", errors="replace")
        if options.output != "-":
            target = files.enter_context(open(options.output, "w", encoding="utf-8"))
        lines = read_lines(source)
        while batch := list(islice(lines, options.batch_size)):
            for line in answer(recommender, batch, options, **wanted):
                text = json.dumps(line, ensure_ascii=False)
                # JSON can hold halves of surrogate pairs, which UTF-8 cannot: they are written as escapes.
                target.write(text.encode("utf-8", "backslashreplace").decode() + "\n")
            target.flush()


def main(command_line: Sequence[str] | None = None, prog: str = "recformer recommend") -> None:
    with running(prog):
        run(*CommandParser([RecommendationArguments], prog, __doc__, COMMON).parse(command_line))
