"""Tokenizer of a Recformer: dictionaries of item attributes -> token ids, token types and item positions."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable, Mapping, Sequence, Sized
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from tokenizers import Tokenizer
from transformers import BatchEncoding, TokenizersBackend
from transformers.tokenization_utils_base import TruncationStrategy
from transformers.utils import logging
from transformers.utils.generic import PaddingStrategy, TensorType

from .items.places import Place, PlacedText, renumbered
from .items.text import all_attributes, as_histories, is_batch, is_text, item_attributes
from .storage.remote_code import SavesCode
from .tokenizing.call_shapes import check_items, plain_input
from .tokenizing.encoded_items import (
    BOS_TYPE,
    KEY_TYPE,
    PADDING_TYPE,
    VALUE_TYPE,
    EncodedItem,
    EncodedItems,
)
from .tokenizing.history_layout import join_items
from .tokenizing.item_tokens import encode_attributes
from .tokenizing.other_models import HUB_ARGUMENTS, constructor_arguments, find_source, readable_tokenizer
from .tokenizing.sentencepiece_model import read_sentencepiece
from .tokenizing.special_tokens import USUAL_SPECIAL_TOKENS, without_special_tokens
from .tokenizing.train_from_catalog import SPECIAL_TOKEN_ROLES, train_byte_level_bpe
from .tokenizing.word_starts import word_start_mask

logger = logging.get_logger(__name__)

# The four truncation limits: default and smallest value. Item position 0 is `<s>`, so one item needs two positions.
_LIMITS = {
    "max_attr_num": (3, 1),
    "max_attr_length": (32, 1),
    "max_item_embeddings": (51, 2),
    "max_token_num": (1024, 1),
}

# Items of a block in `encode_items`: the texts of all items at once would take many times the memory of their tokens.
_ITEMS_PER_BLOCK = 16_384

# What `_get_item_backend` has made, with the key that it was made for. It is no attribute of the tokenizer, because
# `datasets` hashes the attributes to find cached results, and the copy holds random names. Nor is it pickled or copied.
_item_backends: WeakKeyDictionary[RecformerTokenizer, tuple[tuple[Any, ...], Tokenizer]] = WeakKeyDictionary()

# Arguments of `__call__` that have no meaning for items. They may only be passed with a value that means "off".
_TEXT_ARGUMENTS = {
    *("text_pair", "text_target", "text_pair_target", "stride", "is_split_into_words", "split_special_tokens"),
    *("return_overflowing_tokens", "return_special_tokens_mask", "return_offsets_mapping", "return_length"),
    "tokenizer_kwargs",
}


class _ItemTokenizersBackend(TokenizersBackend):
    """The construction of a [`RecformerTokenizer`].

    It is a separate class because of how transformers loads a tokenizer: a class that defines `__init__` is rebuilt
    from vocabulary and merges, without its pre-tokenizer; a class that inherits `__init__` gets the whole
    `tokenizer.json`.
    """

    max_attr_num: int
    max_attr_length: int
    max_item_embeddings: int
    max_token_num: int
    text_input_names: list[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The class's own model_input_names are those of items. The names passed here are those of plain text.
        names = kwargs.pop("model_input_names", ["input_ids", "attention_mask"])
        kwargs.setdefault("text_input_names", names)
        for name, (default, _) in _LIMITS.items():
            # Set before the slow loading, so that a bad limit fails at once; kept in kwargs, so that it is saved.
            setattr(self, name, kwargs.setdefault(name, default))
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self.text_input_names = list(kwargs["text_input_names"])
        # A tokenizer.json alone says which tokens are special, but not their roles.
        known = set(self.all_special_tokens) | {str(t) for t in self.added_tokens_decoder.values() if t.special}
        for role, usual_names in USUAL_SPECIAL_TOKENS.items():
            if getattr(self, role) is None:
                setattr(self, role, next((name for name in usual_names if name in known), None))

    def __setattr__(self, key: str, value: object) -> None:
        checked = _checked_limit(key, value) if key in _LIMITS else value
        super().__setattr__(key, checked)  # type: ignore[no-untyped-call]


class RecformerTokenizer(SavesCode, _ItemTokenizersBackend):
    r"""Tokenizes items, histories of items and plain text with any `tokenizer.json`: byte-level BPE (Longformer,
    RoBERTa), WordPiece (BERT) or Unigram (XLM-R).

    An *item* is a dictionary of attributes, in order. It becomes key, value, key, value ..., where each key and each
    value is tokenized as a separate text, without special tokens (the paper, section 2.2.1). A *history* is a list of
    items, oldest first. It becomes `<s>` and then its items, newest first. A single item is a history of one.

    ```python
    >>> tokenizer = RecformerTokenizer.from_pretrained("allenai/longformer-base-4096")
    >>> tokenizer({"title": "Nintendo Switch", "brand": "Nintendo"})          # one item
    >>> tokenizer([{"title": "Mario Kart"}, {"title": "Zelda"}])              # one history, oldest first
    >>> tokenizer([[{"title": "Mario Kart"}], [{"title": "Zelda"}]], padding=True, return_tensors="pt")  # a batch
    >>> tokenizer("plain text")                                               # as in the source tokenizer
    ```

    How values become text:
        - numbers (numpy's too), dates and times as `str` writes them; lists, tuples and arrays joined by spaces;
          dictionaries inside an item as "key: value, key: value" (`items.text.attribute_text` has the whole rule);
        - `None`, NaN, infinite numbers, empty and blank texts and empty lists are missing: they are skipped with their
          key and do not count towards `max_attr_num`. A table with empty cells gives what dictionaries without these
          keys give;
        - special-token strings in keys and values ("<s>", "[CLS]") stay text;
        - a text that the backend tokenizes to nothing (control characters in BERT) contributes only its key's tokens;
        - anything else (sets, bytes, durations, ...) and keys that are not strings raise `TypeError`.

    Args:
        tokenizer_object (`tokenizers.Tokenizer`), tokenizer_file (`str`): the Rust tokenizer, or its file.
        max_attr_num (`int`, defaults to 3): how many attributes of an item are read, at least 1.
        max_attr_length (`int`, defaults to 32): tokens of an attribute including its key, at least 1.
        max_item_embeddings (`int`, defaults to 51): item positions including that of `<s>`, at least 2. A history keeps
            its newest `max_item_embeddings - 1` items.
        max_token_num (`int`, defaults to 1024): tokens of a sequence including `<s>`, at least 1. The tokens of the
            newest items are kept.
        **kwargs: special tokens (`bos_token="<s>"`, ...) and all other arguments of
            [`~transformers.TokenizersBackend`]. Special tokens not given are recognised by their usual names.

    Raises:
        ValueError: if a limit is not an integer or too small.
    """

    model_input_names = ["input_ids", "token_type_ids", "item_position_ids", "attention_mask"]
    _code_modules = ("tokenization_recformer",)
    _auto_map_entries = {"AutoTokenizer": [None, "tokenization_recformer.RecformerTokenizer"]}

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *init_inputs: Any, **kwargs: Any
    ) -> RecformerTokenizer:
        r"""Loads a saved Recformer tokenizer, or creates one from another model's tokenizer.

        Another model's tokenizer is loaded by the class that its files name, and plain text gets the ids that this
        class gives. If they name none, the files decide: `tokenizer.json`; `vocab.json` and `merges.txt` (RoBERTa);
        `vocab.txt` (BERT); a SentencePiece Unigram `.model` (`sentencepiece.bpe.model` gets XLM-R's ids; with any other
        name the file's ids stay, and missing special tokens are appended).

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`): a folder, a Hub id, a `tokenizer.json` or a
                `.model` file.
            **kwargs: the four limits, special tokens, and where to load from (`revision`, `token`, `cache_dir`, ...).

        Raises:
            OSError: if no tokenizer file is found.
            ValueError: if the named class has no Rust backend, the `.model` is not a Unigram model, or a file is
                damaged; the message names it.
        """
        path = str(pretrained_model_name_or_path)
        hub = {name: kwargs[name] for name in HUB_ARGUMENTS if name in kwargs}
        with readable_tokenizer(path, hub):
            return cls._read(path, hub, *init_inputs, **kwargs)

    @classmethod
    def _read(cls, path: str, hub: dict[str, Any], *init_inputs: Any, **kwargs: Any) -> RecformerTokenizer:
        source = Path(path) if path.endswith(".model") and Path(path).is_file() else find_source(path, cls, hub)
        if source is None:
            tokenizer: RecformerTokenizer = super().from_pretrained(path, *init_inputs, **kwargs)
            return tokenizer

        own = {name: kwargs.pop(name) for name in _LIMITS if name in kwargs}
        if isinstance(source, Path):
            names = (*cls.SPECIAL_TOKENS_ATTRIBUTES, "model_max_length")
            named = {name: kwargs[name] for name in names if name in kwargs}
            return cls(tokenizer_object=read_sentencepiece(source), name_or_path=path, **named, **own)
        text_tokenizer = source.from_pretrained(path, *init_inputs, **kwargs)
        if not isinstance(text_tokenizer, TokenizersBackend):
            raise ValueError(
                f"The tokenizer of {path} is a {type(text_tokenizer).__name__}, which has no Rust backend. Convert it "
                "to a tokenizer.json first and load that."
            )
        return cls(**constructor_arguments(text_tokenizer), **own)

    @classmethod
    def train_from_catalog(
        cls,
        items: Iterable[Mapping[str, Any]],
        vocab_size: int = 16_384,
        min_frequency: int = 2,
        progress: bool = False,
        **limits: int,
    ) -> RecformerTokenizer:
        """Trains a byte-level BPE tokenizer on the keys and values that a model will read of these items.

        The same items give the same tokenizer. Special tokens are `<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3, `<mask>` 4.
        Of a word of more than 256 characters, only the first 256 are learned from.

        Args:
            items: any iterable of item dictionaries, read once.
            vocab_size: tokens in the vocabulary, at least 261 (5 special tokens and 256 bytes). A catalogue with few
                distinct words gives fewer.
            min_frequency: how often two tokens must be adjacent to be merged, at least 1.
            progress: show a progress bar.
            **limits: `max_attr_num`, `max_attr_length`, `max_item_embeddings`, `max_token_num`.

        Raises:
            ValueError: if there is no item, an item is empty, or `vocab_size` is below 261.
            TypeError: if an item, a key or a value has an unsupported type.
        """
        if unknown := sorted(set(limits) - set(_LIMITS)):
            raise TypeError(f"Unknown limits {unknown}; there are {list(_LIMITS)}.")
        num, length = (
            _checked_limit(name, limits.get(name, _LIMITS[name][0])) for name in ("max_attr_num", "max_attr_length")
        )
        return cls(
            tokenizer_object=train_byte_level_bpe(items, num, length, vocab_size, min_frequency, progress),
            model_max_length=limits.get("max_token_num", _LIMITS["max_token_num"][0]),
            **SPECIAL_TOKEN_ROLES,
            **limits,
        )

    def _set_auto_map(self, auto_map: dict[str, Any] | None) -> None:
        self.init_kwargs.pop("auto_map", None)
        if auto_map is not None:
            self.init_kwargs["auto_map"] = auto_map

    def __call__(self, text: Any = None, *args: Any, **kwargs: Any) -> BatchEncoding:
        r"""Tokenizes items, or plain text as the source tokenizer does.

        For items the four limits always apply. These arguments have their usual meaning:

        Args:
            text: a `str` or a list of them; or an item dictionary; or one history, a list of items, oldest first; or a
                batch, a list of histories. Arrays and columns (numpy, pandas, polars, `datasets`) are read as lists. So
                `dataset.map(tokenizer)` tokenizes each row as an item, with `batched=True` too.
            padding (`bool` or `str`, defaults to `False`): `True` or `"longest"`, or `"max_length"` (to `max_length`,
                or to `max_token_num` without it). Always on the right, because the first token is the global one.
            truncation, max_length: a limit on tokens below `max_token_num`; the newest are kept.
            pad_to_multiple_of (`int`), return_tensors (`"pt"` or `"np"`), return_attention_mask, return_token_type_ids.

        Returns:
            [`~transformers.BatchEncoding`] of `input_ids`, `token_type_ids`, `item_position_ids`, `attention_mask`:
            each `[seq_len]` for one item or history, `[batch, seq_len]` for a batch or with `return_tensors`.

        Raises:
            TypeError: for a table, an iterator or a set; if an item is not a dictionary, a key not a string, a value of
                an unsupported type (the message names item and key), or if an argument has no meaning for items.
            ValueError: if an item or a history is empty, or padding on the left is requested.
        """
        text = plain_input(text)
        if text is None or kwargs.get("is_split_into_words") or is_text(text):
            encoding: BatchEncoding = super().__call__(text, *args, **kwargs)
            return encoding
        if args:
            raise TypeError(
                f"Items take one positional argument, got {len(args)} more. A history is a list of items, a batch a "
                "list of histories: tokenizer([item, item])."
            )
        return self._call_items(text, **kwargs)

    def encode_item(self, item: Mapping[str, Any]) -> EncodedItem:
        """Tokenizes one item, without `<s>`: at most `max_attr_num` attributes of at most `max_attr_length` tokens.

        Raises:
            TypeError: if the item is not a dictionary, a key not a string, or a value of an unsupported type.
            ValueError: if the item has no text, or its text has no tokens.
        """
        # A single item has no index that an error could name.
        with renumbered(lambda _: Place()):
            return self._encode_attributes([item_attributes(item, self.max_attr_num)])[0]

    def encode_items(self, items: Iterable[Mapping[str, Any]], progress: bool = False) -> EncodedItems:
        """Tokenizes many items: the same as `encode_item` for each, but several times as fast.

        The Rust tokenizer gets every distinct key and value once per block of 16,384 items. It uses all cores
        (`TOKENIZERS_PARALLELISM=false` turns that off).

        Args:
            items: any iterable of item dictionaries, read once.
            progress: show a progress bar.

        Raises:
            TypeError, ValueError: as in `encode_item`. The message has the item's index.
        """
        check_items(items, "encode_items")
        total = len(items) if isinstance(items, Sized) else None
        blocks: list[EncodedItems] = []
        remaining, start = iter(items), 0
        with logging.tqdm(total=total, desc="Tokenizing items", unit="item", disable=not progress) as bar:
            while block := list(islice(remaining, _ITEMS_PER_BLOCK)):
                with renumbered(partial(Place.moved, items=start)):
                    blocks.append(self._encode_attributes(all_attributes(block, self.max_attr_num)))
                start += len(block)
                bar.update(len(block))
        return EncodedItems.concatenate(blocks)

    def encode_history(self, encoded_items: Sequence[EncodedItem] | EncodedItems) -> dict[str, list[int]]:
        """Puts encoded items behind `<s>`, newest first.

        At most `max_item_embeddings - 1` items are kept, the newest ones, and at most `max_token_num` tokens.

        Args:
            encoded_items: results of `encode_item`, or the result of `encode_items`; oldest first.

        Returns:
            `input_ids`, `token_type_ids` (0 for `<s>`, 1 keys, 2 values), `item_position_ids` (0 for `<s>`, 1 for the
            newest item) and `attention_mask`, each `[seq_len]`.

        Raises:
            ValueError: if there is no item, or the tokenizer has neither a BOS nor a CLS token.
        """
        return self._join_items(encoded_items, self.max_token_num)

    def word_start_mask(self) -> np.ndarray:
        """Which tokens begin a word, bool `[len(tokenizer)]`, for whole-word masking.

        A token begins a word if it starts with the word marker (byte-level BPE: "Ġ"; Unigram: "▁") or, in WordPiece,
        does not start with "##". An added token is a word by itself. The unknown token begins a word, because it stands
        for one; other special tokens do not. The first token of a key or value always begins a word, whatever this mask
        says.
        """
        return word_start_mask(self)

    def _call_items(
        self,
        data: object,
        padding: bool | str | PaddingStrategy = False,
        truncation: bool | str | TruncationStrategy | None = None,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | TensorType | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        add_special_tokens: bool = True,
        verbose: bool = True,
        **unsupported: object,
    ) -> BatchEncoding:
        """`__call__` for items."""
        _check_item_arguments(max_length, add_special_tokens, unsupported)
        # transformers refuses a max_length that is not a multiple of pad_to_multiple_of. That must not apply to our
        # default, which the caller did not choose.
        padding_strategy, truncation_strategy, length, _ = self._get_padding_truncation_strategies(  # type: ignore[no-untyped-call]
            padding=padding,
            truncation=truncation,
            max_length=self.max_token_num if max_length is None else max_length,
            pad_to_multiple_of=None if max_length is None else pad_to_multiple_of,
            verbose=verbose and max_length is not None,
        )
        limit = self.max_token_num
        if truncation_strategy is not TruncationStrategy.DO_NOT_TRUNCATE:
            limit = min(length, limit)

        histories, places = as_histories(data)
        sequences = self._encode_placed(histories, places, limit)
        returned = {"token_type_ids": return_token_type_ids, "attention_mask": return_attention_mask}
        names = [name for name in self.model_input_names if returned.get(name) is not False]
        batch = {name: [sequence[name] for sequence in sequences] for name in names}
        if padding_strategy is not PaddingStrategy.DO_NOT_PAD:
            padded = self.pad(
                batch,
                padding=padding_strategy,
                max_length=length,
                pad_to_multiple_of=pad_to_multiple_of,
                padding_side=padding_side,
                return_attention_mask="attention_mask" in names,
                verbose=False,
            )
            batch = dict(padded)
        if return_tensors is None and not is_batch(data):
            return BatchEncoding({name: values[0] for name, values in batch.items()})
        return BatchEncoding(batch, tensor_type=return_tensors)

    def _encode_histories(
        self, histories: Sequence[Sequence[Any]], where: object, limit: int
    ) -> list[dict[str, list[int]]]:
        """Called by the code of checkpoints that an earlier version saved, whose model may get this tokenizer."""
        return self._encode_placed(histories, [Place(history=h) for h in range(len(histories))], limit)

    def _encode_placed(
        self, histories: Sequence[Sequence[Any]], places: Sequence[Place], limit: int
    ) -> list[dict[str, list[int]]]:
        """Sequences of at most `limit` tokens. All items are checked, but only those that can be kept are tokenized.

        Args:
            histories: lists of item dictionaries, oldest first.
            places: how errors refer to each history.
            limit: tokens of a sequence, including `<s>`.
        """
        rows: list[list[tuple[str, str]]] = []
        kept: list[Place] = []
        counts: list[int] = []
        for history, place in zip(histories, places, strict=True):
            if not history:
                raise ValueError(PlacedText(place, "is empty; a history needs at least one item."))
            checked = all_attributes(history, self.max_attr_num, place)
            first = max(0, len(history) - self.max_item_embeddings + 1)
            rows += checked[first:]
            kept += [place.of_item(i) for i in range(first, len(history))]
            counts.append(len(history) - first)
        # The kept items of all histories are tokenized together, so an error names a place among these.
        with renumbered(lambda place: kept[place.item or 0]):
            encoded = iter(self._encode_attributes(rows))
        return [self._join_items(list(islice(encoded, count)), limit) for count in counts]

    def _join_items(self, items: Sequence[EncodedItem] | EncodedItems, limit: int) -> dict[str, list[int]]:
        # BERT has no BOS token; its first token of a text is [CLS].
        bos = self.cls_token_id if self.bos_token_id is None else self.bos_token_id
        if bos is None:
            raise ValueError(
                "The tokenizer has neither a BOS nor a CLS token, and every sequence starts with one. Name it: "
                "RecformerTokenizer.from_pretrained(..., bos_token='<s>')."
            )
        return join_items(items, bos, self.max_item_embeddings - 1, limit)

    def _encode_attributes(self, rows: Sequence[list[tuple[str, str]]]) -> EncodedItems:
        return encode_attributes(rows, self._get_item_backend(), self.max_attr_length)

    def _get_item_backend(self) -> Tokenizer:
        """The Rust tokenizer of item text: a copy that cannot see special tokens, created again when tokens are added.

        transformers' own switch, `encode_special_tokens`, would not do. It changes the backend that plain text uses
        too, perhaps in another thread, and a Unigram vocabulary has "<s>" as a piece that text can match.
        """
        backend, specials = self.backend_tokenizer, tuple(self.all_special_tokens)
        key = (backend, backend.get_vocab_size(), specials)
        cached = _item_backends.get(self)
        if cached is None or cached[0] != key:
            cached = _item_backends[self] = (key, without_special_tokens(backend, set(specials)))
        return cached[1]

    def _encode_plus(self, text: Any, *args: Any, **kwargs: Any) -> BatchEncoding:
        if kwargs.get("return_token_type_ids") is None:
            # By default transformers returns what `model_input_names` lists. Those are the names of items; plain text
            # gets token types only if the source tokenizer gives them.
            kwargs["return_token_type_ids"] = "token_type_ids" in self.text_input_names
        return super()._encode_plus(text, *args, **kwargs)

    def _pad(
        self,
        encoded_inputs: dict[str, list[int]] | BatchEncoding,
        max_length: int | None = None,
        padding_strategy: PaddingStrategy = PaddingStrategy.DO_NOT_PAD,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
    ) -> dict[str, Any]:
        """Pads one sequence. Items get token type 3 and the last item position; text is padded as by transformers."""
        is_items = "item_position_ids" in encoded_inputs
        side = padding_side or self.padding_side
        if is_items and side != "right" and padding_strategy is not PaddingStrategy.DO_NOT_PAD:
            raise ValueError(
                f"Items are padded on the right, got padding_side={side!r}: the first token of a sequence is its "
                "global <s>. Set tokenizer.padding_side = 'right'."
            )
        length = len(encoded_inputs["input_ids"])
        padded: dict[str, Any] = super()._pad(
            encoded_inputs, max_length, padding_strategy, pad_to_multiple_of, padding_side, return_attention_mask
        )
        if is_items:
            # transformers does not know item positions, and pads token types with its own id.
            added = len(padded["input_ids"]) - length
            padded["item_position_ids"] = list(padded["item_position_ids"]) + [self.max_item_embeddings - 1] * added
            if "token_type_ids" in padded:
                padded["token_type_ids"] = list(padded["token_type_ids"])[:length] + [PADDING_TYPE] * added
        return padded


def _check_item_arguments(max_length: int | None, add_special_tokens: bool, unsupported: dict[str, object]) -> None:
    if named := [name for name, value in unsupported.items() if value or name not in _TEXT_ARGUMENTS]:
        raise TypeError(
            f"tokenizer(items) has no argument {', '.join(named)}. It takes padding, truncation, max_length, "
            "pad_to_multiple_of, return_tensors, return_attention_mask and return_token_type_ids."
        )
    if not add_special_tokens:
        raise ValueError("A sequence of items starts with <s>. For an item's tokens alone use encode_item(item).")
    if max_length is not None and max_length < 1:
        raise ValueError(f"max_length must be at least 1 (<s>), got {max_length}.")


def _checked_limit(name: str, value: object) -> int:
    smallest = _LIMITS[name][1]
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < smallest:
        raise ValueError(f"{name} must be an integer of at least {smallest}, got {value!r}.")
    return int(value)


__all__ = [
    "BOS_TYPE",
    "KEY_TYPE",
    "PADDING_TYPE",
    "VALUE_TYPE",
    "EncodedItem",
    "EncodedItems",
    "RecformerTokenizer",
]
