"""Training a byte-level BPE tokenizer on the items of a catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers.utils import logging

from ..items.places import Place
from ..items.text import item_attributes
from .call_shapes import check_items
from .item_tokens import readable_part

logger = logging.get_logger(__name__)

# RoBERTa's special tokens; the first four have its ids, too.
_SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]

SPECIAL_TOKEN_ROLES = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
"""Roles of the special tokens of a trained tokenizer."""


LONGEST_WORD = 256
"""Characters of a word that are learned from. Training takes time in proportion to the square of a word's length."""

# Every text with a long word, and a few others, because only these four characters are spaces by every definition.
# `words_cut` looks closer at the texts found.
_LONG_RUN = re.compile(rf"[^ \t\r\n]{{{LONGEST_WORD + 1}}}|\s{{{LONGEST_WORD + 1}}}")


def words_cut(text: str, pre_tokenizer: pre_tokenizers.PreTokenizer) -> str:
    """The text with the beginning of each word: runs without spaces (scripts, keys, binary data) end after 256."""
    if len(text) <= LONGEST_WORD or _LONG_RUN.search(text) is None:
        return text
    words = pre_tokenizer.pre_tokenize_str(text)
    return "".join(text[start : min(end, start + LONGEST_WORD)] for _, (start, end) in words)


def train_byte_level_bpe(
    items: Iterable[Mapping[str, object]],
    max_attr_num: int,
    max_attr_length: int,
    vocab_size: int,
    min_frequency: int,
    progress: bool,
) -> Tokenizer:
    """Trains a Rust tokenizer; arguments and errors as in `RecformerTokenizer.train_from_catalog`.

    Args:
        max_attr_num: how many attributes of an item a model will read; the tokenizer learns from these alone.
        max_attr_length: tokens of an attribute that a model will read.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocab_size < len(_SPECIAL_TOKENS) + len(alphabet):
        raise ValueError(f"vocab_size must be at least {len(_SPECIAL_TOKENS) + len(alphabet)}, got {vocab_size}.")
    check_items(items, "train_from_catalog")
    backend = Tokenizer(models.BPE())
    words = backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    num_items = 0

    def texts() -> Iterator[list[str]]:
        nonlocal num_items
        for item in logging.tqdm(items, desc="Reading items", unit="item", disable=not progress):
            attributes = item_attributes(item, max_attr_num, Place(num_items))
            num_items += 1
            readable = (readable_part(text, max_attr_length) for attribute in attributes for text in attribute)
            # Reading `backend.pre_tokenizer` here would wait for the training, which holds the backend.
            yield [words_cut(text, words) for text in readable]

    # With all 256 bytes in the alphabet no text has an unknown token, in whatever language.
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=_SPECIAL_TOKENS,
        initial_alphabet=alphabet,
        show_progress=progress,
    )
    backend.train_from_iterator(texts(), trainer)
    if num_items == 0:
        raise ValueError("There is no item to train a tokenizer on.")
    if backend.get_vocab_size() < vocab_size:
        logger.info(f"The catalogue's words fill {backend.get_vocab_size()} of {vocab_size} tokens.")
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return backend


__all__ = ["LONGEST_WORD", "SPECIAL_TOKEN_ROLES", "train_byte_level_bpe", "words_cut"]
