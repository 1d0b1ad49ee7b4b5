"""Tokenizers of other models: which class or file loads a folder, and what a Recformer takes over from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedConfig, PreTrainedTokenizerBase, TokenizersBackend
from transformers.models.auto.tokenization_auto import (
    TOKENIZER_MAPPING_NAMES,
    get_tokenizer_config,
    tokenizer_class_from_name,
)
from transformers.utils.hub import cached_file

HUB_ARGUMENTS = ["cache_dir", "force_download", "proxies", "token", "revision", "local_files_only", "subfolder"]
"""Arguments of `from_pretrained` that say where files come from, for the look-ups made before a tokenizer exists."""

# Class names in files of a Recformer. Such a tokenizer loads from tokenizer.json as it is.
_OWN_NAMES = ("RecformerTokenizer", "TokenizersBackend", "PreTrainedTokenizerFast")

_SENTENCEPIECE_FILES = ("sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model")


def find_source(path: str, own_class: type, hub: dict[str, Any]) -> type[PreTrainedTokenizerBase] | Path | None:
    """Finds out what loads a tokenizer's folder or Hub id.

    Args:
        path: folder, Hub id or file.
        own_class: the class that asks.
        hub: values of [`HUB_ARGUMENTS`].

    Returns:
        `None` if `own_class` loads it, from `tokenizer.json`; another model's tokenizer class; or the path of a
        SentencePiece model, to be read by `read_sentencepiece`.

    Raises:
        OSError: if there is no tokenizer file.
    """
    if Path(path).is_file():
        return None

    def find(name: str) -> str | None:
        return cached_file(path, name, _raise_exceptions_for_missing_entries=False, **hub)

    name = get_tokenizer_config(path, **hub).get("tokenizer_class")
    if name in (own_class.__name__, *_OWN_NAMES):
        return None
    if name is None and find("config.json"):
        model_type = PreTrainedConfig.get_config_dict(path, **hub)[0].get("model_type", "")
        name = TOKENIZER_MAPPING_NAMES.get(model_type)
    # transformers 4 saved names that end in "Fast"; transformers 5 has one class for both kinds.
    source = tokenizer_class_from_name(name.removesuffix("Fast")) if name else None
    if find("tokenizer.json"):
        return source
    if source is None and find("vocab.json") and find("merges.txt"):
        return tokenizer_class_from_name("RobertaTokenizer")
    if source is None and find("vocab.txt"):
        return tokenizer_class_from_name("BertTokenizer")
    if (source is None or source.__name__ == "XLMRobertaTokenizer") and (file := _sentencepiece_file(path, hub, find)):
        return file
    # Without a vocabulary the class would create a tokenizer of nothing but special tokens.
    if source is None or not any(find(file) for file in source.vocab_files_names.values()):
        raise OSError(
            f"No tokenizer in {path}: expected a tokenizer.json, a vocab.json with merges.txt, a vocab.txt, or a "
            "SentencePiece .model file. Save one there with save_pretrained, or name the folder or Hub id that has it."
        )
    return source


@contextmanager
def readable_tokenizer(path: str, hub: dict[str, Any]) -> Iterator[None]:
    """Names the damaged file if a tokenizer cannot be loaded in the block.

    Args:
        path: folder, Hub id or file.
        hub: values of [`HUB_ARGUMENTS`].

    Raises:
        ValueError: if a file cannot be read. Other errors stay as they are.
    """
    try:
        yield
    except Exception as error:  # tokenizers raises plain exceptions, transformers whatever the content leads to
        quiet = {f"_raise_exceptions_for_{kind}": False for kind in ("missing_entries", "connection_errors")}
        local = {**hub, "local_files_only": True}
        names = ("tokenizer.json", "tokenizer_config.json", "config.json")
        found = [path] if Path(path).is_file() else [cached_file(path, name, **quiet, **local) for name in names]
        damaged = [f"{file} is damaged ({problem})" for file in found if file and (problem := _problem_of(Path(file)))]
        if not damaged:
            raise
        raise ValueError(
            f"The tokenizer {path} cannot be loaded: {'; '.join(damaged)}. It was not copied, downloaded or written to "
            "its end; copy or download it again."
        ) from error


def _problem_of(file: Path) -> str | None:
    """Why a file of a tokenizer cannot be read, or None if it can."""
    try:
        content = json.loads(file.read_text("utf-8"))
        if isinstance(content, dict) and file.name == "tokenizer.json":
            Tokenizer.from_file(str(file))
    except Exception as error:  # of tokenizers, too
        return f"{file.stat().st_size:,} bytes; {error}"
    return None if isinstance(content, dict) else f"a JSON {type(content).__name__} instead of an object"


def _sentencepiece_file(path: str, hub: dict[str, Any], find: Callable[[str], str | None]) -> Path | None:
    # A folder can be searched for any other name; a repository on the Hub can only be asked for known ones.
    folder = Path(path) / hub.get("subfolder", "")
    other = sorted(file.name for file in folder.glob("*.model")) if folder.is_dir() else []
    found = (find(name) for name in (*_SENTENCEPIECE_FILES, *other))
    return next((Path(file) for file in found if file), None)


def constructor_arguments(tokenizer: TokenizersBackend) -> dict[str, Any]:
    """Arguments of a `RecformerTokenizer` that treats plain text as another model's tokenizer does."""
    roles = tokenizer.SPECIAL_TOKENS_ATTRIBUTES
    return {
        "tokenizer_object": tokenizer.backend_tokenizer,
        **{role: str(token) for role, token in tokenizer.special_tokens_map.items() if role in roles},
        "extra_special_tokens": tokenizer.extra_special_tokens,
        "text_input_names": tokenizer.model_input_names,
        "model_max_length": tokenizer.model_max_length,
        "padding_side": tokenizer.padding_side,
        "truncation_side": tokenizer.truncation_side,
        "clean_up_tokenization_spaces": tokenizer.clean_up_tokenization_spaces,
        "split_special_tokens": tokenizer.split_special_tokens,
        "add_prefix_space": getattr(tokenizer, "add_prefix_space", False),
        "name_or_path": tokenizer.name_or_path,
    }


__all__ = ["HUB_ARGUMENTS", "constructor_arguments", "find_source", "readable_tokenizer"]
