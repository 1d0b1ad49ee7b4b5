"""Recommending: for raw histories, for single items, over catalogues that change."""

from __future__ import annotations

import numbers
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..items.catalog import ItemCatalog
from ..items.text import shown
from .companions import NO_ITEMS, CompanionsMixin, as_catalog
from .export import write_embeddings
from .histories import row_of_id, rows_of_equal_text
from .vectors import EncodingMixin, as_asked, check_batch

MOST_PAIRED = 1024
"""Unwanted items that are passed over history by history; more leave the candidates, once for all histories."""

Items = ItemCatalog | Mapping[Any, Mapping[str, Any]] | Sequence[Mapping[str, Any]]
"""Items with their ids: a catalogue, a mapping of id to attributes, or rows that hold an `item_id`."""


@dataclass
class Recommendations:
    """What [`RecommendationMixin.recommend`] returns, best first.

    Args:
        scores (float32 `[num_histories, top_k]`, torch or numpy): cosine / temperature ([`similar_items`]: cosine).
        rows (int64 `[num_histories, top_k]`): rows of the catalogue.
        catalog: what the rows are; None if the model has no catalogue.
    """

    scores: Any
    rows: Any
    catalog: ItemCatalog | None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def item_ids(self) -> list[list[str]]:
        """The items' ids, a list for each history."""
        catalog = _needed(self.catalog)
        return [[catalog.ids[row] for row in rows] for rows in self.rows.tolist()]

    def to_dicts(self) -> list[list[dict[str, Any]]]:
        """For each history a list of `{"item_id": ..., "score": ..., "attributes": {...}}`."""
        catalog = _needed(self.catalog)
        return [
            [
                {"item_id": catalog.ids[row], "score": score, "attributes": catalog[row]}
                for row, score in zip(rows, scores, strict=True)
            ]
            for rows, scores in zip(self.rows.tolist(), self.scores.tolist(), strict=True)
        ]


