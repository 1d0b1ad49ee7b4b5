"""Which tokens of a vocabulary begin a word, for whole-word masking."""

from __future__ import annotations

import numpy as np
from transformers import TokenizersBackend


def word_start_mask(tokenizer: TokenizersBackend) -> np.ndarray:
    """Which tokens begin a word, bool `[len(tokenizer)]`; see `RecformerTokenizer.word_start_mask`."""
    vocab = tokenizer.get_vocab()
    prefix = getattr(tokenizer.backend_tokenizer.model, "continuing_subword_prefix", None)
    if prefix:
        begins = {index for token, index in vocab.items() if not token.startswith(prefix)}
    else:
        # "▁" is not in the byte-level alphabet, so its presence distinguishes SentencePiece from byte-level BPE.
        marker = "▁" if any(token.startswith("▁") for token in vocab) else "Ġ"
        begins = {index for token, index in vocab.items() if token.startswith(marker)}
    begins |= {index for index, token in tokenizer.added_tokens_decoder.items() if not token.special}
    begins -= set(tokenizer.all_special_ids)
    if tokenizer.unk_token_id is not None:
        begins.add(tokenizer.unk_token_id)
    mask = np.zeros(len(tokenizer), dtype=bool)
    mask[list(begins)] = True
    return mask


__all__ = ["word_start_mask"]
