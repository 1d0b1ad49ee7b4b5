"""`Memory`: what simple counting knows of a shop, mixed with a model's scores."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..items.catalog_files import RepoType, download_file, saved_file
from ..storage.atomic import atomic_file
from .cooccurrence import cooccurrence
from .sparse_rows import SparseRows
from .text_index import TextIndex
from .text_neighbours import text_neighbours, updated_neighbours, whitened
from .weights import Candidates, Mixture, WeightProtocol, choose_mixture

MEMORY_FILE = "memory.safetensors"
"""Name of a saved memory, beside a model's files or alone."""

_FORMAT = "2"

_SCALED_FORMAT = "1"
"""In these files, the values of the part `text` were already multiplied by `cold_factor`."""

_COUNTS = "cooccurrence"

_TEXT = "text"
"""The part that is made of texts or vectors, not of sequences."""

_DIRECTED_WEIGHTS = (0.0, 2.0, 10.0, 30.0)
"""What is tried for the part `directed`: shops differ in it most, because it also learns the order within a day."""


@dataclass(frozen=True, eq=False)
class MemoryPart:
    """One matrix of a memory.

    Args:
        name: what it is called in the file and in messages.
        rows: `[num_items, num_items]`, values of at least 0.
        decay: how fast the weight of a history's items falls with their age, at least 0.
        weight: of its scores in the sum, at least 0.

    Raises:
        ValueError: for a number outside these ranges, or a matrix that is not square.
    """

    name: str
    rows: SparseRows
    decay: float
    weight: float

    def __post_init__(self) -> None:
        for name, number in (("decay", self.decay), ("weight", self.weight)):
            if not (number >= 0 and math.isfinite(number)):
                raise ValueError(f"The {name} of {self.name!r} is {number}; expected a number of at least 0.")
        if len(self.rows) != self.rows.num_columns:
            raise ValueError(f"{self.name!r} is {len(self.rows)} x {self.rows.num_columns}; expected a square matrix.")
        if self.rows.num_entries and self.rows.values.min() < 0:
            raise ValueError(f"{self.name!r} has the value {self.rows.values.min()}; expected values of at least 0.")


