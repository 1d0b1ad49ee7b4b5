"""`recformer COMMAND ...`: the list of commands, and which file runs one.

A command is a line in [`COMMANDS`] and a file `commands/NAME.py`, which holds, in this order:

- a docstring: its first line says what the command does; indented lines below it are examples, and `--help` shows both;
- a dataclass, or several, whose fields are the options (`HfArgumentParser`). A field that exists elsewhere is not
  defined again: the dataclass it stands in is used, as those of the trainers are;
- `COMMON`, the names of the options that `--help` shows, in its order. The others are behind `--help-all`;
- `run(...)`, which gets the filled dataclasses and does the work. It prints its result, and what is not the result
  through [`recformer_hf.cli.output.say`], which `--quiet` silences. What a user can cause it raises as `ValueError`,
  `OSError` or `ImportError`, with what was found and how to fix it: that becomes one line on stderr and exit code 1;
- `main`, which is the same in every file but for the names:

      def main(command_line: Sequence[str] | None = None, prog: str = "recformer explain") -> None:
          with running(prog):
              run(*CommandParser([ExplainArguments], prog, __doc__, COMMON).parse(command_line))

A command is imported when it is asked for. At top level, this file imports from the standard library alone, because
`recformer_command.py` runs it without the package, so that `recformer --help` starts at once.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

COMMANDS = {
    "prepare": "from a log of interactions and a table of items to a dataset",
    "convert": "from a text encoder, or the public replication, to a Recformer",
    "pretrain": "train a model on the sequences of several shops",
    "finetune": "train a model on one shop: the result is a recommender",
    "baseline": "train baselines: SASRec, GRU4Rec, BERT4Rec and others",
    "evaluate": "rank the whole catalogue for every user, with a model and with baselines",
    "encode": "compute the vectors of a catalogue's items",
    "recommend": "recommend items for histories: JSON lines in, JSON lines out",
    "explain": "say why an item is recommended for a history",
    "serve": "answer requests over HTTP, in batches",
    "mcp": "answer a chat agent's questions, as tools of the Model Context Protocol",
    "demo": "try a recommender in the browser, or write a Hugging Face Space",
    "env": "print what a bug report needs: versions, machine, extras",
}
"""Each command, in the order of the work, with the line that `recformer --help` shows. `NAME` is `commands/NAME.py`."""

WITHOUT_PACKAGE = ("env",)
"""Commands that run although the package, or something it needs, cannot be imported."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command line.

    Args:
        arguments: the command and its options; by default those of the process.

    Raises:
        SystemExit: with 2 for a command or option that does not exist, 1 (or the message) for what fails, 130 after
            Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "--help-all", "help"):
        print(overview())
    elif words[0] in ("-V", "--version"):
        print(f"recformer {version()}")
    elif words[0] not in COMMANDS:
        print(f"recformer: {unknown(words[0])} (recformer --help lists the commands)", file=sys.stderr)
        raise SystemExit(2)
    else:
        try:
            command(words[0])(words[1:])
        except KeyboardInterrupt:  # while a command is imported; later, the command says how to continue
            print(f"recformer {words[0]}: stopped", file=sys.stderr)
            raise SystemExit(130) from None


def command(name: str) -> Callable[[Sequence[str]], None]:
    """The `main` of a command's file."""
    if name not in WITHOUT_PACKAGE:
        return importlib.import_module(f"recformer_hf.cli.commands.{name}").main  # type: ignore[no-any-return]
    spec = spec_from_file_location(f"recformer_hf_cli_{name}", Path(__file__).with_name("commands") / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main  # type: ignore[no-any-return]


def unknown(word: str) -> str:
    """What is wrong with a word that is no command."""
    close = difflib.get_close_matches(word, COMMANDS, n=1)
    if close:
        return f"there is no command {word!r}; did you mean {close[0]}?"
    if word.startswith("-"):
        return f"the command comes first, then its options: recformer COMMAND {word} ..."
    return f"there is no command {word!r}"


def overview() -> str:
    """What `recformer --help` prints."""
    lines = [
        "usage: recformer COMMAND [args.yaml] [options]",
        "",
        f"recformer_hf {version()}: sequential recommendation from item text",
        "",
        *(f"  {name:10} {line}" for name, line in COMMANDS.items()),
        "",
        "recformer COMMAND --help        the common options of a command",
        "recformer COMMAND --help-all    all of its options",
        "recformer finetune              a first try on an invented shop, which needs no data",
    ]
    return "\n".join(lines)


def version() -> str:
    """The version of the package, without importing it."""
    return (Path(__file__).parents[1] / "_version.py").read_text("utf-8").split('"')[1]
