"""Tokenizer of a Recformer: dictionaries of item attributes -> token ids, token types and item positions."""

from __future__ import annotations

import numbers
import os
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import BatchEncoding, TokenizersBackend
from transformers.utils import PaddingStrategy, logging

from .items.places import Place, PlacedText, renumbered
from .items.text import all_attributes, as_histories, is_batch, is_text, item_attributes, refuse_mapping
from .items.tokenizer_files import HUB_ARGUMENTS, find_source, read_sentencepiece, without_special_tokens
from .storage.remote_code import SavesCode

logger = logging.get_logger(__name__)

# Token types, and what padding gets (the paper, section 2.2.2). `<s>` has type 0 and item position 0.
BOS_TYPE, KEY_TYPE, VALUE_TYPE, PADDING_TYPE = 0, 1, 2, 3

# The four truncation limits: default and smallest value. Item position 0 is `<s>`, so one item needs two positions.
_LIMITS = {
    "max_attr_num": (3, 1),
    "max_attr_length": (32, 1),
    "max_item_embeddings": (51, 2),
    "max_token_num": (1024, 1),
}

# Sizes that bound memory: items and unique texts handed to the Rust tokenizer at once.
_ITEMS_PER_BLOCK = 16_384
_TEXTS_PER_CALL = 8_192

# What a special token is called where its file does not say which role it has (RoBERTa's names, then BERT's).
_USUAL_SPECIAL_TOKENS = {
    "bos_token": ("<s>",),
    "eos_token": ("</s>",),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "pad_token": ("<pad>", "[PAD]"),
    "unk_token": ("<unk>", "[UNK]"),
    "mask_token": ("<mask>", "[MASK]"),
}


# Arguments of `__call__` that only mean something for text; with items they may be passed only to say "off".
_TEXT_ARGUMENTS = {
    *("text_pair", "text_target", "text_pair_target", "stride", "is_split_into_words", "split_special_tokens"),
    *("return_overflowing_tokens", "return_special_tokens_mask", "return_offsets_mapping", "return_length"),
    "tokenizer_kwargs",
}


class EncodedItem(NamedTuple):
    """One tokenized item, truncated, without `<s>`.

    Attributes:
        input_ids: token ids, int32 `[num_tokens]`.
        token_type_ids: 1 for a key's tokens, 2 for a value's, uint8 `[num_tokens]`.
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray


@dataclass(frozen=True, eq=False)
class EncodedItems:
    """Many tokenized items end to end. `encoded[i]` is item i as an [`EncodedItem`] (views, no copies).

    Attributes:
        input_ids: token ids, int32 `[total_tokens]`.
        token_type_ids: 1 for a key's tokens, 2 for a value's, uint8 `[total_tokens]`.
        offsets: item i is `[offsets[i], offsets[i + 1])`, int64 `[num_items + 1]`.
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> EncodedItem:
        if not -len(self) <= index < len(self):
            raise IndexError(f"Item {index} of {len(self)} encoded items.")
        index %= len(self)
        span = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return EncodedItem(self.input_ids[span], self.token_type_ids[span])

    def __iter__(self) -> Iterator[EncodedItem]:
        return (self[index] for index in range(len(self)))


