"""Approximate search over item vectors with faiss. Its recall against exact search is measured when it is built."""

from __future__ import annotations

import importlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from transformers.utils import logging

from ..storage.atomic import atomic_file
from .faiss_files import FOURCC, MOST_EFFORT, check_index_file, file_checksum
from .search import (
    SHORTLIST,
    ExactIndex,
    embeddings_fingerprint,
    measure_recall,
    ordered,
    pairs_of,
    sample_queries,
    unit,
)
from .vector_checksums import VectorChecksums

logger = logging.get_logger(__name__)

INDEX_FILE = "item_index.faiss"
"""Name of a saved index, beside the model's files."""
INDEX_INFO_FILE = "item_index.json"
"""What the index was built from, and its recall."""

MOST_FETCHED = 1024
"""The most items that an index is asked for. If `top_k` and the excluded items together exceed it, the search is
exact."""


def faiss_module() -> Any:
    """The `faiss` module.

    Raises:
        ImportError: if it is not installed.
    """
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise ImportError(
            f"This search index needs faiss ({error}). Install it with `pip install recformer-hf[faiss]`, or search "
            "exactly, without an index."
        ) from error


class _BuiltFrom(TypedDict):
    kind: str
    settings: dict[str, int]
    num_items: int
    fingerprint: str
    recall: dict[str, float]


class IndexInfo(_BuiltFrom, total=False):
    """The content of `item_index.json`. Indexes of earlier versions have no checksums."""

    vector_checksums: list[int]
    file_checksum: int


