"""A YAML or JSON file of options, as other scripts of the Hugging Face ecosystem read it.

    recformer finetune args.yaml
    recformer finetune args.yaml --learning_rate 1e-4      # the command line overrides the file

Its content becomes words of a command line, so it is checked like one and says the same when it is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ENDINGS = (".yaml", ".yml", ".json")


def is_argument_file(words: Sequence[str]) -> bool:
    """Whether a command's first word names a file of options."""
    return bool(words) and not words[0].startswith("-") and words[0].lower().endswith(ENDINGS)


def read_arguments(path: str) -> dict[str, Any]:
    """The options of a file, by name; `-` in a name counts as `_`.

    Raises:
        ValueError: if it cannot be read, or holds something else than options with their values.
    """
    import yaml

    try:
        text = Path(path).read_text("utf-8")
        content = json.loads(text) if path.lower().endswith(".json") else yaml.safe_load(text)
    except OSError as error:
        raise ValueError(f"{path} cannot be opened: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise ValueError(f"{path} cannot be read as YAML: {line}{error.problem}") from error
    except (ValueError, yaml.YAMLError) as error:
        kind = "JSON" if path.lower().endswith(".json") else "YAML"
        raise ValueError(f"{path} cannot be read as {kind}: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ValueError(f"{path} should hold options with their values, one a line: learning_rate: 1e-4")
    return {name.replace("-", "_"): value for name, value in content.items()}


def as_words(arguments: Mapping[str, Any]) -> list[str]:
    """Options as words of a command line. Those that are None or an empty list have none, and are left out."""
    words: list[str] = []
    for name, value in arguments.items():
        if isinstance(value, list):
            words += [f"--{name}", *map(_word, value)] if value else []
        elif value is not None:
            words.append(f"--{name}={_word(value)}")
    return words


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