@dataclass(frozen=True, eq=False)
class Memory:
    """Scores of a catalogue that are added up from a history's items, and their mixture with a model's scores.

    `m = sum over parts of weight * (weighted sum of the part's rows of the history's items)`, for an item of the
    history itself this times `history_factor`, and for a cold item times `cold_factor`. The mixture is
    `logits + strength * ln(1 + m)`: in terms of probabilities, those of the model times `(1 + m) ** strength`. So items
    that nothing points to keep the model's scores.

    Args:
        parts: the matrices, of the same items; their names differ.
        history_factor: at least 0; 1 changes nothing, 0 recommends no item of the history because of the memory.
        strength: at least 0. With 0 the model decides alone, with [`ALONE`] (1,000) the memory.
        cold_factor: above 0; for items that the part `cooccurrence` knows nothing of. Nothing but their text points to
            them, so that with 1 they are recommended more seldom than people choose them.
        of_vectors: whether the part `text` compares vectors of an encoder, so that [`~Memory.with_texts`] takes
            vectors.

    Raises:
        ValueError: if there are no parts, they have different sizes or equal names, or a number is outside its range.
    """

    parts: tuple[MemoryPart, ...]
    history_factor: float = 0.05
    strength: float = 3.0
    cold_factor: float = 1.0
    of_vectors: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        names = [part.name for part in self.parts]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"A memory has at least one part, and each has its own name; got {names}.")
        sizes = sorted({len(part.rows) for part in self.parts})
        if len(sizes) > 1:
            raise ValueError(f"The parts of a memory are of {sizes} items; expected all of the same.")
        for name in ("history_factor", "strength", "cold_factor"):
            number = getattr(self, name)
            if not (number >= 0 and math.isfinite(number)):
                raise ValueError(f"{name} is {number}; expected a number of at least 0.")
        if self.cold_factor == 0:
            raise ValueError("cold_factor is 0; expected a number above 0.")

    @classmethod
    def fit(
        cls,
        items: np.ndarray,
        offsets: np.ndarray,
        num_items: int,
        *,
        texts: Sequence[str] | None = None,
        vectors: Tensor | np.ndarray | None = None,
        history_factor: float = 0.05,
        cold_factor: float = 8.0,
    ) -> Memory:
        """Counts the pairs of training sequences, and compares texts. Takes seconds for tens of thousands of items.

        Its parts are `cooccurrence`, `directed` and, with texts or vectors, `text`; the weights are defaults for a
        model that was finetuned on the same sequences, and [`~Memory.tuned`] chooses them.

        Args:
            items: int `[total]`, the items of all sequences end to end, oldest first.
            offsets: int64 `[num_sequences + 1]`: sequence i has `items[offsets[i] : offsets[i + 1]]`.
            num_items: how many items the catalogue has.
            texts: `[num_items]`, compared by TF-IDF.
            vectors: float `[num_items, width]` of an encoder, compared instead of texts once they are whitened.
            history_factor, cold_factor: see the class.

        Raises:
            ValueError: if both texts and vectors are given, or more or fewer than items; or items outside the
                catalogue.
        """
        both = cooccurrence(items, offsets, num_items)
        after = cooccurrence(items, offsets, num_items, window=3, decay=0.5, directed=True)
        parts = [MemoryPart(_COUNTS, both, 0.3, 7.0), MemoryPart("directed", after, 0.8, 10.0)]
        if texts is not None or vectors is not None:
            neighbours = text_neighbours(_compared(texts, vectors))
            if len(neighbours) != num_items:
                raise ValueError(f"{len(neighbours):,} texts or vectors for {num_items:,} items; expected as many.")
            parts.append(MemoryPart(_TEXT, neighbours, 0.8, 50.0))
        return cls(tuple(parts), history_factor, cold_factor=cold_factor, of_vectors=vectors is not None)

    @property
    def num_items(self) -> int:
        return len(self.parts[0].rows)

    @cached_property
    def cold(self) -> np.ndarray:
        """bool `[num_items]`: the items that stand beside no other in any sequence; none without `cooccurrence`."""
        for part in self.parts:
            if part.name == _COUNTS:
                return np.asarray(np.diff(part.rows.offsets) == 0)
        return np.zeros(self.num_items, bool)

    def __repr__(self) -> str:
        parts = ", ".join(f"{part.name} {part.weight:g} x {part.rows.num_entries:,}" for part in self.parts)
        return (
            f"Memory({self.num_items:,} items; weight x entries: {parts}; history_factor={self.history_factor:g}, "
            f"cold_factor={self.cold_factor:g}, strength={self.strength:g})"
        )

    # Scores

    def scores(self, histories: Sequence[np.ndarray]) -> Tensor:
        """What the memory alone says: float32 `[batch, num_items]`, at least 0.

        Args:
            histories: `[batch]` int arrays of items, oldest first; they may be empty.

        Raises:
            IndexError: for an item that is not in the catalogue.
        """
        total = np.zeros((len(histories), self.num_items), np.float32)
        for part in self.parts:
            if part.weight > 0:
                total += np.float32(part.weight) * part.rows.sum_of_rows(histories, part.decay)
        if self.cold_factor != 1:
            total[:, self.cold] *= np.float32(self.cold_factor)
        if self.history_factor != 1:
            owners, items = _pairs(histories)
            total[owners, items] = total[owners, items] * np.float32(self.history_factor)
        return torch.from_numpy(total)

    def sparse_scores(self, histories: Sequence[np.ndarray]) -> SparseRows:
        """The same as `[batch, num_items]` sparse rows: only items that something points to, for large catalogues."""
        sums = [
            (part.weight, part.rows.sparse_sum_of_rows(histories, part.decay)) for part in self.parts if part.weight > 0
        ]
        values = [np.zeros(0), *(weight * found.values.astype(np.float64) for weight, found in sums)]
        columns = [np.zeros(0, np.int32), *(found.columns for _, found in sums)]
        rows = [np.zeros(0, np.int64), *(np.repeat(np.arange(len(found)), np.diff(found.offsets)) for _, found in sums)]
        total = SparseRows.from_triples(
            np.concatenate(rows), np.concatenate(columns), np.concatenate(values), len(histories), self.num_items
        )
        owners, items = _pairs(histories)
        places = np.repeat(np.arange(len(histories)), np.diff(total.offsets)) * self.num_items + total.columns
        seen = np.isin(places, owners * self.num_items + items)
        scaled = np.where(self.cold[total.columns], total.values * np.float32(self.cold_factor), total.values)
        return replace(total, values=np.where(seen, scaled * np.float32(self.history_factor), scaled))

    def mixed(self, logits: Tensor, histories: Sequence[np.ndarray]) -> Tensor:
        """A model's scores mixed with the memory: float32 `[batch, num_items]`, on the device of the logits.

        Args:
            logits: float `[batch, num_items]`, a model's scores, whose softmax are its probabilities.
            histories: `[batch]` int arrays of items, oldest first.

        Raises:
            ValueError: if the logits are of another batch or catalogue.
            IndexError: for an item that is not in the catalogue.
        """
        if tuple(logits.shape) != (len(histories), self.num_items):
            raise ValueError(
                f"The logits are {list(logits.shape)}; expected [{len(histories)}, {self.num_items}] for these "
                "histories and the items of the memory."
            )
        return self.mixture(logits.float(), self.scores(histories).to(logits.device))

    def mixture(self, logits: Tensor, scores: Tensor) -> Tensor:
        """`logits + strength * ln(1 + m)`, item by item, for some items or all; both of the same shape.

        Args:
            logits: of the model. Adding a number to all items of a history adds it to what is returned.
            scores: m, those of the memory for the same items.
        """
        return logits + self.strength * scores.log1p()

    # Weights

    def candidates(self, histories: Sequence[np.ndarray], targets: np.ndarray, logits: Tensor) -> Candidates:
        """What a model and each part score their best items for a batch of validation users.

        Args:
            histories: `[batch]` int arrays of items, oldest first.
            targets: int `[batch]`, the item that came next.
            logits: float `[batch, num_items]` of the model.
        """
        sums = [torch.from_numpy(part.rows.sum_of_rows(histories, part.decay)) for part in self.parts]
        return Candidates.of([logits, *sums], histories, targets, cold=self.cold)

    def tuned(self, candidates: Candidates, protocol: WeightProtocol = "both") -> Memory:
        """The memory with the strength, the factors and the weight of `directed` that rank validation users best.

        Args:
            candidates: those of all users, [`~Candidates.joined`] from batches.
            protocol: what is ranked, see [`choose_mixture`].
        """
        if candidates.num_parts != len(self.parts) + 1:
            raise ValueError(
                f"The candidates have scores of {candidates.num_parts} parts; expected those of a model and of the "
                f"{len(self.parts)} parts of this memory."
            )
        names = [part.name for part in self.parts]
        tried = {names.index(name): _DIRECTED_WEIGHTS for name in names if name == "directed"}
        weights = tuple(part.weight for part in self.parts)
        start = Mixture(weights, self.history_factor, self.strength, self.cold_factor)
        chosen = choose_mixture(candidates, start, tried, protocol=protocol)
        tuned = self.with_weights(dict(zip(names, chosen.weights, strict=True)))
        return replace(
            tuned, history_factor=chosen.history_factor, strength=chosen.strength, cold_factor=chosen.cold_factor
        )

    def with_weights(
        self, weights: Mapping[str, float], history_factor: float | None = None, strength: float | None = None
    ) -> Memory:
        """The same matrices with other weights, by the names of parts; what is not given stays.

        Raises:
            ValueError: for a name that no part has, or a number below 0.
        """
        unknown = sorted(set(weights) - {part.name for part in self.parts})
        if unknown:
            raise ValueError(f"No part {', '.join(unknown)}; there are {', '.join(part.name for part in self.parts)}.")
        return replace(
            self,
            parts=tuple(replace(part, weight=float(weights.get(part.name, part.weight))) for part in self.parts),
            history_factor=self.history_factor if history_factor is None else history_factor,
            strength=self.strength if strength is None else strength,
        )

    # Other catalogues

    def extended(self, num_more: int) -> Memory:
        """The memory of a catalogue with items added at its end, of which nothing is known yet.

        [`~Memory.with_texts`] then finds what they are similar to, so that they are recommended.
        """
        return replace(self, parts=tuple(replace(part, rows=part.rows.extended(num_more)) for part in self.parts))

    def select(self, rows: np.ndarray) -> Memory:
        """The memory of a catalogue with these items in this order; int `[n]`, each at most once.

        Items that stood beside none but those that are left out are cold then.
        """
        return replace(self, parts=tuple(replace(part, rows=part.rows.select(rows)) for part in self.parts))

    def with_texts(
        self,
        rows: np.ndarray,
        *,
        texts: Sequence[str] | None = None,
        vectors: Tensor | np.ndarray | None = None,
    ) -> Memory:
        """The memory after the texts of some items changed, or after new ones have been added by [`~Memory.extended`].

        Only these items and those near to them are compared anew. A memory without the part `text` stays as it is.

        Args:
            rows (int `[n]`): the items that changed or are new.
            texts: `[num_items]` of all items, if the memory was fitted on texts.
            vectors: float `[num_items, width]` of all items, if it was fitted on vectors.

        Raises:
            ValueError: if both texts and vectors are given or none, or more or fewer than items.
        """
        compared, named = _compared(texts, vectors), {part.name: part for part in self.parts}
        if _TEXT not in named:
            return self
        named[_TEXT] = replace(named[_TEXT], rows=updated_neighbours(named[_TEXT].rows, compared, rows))
        return replace(self, parts=tuple(named.values()))

    # Files

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Writes `memory.safetensors` into a folder, whole or not at all.

        Returns:
            The file's path.
        """
        path = Path(folder) / MEMORY_FILE
        if path.parent.exists() and not path.parent.is_dir():
            raise NotADirectoryError(f"{path.parent} is a file; name a folder to save the memory in.")
        tensors = {
            f"{part.name}.{name}": tensor for part in self.parts for name, tensor in part.rows.to_tensors().items()
        }
        about = {
            "num_items": self.num_items,
            "history_factor": self.history_factor,
            "strength": self.strength,
            "cold_factor": self.cold_factor,
            "of_vectors": self.of_vectors,
            "parts": [{"name": part.name, "decay": part.decay, "weight": part.weight} for part in self.parts],
        }
        with atomic_file(path) as temporary:
            save_file(tensors, temporary, {"format": "pt", "version": _FORMAT, "memory": json.dumps(about)})
        return path

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | os.PathLike[str],
        *,
        subfolder: str = "",
        repo_type: RepoType = "model",
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> Memory:
        """Reads a saved memory.

        Args:
            name_or_folder: a folder that holds `memory.safetensors`, or a repository on the Hub.
            subfolder: folder inside it.
            repo_type: `"model"` (beside a model, or alone), or `"dataset"`.
            revision, token, cache_dir, force_download, local_files_only: as in `huggingface_hub.hf_hub_download`.

        Raises:
            FileNotFoundError: if there is no such file, folder or repository.
            ValueError: if the file is not a memory's, or is damaged.
        """
        if os.path.isdir(name_or_folder):
            return _read(saved_file(name_or_folder, subfolder, MEMORY_FILE, "memory"))
        repo_id = os.fspath(name_or_folder)
        return _read(
            download_file(
                repo_id, subfolder, repo_type, revision, token, cache_dir, force_download, local_files_only, MEMORY_FILE
            )
        )


def _compared(texts: Sequence[str] | None, vectors: Tensor | np.ndarray | None) -> TextIndex | Tensor:
    """What the neighbours of items are found by."""
    if (texts is None) == (vectors is None):
        raise ValueError(
            f"{'No texts or vectors' if texts is None else 'Both texts and vectors'} were given; give one of the two."
        )
    return TextIndex.build(texts) if texts is not None else whitened(vectors)  # type: ignore[arg-type]


def _pairs(histories: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Each history's number, and its item, for every item of all histories."""
    owners = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    return owners, np.concatenate([np.zeros(0, np.int64), *histories]).astype(np.int64)


