"""Vectors of items and of histories: tokenized, sorted by length, packed, encoded, in the order they came."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers.utils import logging

from ..encoder.inputs import check_range
from ..encoder.packing import length_sorted_batches, pack_items, pack_sequences
from .histories import HistoryResolver

HISTORY_BLOCK = 1024
"""Histories that are tokenized, and sorted by length, at once."""

PROGRESS_FROM = 512
"""Items or histories from which on a progress bar is shown."""

Where = Callable[[int, "int | None"], str]
"""What errors call item i of history h, or, with None, the history."""

if TYPE_CHECKING:
    from transformers import PreTrainedModel as _Model
else:
    _Model = object


class EncodingMixin(_Model):
    """`encode_items` and `encode_histories` of a model whose encoder is `recformer`."""

    config: Any
    recformer: Any
    catalog: Any

    def encode_items(
        self,
        items: Iterable[Any],
        tokenizer: Any,
        max_tokens: int = 8192,
        progress: bool | None = None,
        return_tensors: Literal["pt", "np"] = "pt",
    ) -> Any:
        """Vectors of items: each item alone behind `<s>`, through the same encoder as histories.

        Args:
            items: item dictionaries, an `ItemCatalog`, or what `tokenizer.encode_items` made of them.
            tokenizer: a `RecformerTokenizer`.
            max_tokens (`int`): tokens of one forward. Items are sorted by length and packed, so that no padding is
                computed.
            progress (`bool`): whether to show a bar; if left out, from 512 items on.
            return_tensors: `"pt"` for torch, `"np"` for numpy.

        Returns:
            float32 `[num_items, hidden_size]` on the CPU, in the order of `items`. They are not normalised. Items that
            are the same tokens to the model are encoded once: their vectors are equal to the last bit.
        """
        encoded: Any = items if hasattr(items, "offsets") else tokenizer.encode_items(items)
        limit = self.config.max_token_num
        firsts = first_of_equal(encoded, limit)
        rows = np.flatnonzero(firsts == np.arange(len(firsts)))
        lengths = np.minimum(np.diff(encoded.offsets) + 1, limit)[rows]
        first_token = tokenizer.cls_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        with self._progress(len(rows), "Encoding items", "item", progress) as bar:
            vectors = self._encode_packed(
                lengths, lambda places: pack_items(encoded, rows[places], first_token, limit), max_tokens, bar
            )
        if len(rows) < len(firsts):
            vectors = vectors[torch.from_numpy(np.searchsorted(rows, firsts))]
        return as_asked(vectors, return_tensors)

    def encode_histories(
        self,
        histories: Sequence[Any],
        tokenizer: Any,
        max_tokens: int = 8192,
        progress: bool | None = None,
        return_tensors: Literal["pt", "np"] = "pt",
    ) -> Any:
        """Vectors of histories.

        Args:
            histories: a list of histories; each a list of items, oldest first: dictionaries of attributes, ids of the
                attached catalogue, or a mix. The newest `max_item_embeddings - 1` items count.
            tokenizer: a `RecformerTokenizer`.
            max_tokens (`int`): tokens of one forward; a longer history is a forward of its own.
            progress (`bool`): whether to show a bar; if left out, from 512 histories on.
            return_tensors: `"pt"` for torch, `"np"` for numpy.

        Returns:
            float32 `[num_histories, hidden_size]` on the CPU, in the order of `histories`. They are not normalised.

        Raises:
            TypeError, ValueError, UnknownItemError: for a history or an item that cannot be read; the message says
                which.
        """
        blocks = self._encoded_blocks(histories, tokenizer, max_tokens, progress)
        empty = torch.zeros(0, self.config.hidden_size, device="cpu")
        return as_asked(torch.cat([empty, *(vectors for _, vectors, _, _ in blocks)]), return_tensors)

    def _encoded_blocks(
        self,
        histories: Sequence[Any],
        tokenizer: Any,
        max_tokens: int,
        progress: bool | None,
        number_from: int | None = None,
    ) -> Iterator[tuple[int, Tensor, list[list[int]], list[list[dict[str, str]]]]]:
        """Blocks of histories: number of the first, vectors, each history's rows and dictionaries."""
        check_batch(histories)
        where = _one if number_from is None and len(histories) == 1 else _shifted(_of_many, number_from or 0)
        resolver = HistoryResolver(self.catalog)
        limit = min(tokenizer.max_token_num, self.config.max_token_num)
        newest = self.config.max_item_embeddings - 1
        with self._progress(len(histories), "Encoding histories", "history", progress) as bar:
            for start in range(0, len(histories), HISTORY_BLOCK):
                here = _shifted(where, start)
                texts, rows = resolver.resolve(histories[start : start + HISTORY_BLOCK], here)
                cut = _shifted(here, 0, [max(0, len(text) - newest) for text in texts])
                sequences = tokenizer._encode_histories([text[-newest:] for text in texts], cut, limit)
                lengths = np.array([len(sequence["input_ids"]) for sequence in sequences])
                vectors = self._encode_packed(lengths, partial(_pack_rows, sequences), max_tokens, bar)
                known = [[row for row in history if row >= 0] for history in rows]
                described = [
                    [item for item, row in zip(items, history, strict=True) if row < 0]
                    for items, history in zip(texts, rows, strict=True)
                ]
                yield start, vectors, known, described

    @torch.no_grad()
    def _encode_packed(
        self, lengths: np.ndarray, pack: Callable[[np.ndarray], dict[str, Tensor]], max_tokens: int, bar: Any
    ) -> Tensor:
        """Vectors of the sequences that `pack` gives, float32 `[num_sequences, hidden_size]` on the CPU."""
        if max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, got {max_tokens}.")
        vectors = torch.empty(len(lengths), self.config.hidden_size, dtype=torch.float32, device="cpu")
        with evaluating(self):
            for rows in length_sorted_batches(lengths, max_tokens):
                batch = pack(rows)
                # Here, because on an accelerator nobody looks.
                check_range("input_ids of this tokenizer", batch["input_ids"], self.config.vocab_size, "vocab_size")
                bounds = batch.pop("cu_seqlens")  # stays on the CPU, where it can be read without waiting
                batch = {name: value.to(self.device) for name, value in batch.items()}
                pooled = self.recformer(**batch, cu_seqlens=bounds, pooled_only=True, return_dict=True).pooler_output
                vectors[torch.from_numpy(rows)] = pooled.float().cpu()
                bar.update(len(rows))
        return vectors

    def _progress(self, total: int, label: str, unit: str, progress: bool | None) -> Any:
        show = total >= PROGRESS_FROM if progress is None else progress
        return logging.tqdm(total=total, desc=label, unit=unit, disable=not show)


