"""Converts another model's checkpoint to a Recformer; `python -m recformer_hf.conversion` does the same."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ...conversion.__main__ import command_parser
from ...conversion.__main__ import run as convert
from ..output import be_quiet
from ..parser import OneLineErrors
from ..running import loading, running


def run(options: argparse.Namespace) -> None:
    if options.command == "text-encoder":
        with loading(options.source, "The text encoder"):
            convert(options)
    else:
        convert(options)


def main(command_line: Sequence[str] | None = None, prog: str = "recformer convert") -> None:
    with running(prog):
        run(command_parser(prog, _Parser).parse_args(command_line))


class _Quiet(argparse.Action):
    def __call__(self, *_: object, **__: object) -> None:
        be_quiet()


class _Parser(OneLineErrors, argparse.ArgumentParser):
    """Sub-commands are parsed by the same class."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.add_argument(
            "--quiet", action=_Quiet, nargs=0, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, help="show no bars"
        )
