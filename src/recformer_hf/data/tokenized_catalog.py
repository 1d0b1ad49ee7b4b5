"""`TokenizedCatalog`: every item of a catalogue tokenized once, in flat arrays that processes share."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from huggingface_hub.utils import WeakFileLock
from transformers.utils import logging

from ..storage.atomic import atomic_folder
from ..tokenization_recformer import EncodedItem

if TYPE_CHECKING:
    from ..items.catalog import ItemCatalog
    from ..tokenization_recformer import RecformerTokenizer

logger = logging.get_logger(__name__)

FORMAT = 1
"""Version of the files; a folder of another version is made again."""

_ARRAYS = ("input_ids", "token_type_ids", "word_starts", "offsets")
_META = "meta.json"
_PROGRESS_FROM = 10_000
"""Items from which on tokenizing takes long enough for a progress bar."""


class TokenizedCatalog:
    """The items of a catalogue as token ids, in order of rows; a history is a concatenation of its slices.

    It has the attributes of [`EncodedItems`] (so `model.encode_items` takes it), and where words begin. Made with
    [`~TokenizedCatalog.build`]; opened from disk, the arrays are memory-mapped, and pickling passes on the path alone,
    so that workers and processes of a machine share one copy.

    Args:
        input_ids (uint16 or int32 `[total_tokens]`): token ids without special tokens. uint16 where the vocabulary
            fits: half the memory, and every batch is widened to int64 anyway.
        token_type_ids (uint8 `[total_tokens]`): 1 for keys, 2 for values.
        word_starts (bool `[total_tokens]`): where a word begins, for whole-word masking.
        offsets (int64 `[num_items + 1]`): item i is `[offsets[i], offsets[i + 1])`.
        catalog_fingerprint, tokenizer_fingerprint (`str`): what the arrays were made from.
        path (`Path`, *optional*): the folder that they are mapped from.
    """

    def __init__(
        self,
        input_ids: np.ndarray,
        token_type_ids: np.ndarray,
        word_starts: np.ndarray,
        offsets: np.ndarray,
        catalog_fingerprint: str = "",
        tokenizer_fingerprint: str = "",
        path: Path | None = None,
    ) -> None:
        self.input_ids = input_ids
        self.token_type_ids = token_type_ids
        self.word_starts = word_starts
        self.offsets = offsets
        self.catalog_fingerprint = catalog_fingerprint
        self.tokenizer_fingerprint = tokenizer_fingerprint
        self.path = path

    @classmethod
    def build(
        cls,
        catalog: ItemCatalog,
        tokenizer: RecformerTokenizer,
        cache_dir: str | os.PathLike[str] | None = None,
        progress: bool | None = None,
    ) -> TokenizedCatalog:
        """Tokenizes a catalogue, or opens what an earlier call with the same catalogue and tokenizer left.

        In `cache_dir` every pair of catalogue and tokenizer has a folder named by their fingerprints; a change of
        either makes another. Several processes may call this at once: one tokenizes, the others wait for it and open
        the result. The folder appears whole or not at all; one that does not open (cut short, edited) is made again.

        Args:
            catalog: the items.
            tokenizer: how they become tokens.
            cache_dir: folder of the folders; `None` keeps the arrays in memory.
            progress: whether to show a bar; if left out, from 10,000 items on.

        Raises:
            ValueError: if the catalogue has no items, and what `tokenizer.encode_items` raises.
            OSError: if the files cannot be written (a full disk); nothing half-written stays.
        """
        fingerprint = tokenizer_fingerprint(tokenizer)
        if cache_dir is None:
            return cls._tokenize(catalog, tokenizer, fingerprint, progress)
        folder = Path(cache_dir) / f"{catalog.fingerprint[:20]}-{fingerprint[:20]}"
        opened = cls._open_if_good(folder)
        if opened is not None:
            return opened
        folder.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(folder.with_name(f".{folder.name}.lock")):
            opened = cls._open_if_good(folder, log=True)
            if opened is None:
                cls._tokenize(catalog, tokenizer, fingerprint, progress).save(folder)
                opened = cls.open(folder)
        return opened

    @classmethod
    def from_items(
        cls, items: Iterable[Mapping[str, Any]], tokenizer: RecformerTokenizer, progress: bool = False
    ) -> TokenizedCatalog:
        """Tokenizes item dictionaries, in memory. Arguments and errors as in `tokenizer.encode_items`."""
        encoded = tokenizer.encode_items(items, progress=progress)
        if len(encoded) == 0:
            raise ValueError("The catalogue has no items; a tokenized catalogue holds at least one.")
        types, offsets = encoded.token_type_ids, encoded.offsets
        starts = tokenizer.word_start_mask()[encoded.input_ids]
        # A key or value begins a word whatever its first token is: it was tokenized as a text of its own.
        starts[1:] |= types[1:] != types[:-1]
        starts[offsets[:-1]] = True
        dtype = np.uint16 if len(tokenizer) <= 2**16 else np.int32
        return cls(encoded.input_ids.astype(dtype), types, starts, offsets, "", tokenizer_fingerprint(tokenizer))

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> TokenizedCatalog:
        """Maps a saved tokenized catalogue into memory.

        Raises:
            FileNotFoundError: if there is none in the folder.
            ValueError: if its files do not fit together, or are of another version.
        """
        folder = Path(folder)
        if not (folder / _META).is_file():
            raise FileNotFoundError(f"No tokenized catalogue in {folder}: it has no {_META}.")
        try:
            meta = json.loads((folder / _META).read_text(encoding="utf-8"))
            if meta["format"] != FORMAT:
                raise ValueError(f"format {meta['format']}, expected {FORMAT}")
            # As plain arrays: np.memmap's own class makes every slice and index slower.
            arrays: dict[str, Any] = {
                name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in _ARRAYS
            }
            sizes = {name: len(array) for name, array in arrays.items()}
            expected = dict.fromkeys(_ARRAYS, meta["num_tokens"]) | {"offsets": meta["num_items"] + 1}
            if sizes != expected or arrays["offsets"][-1] != meta["num_tokens"]:
                raise ValueError(f"sizes {sizes}, expected {expected}")
            made_from = meta["catalog"], meta["tokenizer"]
            return cls(**arrays, catalog_fingerprint=made_from[0], tokenizer_fingerprint=made_from[1], path=folder)
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"The tokenized catalogue in {folder} is damaged or of another version ({error}). Remove the folder, "
                "or call TokenizedCatalog.build, which makes it again."
            ) from error

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the arrays to a folder, which appears whole or not at all; one of that name is replaced.

        Raises:
            OSError: if it cannot be written; what was there stays.
            FileExistsError: if the folder holds other files.
        """
        meta = {
            "format": FORMAT,
            "catalog": self.catalog_fingerprint,
            "tokenizer": self.tokenizer_fingerprint,
            "num_items": len(self),
            "num_tokens": len(self.input_ids),
        }
        files = (_META, *(f"{name}.npy" for name in _ARRAYS))
        with atomic_folder(folder, overwrite=True, replaceable=files) as temporary:
            for name in _ARRAYS:
                np.save(temporary / f"{name}.npy", getattr(self, name))
            (temporary / _META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each item, int64 `[num_items]`."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> EncodedItem:
        """One item's tokens.

        Raises:
            IndexError: if there is no such row.
        """
        if not -len(self) <= row < len(self):
            raise IndexError(f"No row {row} in a tokenized catalogue of {len(self):,} items.")
        row %= len(self)
        span = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        return EncodedItem(self.input_ids[span].astype(np.int32), self.token_type_ids[span])

    def __iter__(self) -> Iterator[EncodedItem]:
        return (self[row] for row in range(len(self)))

    def __reduce__(self) -> tuple[Callable[..., TokenizedCatalog], tuple[Any, ...]]:
        if self.path is not None:
            return TokenizedCatalog.open, (self.path,)
        arrays = (getattr(self, name) for name in _ARRAYS)
        return TokenizedCatalog, (*arrays, self.catalog_fingerprint, self.tokenizer_fingerprint)

    @classmethod
    def _tokenize(
        cls, catalog: ItemCatalog, tokenizer: RecformerTokenizer, fingerprint: str, progress: bool | None
    ) -> TokenizedCatalog:
        made = cls.from_items(catalog, tokenizer, len(catalog) >= _PROGRESS_FROM if progress is None else progress)
        made.catalog_fingerprint, made.tokenizer_fingerprint = catalog.fingerprint, fingerprint
        return made

    @classmethod
    def _open_if_good(cls, folder: Path, log: bool = False) -> TokenizedCatalog | None:
        try:
            return cls.open(folder)
        except FileNotFoundError:
            return None
        except ValueError as error:
            if log:
                logger.warning(f"{error} It is made again now.")
            return None


def tokenizer_fingerprint(tokenizer: RecformerTokenizer) -> str:
    """32 hexadecimal digits of what decides an item's tokens (BLAKE2b).

    That is `tokenizer.json` without its padding and truncation settings, which calls of the tokenizer change and items
    ignore, the special tokens, and the two limits of an item. The limits of a sequence (`max_item_embeddings`,
    `max_token_num`) are left out: they cut when a batch is composed.
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
