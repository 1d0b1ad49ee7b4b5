"""Vectors of items and of histories: tokenized, sorted by length, packed, encoded, and put back in order."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from transformers.utils import logging

from ..encoder.inputs import check_range
from ..encoder.packing import length_sorted_batches, pack_items, pack_sequences
from ..items.arrow import ITEM_ID
from ..items.catalog import ItemCatalog, as_catalog
from ..items.frames import frame_kind
from ..items.places import Place, PlacedText, renumbered
from ..tokenizing.check_tokenizer import check_tokenizer
from .histories import HistoryResolver, given_id
from .protocols import EncodingModel, Entry, FlatItems, ItemTokenizer, RecommendingModel
from .read_rows import read_rows

HISTORY_BLOCK = 1024
"""Histories that are tokenized, and sorted by length, together."""

PROGRESS_FROM = 512
"""The number of items or histories from which a progress bar is shown."""


NOT_FINITE = (
    "got a vector with NaN or infinite values. The model's weights are not finite, or too large for its dtype: load "
    "the checkpoint again, in float32 or bfloat16 instead of float16, or an earlier one."
)

_PACKED = ("input_ids", "token_type_ids", "item_position_ids")

_MODES_LOCK = threading.Lock()
_BLOCKS_OF: dict[nn.Module, int] = {}
"""The modules that [`evaluating`] took out of training, and how many of its blocks they are in."""


class HasModules(Protocol):
    """An `nn.Module`."""

    def modules(self) -> Iterator[nn.Module]: ...
    def eval(self) -> Any: ...


class EncodedHistories(NamedTuple):
    """A block of histories.

    Args:
        vectors (`Tensor`, float32 `[num_histories, vector_size]`): their vectors, on the CPU.
        rows: for each history, the catalogue's row of every item, and -1 for each one that was given as a dictionary.
        described: for each history, the items that were given as dictionaries.
    """

    vectors: Tensor
    rows: list[list[int]]
    described: list[list[dict[str, str]]]


def encode_items(
    model: EncodingModel,
    items: Iterable[Any] | FlatItems,
    tokenizer: ItemTokenizer,
    max_tokens: int = 8192,
    progress: bool | None = None,
) -> Tensor:
    """Vectors of items, float32 `[num_items, hidden_size]` on the CPU; see `RecformerForSeqRec.encode_items`."""
    check_tokenizer(tokenizer)
    if frame_kind(items) is not None:
        items = as_catalog(items)  # type: ignore[arg-type]
    elif isinstance(items, (list, tuple)) and any(isinstance(item, Mapping) and ITEM_ID in item for item in items):
        items = [given_id(item, Place(i))[1] if isinstance(item, Mapping) else item for i, item in enumerate(items)]
    encoded: Any = items if hasattr(items, "offsets") else tokenizer.encode_items(items)
    ids = items.ids if isinstance(items, ItemCatalog) else None
    limit = model.config.max_token_num
    firsts = first_of_equal(encoded, limit)
    rows = np.flatnonzero(firsts == np.arange(len(firsts)))
    lengths = np.minimum(np.diff(encoded.offsets) + 1, limit)[rows]
    first_token = tokenizer.cls_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    with _progress_bar(len(rows), "Encoding items", "item", progress) as bar:
        vectors = _encode_packed(
            model, lengths, lambda places: pack_items(encoded, rows[places], first_token, limit), max_tokens, bar,
            lambda i: Place(int(rows[i])) if ids is None else f"Item {ids[rows[i]]!r} (row {rows[i]})",
        )  # fmt: skip
    if len(rows) < len(firsts):
        vectors = vectors[torch.from_numpy(np.searchsorted(rows, firsts))]
    return vectors


def encode_histories(
    model: RecommendingModel,
    catalog: ItemCatalog | None,
    histories: Sequence[Sequence[Entry]],
    tokenizer: ItemTokenizer | None,
    max_tokens: int = 8192,
    progress: bool | None = None,
) -> Iterator[EncodedHistories]:
    """The vectors of histories, block by block.

    An error names the history by its index in `histories`; see [`the_only_history`] for a single one.

    Args:
        model: the encoder, and the head if that reads histories.
        catalog: where ids are looked up. None: histories may hold dictionaries only.
        histories, tokenizer, max_tokens, progress: as in `RecformerForSeqRec.encode_histories`.

    Yields:
        [`EncodedHistories`] of at most `HISTORY_BLOCK` histories, in order.
    """
    resolver = HistoryResolver(catalog, read_texts=model.config.sequence_head != "two_level")
    with _progress_bar(len(histories), "Encoding histories", "history", progress) as bar:
        for start in range(0, len(histories), HISTORY_BLOCK):
            block = histories[start : start + HISTORY_BLOCK]
            with renumbered(partial(Place.moved, histories=start)):
                texts, rows = resolver.resolve(block)
                yield encode_resolved(model, texts, rows, tokenizer, max_tokens, bar)


def encode_resolved(
    model: RecommendingModel,
    texts: list[list[dict[str, str]]],
    rows: list[list[int]],
    tokenizer: ItemTokenizer | None,
    max_tokens: int = 8192,
    bar: Any = None,
) -> EncodedHistories:
    """The vectors of histories whose items were looked up.

    Args:
        model, tokenizer, max_tokens: as in [`encode_histories`].
        texts, rows: what [`HistoryResolver.resolve`] returned.
        bar: the progress bar to move, if there is one.
    """
    bar = logging.tqdm(disable=True) if bar is None else bar
    if model.config.sequence_head == "two_level":
        vectors = _read_items(model, texts, rows, tokenizer, max_tokens)
        bar.update(len(texts))
    else:
        assert tokenizer is not None
        vectors = _encode_texts(model, texts, tokenizer, max_tokens, bar)
    described = [
        [item for item, row in zip(items, history, strict=True) if row < 0]
        for items, history in zip(texts, rows, strict=True)
    ]
    return EncodedHistories(vectors, rows, described)


def the_only_history(place: Place) -> Place:
    """Where just one history was passed, errors do not number it."""
    return Place(place.item, "only")


def check_needed_tokenizer(model: RecommendingModel, tokenizer: object) -> None:
    """Raises TypeError unless this is a tokenizer, or None for a model whose head reads item vectors."""
    if tokenizer is not None or model.config.sequence_head == "flat":
        check_tokenizer(tokenizer)


def vectors_of_new_items(model: RecommendingModel, embeddings: Tensor) -> Tensor:
    """What `model.item_vectors` would be of items that training has not seen, so that their residuals are zeros.

    Args:
        model: with the projection, if there is one.
        embeddings (`Tensor`, float32 `[num_items, hidden_size]`): vectors of their texts, on any device.

    Returns:
        float32 `[num_items, vector_size]`, on the device of the model's items.
    """
    residuals = model.item_residuals
    with torch.no_grad():
        embeddings = embeddings.to(model.item_embeddings.device)
        new = None if residuals is None else residuals.new_zeros(len(embeddings), residuals.shape[1])
        return model.scoring_head.item_vectors(embeddings, new)


def _read_items(
    model: RecommendingModel,
    texts: list[list[dict[str, str]]],
    rows: list[list[int]],
    tokenizer: ItemTokenizer | None,
    max_tokens: int,
) -> Tensor:
    """Vectors of histories by the two-level head, float32 `[num_histories, vector_size]` on the CPU.

    Args:
        texts, rows: what [`HistoryResolver.resolve`] returned. Items without a row are encoded.
    """
    newest = model.config.max_item_embeddings - 1
    known = sorted({row for history in rows for row in history[-newest:] if row >= 0})
    # Only the vectors of these histories, because a copy of the whole catalogue's could be large.
    items = model.item_vectors.detach()[torch.tensor(known, dtype=torch.int64).to(model.item_embeddings.device)]
    places, given = [], []
    for history, entries in enumerate(rows):
        for item in range(max(0, len(entries) - newest), len(entries)):
            if entries[item] < 0:
                places.append(Place(item, history))
                given.append(texts[history][item])
    if given:
        if tokenizer is None:
            problem = "is given by its attributes, so it has to be encoded: pass the tokenizer too."
            raise ValueError(PlacedText(places[0], problem))
        with renumbered(lambda place: place if place.item is None else places[place.item]):
            encoded = encode_items(model, given, tokenizer, max_tokens, False)
        items = torch.cat([items, vectors_of_new_items(model, encoded)])
    place_of = {row: place for place, row in enumerate(known)}
    new = iter(range(len(known), len(items)))
    found = [[place_of[row] if row >= 0 else next(new) for row in history[-newest:]] for history in rows]
    with evaluating(model):
        return read_rows(model.scoring_head, found, items, max_tokens).cpu()


def _encode_texts(
    model: EncodingModel, texts: list[list[dict[str, str]]], tokenizer: ItemTokenizer, max_tokens: int, bar: Any
) -> Tensor:
    """Vectors of histories whose items are dictionaries."""
    limit = min(tokenizer.max_token_num, model.config.max_token_num)
    newest = model.config.max_item_embeddings - 1
    # Cut here, so that the tokenizer need not check the old items of long histories once more.
    skipped = [max(0, len(text) - newest) for text in texts]
    with renumbered(lambda place: place.moved(items=skipped[int(place.history or 0)])):
        sequences = _tokenized([text[-newest:] for text in texts], tokenizer, limit)
    lengths = np.array([len(sequence["input_ids"]) for sequence in sequences])
    return _encode_packed(
        model, lengths, lambda rows: pack_sequences([sequences[row] for row in rows]), max_tokens, bar,
        lambda row: Place(history=row),
    )  # fmt: skip


def _tokenized(texts: list[list[dict[str, str]]], tokenizer: ItemTokenizer, limit: int) -> list[dict[str, list[int]]]:
    """Sequences of at most `limit` tokens."""
    encode = getattr(tokenizer, "_encode_placed", None)
    if encode is not None:
        sequences: list[dict[str, list[int]]] = encode(texts, [Place(history=h) for h in range(len(texts))], limit)
        return sequences
    # The tokenizer of a checkpoint that an earlier version saved with its code has the public call only.
    batch = tokenizer(texts, truncation=True, max_length=limit, padding=False, return_tensors=None)
    return [{name: batch[name][row] for name in _PACKED} for row in range(len(texts))]


@torch.no_grad()
def _encode_packed(
    model: EncodingModel,
    lengths: np.ndarray,
    pack: Callable[[np.ndarray], dict[str, Tensor]],
    max_tokens: int,
    bar: Any,
    place: Callable[[int], object],
) -> Tensor:
    """Vectors of the sequences that `pack` returns, float32 `[num_sequences, hidden_size]` on the CPU.

    Raises:
        ValueError: if a vector is not finite. The message names the place of its sequence.
    """
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, (int, np.integer)) or max_tokens < 1:
        raise ValueError(f"max_tokens must be a whole number of at least 1, got {max_tokens!r}.")
    vectors = torch.empty(len(lengths), model.config.hidden_size, dtype=torch.float32, device="cpu")
    with evaluating(model):
        for rows in length_sorted_batches(lengths, max_tokens):
            batch = pack(rows)
            # The model does not look at values on an accelerator, so the ids are checked while they are on the CPU.
            check_range("input_ids of this tokenizer", batch["input_ids"], model.config.vocab_size, "vocab_size")
            bounds = batch.pop("cu_seqlens")  # stays on the CPU, where reading it does not wait for the device
            on_device = {name: value.to(model.device) for name, value in batch.items()}
            pooled = model.recformer(**on_device, cu_seqlens=bounds, pooled_only=True, return_dict=True).pooler_output
            vectors[torch.from_numpy(rows)] = pooled.float().cpu()
            bar.update(len(rows))
        wrong = (~vectors.isfinite().all(1)).nonzero()[:, 0].tolist()
        # NaN of one sequence spreads to those packed beside it, so the sequences are encoded alone to tell which it is.
        for row in wrong:
            if len(lengths) == 1 or row == wrong[-1] or not _is_finite_alone(model, lengths, pack, row, bar):
                raise ValueError(PlacedText(place(row), NOT_FINITE))
    return vectors


def _is_finite_alone(
    model: EncodingModel, lengths: np.ndarray, pack: Callable[[np.ndarray], dict[str, Tensor]], row: int, bar: Any
) -> bool:
    try:
        _encode_packed(model, lengths[[row]], lambda _: pack(np.array([row])), 1, bar, lambda _: row)
    except ValueError:
        return False
    return True


def _progress_bar(total: int, label: str, unit: str, progress: bool | None) -> Any:
    show = total >= PROGRESS_FROM if progress is None else progress
    return logging.tqdm(total=total, desc=label, unit=unit, disable=not show)


def first_of_equal(encoded: FlatItems, max_token_num: int) -> np.ndarray:
    """For each item, the first item that is the same to a model: itself, or an earlier one with equal tokens and types.

    The encoder's output for equal sequences differs by rounding, which depends on their neighbours in the packed batch.
    So equal items are encoded once, or scores that should tie would not.

    Args:
        encoded: what `RecformerTokenizer.encode_items` returns.
        max_token_num (`int`): tokens of a sequence, `<s>` included; tokens after that make no difference.

    Returns:
        int64 `[num_items]`, rows.
    """
    ids, types, offsets = (np.asarray(getattr(encoded, name)) for name in ("input_ids", "token_type_ids", "offsets"))
    starts = offsets[:-1]
    stops = np.minimum(offsets[1:], starts + max_token_num - 1)
    found: dict[bytes, int] = {}  # keyed by a digest, because the tokens themselves would take several times the memory
    firsts = np.empty(len(starts), dtype=np.int64)
    for row, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        tokens = ids[start:stop].tobytes() + types[start:stop].tobytes()
        firsts[row] = found.setdefault(hashlib.blake2b(tokens, digest_size=16).digest(), row)
    return firsts


def equal_rows(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """The rows that are equal to an earlier one, and the first row that each is equal to.

    A matrix product may round the scores of equal vectors differently, depending on where they stand. To make them tie:
    `scores[:, rows] = scores[:, firsts]`.

    Args:
        vectors (`Tensor`, float32 `[num_items, hidden_size]`): on any device.

    Returns:
        two tensors, int64 `[num_rows]`, on the same device.
    """
    vectors = vectors.detach()
    if hasattr(vectors, "full_tensor"):  # sharded over processes
        vectors = vectors.full_tensor()
    # Few different vectors agree in their first two components, and only the rows that do are compared in full.
    starts = vectors[:, :2].cpu().contiguous().numpy()
    _, inverse, counts = np.unique(starts.view(f"V{4 * starts.shape[1]}"), return_inverse=True, return_counts=True)
    shared = np.flatnonzero(counts[inverse.reshape(-1)] > 1)
    whole = vectors[torch.from_numpy(shared).to(vectors.device)].cpu().contiguous().numpy()
    _, index, inverse = np.unique(whole.view(f"V{4 * whole.shape[1]}")[:, 0], return_index=True, return_inverse=True)
    firsts = shared[index[inverse.reshape(-1)]]
    repeated = firsts != shared
    found = torch.from_numpy(np.stack([shared[repeated], firsts[repeated]])).to(vectors.device)
    return found[0], found[1]


@contextmanager
def evaluating(model: HasModules) -> Iterator[None]:
    """Puts a model into evaluation mode for the block; afterwards every module is in its own mode again.

    Several threads may share modules: those that were in training return to it when the last block ends.
    """
    with _MODES_LOCK:
        mine = [module for module in model.modules() if module.training or module in _BLOCKS_OF]
        for module in mine:
            _BLOCKS_OF[module] = _BLOCKS_OF.get(module, 0) + 1
        if mine:  # a call of `eval` makes the model compute its item vectors anew
            model.eval()
    try:
        yield
    finally:
        with _MODES_LOCK:
            for module in mine:
                _BLOCKS_OF[module] -= 1
                if not _BLOCKS_OF[module]:
                    del _BLOCKS_OF[module]
                    module.training = True


def as_asked(vectors: Tensor, return_tensors: str) -> Any:
    """A tensor on the CPU as torch (`"pt"`) or numpy (`"np"`) array."""
    if return_tensors not in ("pt", "np"):
        raise ValueError(f"return_tensors is {return_tensors!r}; expected 'pt' or 'np'.")
    return vectors if return_tensors == "pt" else vectors.numpy()


__all__ = [
    "EncodedHistories",
    "as_asked",
    "check_needed_tokenizer",
    "encode_histories",
    "encode_items",
    "encode_resolved",
    "equal_rows",
    "evaluating",
    "first_of_equal",
    "the_only_history",
    "vectors_of_new_items",
]
