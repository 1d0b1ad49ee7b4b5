"""The parser of a command's options: `HfArgumentParser` with short help, files of options, and errors in one line."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from transformers import HfArgumentParser
from transformers.hf_argparser import string_to_bool

from .argument_files import as_words, is_argument_file, read_arguments
from .output import be_quiet

METAVARS: dict[object, str] = {int: "INT", float: "FLOAT", string_to_bool: "true|false"}


class OneLineErrors(argparse.ArgumentParser):
    """A parser whose errors are one line, and name the nearest option."""

    def error(self, message: str) -> NoReturn:
        """Prints one line and exits with 2."""
        message = re.sub(r"(--\w+)/--[\w-]+", r"\1", message)  # an option and its spelling with hyphens
        before, unknown, words = message.partition("unrecognized arguments: ")
        if unknown and not before:
            message = self.unknown(words.split())
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help lists the options)\n")

    def unknown(self, words: Sequence[str]) -> str:
        """What is wrong with words that are no options of this parser."""
        option = next((word.partition("=")[0] for word in words if word.startswith("-")), None)
        if option is None:
            return f"{words[0]!r} is no option; an option is --NAME VALUE, and a file of options comes first"
        return f"there is no option {option}{self.nearest(option)}"

    def nearest(self, name: str) -> str:
        """`; did you mean --head?` for the option with the most similar name, or nothing."""
        close = difflib.get_close_matches(f"--{name.lstrip('-').replace('-', '_')}", self._options(), n=1)
        return f"; did you mean {close[0]}?" if close else ""

    def _options(self) -> list[str]:
        parsers: list[argparse.ArgumentParser] = [self]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
        return [option for parser in parsers for action in parser._actions for option in action.option_strings]


class CommandParser(OneLineErrors, HfArgumentParser):
    """Parses the options of a command.

    Args:
        classes: dataclasses whose fields are the options.
        prog: the command as it was called, such as `recformer finetune`.
        doc: the docstring of its file: a line that describes it, and indented examples.
        common: the options that `--help` shows, in this order. The others are behind `--help-all`.
    """

    def __init__(self, classes: Iterable[Any], prog: str, doc: str | None, common: Sequence[str]) -> None:
        title, _, rest = (doc or "").partition("\n")
        super().__init__(
            list(classes), prog=prog, description=title, epilog=_examples(rest), add_help=False,
            usage=f"{prog} [args.yaml] [options]", formatter_class=_Formatter,
        )  # fmt: skip
        self.common = (*common, "quiet", "help", "help_all")
        self.add_argument(
            "--quiet",
            type=string_to_bool,
            nargs="?",
            const=True,
            default=False,
            help="Show the result and warnings alone.",
        )
        self.add_argument("-h", "--help", action=_Help, help="Show the common options.")
        self.add_argument("--help-all", action=_Help, help="Show all options.")
        unknown = set(self.common) - {action.dest for action in self._actions}
        assert not unknown, f"common options that do not exist: {unknown}"

    def parse(self, command_line: Sequence[str] | None = None) -> tuple[Any, ...]:
        """One filled dataclass for each class.

        Raises:
            SystemExit: with 2 after a line that says what is wrong; with 0 after the help.
            ValueError: of a dataclass, for a value that it refuses.
        """
        words = self.words(command_line)
        *_, unknown = self.parse_known_args(words)  # before the dataclasses, whose checks take longer
        if unknown:
            self.error(self.unknown(unknown))
        *parsed, rest = self.parse_args_into_dataclasses(words, look_for_args_file=False)
        if rest.quiet:
            be_quiet()
            for each in parsed:
                if hasattr(each, "disable_tqdm"):
                    each.disable_tqdm = True
        return tuple(parsed)

    def given(self, command_line: Sequence[str] | None = None) -> argparse.Namespace:
        """The values of a command line, for defaults that depend on them: `set_defaults` before `parse`."""
        return self.parse_known_args(self.words(command_line))[0]

    def words(self, command_line: Sequence[str] | None) -> list[str]:
        """A command line with the content of its file of options, whose values it overrides."""
        words = list(sys.argv[1:] if command_line is None else command_line)
        if not is_argument_file(words):
            return words
        try:
            arguments = read_arguments(words[0])
        except ValueError as error:
            self.error(str(error))
        names = {action.dest for action in self._actions} - {"help", "help_all"}
        for name in arguments:
            if name not in names:
                self.error(f"{words[0]} has the option {name!r}, which does not exist{self.nearest(name)}")
        for action in self._actions:  # words cannot say None or an empty list
            if action.dest in arguments and arguments[action.dest] in (None, []):
                action.default = arguments[action.dest]
        return [*as_words(arguments), *words[1:]]

    def format_help(self, everything: bool = False) -> str:
        """The help with the common options, or with all of them."""
        formatter = _Formatter(self.prog)
        formatter.short = not everything
        formatter.add_usage(self.usage, self._actions, [])
        formatter.add_text(self.description)
        actions = {action.dest: action for action in reversed(self._actions)}  # `--no_x` comes after `--x`
        formatter.start_section("common options" if len(actions) > len(self.common) else "options")
        formatter.add_arguments([actions[name] for name in self.common])
        formatter.end_section()
        others = [action for name, action in reversed(actions.items()) if name not in self.common]
        if everything:
            formatter.start_section("all other options")
            formatter.add_arguments(others)
            formatter.end_section()
        elif others:
            formatter.add_text(f"{len(others)} more options: {self.prog} --help-all")
        formatter.add_text(self.epilog)
        return formatter.format_help()


class _Help(argparse.Action):
    """Prints the help and exits."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: Any, namespace: object, values: object, option_string: str | None = None) -> None:
        print(parser.format_help(everything=self.dest == "help_all"), end="")
        parser.exit()


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """An option and its kind of value in few words, with a default where it says something; if `short`, the first
    sentence alone of each help."""

    short = False

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if action.nargs == 0:
            return ", ".join(action.option_strings)
        if action.type is string_to_bool and action.default is True:
            return f"--[no_]{action.dest}"
        if action.type is string_to_bool and action.nargs == "?":
            return action.option_strings[0]
        value = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else METAVARS.get(action.type, "TEXT")
        return f"{action.option_strings[0]} {value}{' ...' if action.nargs == '+' else ''}"

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if self.short:
            text = re.split(r"(?<=\w[.])\s", text, maxsplit=1)[0]
        default = action.default
        if default in (None, False, argparse.SUPPRESS, "") or default == [] or re.search(r"\b(?i:default)\b", text):
            return text
        shown = " ".join(map(str, default)) if isinstance(default, list) else str(default)
        return f"{text} Default: {shown.replace('%', '%%')}."


def _examples(text: str) -> str:
    """The indented lines of a docstring, without what stands between them."""
    lines = [line for line in text.splitlines() if line.startswith("    ")]
    return "\n".join(["examples:", *lines]) if lines else ""
