"""Options from the command line and from files, short and long help, and errors in one line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest

from recformer_hf.cli import output
from recformer_hf.cli.parser import CommandParser

DOC = """Does something.

    # an example
    recformer some --model a

And this is said elsewhere.
"""


@dataclass
class Arguments:
    model: str = field(metadata={"help": "A checkpoint."})
    learning_rate: float = field(default=5e-5, metadata={"help": "How fast, in %%."})
    ks: list[int] = field(default_factory=lambda: [10, 50], metadata={"help": "Cut-offs."})
    ties: Literal["average", "optimistic"] = field(default="average", metadata={"help": "Ties."})
    attributes: bool = field(default=True, metadata={"help": "Write them."})
    exclude_users: bool = field(default=False, metadata={"help": "Without them."})
    max_token_num: int | None = field(default=None, metadata={"help": "Tokens. None: all."})


@dataclass
class Training:
    disable_tqdm: bool | None = field(default=None, metadata={"help": "No bars."})


@pytest.fixture
def parser(monkeypatch) -> CommandParser:
    monkeypatch.setenv("COLUMNS", "100")
    return CommandParser([Arguments, Training], "recformer some", DOC, ("ks", "model", "attributes"))


def refused(parser, capsys, *words: str) -> str:
    """The line of an error."""
    with pytest.raises(SystemExit) as error:
        parser.parse(list(words))
    assert error.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("recformer some: ")
    assert printed.err.endswith(" (recformer some --help lists the options)\n")
    assert printed.err.count("\n") == 1
    return printed.err.removeprefix("recformer some: ").removesuffix(" (recformer some --help lists the options)\n")


def helped(parser, capsys, word: str) -> str:
    with pytest.raises(SystemExit) as done:
        parser.parse([word])
    assert done.value.code == 0
    return capsys.readouterr().out


def test_help_shows_the_common_options_in_their_order(parser, capsys):
    text = helped(parser, capsys, "--help")
    assert text.startswith("usage: recformer some [args.yaml] [options]\n\nDoes something.\n\ncommon options:\n")
    names = [line.split()[0] for line in text.splitlines() if line.startswith("  -")]
    assert names == ["--ks", "--model", "--[no_]attributes", "--quiet", "-h,", "--help-all"]
    assert "--ks INT ..." in text
    assert "Cut-offs. Default: 10 50." in text
    assert "5 more options: recformer some --help-all" in text
    assert text.endswith("examples:\n    # an example\n    recformer some --model a\n")
    assert helped(parser, capsys, "-h") == text


def test_help_all_shows_every_option_once(parser, capsys):
    text = helped(parser, capsys, "--help-all")
    for option in ("--learning_rate FLOAT", "--ties {average,optimistic}", "--max_token_num INT", "--disable_tqdm"):
        assert text.count(option) == 1
    assert "How fast, in %. Default: 5e-05." in text
    assert "more options" not in text


def test_words_become_dataclasses(parser):
    options, training = parser.parse(["--model", "m", "--learning-rate", "0.5", "--ks", "1", "--no_attributes"])
    assert options == Arguments("m", 0.5, [1], attributes=False)
    assert training == Training()


def test_the_command_line_overrides_the_file(parser, tmp_path):
    file = tmp_path / "args.yaml"
    file.write_text(
        "model: warm\nlearning_rate: 1e-3\nks: [1, 2]\nexclude_users: true\nattributes: false\nties: null\n"
    )
    options, _ = parser.parse([str(file), "--learning_rate", "1e-4", "--ks", "7"])
    assert options == Arguments("warm", 1e-4, [7], None, False, True)
    assert parser.given([str(file)]).model == "warm"


def test_options_that_do_not_exist_name_the_nearest(parser, capsys, tmp_path):
    message = refused(parser, capsys, "--model", "m", "--lerning_rate=1")
    assert message == "there is no option --lerning_rate; did you mean --learning_rate?"
    assert "did you mean --exclude_users?" in refused(parser, capsys, "--model", "m", "--exclude-user-s")
    assert refused(parser, capsys, "--model", "m", "--zzzzz") == "there is no option --zzzzz"
    assert "'shop' is no option" in refused(parser, capsys, "--no_attributes", "--model", "m", "shop")
    (tmp_path / "args.yaml").write_text("model: m\nlearning_rte: 1\n")
    message = refused(parser, capsys, str(tmp_path / "args.yaml"))
    assert message.endswith("has the option 'learning_rte', which does not exist; did you mean --learning_rate?")
    for name in ("help", "help_all"):
        (tmp_path / "args.yaml").write_text(f"{name}: true\n")
        assert "does not exist" in refused(parser, capsys, str(tmp_path / "args.yaml"))


def test_values_that_cannot_be(parser, capsys, tmp_path):
    assert "arguments are required: --model" in refused(parser, capsys)
    assert "invalid float value: 'fast'" in refused(parser, capsys, "--model", "m", "--learning_rate", "fast")
    assert "argument --ties: invalid choice: 'none'" in refused(parser, capsys, "--model", "m", "--ties", "none")
    (tmp_path / "args.json").write_text('{"model": "m", "learning_rate": "fast"}')
    assert "argument --learning_rate: invalid float" in refused(parser, capsys, str(tmp_path / "args.json"))
    assert "absent.yaml cannot be opened" in refused(parser, capsys, "absent.yaml")


def test_quiet_is_an_option_of_every_command(parser, tmp_path):
    (tmp_path / "args.yaml").write_text("model: m\nquiet: true\n")
    for words in (["--model", "m", "--quiet"], [str(tmp_path / "args.yaml")]):
        with output.shown_to_a_person():
            _, training = parser.parse(words)
            assert training.disable_tqdm
            assert output.is_quiet()
        assert not output.is_quiet()


def test_a_common_option_must_exist():
    with pytest.raises(AssertionError, match="modell"):
        CommandParser([Arguments], "recformer some", DOC, ("modell",))