class FaissIndex:
    """A faiss index over normalised item vectors.

    The index only proposes items. Their scores are computed exactly, from the vectors of the model. Create one with
    [`~FaissIndex.build`].

    Args:
        index: a `faiss.Index` of inner products.
        info: `kind`, `settings`, `num_items`, `fingerprint` of the vectors, `recall` (see [`~FaissIndex.build`]).
        exact: the vectors.

    Raises:
        ValueError: if `info` has checksums of other vectors.
    """

    def __init__(self, index: Any, info: IndexInfo, exact: ExactIndex) -> None:
        self.index = index
        self.info = info
        self.exact = exact
        self.checksums = VectorChecksums(exact.item_embeddings)
        if info.setdefault("vector_checksums", self.checksums.values) != self.checksums.values:
            raise ValueError(_other_vectors(info, exact))

    @property
    def kind(self) -> str:
        return self.info["kind"]

    @property
    def recall(self) -> dict[str, float]:
        """`{"recall@10": ...}` against exact search."""
        return self.info["recall"]

    def __len__(self) -> int:
        return int(self.index.ntotal)

    @classmethod
    def build(
        cls,
        exact: ExactIndex,
        kind: str = "hnsw",
        queries: Tensor | None = None,
        seed: int = 0,
        progress: bool | None = None,
        **settings: int,
    ) -> FaissIndex:
        """Builds an index over the vectors of an exact one, and measures its recall against it.

        Args:
            exact: the vectors.
            kind: `"flat"` (exact; all vectors, in 4 bytes per component), `"hnsw"` (a graph over all vectors: fast,
                with another 4 bytes per component and 8 x `neighbours` bytes per item) or `"ivfpq"` (`subvectors` bytes
                per item: the least memory).
            queries (`Tensor`, float `[num_queries, hidden_size]`): measure recall with these, such as
                `model.encode_histories(...)`; by default with 256 sums of two random items.
            seed: seed for the random items, and for the sample of vectors that `"ivfpq"` is trained on.
            progress: whether to show a progress bar; by default from 100,000 items on.
            **settings: `"hnsw"`: `neighbours` (32), `build_effort` (128), `search_effort` (128). `"ivfpq"`: `lists` (4
                x the square root of the number of items), `subvectors` (an eighth of the width), `bits` (8), `probes`
                (a 32nd of the lists).

        Raises:
            ImportError: if faiss is not installed.
            ValueError: for an unknown kind or setting, or too few items for `"ivfpq"`.
        """
        faiss = faiss_module()
        total, width = exact.item_embeddings.shape
        if total == 0:
            raise ValueError("There are no items to build an index of.")
        settings = _settings(kind, total, width, settings)
        if kind == "flat":
            index = faiss.IndexFlatIP(width)
        elif kind == "hnsw":
            index = faiss.IndexHNSWFlat(width, settings["neighbours"], faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = settings["build_effort"]
        else:
            index = _trained_ivfpq(faiss, exact, settings, seed)
        show = total >= 100_000 if progress is None else progress
        with logging.tqdm(total=total, desc=f"Building {kind}", unit="item", disable=not show) as bar:
            for start in range(0, total, 8192):
                rows = torch.arange(start, min(start + 8192, total))
                index.add(_unit_vectors(exact, rows))
                bar.update(len(rows))
        info: IndexInfo = {
            "kind": kind,
            "settings": settings,
            "num_items": total,
            "fingerprint": embeddings_fingerprint(exact.item_embeddings),
            "recall": {},  # measured below
        }
        made = cls(index, info, exact)
        made.info["recall"] = measure_recall(made, sample_queries(exact, seed) if queries is None else queries)
        return made

    @torch.no_grad()
    def search(
        self,
        queries: Tensor,
        top_k: int,
        candidates: Tensor | None = None,
        excluded: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Searches as [`ExactIndex.search`] does, but may miss an item.

        These queries are searched exactly: all of them with `candidates`, those for which the index finds too few
        items, and those for which more items tie than it was asked for.
        """
        most_excluded = 0
        if excluded is not None and len(excluded[0]):
            most_excluded = int(excluded[0].bincount().max())
        # So many that `top_k` are left even if all of a query's excluded items are among them.
        fetched = min(top_k + self.exact.spare(top_k) + most_excluded, len(self))
        if candidates is not None or fetched > MOST_FETCHED:
            return self.exact.search(queries, top_k, candidates, excluded)
        device = self.exact.item_embeddings.device
        rows = torch.from_numpy(self._propose(queries, fetched)).to(device)
        if excluded is not None and len(excluded[0]):
            unwanted = torch.zeros(rows.shape, dtype=torch.bool, device=device)
            query, row = excluded[0].to(device), excluded[1].to(device)
            for start in range(0, len(query), 4096):  # [pairs, fetched] at a time
                some = slice(start, start + 4096)
                pair, column = (rows[query[some]] == row[some, None]).nonzero(as_tuple=True)
                unwanted[query[some][pair], column] = True
            rows = rows.masked_fill(unwanted, -1)
        proposed = self.exact.cosines(queries, rows)
        lowest = proposed.masked_fill(rows < 0, torch.inf).amin(1)
        scores, rows = ordered(proposed, rows, top_k)
        unsure = (rows < 0).any(1)
        if fetched < len(self):  # of items that tie, the index may have left out those of the lowest rows
            unsure |= lowest + 2 * self.exact.rounding() >= scores[:, -1]
        mine = unsure.nonzero()[:, 0]
        if len(mine):
            pairs = None if excluded is None else pairs_of((excluded[0].to(device), excluded[1].to(device)), mine)
            scores[mine], rows[mine] = self.exact.search(queries.to(device)[mine], top_k, None, pairs)
        return scores, rows

    def _propose(self, queries: Tensor, count: int) -> np.ndarray:
        """Proposed rows, int64 `[num_queries, count or more]`; -1 stands for no row."""
        vectors = unit(queries.float()).cpu().numpy()
        settings, faiss = self.info["settings"], faiss_module()
        parameters = None
        if self.kind == "hnsw":
            parameters = faiss.SearchParametersHNSW(efSearch=max(settings["search_effort"], count))
        elif self.kind == "ivfpq":
            parameters = faiss.SearchParametersIVF(nprobe=settings["probes"])
            count = min(max(64, SHORTLIST * count), len(self))  # compressed vectors rank only roughly
        rows: np.ndarray = self.index.search(np.ascontiguousarray(vectors), count, params=parameters)[1]
        return rows

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes `item_index.faiss` and `item_index.json` into a folder, beside a model's files."""
        faiss = faiss_module()
        with atomic_file(Path(folder) / INDEX_FILE) as temporary:
            faiss.write_index(self.index, os.fspath(temporary))
            self.info["file_checksum"] = file_checksum(temporary)
        with atomic_file(Path(folder) / INDEX_INFO_FILE) as temporary:
            temporary.write_text(json.dumps(self.info, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], exact: ExactIndex) -> FaissIndex:
        """Opens a saved index for the vectors that it was built from.

        Raises:
            ImportError: if faiss is not installed.
            FileNotFoundError: if the folder holds no index.
            ValueError: if the files are damaged, or the index was built for other vectors.
        """
        faiss = faiss_module()
        path = Path(folder, INDEX_FILE)
        info = _read_info(folder)
        if not path.is_file():
            raise FileNotFoundError(f"No {INDEX_FILE} in {folder}. model.build_index(kind) creates one.")
        if info["num_items"] != len(exact) or info["fingerprint"] != embeddings_fingerprint(exact.item_embeddings):
            raise ValueError(_other_vectors(info, exact))
        total, width = exact.item_embeddings.shape
        try:
            check_index_file(path, info["kind"], total, width)
            _settings(info["kind"], total, width, info["settings"])
            if info.get("file_checksum", checksum := file_checksum(path)) != checksum:
                raise ValueError(f"it is not the file that {INDEX_INFO_FILE} describes")
            index = faiss.read_index(os.fspath(path))
        except (RuntimeError, MemoryError, ValueError) as error:
            raise ValueError(f"The search index {path} is damaged ({error}). Build it again.") from error
        return cls(index, info, exact)

    @staticmethod
    def fits(folder: str | os.PathLike[str], item_embeddings: Tensor) -> bool:
        """Whether the index in a folder was built for these vectors."""
        try:
            info = _read_info(folder)
        except (OSError, ValueError):
            return False
        checksums = VectorChecksums(item_embeddings).values
        same_sample = info["fingerprint"] == embeddings_fingerprint(item_embeddings)
        return same_sample and info.get("vector_checksums", checksums) == checksums

    def __repr__(self) -> str:
        return f"FaissIndex({self.kind}, {len(self):,} items, {self.recall})"


def _read_info(folder: str | os.PathLike[str]) -> IndexInfo:
    path = Path(folder, INDEX_INFO_FILE)
    try:
        info: IndexInfo = json.loads(path.read_text(encoding="utf-8"))
        missing = _BuiltFrom.__required_keys__ - info.keys()
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}). Build the index again.") from error
    if missing:
        raise ValueError(f"{path} is damaged: it lacks {sorted(missing)}. Build the index again.")
    wrong = [name for name, holds in _CONTENT.items() if name in info and not holds(info[name])]  # type: ignore[literal-required]
    if wrong:
        raise ValueError(f"{path} is damaged: its {', '.join(wrong)} cannot be read. Build the index again.")
    return info


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_CONTENT: dict[str, Callable[[Any], bool]] = {
    "kind": lambda value: isinstance(value, str) and value in FOURCC,
    "settings": lambda value: (
        isinstance(value, dict) and all(_is_number(each) and each <= MOST_EFFORT for each in value.values())
    ),
    "num_items": _is_number,
    "fingerprint": lambda value: isinstance(value, str),
    "recall": lambda value: (
        isinstance(value, dict) and all(type(share) in (int, float) and 0 <= share <= 1 for share in value.values())
    ),
    "vector_checksums": lambda value: isinstance(value, list) and all(map(_is_number, value)),
    "file_checksum": _is_number,
}