class RecommendationMixin(EncodingMixin, CompanionsMixin):
    """Recommending with a model of `item_embeddings`, and changing its catalogue."""

    def recommend(
        self,
        histories: Sequence[Any],
        tokenizer: Any,
        top_k: int = 10,
        *,
        exclude_history: bool = True,
        candidates: Sequence[Any] | None = None,
        exclude: Sequence[Any] | None = None,
        max_tokens: int = 8192,
        progress: bool | None = None,
        number_from: int | None = None,
        return_tensors: Literal["pt", "np"] = "pt",
    ) -> Recommendations:
        """The items with the highest scores for each history.

        Args:
            histories: as in [`encode_histories`].
            tokenizer: a `RecformerTokenizer`.
            top_k: how many items, at least 1.
            exclude_history: leave out the items of the history itself; one that came as a dictionary is every item of
                the catalogue with exactly these attributes.
            candidates: ids to choose from, for all histories; all items if left out.
            exclude: ids that are not wanted for any history.
            max_tokens, progress: as in [`encode_histories`].
            number_from: what errors call the first history, where the histories are a part of more.
            return_tensors: `"pt"` for torch, `"np"` for numpy.

        Returns:
            [`Recommendations`], on the CPU.

        Raises:
            UnknownItemError: a `KeyError`, for ids that the catalogue does not have; it shows the closest ones.
            ValueError: for a model without items, an empty history, or a `top_k` larger than what is left.
            TypeError: for what is no history, no item and no id.
        """
        self._check_request(top_k, return_tensors)
        pool = self._rows(candidates, "Candidate")
        unwanted = self._rows(exclude, "Excluded item")
        total = f"{self.config.num_items} items" if pool is None else f"{len(pool)} candidates"
        if unwanted is not None and len(unwanted) > MOST_PAIRED:
            pool = np.setdiff1d(np.arange(self.config.num_items) if pool is None else pool, unwanted)
            unwanted = None
        scores, rows = [torch.zeros(0, top_k)], [torch.zeros(0, top_k, dtype=torch.int64)]
        check_batch(histories)
        first = None if number_from is None and len(histories) == 1 else number_from or 0
        blocks = self._encoded_blocks(histories, tokenizer, max_tokens, progress, number_from)
        for start, vectors, known, described in blocks:
            if exclude_history:
                self._add_equal_texts(known, described)
            pairs = _pairs([] if not exclude_history else known, unwanted, len(vectors))
            self._check_enough(top_k, total, pool, pairs, len(vectors), None if first is None else first + start)
            candidate_rows = None if pool is None else torch.from_numpy(pool)
            found = self.index.search(vectors, top_k, candidate_rows, _tensors(pairs))
            scores.append(found[0].cpu() / self.config.temperature)
            rows.append(found[1].cpu())
        return self._recommendations(torch.cat(scores), torch.cat(rows), return_tensors)

    def similar_items(
        self,
        item: Any,
        top_k: int = 10,
        tokenizer: Any = None,
        return_tensors: Literal["pt", "np"] = "pt",
    ) -> Recommendations:
        """The items whose vectors are closest to an item's; the item itself is left out.

        Args:
            item: an id of the catalogue, or a dictionary of attributes, known or not.
            top_k: how many, at least 1.
            tokenizer: a `RecformerTokenizer`, for a dictionary.
            return_tensors: `"pt"` for torch, `"np"` for numpy.

        Returns:
            [`Recommendations`] of one line; scores are cosine similarities, in [-1, 1].

        Raises:
            UnknownItemError, ValueError, TypeError: as [`recommend`].
        """
        self._check_request(top_k, return_tensors)
        if isinstance(item, Mapping):
            if tokenizer is None:
                raise ValueError("An item that is given by its attributes has to be encoded: pass the tokenizer too.")
            vector = self.encode_items([item], tokenizer)
            own = [] if self.catalog is None else rows_of_equal_text(self.catalog, [item])[0]
        else:
            own = [row_of_id(self._catalog_for("an id"), _checked_id(item, "The item"), lambda: "The item")]
            vector = self.item_embeddings.detach()[own]
        pairs = _pairs([own], None, 1)
        self._check_enough(top_k, f"{self.config.num_items} items", None, pairs, 1, None)
        scores, rows = self.index.search(vector, top_k, None, _tensors(pairs))
        return self._recommendations(scores, rows, return_tensors)

    # The catalogue

    def with_catalog(self, items: Items, tokenizer: Any, max_tokens: int = 8192, progress: bool | None = None) -> Any:
        """A recommender of other items with the same encoder: zero-shot for a shop that the model has never seen.

        Args:
            items: an `ItemCatalog`, a mapping of id to attributes, or rows that hold an `item_id`.
            tokenizer, max_tokens, progress: as in [`encode_items`].

        Returns:
            a new model with a catalogue of its own. It shares the encoder's weights with this one: no copy is made, and
            moving or training one moves or trains both.
        """
        catalog = as_catalog(items)
        vectors = self.encode_items(catalog, tokenizer, max_tokens, progress)
        with torch.device("meta"):  # the encoder is replaced at once: it need not exist before
            model = type(self)(self.config)
        model.recformer = self.recformer
        device = self.item_embeddings.device
        model.item_embeddings = nn.Parameter(
            torch.zeros(0, self.config.hidden_size, device=device), requires_grad=False
        )
        model.train(self.training)
        model.name_or_path = self.name_or_path
        model.set_item_embeddings(vectors, catalog)
        return model

    def add_items(self, items: Items, tokenizer: Any, max_tokens: int = 8192, progress: bool | None = None) -> None:
        """Appends items: the new ones alone are encoded, the others keep their rows and vectors.

        Args:
            items: as in [`with_catalog`]; none of their ids may be in the catalogue.
            tokenizer, max_tokens, progress: as in [`encode_items`].

        Raises:
            ValueError: for ids that are in the catalogue, items without text, or a model whose items have no catalogue.
        """
        more = as_catalog(items)
        catalog = more if self.config.num_items == 0 else self._catalog_for("adding items").add(more)
        vectors = self.encode_items(more, tokenizer, max_tokens, progress).to(self.item_embeddings.device)
        self.set_item_embeddings(torch.cat([self.item_embeddings.detach(), vectors]), catalog)

    def remove_items(self, item_ids: Sequence[Any]) -> None:
        """Takes items out; those behind them move up.

        Raises:
            UnknownItemError: for an id that is not in the catalogue; nothing is removed.
        """
        catalog = self._catalog_for("removing items")
        kept = np.ones(len(catalog), dtype=bool)
        kept[self._rows(item_ids, "Item")] = False
        rows = np.flatnonzero(kept)
        vectors = self.item_embeddings.detach()[torch.from_numpy(rows).to(self.item_embeddings.device)]
        self.set_item_embeddings(vectors, catalog.select(rows))

    def update_items(self, items: Items, tokenizer: Any, max_tokens: int = 8192, progress: bool | None = None) -> None:
        """Gives items other attributes: these items alone are encoded again, all keep their rows.

        Args:
            items: as in [`with_catalog`]; all of their ids must be in the catalogue.
            tokenizer, max_tokens, progress: as in [`encode_items`].

        Raises:
            UnknownItemError: for an id that is not in the catalogue; nothing is changed.
        """
        catalog, changed = self._catalog_for("changing items"), as_catalog(items)
        rows = self._rows(list(changed.ids), "Item")
        assert rows is not None
        others = np.delete(np.arange(len(catalog)), rows)
        place = np.empty(len(catalog), dtype=np.int64)
        place[others], place[rows] = np.arange(len(others)), len(others) + np.arange(len(rows))
        vectors = self.item_embeddings.detach().clone()
        new = self.encode_items(changed, tokenizer, max_tokens, progress).to(vectors.device)
        vectors[torch.from_numpy(rows).to(vectors.device)] = new
        self.set_item_embeddings(vectors, catalog.select(others).add(changed).select(place))

    def export_embeddings(self, path: str | os.PathLike[str], normalize: bool = False) -> None:
        """Writes the item vectors for another vector database.

        Args:
            path: `.parquet`: columns `item_id` and `embedding` (a fixed-size list of float32). `.npy`: float32
                `[num_items, hidden_size]`, the ids beside it as `<name>.ids.json`.
            normalize: scale every vector to length 1, so that its inner products are cosines.

        Raises:
            ValueError: for a model without items or catalogue, or another ending.
        """
        if self.config.num_items == 0:
            raise ValueError(NO_ITEMS)
        write_embeddings(path, self.item_embeddings.detach(), self._catalog_for("exporting").ids, normalize)

    def _recommendations(self, scores: Tensor, rows: Tensor, return_tensors: str) -> Recommendations:
        return Recommendations(
            as_asked(scores.cpu(), return_tensors), as_asked(rows.cpu(), return_tensors), self.catalog
        )

    # Checks

    def _check_request(self, top_k: int, return_tensors: str) -> None:
        if self.config.num_items == 0:
            raise ValueError(NO_ITEMS)
        if isinstance(top_k, bool) or not isinstance(top_k, numbers.Integral) or top_k < 1:
            raise ValueError(f"top_k must be a whole number of at least 1, got {shown(top_k)}.")
        if return_tensors not in ("pt", "np"):
            raise ValueError(f"return_tensors is {return_tensors!r}; expected 'pt' or 'np'.")

    def _catalog_for(self, purpose: str) -> ItemCatalog:
        return _needed(self.catalog, purpose)

    def _rows(self, item_ids: Sequence[Any] | None, name: str) -> np.ndarray | None:
        """Rows of ids, each once, int64; in growing order but for `name` "Item", which keeps the caller's."""
        if item_ids is None:
            return None
        if isinstance(item_ids, (str, bytes, Mapping)) or not hasattr(item_ids, "__iter__"):
            raise TypeError(f"{name}s must be a list of ids, got a {type(item_ids).__name__}.")
        catalog, ids = self._catalog_for("ids"), list(item_ids)
        for i, item_id in enumerate(ids):
            _checked_id(item_id, f"{name} {i}")
        rows = [row_of_id(catalog, item_id, lambda i=i: f"{name} {i}") for i, item_id in enumerate(ids)]  # type: ignore[misc]
        found = np.array(rows, dtype=np.int64)
        return found if name == "Item" else np.unique(found)

    def _add_equal_texts(self, known: list[list[int]], described: list[list[dict[str, str]]]) -> None:
        """Adds to each history's rows those of the items that came as dictionaries."""
        flat = [item for items in described for item in items]
        if not flat:
            return
        if self.catalog is None:
            raise ValueError(
                "Without a catalogue the items of a history cannot be told from those that are recommended. Attach "
                "it, model.catalog = ItemCatalog.from_pretrained(folder), or pass exclude_history=False."
            )
        found = iter(rows_of_equal_text(self.catalog, flat))
        for rows, items in zip(known, described, strict=True):
            for _ in items:
                rows.extend(next(found))

    def _check_enough(
        self,
        top_k: int,
        total: str,
        pool: np.ndarray | None,
        pairs: tuple[np.ndarray, np.ndarray],
        num_histories: int,
        first: int | None,
    ) -> None:
        queries = pairs[0] if pool is None else pairs[0][np.isin(pairs[1], pool)]
        choice = self.config.num_items if pool is None else len(pool)
        left = choice - np.bincount(queries, minlength=num_histories)
        if num_histories and left.min() < top_k:
            row = int(np.argmax(left < top_k))
            whose = "" if first is None else f" for history {first + row}"
            raise ValueError(
                f"top_k is {top_k}, but only {left[row]} of {total} are left{whose}: the others are excluded. Ask for "
                f"at most {left[row]}, or exclude less (exclude_history=False, exclude, candidates)."
            )