class _ItemTokenizersBackend(TokenizersBackend):
    """Construction alone. It is apart because transformers rebuilds a class that defines `__init__` itself from its
    vocabulary and merges, without its pre-tokenizer; one that only inherits `__init__` gets `tokenizer.json` whole."""

    max_attr_num: int
    max_attr_length: int
    max_item_embeddings: int
    max_token_num: int
    text_input_names: list[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # What plain text gives is the source tokenizer's business; `model_input_names` are those of a Recformer.
        names = kwargs.pop("model_input_names", ["input_ids", "attention_mask"])
        kwargs.setdefault("text_input_names", names)
        for name, (default, _) in _LIMITS.items():
            # Set before the (long) loading, so that a bad limit fails at once; kept in kwargs, so that it is saved.
            setattr(self, name, kwargs.setdefault(name, default))
        super().__init__(*args, **kwargs)
        self.text_input_names = list(kwargs["text_input_names"])
        known = set(self.all_special_tokens) | {str(t) for t in self.added_tokens_decoder.values() if t.special}
        for role, usual_names in _USUAL_SPECIAL_TOKENS.items():
            if getattr(self, role) is None:
                setattr(self, role, next((name for name in usual_names if name in known), None))

    def __setattr__(self, key: str, value: Any) -> None:
        super().__setattr__(key, _checked_limit(key, value) if key in _LIMITS else value)


class RecformerTokenizer(SavesCode, _ItemTokenizersBackend):
    r"""Tokenizes items, histories of items and plain text, over any `tokenizer.json`: byte-level BPE
    (Longformer, RoBERTa), WordPiece (BERT) or Unigram (XLM-R).

    An *item* is a dictionary of attributes, in order. It becomes key, value, key, value ..., each key and each value
    tokenized as a text of its own, without special tokens (the paper, section 2.2.1). A *history* is a list of items,
    oldest first; it becomes `<s>` and then its items, newest first. An item alone is a history of one.

    ```python
    >>> tokenizer = RecformerTokenizer.from_pretrained("allenai/longformer-base-4096")
    >>> tokenizer({"title": "Nintendo Switch", "brand": "Nintendo"})          # one item
    >>> tokenizer([{"title": "Mario Kart"}, {"title": "Zelda"}])              # one history, oldest first
    >>> tokenizer([[{"title": "Mario Kart"}], [{"title": "Zelda"}]], padding=True, return_tensors="pt")  # a batch
    >>> tokenizer("plain text")                                               # as in the source tokenizer
    ```

    How values become text:
        - numbers (numpy's too) as `str` writes them; lists, tuples and 1-d arrays of texts and numbers joined by
          spaces;
        - `None`, NaN, empty and blank texts and empty lists are missing: skipped with their key, and not counted by
          `max_attr_num`, so a table with empty cells gives what dictionaries without those keys give;
        - special-token strings in keys and values ("<s>", "[CLS]") stay text;
        - a text that the backend tokenizes to nothing (control characters in BERT) leaves its key's tokens alone;
        - anything else (nested dictionaries, sets, bytes, ...) and keys that are no strings raise `TypeError`.

    Args:
        tokenizer_object (`tokenizers.Tokenizer`), tokenizer_file (`str`): the Rust tokenizer, or its file.
        max_attr_num (`int`, defaults to 3): attributes of an item that are read, at least 1.
        max_attr_length (`int`, defaults to 32): tokens of an attribute, its key included, at least 1.
        max_item_embeddings (`int`, defaults to 51): item positions, `<s>`'s included, at least 2: a history keeps its
            newest `max_item_embeddings - 1` items.
        max_token_num (`int`, defaults to 1024): tokens of a sequence, `<s>` included, at least 1; the newest are kept.
        **kwargs: special tokens (`bos_token="<s>"`, ...) and all other arguments of
            [`~transformers.TokenizersBackend`]. Special tokens not given are recognised by their usual names.

    Raises:
        ValueError: if a limit is no integer or too small.
    """

    model_input_names = ["input_ids", "token_type_ids", "item_position_ids", "attention_mask"]
    _code_modules = ("tokenization_recformer",)
    _auto_map_entries = {"AutoTokenizer": [None, "tokenization_recformer.RecformerTokenizer"]}

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *init_inputs: Any, **kwargs: Any
    ) -> RecformerTokenizer:
        r"""Loads a saved Recformer tokenizer, or makes one from another model's tokenizer.

        Another model's tokenizer is loaded by the class that its files name, and plain text gets the ids that this
        class gives. Where no class is named, the files decide: `tokenizer.json`; `vocab.json` and `merges.txt`
        (RoBERTa); `vocab.txt` (BERT); a SentencePiece Unigram `.model` (`sentencepiece.bpe.model` with XLM-R's ids, any
        other name with the file's own ids, special tokens that it lacks appended).

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`): a folder, a Hub id, a `tokenizer.json` or a
                `.model` file.
            **kwargs: the four limits, special tokens, and where to load from (`revision`, `token`, `cache_dir`, ...).

        Raises:
            OSError: if no tokenizer file is found.
            ValueError: if the class that is named has no Rust backend, or the `.model` is no Unigram model.
        """
        path = str(pretrained_model_name_or_path)
        hub = {name: kwargs[name] for name in HUB_ARGUMENTS if name in kwargs}
        source = Path(path) if path.endswith(".model") and Path(path).is_file() else find_source(path, cls, hub)
        if source is None:
            return super().from_pretrained(path, *init_inputs, **kwargs)

        own = {name: kwargs.pop(name) for name in _LIMITS if name in kwargs}
        roles = cls.SPECIAL_TOKENS_ATTRIBUTES
        if isinstance(source, Path):
            named = {name: kwargs[name] for name in (*roles, "model_max_length") if name in kwargs}
            return cls(tokenizer_object=read_sentencepiece(source), name_or_path=path, **named, **own)
        text_tokenizer = source.from_pretrained(path, *init_inputs, **kwargs)
        if not isinstance(text_tokenizer, TokenizersBackend):
            raise ValueError(
                f"The tokenizer of {path} is a {type(text_tokenizer).__name__}, which has no Rust backend. Convert it "
                "to a tokenizer.json first and load that."
            )
        return cls(
            tokenizer_object=text_tokenizer.backend_tokenizer,
            **{role: str(token) for role, token in text_tokenizer.special_tokens_map.items() if role in roles},
            extra_special_tokens=text_tokenizer.extra_special_tokens,
            text_input_names=text_tokenizer.model_input_names,
            model_max_length=text_tokenizer.model_max_length,
            padding_side=text_tokenizer.padding_side,
            truncation_side=text_tokenizer.truncation_side,
            clean_up_tokenization_spaces=text_tokenizer.clean_up_tokenization_spaces,
            split_special_tokens=text_tokenizer.split_special_tokens,
            add_prefix_space=getattr(text_tokenizer, "add_prefix_space", False),
            name_or_path=text_tokenizer.name_or_path,
            **own,
        )

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

        Args:
            items: item dictionaries, any iterable of them (read once).
            vocab_size: tokens in the vocabulary, at least 261 (5 special tokens and 256 bytes); fewer come out of a
                catalogue with too few distinct words.
            min_frequency: how often two tokens must stand side by side to be merged, at least 1.
            progress: show a progress bar.
            **limits: `max_attr_num`, `max_attr_length`, `max_item_embeddings`, `max_token_num`.

        Raises:
            ValueError: if there is no item, an item is empty, or `vocab_size` is below 261.
            TypeError: if an item, a key or a value is of a wrong type.
        """
        specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        if vocab_size < len(specials) + len(alphabet):
            raise ValueError(f"vocab_size must be at least {len(specials) + len(alphabet)}, got {vocab_size}.")
        if unknown := sorted(set(limits) - set(_LIMITS)):
            raise TypeError(f"Unknown limits {unknown}; there are {list(_LIMITS)}.")
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        num_attributes = _checked_limit("max_attr_num", limits.get("max_attr_num", _LIMITS["max_attr_num"][0]))
        num_items = 0

        def texts() -> Iterator[list[str]]:
            nonlocal num_items
            refuse_mapping(items, "train_from_catalog")
            for index, item in enumerate(logging.tqdm(items, desc="Reading items", unit="item", disable=not progress)):
                num_items += 1
                yield [text for pair in item_attributes(item, num_attributes, Place(index)) for text in pair]

        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=min_frequency,
            special_tokens=specials,
            initial_alphabet=alphabet,
            show_progress=progress,
        )
        backend.train_from_iterator(texts(), trainer)
        if num_items == 0:
            raise ValueError("There is no item to train a tokenizer on.")
        if backend.get_vocab_size() < vocab_size:
            logger.info(f"The catalogue's words fill {backend.get_vocab_size()} of {vocab_size} tokens.")
        backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
        return cls(
            tokenizer_object=backend,
            model_max_length=limits.get("max_token_num", _LIMITS["max_token_num"][0]),
            bos_token="<s>",
            cls_token="<s>",
            pad_token="<pad>",
            eos_token="</s>",
            sep_token="</s>",
            unk_token="<unk>",
            mask_token="<mask>",
            **limits,
        )

    def _set_auto_map(self, auto_map: dict[str, Any] | None) -> None:
        self.init_kwargs.pop("auto_map", None)
        if auto_map is not None:
            self.init_kwargs["auto_map"] = auto_map

    def __call__(self, text: Any = None, *args: Any, **kwargs: Any) -> BatchEncoding:
        r"""Tokenizes plain text as the source tokenizer does, or items.

        For items the four limits always apply, and these arguments, with their usual meaning:

        Args:
            text: a `str` or a list of them; or an item dictionary; or one history, a list of items, oldest first; or a
                batch, a list of histories.
            padding (`bool` or `str`, defaults to `False`): `True` or `"longest"`, or `"max_length"` (to `max_length`,
                or to `max_token_num` without one). Always on the right: the first token is the global one.
            truncation, max_length: a limit on tokens below `max_token_num`; the newest are kept.
            pad_to_multiple_of (`int`), return_tensors (`"pt"` or `"np"`), return_attention_mask, return_token_type_ids.

        Returns:
            [`~transformers.BatchEncoding`] of `input_ids`, `token_type_ids`, `item_position_ids`, `attention_mask`:
            each `[seq_len]` for one item or history, `[batch, seq_len]` for a batch or with `return_tensors`.

        Raises:
            TypeError: if an item is no dictionary, a key no string, or a value of an unsupported type (the message
                names item and key), or if an argument has no meaning for items.
            ValueError: if an item or a history is empty, or padding on the left is asked for.
        """
        if text is None or kwargs.get("is_split_into_words") or is_text(text):
            return super().__call__(text, *args, **kwargs)
        if args:
            raise TypeError(
                f"Items take one positional argument, got {len(args)} more. A history is a list of items, a batch a "
                "list of histories: tokenizer([item, item])."
            )
        return self._call_items(text, **kwargs)

    def encode_item(self, item: Mapping[str, Any]) -> EncodedItem:
        """Tokenizes one item, without `<s>`: at most `max_attr_num` attributes of at most `max_attr_length` tokens.

        Raises:
            TypeError: if the item is no dictionary, a key no string, or a value of an unsupported type.
            ValueError: if nothing is left of the item.
        """
        with renumbered(lambda _: Place()):
            return self._encode_attributes([item_attributes(item, self.max_attr_num)])[0]

    def encode_items(self, items: Iterable[Mapping[str, Any]], progress: bool = False) -> EncodedItems:
        """Tokenizes many items: what `encode_item` gives for each, several times as fast.

        Every distinct key and value goes through the Rust tokenizer once per block of 16,384 items, which uses all
        cores (`TOKENIZERS_PARALLELISM=false` turns that off).

        Args:
            items: item dictionaries, any iterable of them (read once).
            progress: show a progress bar.

        Raises:
            TypeError, ValueError: as in `encode_item`, naming the item's index.
        """
        refuse_mapping(items, "encode_items")
        total = len(items) if isinstance(items, Sized) else None
        remaining, blocks, start = iter(items), [], 0
        with logging.tqdm(total=total, desc="Tokenizing items", unit="item", disable=not progress) as bar:
            while block := list(islice(remaining, _ITEMS_PER_BLOCK)):
                with renumbered(partial(Place.moved, items=start)):
                    blocks.append(self._encode_attributes(all_attributes(block, self.max_attr_num)))
                start += len(block)
                bar.update(len(block))
        lengths = [np.diff(block.offsets) for block in blocks]
        return EncodedItems(
            np.concatenate([np.empty(0, np.int32), *(block.input_ids for block in blocks)]),
            np.concatenate([np.empty(0, np.uint8), *(block.token_type_ids for block in blocks)]),
            np.cumsum(np.concatenate([np.zeros(1, np.int64), *lengths])),
        )

    def encode_history(self, encoded_items: Sequence[EncodedItem] | EncodedItems) -> dict[str, list[int]]:
        """Puts encoded items behind `<s>`, newest first: the newest `max_item_embeddings - 1` items at most, cut after
        `max_token_num` tokens.

        Args:
            encoded_items: what `encode_item` or `encode_items` gave, oldest first.

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
        does not start with "##". Added tokens are words of their own; the unknown token begins a word, since it stands
        for one; other special tokens do not. The first token of a key or value begins a word whatever it is here.
        """
        model, vocab = self.backend_tokenizer.model, self.get_vocab()
        prefix = getattr(model, "continuing_subword_prefix", None)
        if prefix:
            begins = {index for token, index in vocab.items() if not token.startswith(prefix)}
        else:
            # "▁" is no character of the byte-level alphabet, so its presence tells SentencePiece from byte-level BPE.
            marker = "▁" if any(token.startswith("▁") for token in vocab) else "Ġ"
            begins = {index for token, index in vocab.items() if token.startswith(marker)}
        begins |= {index for index, token in self.added_tokens_decoder.items() if not token.special}
        begins = (begins - set(self.all_special_ids)) | {self.unk_token_id} - {None}
        mask = np.zeros(len(self), dtype=bool)
        mask[list(begins)] = True
        return mask

    def _call_items(
        self,
        data: Any,
        padding: bool | str | PaddingStrategy = False,
        truncation: Any = None,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: Any = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        add_special_tokens: bool = True,
        verbose: bool = True,
        **unsupported: Any,
    ) -> BatchEncoding:
        """`__call__` for items."""
        if named := [name for name, value in unsupported.items() if value or name not in _TEXT_ARGUMENTS]:
            raise TypeError(
                f"tokenizer(items) has no argument {', '.join(named)}. There are padding, truncation, max_length, "
                "pad_to_multiple_of, return_tensors, return_attention_mask and return_token_type_ids."
            )
        if not add_special_tokens:
            raise ValueError("A sequence of items starts with <s>; for an item's bare tokens use encode_item(item).")
        if max_length is not None and max_length < 1:
            raise ValueError(f"max_length must be at least 1 (<s>), got {max_length}.")
        padding_strategy, truncation_strategy, length, _ = self._get_padding_truncation_strategies(
            padding=padding,
            truncation=truncation,
            max_length=self.max_token_num if max_length is None else max_length,
            pad_to_multiple_of=None if max_length is None else pad_to_multiple_of,
            verbose=verbose and max_length is not None,
        )
        limit = self.max_token_num
        if truncation_strategy.value != "do_not_truncate":
            limit = min(length, limit)

        histories, places = as_histories(data)
        sequences = self._encode_histories(histories, places, limit)
        unwanted = {
            name
            for name, wanted in (("token_type_ids", return_token_type_ids), ("attention_mask", return_attention_mask))
            if wanted is False
        }
        names = [name for name in self.model_input_names if name not in unwanted]
        batch: Any = {name: [sequence[name] for sequence in sequences] for name in names}
        if padding_strategy is not PaddingStrategy.DO_NOT_PAD:
            batch = self.pad(
                batch,
                padding=padding_strategy,
                max_length=length,
                pad_to_multiple_of=pad_to_multiple_of,
                padding_side=padding_side,
                return_attention_mask="attention_mask" in names,
                verbose=False,
            )
        if return_tensors is None and not is_batch(data):
            batch = {name: values[0] for name, values in batch.items()}
        return BatchEncoding(dict(batch), tensor_type=return_tensors)

    def _encode_histories(
        self, histories: Sequence[Sequence[Any]], places: Sequence[Place], limit: int
    ) -> list[dict[str, list[int]]]:
        """Sequences of at most `limit` tokens. Only items that can be kept are tokenized; all of them are checked.

        Args:
            histories: lists of item dictionaries, oldest first.
            places: what errors call each history.
            limit (`int`): tokens of a sequence, `<s>` included.
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
        with renumbered(lambda place: kept[place.item or 0]):
            encoded = iter(self._encode_attributes(rows))
        return [self._join_items(list(islice(encoded, count)), limit) for count in counts]

    def _join_items(self, items: Sequence[EncodedItem] | EncodedItems, limit: int) -> dict[str, list[int]]:
        if len(items) == 0:
            raise ValueError("The history is empty; a history needs at least one item.")
        bos = self.cls_token_id if self.bos_token_id is None else self.bos_token_id
        if bos is None:
            raise ValueError(
                "The tokenizer has neither a BOS nor a CLS token, and every sequence starts with one. Name it: "
                "RecformerTokenizer.from_pretrained(..., bos_token='<s>')."
            )
        input_ids, token_type_ids, item_position_ids = [bos], [BOS_TYPE], [0]
        for position in range(1, min(len(items), self.max_item_embeddings - 1) + 1):
            room = limit - len(input_ids)
            if room <= 0:
                break
            item = items[-position]
            if not isinstance(item, EncodedItem):
                raise TypeError(
                    f"encode_history takes encoded items, got {type(item).__name__}. Encode them first: "
                    "tokenizer.encode_history(tokenizer.encode_items(items)), or call tokenizer(items)."
                )
            ids = item.input_ids[:room].tolist()
            input_ids += ids
            token_type_ids += item.token_type_ids[:room].tolist()
            item_position_ids += [position] * len(ids)
        return {
            "input_ids": input_ids,
            "token_type_ids": token_type_ids,
            "item_position_ids": item_position_ids,
            "attention_mask": [1] * len(input_ids),
        }

    def _encode_attributes(self, rows: Sequence[list[tuple[str, str]]]) -> EncodedItems:
        """Tokenizes items given as lists of (key, value) texts; each distinct text once."""
        numbers_of: dict[str, int] = {}
        texts_of_rows = [numbers_of.setdefault(text, len(numbers_of)) for row in rows for pair in row for text in pair]
        flat, starts, lengths = self._encode_texts(list(numbers_of))

        # Keys stand at even places, values at odd ones; a value gets what its key leaves of the attribute's tokens.
        text = np.array(texts_of_rows, dtype=np.int64)
        kept = lengths[text]
        kept[1::2] = np.minimum(kept[1::2], self.max_attr_length - kept[0::2])
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])
        source = np.arange(bounds[-1]) + np.repeat(starts[text] - bounds[:-1], kept)
        types = np.tile(np.array([KEY_TYPE, VALUE_TYPE], dtype=np.uint8), len(text) // 2)
        attributes_before = np.cumsum([0] + [len(row) for row in rows])
        offsets = bounds[2 * attributes_before]
        if (empty := np.flatnonzero(np.diff(offsets) == 0)).size:
            row = int(empty[0])
            problem = f"gives no tokens: {reprlib.repr(dict(rows[row]))}. Give it an attribute with text."
            raise ValueError(PlacedText(Place(row), problem))
        return EncodedItems(flat[source], np.repeat(types, kept), offsets)

    def _encode_texts(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First `max_attr_length` ids of each text: flat ids int32, starts int64 `[len(texts)]`, lengths int64."""
        backend = self._get_item_backend()
        ids: list[int] = []
        lengths: list[int] = []
        for start in range(0, len(texts), _TEXTS_PER_CALL):
            chunk = texts[start : start + _TEXTS_PER_CALL]
            for encoding in backend.encode_batch_fast(chunk, add_special_tokens=False):
                kept = encoding.ids[: self.max_attr_length]
                ids += kept
                lengths.append(len(kept))
        sizes = np.array(lengths, dtype=np.int64)
        return np.array(ids, dtype=np.int32), np.cumsum(sizes) - sizes, sizes

    def _get_item_backend(self) -> Tokenizer:
        """The Rust tokenizer of item text: a copy that cannot see special tokens, made again when tokens are added.

        A copy, because the switch that transformers uses (`encode_special_tokens`) is state of the one backend that
        text mode uses too, perhaps in another thread; and because it is not enough: a Unigram vocabulary holds "<s>" as
        a piece that text can match.
        """
        backend, specials = self.backend_tokenizer, tuple(self.all_special_tokens)
        key = (backend, backend.get_vocab_size(), specials)
        cached = self.__dict__.get("_item_backend")
        if cached is None or cached[0] != key:
            cached = self.__dict__["_item_backend"] = (key, without_special_tokens(backend, set(specials)))
        return cached[1]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_item_backend"}

    def _encode_plus(self, text: Any, *args: Any, **kwargs: Any) -> BatchEncoding:
        if kwargs.get("return_token_type_ids") is None:
            kwargs["return_token_type_ids"] = "token_type_ids" in self.text_input_names
        return super()._encode_plus(text, *args, **kwargs)

    def _pad(
        self,
        encoded_inputs: Any,
        max_length: int | None = None,
        padding_strategy: PaddingStrategy = PaddingStrategy.DO_NOT_PAD,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
    ) -> Any:
        """Pads one sequence: item encodings get token type 3 and the last item position, text is padded as ever."""
        is_items = "item_position_ids" in encoded_inputs
        side = padding_side or self.padding_side
        if is_items and side != "right" and padding_strategy is not PaddingStrategy.DO_NOT_PAD:
            raise ValueError(
                f"Items are padded on the right, got padding_side={side!r}: the first token of a sequence is its "
                "global <s>. Set tokenizer.padding_side = 'right'."
            )
        length = len(encoded_inputs["input_ids"])
        padded = super()._pad(
            encoded_inputs, max_length, padding_strategy, pad_to_multiple_of, padding_side, return_attention_mask
        )
        if is_items:
            added = len(padded["input_ids"]) - length
            padded["item_position_ids"] = list(padded["item_position_ids"]) + [self.max_item_embeddings - 1] * added
            if "token_type_ids" in padded:
                padded["token_type_ids"] = list(padded["token_type_ids"])[:length] + [PADDING_TYPE] * added
        return padded


def _checked_limit(name: str, value: Any) -> int:
    smallest = _LIMITS[name][1]
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < smallest:
        raise ValueError(f"{name} must be an integer of at least {smallest}, got {value!r}.")
    return int(value)


__all__ = ["EncodedItem", "EncodedItems", "RecformerTokenizer"]