def _other_vectors(info: IndexInfo, exact: ExactIndex) -> str:
    return (
        f"The search index was built for other item embeddings ({info['num_items']:,} items; the model has "
        f"{len(exact):,}). Build it again: model.build_index({info['kind']!r})."
    )


def _settings(kind: str, total: int, width: int, given: dict[str, int]) -> dict[str, int]:
    lists = max(1, min(int(4 * math.sqrt(total)), total // 39))  # faiss wants 39 vectors per list to train on
    defaults: dict[str, dict[str, int]] = {
        "flat": {},
        "hnsw": {"neighbours": 32, "build_effort": 128, "search_effort": 128},
        "ivfpq": {
            "lists": lists,
            "subvectors": next(count for count in range(max(1, width // 8), 0, -1) if width % count == 0),
            "bits": 8,
            "probes": max(1, given.get("lists", lists) // 32),
        },
    }
    if kind not in defaults:
        raise ValueError(f"kind is {kind!r}; an index is one of {', '.join(defaults)}.")
    if unknown := sorted(set(given) - set(defaults[kind])):
        raise ValueError(f"An index of kind {kind!r} has no setting {unknown}; it has {list(defaults[kind])}.")
    settings = {**defaults[kind], **given}
    if any(isinstance(value, bool) or not isinstance(value, int) or value < 1 for value in settings.values()):
        raise ValueError(f"Settings of an index are whole numbers of at least 1, got {settings}.")
    if kind == "ivfpq" and (width % settings["subvectors"] or total < max(2 ** settings["bits"], settings["lists"])):
        raise ValueError(
            f"An ivfpq index needs at least {max(2 ** settings['bits'], settings['lists']):,} items and subvectors "
            f"that divide the width; there are {total:,} items of width {width}, subvectors {settings['subvectors']}. "
            "Exact search of a small catalogue is fast."
        )
    return settings


def _trained_ivfpq(faiss: Any, exact: ExactIndex, settings: dict[str, int], seed: int) -> Any:
    width = exact.item_embeddings.shape[1]
    coarse = faiss.IndexFlatIP(width)
    index = faiss.IndexIVFPQ(
        coarse, width, settings["lists"], settings["subvectors"], settings["bits"], faiss.METRIC_INNER_PRODUCT
    )
    index.cp.niter = 10
    generator = torch.Generator().manual_seed(seed)
    wanted = min(len(exact), max(64 * settings["lists"], 64 * 2 ** settings["bits"]))
    rows = torch.randperm(len(exact), generator=generator)[:wanted]
    index.train(_unit_vectors(exact, rows))
    return index


def _unit_vectors(exact: ExactIndex, rows: Tensor) -> np.ndarray:
    return exact.unit_vectors(rows.to(exact.item_embeddings.device)).cpu().numpy()


__all__ = ["INDEX_FILE", "INDEX_INFO_FILE", "FaissIndex"]
