"""`TokenizedCatalog`: every item of a catalogue tokenized once, in flat arrays that processes share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]
from transformers.utils import logging

from ..items.catalog import ItemCatalog
from ..storage.atomic import atomic_folder
from ..tokenization_recformer import EncodedItem, RecformerTokenizer
from ..tokenizing.tokenizer_fingerprint import tokenizer_fingerprint
from .sequences import whole_number

logger = logging.get_logger(__name__)

FORMAT = 1
"""Version of the files; `build` tokenizes again if it finds a folder of another version."""

_ARRAYS = ("input_ids", "token_type_ids", "word_starts", "offsets")
_META = "meta.json"
_PROGRESS_FROM = 10_000
"""Number of items from which tokenizing takes long enough for a progress bar."""


class TokenizedCatalog:
    """The items of a catalogue as token ids, in order of rows; a history is a concatenation of its slices.

    It has the attributes of [`EncodedItems`], so that `model.encode_items` accepts it, and also knows where words
    begin. Create it with [`~TokenizedCatalog.build`]. If it was opened from disk, the arrays are memory-mapped and
    pickling stores only the path, so that workers and processes of a machine share one copy.

    Args:
        input_ids (uint16 or int32 `[total_tokens]`): token ids without special tokens; uint16 if the vocabulary
            fits, which halves the memory and costs nothing, because every batch is widened to int64 anyway.
        token_type_ids (uint8 `[total_tokens]`): 1 for keys, 2 for values.
        word_starts (bool `[total_tokens]`): where a word begins, for whole-word masking.
        offsets (int64 `[num_items + 1]`): item i is `[offsets[i], offsets[i + 1])`.
        catalog_fingerprint, tokenizer_fingerprint (`str`): identify the catalogue and the tokenizer that the arrays
            come from.
        path (`Path`, *optional*): the folder that the arrays are mapped from.

    Raises:
        ValueError: if the arrays have other types or lengths, or the offsets do not cut the tokens into items.
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
        _check_arrays(input_ids, token_type_ids, word_starts, offsets)
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
        """Tokenizes a catalogue, or opens the result of an earlier call with the same catalogue and tokenizer.

        In `cache_dir` every pair of catalogue and tokenizer has a folder named by their fingerprints, so that a change
        of either leads to another folder. Several processes may call this at once: one tokenizes, the others wait for
        it and open the result. The folder is written completely or not at all; if it cannot be opened (truncated,
        edited), the catalogue is tokenized again.

        Args:
            catalog: the items.
            tokenizer: turns them into tokens.
            cache_dir: parent of these folders; `None` keeps the arrays in memory.
            progress: whether to show a progress bar; by default from 10,000 items.

        Raises:
            ValueError: if the catalogue has no items, or `tokenizer.encode_items` refuses one of them.
            OSError: if the files cannot be written, for example to a full disk; no partial folder is left behind.
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
            # Another process may have written it in the meantime. Only the one that holds the lock reports damage.
            opened = cls._open_if_good(folder, log=True)
            if opened is None:
                cls._tokenize(catalog, tokenizer, fingerprint, progress).save(folder)
                opened = cls.open(folder)
        return opened

    @classmethod
    def from_items(
        cls, items: Iterable[Mapping[str, Any]], tokenizer: RecformerTokenizer, progress: bool = False
    ) -> TokenizedCatalog:
        """Tokenizes item dictionaries in memory. Arguments and errors are those of `tokenizer.encode_items`."""
        encoded = tokenizer.encode_items(items, progress=progress)
        if len(encoded) == 0:
            raise ValueError("The catalogue has no items; a tokenized catalogue holds at least one.")
        types, offsets = encoded.token_type_ids, encoded.offsets
        starts = tokenizer.word_start_mask()[encoded.input_ids]
        # Each key and each value was tokenized as a separate text, so its first token always begins a word.
        starts[1:] |= types[1:] != types[:-1]
        starts[offsets[:-1]] = True
        dtype = np.uint16 if len(tokenizer) <= 2**16 else np.int32
        return cls(encoded.input_ids.astype(dtype), types, starts, offsets, "", tokenizer_fingerprint(tokenizer))

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> TokenizedCatalog:
        """Memory-maps a tokenized catalogue that was saved to a folder.

        Raises:
            FileNotFoundError: if the folder has none.
            ValueError: if its files do not fit together or have another version.
        """
        folder = Path(folder)
        if not (folder / _META).is_file():
            raise FileNotFoundError(f"No tokenized catalogue in {folder}: it has no {_META}.")
        try:
            meta = json.loads((folder / _META).read_text(encoding="utf-8"))
            if meta["format"] != FORMAT:
                raise ValueError(f"format {meta['format']}, expected {FORMAT}")
            arrays: dict[str, Any] = {name: _mapped(folder / f"{name}.npy") for name in _ARRAYS}
            sizes = {name: len(array) for name, array in arrays.items()}
            expected = dict.fromkeys(_ARRAYS, meta["num_tokens"]) | {"offsets": meta["num_items"] + 1}
            if sizes != expected:
                raise ValueError(f"sizes {sizes}, expected {expected}")
            return cls(
                **arrays,
                catalog_fingerprint=str(meta["catalog"]),
                tokenizer_fingerprint=str(meta["tokenizer"]),
                path=folder,
            )
        except (OSError, EOFError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"The tokenized catalogue in {folder} is damaged or of another version ({error}). Remove the folder, "
                "or call TokenizedCatalog.build, which tokenizes again."
            ) from error

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the arrays to a folder, completely or not at all; replaces a tokenized catalogue that it holds.

        Raises:
            OSError: if the folder cannot be written; its earlier content stays.
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
            IndexError: if the catalogue has no such row.
            TypeError: if `row` is not a whole number.
        """
        row = whole_number(row, "A row of a catalogue")
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
                logger.warning(f"{error} Tokenizing it again now.")
            return None


def _mapped(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (SyntaxError, TokenError) as error:  # numpy reads a file's header as a Python literal
        raise ValueError(f"{path.name} has no readable header: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim != 1:
        raise ValueError(f"{path.name} is not an array of one dimension")
    # A plain array, because np.memmap's own class makes every slice and index slower.
    return np.asarray(array)


def _check_arrays(
    input_ids: np.ndarray, token_type_ids: np.ndarray, word_starts: np.ndarray, offsets: np.ndarray
) -> None:
    """Everything that composing batches relies on; a few milliseconds for a million items."""
    kinds = {
        "input_ids": (input_ids, "iu", "integers"),
        "token_type_ids": (token_type_ids, "iu", "integers"),
        "word_starts": (word_starts, "b", "truth values"),
        "offsets": (offsets, "i", "signed integers"),
    }
    for name, (array, kind, expected) in kinds.items():
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind not in kind:
            found = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
            raise ValueError(f"{name} is {found}; expected {expected} in one dimension")
    total = len(input_ids)
    if len(token_type_ids) != total or len(word_starts) != total:
        raise ValueError(f"{total} input_ids, {len(token_type_ids)} token_type_ids, {len(word_starts)} word_starts")
    ends = offsets[[0, -1]].tolist() if len(offsets) > 1 else []
    if ends != [0, total] or (offsets[1:] < offsets[:-1]).any():
        raise ValueError(f"the offsets do not cut {total} tokens into {max(len(offsets) - 1, 0)} items")
    if total and (input_ids.min() < 0 or token_type_ids.min() < 1 or token_type_ids.max() > 2):
        raise ValueError("negative token ids, or token types other than 1 (keys) and 2 (values)")


__all__ = ["TokenizedCatalog", "tokenizer_fingerprint"]
