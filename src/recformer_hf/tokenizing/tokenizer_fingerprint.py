"""A fingerprint that differs between tokenizers that would give an item different tokens."""

from __future__ import annotations

import hashlib
import json
from typing import Protocol

from tokenizers import Tokenizer


class _ItemTokenizer(Protocol):
    """What decides an item's tokens in a `RecformerTokenizer`, whose module imports this room."""

    max_attr_num: int
    max_attr_length: int

    @property
    def backend_tokenizer(self) -> Tokenizer: ...
    @property
    def all_special_tokens(self) -> list[str]: ...


def tokenizer_fingerprint(tokenizer: _ItemTokenizer) -> str:
    """32 hexadecimal digits of what decides an item's tokens (BLAKE2b).

    They cover `tokenizer.json`, the special tokens, and the two limits of an item. They do not cover padding and
    truncation, which calls of the tokenizer change and items ignore, nor the limits of a sequence
    (`max_item_embeddings`, `max_token_num`), which apply when a batch is composed.
    """
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    content = {
        "backend": {key: value for key, value in backend.items() if key not in ("padding", "truncation")},
        "special_tokens": sorted(tokenizer.all_special_tokens),
        "max_attr_num": tokenizer.max_attr_num,
        "max_attr_length": tokenizer.max_attr_length,
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=16, person=b"RecformerTokens1").hexdigest()