def _read(path: str | os.PathLike[str]) -> Memory:
    """Raises ValueError for a file that is damaged, or not a memory's."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}). Save or download it again.") from error
    version = metadata.get("version")
    if version not in (_FORMAT, _SCALED_FORMAT):
        raise ValueError(
            f"{path} has the version {version!r} of a memory's file; expected {_FORMAT!r}. A newer "
            "recformer_hf may be needed, or it is another kind of file."
        )
    try:
        memory = _from_parts(json.loads(metadata["memory"]), tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a memory's file, or is damaged: {error!r}. Save it again.") from error
    return _unscaled(memory) if version == _SCALED_FORMAT else memory


def _unscaled(memory: Memory) -> Memory:
    """A memory whose part `text` was read from a file of the scaled format."""
    factors = np.where(memory.cold, 1 / memory.cold_factor, 1.0)
    parts = [
        replace(part, rows=part.rows.columns_scaled(factors)) if part.name == _TEXT else part for part in memory.parts
    ]
    return replace(memory, parts=tuple(parts))


def _from_parts(about: dict[str, Any], tensors: Mapping[str, Tensor]) -> Memory:
    size = about["num_items"]
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"num_items is {size!r}")
    parts = []
    for part in about["parts"]:
        own = {name.rpartition(".")[2]: t for name, t in tensors.items() if name.rpartition(".")[0] == part["name"]}
        rows = SparseRows.from_tensors(own, size)
        parts.append(MemoryPart(part["name"], rows, float(part["decay"]), float(part["weight"])))
    numbers = {name: float(about[name]) for name in ("history_factor", "strength", "cold_factor")}
    return Memory(tuple(parts), **numbers, of_vectors=about.get("of_vectors") is True)


__all__ = ["MEMORY_FILE", "Memory", "MemoryPart"]