def _needed(catalog: ItemCatalog | None, purpose: str = "item ids") -> ItemCatalog:
    if catalog is None:
        raise ValueError(
            f"This model has item embeddings but no catalogue, which {purpose} need: nothing says which item a row is. "
            "Attach it: model.catalog = ItemCatalog.from_pretrained(folder)."
        )
    return catalog


def _checked_id(item_id: Any, where: str) -> Any:
    if isinstance(item_id, bool) or not isinstance(item_id, (str, numbers.Integral)):
        raise TypeError(f"{where} is a {type(item_id).__name__}; expected an item id: text or a whole number.")
    return item_id


def _pairs(
    rows_of: Sequence[Sequence[int]], unwanted: np.ndarray | None, num_histories: int
) -> tuple[np.ndarray, np.ndarray]:
    """(history, row) pairs to leave out, each once, int64 `[num_pairs]` each."""
    histories = np.repeat(np.arange(len(rows_of)), [len(rows) for rows in rows_of]).astype(np.int64)
    rows = np.array([row for rows in rows_of for row in rows], dtype=np.int64)
    if unwanted is not None:
        histories = np.concatenate([histories, np.repeat(np.arange(num_histories), len(unwanted))])
        rows = np.concatenate([rows, np.tile(unwanted, num_histories)])
    pairs = np.unique(np.stack([histories, rows]), axis=1)
    return np.ascontiguousarray(pairs[0]), np.ascontiguousarray(pairs[1])


def _tensors(pairs: tuple[np.ndarray, np.ndarray]) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(pairs[0]), torch.from_numpy(pairs[1])


__all__ = ["RecommendationMixin", "Recommendations"]
