"""Special tokens: their usual names, and a tokenizer of item text that cannot produce them."""

from __future__ import annotations

import json
import secrets

from tokenizers import Tokenizer

USUAL_SPECIAL_TOKENS = {
    "bos_token": ("<s>",),
    "eos_token": ("</s>",),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "pad_token": ("<pad>", "[PAD]"),
    "unk_token": ("<unk>", "[UNK]"),
    "mask_token": ("<mask>", "[MASK]"),
}
"""Names of a special token by role, for a tokenizer file that does not name the roles (RoBERTa's and BERT's names)."""


def without_special_tokens(backend: Tokenizer, specials: set[str]) -> Tokenizer:
    """A copy of a Rust tokenizer with the same ids, in which no text gives a special token's id.

    The exception is the unknown token, which stands for what the vocabulary lacks. Special tokens are renamed to
    strings with a random part, so that no text matches them, neither as added tokens nor as pieces of the vocabulary.
    Merges that would produce one are removed.
    """
    spec = json.loads(backend.to_str())
    specials = specials | {token["content"] for token in spec["added_tokens"] if token["special"]}
    secret = secrets.token_hex(16)
    renamed = {token: f"\U0010ffff{secret}{index}" for index, token in enumerate(sorted(specials))}
    for token in spec["added_tokens"]:
        if token["content"] in renamed:
            token.update(content=renamed[token["content"]], special=True)
    model = spec["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {renamed.get(token, token): index for token, index in model["vocab"].items()}
    else:  # Unigram
        model["vocab"] = [[renamed.get(token, token), score] for token, score in model["vocab"]]
    if model.get("unk_token") is not None:
        model["unk_token"] = renamed.get(model["unk_token"], model["unk_token"])
    if "merges" in model:
        pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
        model["merges"] = [pair for pair in pairs if renamed.keys().isdisjoint((*pair, "".join(pair)))]
    # Items have their own first token, limits and padding.
    spec.update(post_processor=None, truncation=None, padding=None)
    return Tokenizer.from_str(json.dumps(spec))


__all__ = ["USUAL_SPECIAL_TOKENS", "without_special_tokens"]
