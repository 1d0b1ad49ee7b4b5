"""Whether an object is a tokenizer of items."""

from __future__ import annotations

import reprlib

from transformers import PreTrainedTokenizerBase

# What recommending and training use of a RecformerTokenizer. Not its class: a checkpoint that carries its own code has
# another class of the same name.
_NEEDED = ("encode_items", "max_token_num")


def check_tokenizer(tokenizer: object) -> None:
    """Raises TypeError unless this is a `RecformerTokenizer`; the message says how to load one.

    Args:
        tokenizer: what the caller passed as a tokenizer.
    """
    if not isinstance(tokenizer, type) and all(hasattr(tokenizer, name) for name in _NEEDED):
        return
    if isinstance(tokenizer, type):
        found = f"the class {tokenizer.__name__} instead of a tokenizer"
    elif isinstance(tokenizer, PreTrainedTokenizerBase):
        found = f"a {type(tokenizer).__name__}, which reads plain text but no items"
    elif tokenizer is None or isinstance(tokenizer, (str, bytes)):
        found = reprlib.repr(tokenizer)
    else:
        found = f"an object of type {type(tokenizer).__name__}"
    path = getattr(tokenizer, "name_or_path", "") if isinstance(tokenizer, PreTrainedTokenizerBase) else ""
    name = repr(path) if isinstance(path, str) and path else "folder"
    raise TypeError(
        f"Expected a RecformerTokenizer, got {found}. Load it with RecformerTokenizer.from_pretrained({name}). "
        "AutoTokenizer.from_pretrained gives one only after `import recformer_hf`."
    )


__all__ = ["check_tokenizer"]
