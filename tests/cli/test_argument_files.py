"""Files of options, and the words of a command line that they become."""

from __future__ import annotations

import json

import pytest

from recformer_hf.cli.argument_files import as_words, is_argument_file, read_arguments


def test_the_first_word_may_be_a_file():
    assert is_argument_file(["args.yaml", "--seed", "1"])
    assert is_argument_file(["a/b.YML"])
    assert is_argument_file(["args.json"])
    for words in ([], ["--model", "a.yaml"], ["shop"], ["--a.yaml"]):
        assert not is_argument_file(words)


def test_yaml_and_json_hold_the_same(tmp_path):
    content = {"model": "warm", "learning_rate": 1e-4, "ks": [5, 10], "bf16": True, "seed": None}
    (tmp_path / "a.json").write_text(json.dumps(content))
    (tmp_path / "a.yaml").write_text("model: warm\nlearning-rate: 1.0e-4\nks: [5, 10]\nbf16: true\nseed: null\n")
    assert read_arguments(str(tmp_path / "a.json")) == content
    assert read_arguments(str(tmp_path / "a.yaml")) == content
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_arguments(str(tmp_path / "empty.yaml")) == {}


def test_words():
    arguments = {"model": "-x", "lr": 1e-4, "ks": [5, 10], "bf16": True, "seed": None, "none": [], "kw": {"a": 1}}
    expected = ["--model=-x", "--lr=0.0001", "--ks", "5", "10", "--bf16=true", '--kw={"a": 1}']
    assert as_words(arguments) == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "b: 1\na: [1\n", "cannot be read as YAML: line 3: expected"),
        ("a.yaml", "a: \x01", "cannot be read as YAML: unacceptable character"),
        ("a.json", "{", "cannot be read as JSON"),
        ("a.yaml", "- 1\n", "should hold options with their values"),
        ("a.yaml", "1: 2\n", "should hold options with their values"),
        ("b.yaml", None, "cannot be opened: No such file"),
    ],
)
def test_what_is_no_file_of_options(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_arguments(str(tmp_path / name))
    assert name in str(error.value)
    assert "\n" not in str(error.value)
