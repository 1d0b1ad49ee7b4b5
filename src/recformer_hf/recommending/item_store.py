"""What belongs to a recommender's items: the catalogue that names them, a memory of them, and a search index."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from torch import Tensor
from transformers.utils import logging

from ..items.catalog import CATALOG_FILE, ItemCatalog, as_catalog
from ..memory.memory import MEMORY_FILE, Memory
from .checked_vectors import check_encoded, zero_rows
from .faiss_index import INDEX_FILE, INDEX_INFO_FILE, FaissIndex
from .search import BFloat16Index, ExactIndex, measure_recall, sample_queries
from .vector_checksums import counted_changes

logger = logging.get_logger(__name__)

NO_ITEMS = (
    "This model has no items to score. Give it some: model.with_catalog(items, tokenizer), or "
    "model.set_item_embeddings(model.encode_items(items, tokenizer))."
)

ITEM_WEIGHTS = ("item_embeddings", "item_residuals")
"""Weights of a model that have a row for each item."""

_OPENING = threading.Lock()

IndexKind = Literal["exact", "bfloat16", "flat", "hnsw", "ivfpq"]


@dataclass(frozen=True)
class CheckpointSource:
    """Where a checkpoint was loaded from.

    Args:
        name_or_folder: a folder, or a repository on the Hub.
        options: `subfolder`, `revision`, `token`, `cache_dir`, ... of the call that loaded it.
    """

    name_or_folder: str | os.PathLike[str]
    options: dict[str, Any] = field(default_factory=dict)

    OPTIONS = ("subfolder", "revision", "token", "cache_dir", "force_download", "local_files_only")

    @classmethod
    def of(
        cls, name_or_folder: str | os.PathLike[str], arguments: Mapping[str, Any], commit: str | None
    ) -> CheckpointSource:
        """The source that `from_pretrained` was called with; `commit` pins files of the Hub to those of the weights."""
        options = {name: arguments[name] for name in cls.OPTIONS if arguments.get(name) is not None}
        if commit is not None and not os.path.isdir(name_or_folder):
            options["revision"] = commit
        return cls(name_or_folder, options)

    @property
    def folder(self) -> Path | None:
        """The local folder; None for a repository on the Hub."""
        if not os.path.isdir(self.name_or_folder):
            return None
        return Path(self.name_or_folder, self.options.get("subfolder") or "")


class ItemStore:
    """The catalogue, the memory and the search index of a model; all follow the model's item embeddings.

    Copies and pickles have no built index, because faiss indexes cannot be copied: they search exactly.
    """

    def __init__(self) -> None:
        self._catalog: ItemCatalog | None = None
        self._unread: CheckpointSource | None = None
        self.memory: Memory | None = None
        self._exact: ExactIndex | None = None
        self._built: FaissIndex | BFloat16Index | None = None
        self._saved_index: Path | None = None
        self._checked: tuple[object, ...] | None = None
        self._derived: dict[str, tuple[object, Tensor]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_exact": None, "_built": None, "_checked": None, "_derived": {}}

    # The catalogue

    def catalog(self, num_items: int) -> ItemCatalog | None:
        """The catalogue of a model with this many items.

        Raises:
            ImportError: if there is a catalogue beside the model that cannot be read without pyarrow.
        """
        if self._unread is not None:
            self._catalog = read_catalog(self._unread, num_items)
            self._unread = None
        return self._catalog

    def set_catalog(self, catalog: ItemCatalog | None, num_items: int) -> None:
        """Sets or removes the catalogue.

        Raises:
            TypeError: for anything but an `ItemCatalog`.
            ValueError: if it has another number of items than the model.
        """
        check_catalog(catalog)
        if catalog is not None and len(catalog) != num_items:
            raise ValueError(
                f"The catalogue has {len(catalog):,} items, but the model has {num_items:,}. To recommend other items, "
                "use model.with_catalog(catalog, tokenizer)."
            )
        self._catalog, self._unread = catalog, None

    def set_memory(self, memory: Memory | None, num_items: int) -> None:
        """Sets or removes the memory.

        Raises:
            TypeError: for anything but a `Memory`.
            ValueError: if it has another number of items than the model.
        """
        if memory is not None and not hasattr(memory, "sparse_scores"):  # of the package or of a checkpoint's code
            raise TypeError(
                f"A model's memory is a Memory, got a {type(memory).__name__}. Memory.fit(items, offsets, num_items) "
                "makes one of a shop's sequences."
            )
        if memory is not None and memory.num_items != num_items:
            raise ValueError(
                f"The memory is of {memory.num_items:,} items, but the model has {num_items:,}. Fit it on sequences of "
                "the rows of model.catalog: Memory.fit(items, offsets, num_items=len(model.catalog))."
            )
        self.memory = memory

    # The vectors

    def check_vectors(self, item_embeddings: Tensor) -> None:
        """Raises ValueError unless every item has a vector, of finite numbers and not of zeros.

        Vectors that passed are checked again after a change that torch counts.
        """
        state = (*counted_changes(item_embeddings), item_embeddings.device, item_embeddings.shape)
        if self._checked != state:
            check_encoded(item_embeddings, self.catalog(len(item_embeddings)))
            self._checked = state

    @property
    def known_catalog(self) -> ItemCatalog | None:
        """The catalogue if it has been read already."""
        return self._catalog

    def forget_check(self) -> None:
        """The vectors may have changed in a way that torch does not count: they are checked and derived anew."""
        self._checked, self._derived = None, {}

    def derived(self, name: str, sources: Sequence[Tensor | None] | None, compute: Callable[[], Tensor]) -> Tensor:
        """What `compute` makes of weights; computed again once torch has counted a change of one of them.

        Without sources it is computed each time.
        """
        if sources is None:
            return compute()
        state = [None if each is None else (*counted_changes(each), each.device, each.shape) for each in sources]
        known = self._derived.get(name)
        if known is None or known[0] != state:
            self._derived[name] = known = state, compute()
        return known[1]

    # The search index

    def exact(self, item_embeddings: Tensor) -> ExactIndex:
        """Exact search over these embeddings. It stores nothing that is derived from them."""
        exact = self._exact
        if exact is None or exact.item_embeddings is not item_embeddings:
            self._exact = exact = ExactIndex(item_embeddings)
        return exact

    def index(self, item_embeddings: Tensor) -> FaissIndex | ExactIndex:
        """The index that was built or loaded, if it belongs to these embeddings; otherwise exact search."""
        exact = self.exact(item_embeddings)
        with _OPENING:  # several threads may ask first
            if self._saved_index is not None:
                folder = self._saved_index
                try:
                    self._built = FaissIndex.from_pretrained(folder, exact)
                except (ImportError, OSError, ValueError) as error:
                    logger.warning(f"Search is exact: the index in {folder} cannot be used. {error}")
                self._saved_index = None
        built = self._built
        if built is None:
            return exact
        if not built.checksums.match(item_embeddings):
            logger.warning("The item embeddings have changed: search is exact until model.build_index() is called.")
            self._built = None
            return exact
        built.exact = exact  # the same numbers may stand in another tensor, if a head computed them anew
        return built

    def build_index(
        self,
        item_embeddings: Tensor,
        kind: IndexKind,
        queries: Tensor | None = None,
        seed: int = 0,
        progress: bool | None = None,
        **settings: int,
    ) -> dict[str, float]:
        """Builds an index and returns its recall; see `RecformerForSeqRec.build_index`."""
        queries = None if queries is None else _checked_queries(queries, item_embeddings.shape[1])
        exact = self.exact(item_embeddings)
        self._built, self._saved_index = None, None
        if kind not in ("exact", "bfloat16"):
            self._built = index = FaissIndex.build(exact, kind, queries, seed, progress, **settings)
            return index.recall
        if settings:
            raise ValueError(f"{kind} search has no settings, got {sorted(settings)}.")
        self._built = BFloat16Index(exact) if kind == "bfloat16" else None
        found = exact if self._built is None else self._built
        return measure_recall(found, sample_queries(exact, seed) if queries is None else queries)

    # Files beside the weights

    def load(self, source: CheckpointSource, num_items: int, has_memory: bool = False) -> None:
        """Takes the catalogue, the memory and the index that lie beside a checkpoint's weights.

        Args:
            source: where the weights were loaded from.
            num_items: of the model.
            has_memory: whether there is a memory (`config.has_memory`).

        Raises:
            OSError: if the Hub cannot be asked for the catalogue and no copy of it is cached, or the memory is not
                there.
            ValueError: if the memory's file is damaged.
        """
        if has_memory:
            self.memory = read_memory(source, num_items)
        try:
            self._catalog = read_catalog(source, num_items)
        except ImportError:
            # Without pyarrow the model still scores. Whoever asks for the catalogue is told what to install.
            self._unread = source
        if source.folder is not None and (source.folder / INDEX_INFO_FILE).is_file():
            self._saved_index = source.folder.absolute()  # it is opened later

    def save(self, folder: Path, item_embeddings: Tensor, item_vectors: Tensor, replaces: bool = False) -> None:
        """Writes the catalogue, the memory and a faiss index, where there are any, beside the weights.

        Args:
            folder: where the weights are.
            item_embeddings, item_vectors: the model's.
            replaces: whether another model was saved there before. Its catalogue would name the items of this one.
        """
        if self.memory is not None:
            self.memory.save_pretrained(folder)
        elif replaces and (path := folder / MEMORY_FILE).is_file():
            path.unlink()
            logger.warning(f"{path} was removed: the model that was saved here before had a memory, this one has none.")
        catalog = self.catalog(len(item_embeddings))
        if catalog is not None:
            catalog.save_pretrained(folder)
        elif replaces and (path := folder / CATALOG_FILE).is_file():
            path.unlink()
            logger.warning(
                f"{path} was removed: it names the items of the model that was saved here before, and this model has "
                "no catalogue. If it names these items too, save it again: catalog.save_pretrained(folder)."
            )
        # A sharded matrix is one that trains, so it was encoded. No process has all of its rows.
        is_whole = not item_embeddings.is_meta and not hasattr(item_embeddings, "device_mesh")
        if is_whole and len(unset := zero_rows(item_embeddings)):
            logger.warning(
                f"The vectors of {len(unset):,} of {len(item_embeddings):,} items are saved as zeros: they were never "
                "encoded, and cannot be recommended. Encode them with model.encode_items, then save the model again."
            )
        if self._built is not None or self._saved_index is not None:
            index = self.index(item_vectors)
            if isinstance(index, FaissIndex):
                index.save_pretrained(folder)
                return
        if (folder / INDEX_INFO_FILE).is_file() and not FaissIndex.fits(folder, item_vectors):
            for name in (INDEX_INFO_FILE, INDEX_FILE):  # they belong to the model that was saved here before
                (folder / name).unlink(missing_ok=True)


def _checked_queries(queries: Any, width: int) -> Tensor:
    """Vectors of histories, a tensor or numpy array, as a tensor."""
    if isinstance(queries, np.ndarray):
        queries = torch.from_numpy(np.ascontiguousarray(queries, np.float32))
    if not isinstance(queries, Tensor):
        raise TypeError(f"queries must be a tensor or a numpy array, got a {type(queries).__name__}.")
    if queries.ndim != 2 or queries.shape[1] != width or not len(queries):
        raise ValueError(
            f"queries must be [num_queries, {width}] with at least one query, got {list(queries.shape)}. "
            "model.encode_histories(histories, tokenizer) gives such vectors."
        )
    return queries


def check_catalog(catalog: object) -> None:
    """Raises TypeError for anything but an `ItemCatalog` or None."""
    # A model whose code travels with its checkpoint meets catalogues of the installed package, and the reverse.
    if catalog is not None and not hasattr(catalog, "rows_of"):
        raise TypeError(
            f"A model's catalogue is an ItemCatalog, got a {type(catalog).__name__}. Create one with "
            "ItemCatalog.from_items, from_rows, from_arrow, ...; or use model.with_catalog(items, tokenizer)."
        )


def read_catalog(source: CheckpointSource, num_items: int) -> ItemCatalog | None:
    """The catalogue beside a checkpoint's weights, None if there is none or it has another number of items.

    Raises:
        ImportError: if pyarrow is not installed.
        OSError: if the Hub cannot be asked for it and no copy of it is cached, or a folder has a broken link to it.
    """
    if source.folder is not None and not (path := source.folder / CATALOG_FILE).is_file():
        if os.path.lexists(path):  # without its names the model would be saved again without them
            raise OSError(f"{path} is no file, or a link to one that is missing. Copy the checkpoint again, whole.")
        return None
    try:
        catalog = ItemCatalog.from_pretrained(source.name_or_folder, **source.options)
    except OSError as error:
        if _is_known_to_be_absent(source, error):
            return None
        raise OSError(
            f"The weights of {source.name_or_folder} were loaded, but {CATALOG_FILE} beside them could not be fetched, "
            f"so the items would have no names ({error.__cause__ or error}). Load the model once while the Hub can be "
            "reached, which caches its files together. If the repository has no catalogue, load the folder of its "
            "cached files: from_pretrained(snapshot_download(name, local_files_only=True))."
        ) from error
    if len(catalog) != num_items:
        logger.warning(
            f"{CATALOG_FILE} beside the model has {len(catalog):,} items, but the model has {num_items:,}, so it is "
            "ignored. Attach the right one: model.catalog = ItemCatalog.from_pretrained(folder)."
        )
        return None
    return catalog


def read_memory(source: CheckpointSource, num_items: int) -> Memory | None:
    """The memory beside a checkpoint's weights, which has one; None if that is of another number of items.

    Raises:
        OSError: if it is not there, or cannot be fetched from the Hub.
        ValueError: if its file is damaged.
    """
    try:
        memory = Memory.from_pretrained(source.name_or_folder, **source.options)
    except OSError as error:
        raise OSError(
            f"The weights of {source.name_or_folder} were loaded, but not {MEMORY_FILE}, which its config.json says "
            f"lies beside them ({error.__cause__ or error}). Copy or download the checkpoint again, whole; or load it "
            "without its memory: from_pretrained(..., has_memory=False)."
        ) from error
    if memory.num_items != num_items:
        logger.warning(
            f"{MEMORY_FILE} beside the model is of {memory.num_items:,} items, but the model has {num_items:,}, so it "
            "is ignored. Attach the right one: model.memory = Memory.from_pretrained(folder)."
        )
        return None
    return memory


def _is_known_to_be_absent(source: CheckpointSource, error: OSError) -> bool:
    """Whether the Hub has said that the repository has no catalogue: now, or before, which the cache remembers.

    Anything else (no network, a server's error, an expired token) says nothing about the catalogue.
    """
    if source.folder is not None:
        return False
    cause = error.__cause__ or error
    if isinstance(cause, EntryNotFoundError) and not isinstance(cause, LocalEntryNotFoundError):
        return True
    subfolder = source.options.get("subfolder")
    name = f"{subfolder}/{CATALOG_FILE}" if subfolder else CATALOG_FILE
    known = try_to_load_from_cache(
        os.fspath(source.name_or_folder), name, source.options.get("cache_dir"), source.options.get("revision")
    )
    return known is not None and not isinstance(known, str)  # the marker of a file that is not there


__all__ = [
    "ITEM_WEIGHTS",
    "NO_ITEMS",
    "CheckpointSource",
    "IndexKind",
    "ItemStore",
    "as_catalog",
    "check_catalog",
    "read_catalog",
    "read_memory",
]