def first_of_equal(encoded: Any, max_token_num: int) -> np.ndarray:
    """For each item the first one that is the same to a model: itself, or an earlier one of equal tokens and types.

    Packed, equal sequences come out of the encoder equal but for rounding, which their neighbours in the batch decide:
    scores that should tie would not.

    Args:
        encoded: flat arrays as of `RecformerTokenizer.encode_items`.
        max_token_num (`int`): tokens of a sequence, `<s>` included; what is cut off makes no difference.

    Returns:
        int64 `[num_items]`, rows.
    """
    ids, types, offsets = (np.asarray(getattr(encoded, name)) for name in ("input_ids", "token_type_ids", "offsets"))
    starts = offsets[:-1]
    stops = np.minimum(offsets[1:], starts + max_token_num - 1)
    found: dict[bytes, int] = {}  # by a digest: as a key, an item's tokens would take several times the memory
    firsts = np.empty(len(starts), dtype=np.int64)
    for row, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        tokens = ids[start:stop].tobytes() + types[start:stop].tobytes()
        firsts[row] = found.setdefault(hashlib.blake2b(tokens, digest_size=16).digest(), row)
    return firsts


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode while the block runs; every module is in its own mode again afterwards."""
    in_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in in_training:
            module.training = True


def check_batch(histories: Any) -> None:
    """Raises TypeError unless this is a list of histories."""
    if not isinstance(histories, (list, tuple)):
        raise TypeError(f"Expected a list of histories, got a {type(histories).__name__}.")
    if histories and not any(isinstance(history, (list, tuple, np.ndarray)) for history in histories):
        raise TypeError(
            f"Expected a list of histories, each a list of items, got a list of {type(histories[0]).__name__}. One "
            "history is [history]."
        )


def _pack_rows(sequences: list[dict[str, list[int]]], rows: np.ndarray) -> dict[str, Tensor]:
    return pack_sequences([sequences[row] for row in rows])


def _one(_: int, i: int | None) -> str:
    return "The history" if i is None else f"Item {i} of the history"


def _of_many(h: int, i: int | None) -> str:
    return f"History {h}" if i is None else f"Item {i} of history {h}"


def _shifted(where: Where, history: int, items: Sequence[int] | None = None) -> Where:
    """What errors call item i of history h of a part, whose histories and items others came before."""

    def shifted(h: int, i: int | None) -> str:
        return where(h + history, i if i is None or items is None else i + items[h])

    return shifted


def as_asked(vectors: Tensor, return_tensors: str) -> Any:
    if return_tensors not in ("pt", "np"):
        raise ValueError(f"return_tensors is {return_tensors!r}; expected 'pt' or 'np'.")
    return vectors if return_tensors == "pt" else vectors.numpy()


__all__ = ["EncodingMixin"]
