"""The items with the highest scores for histories, and those closest to an item."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..items.arrow import ITEM_ID
from ..items.catalog import ItemCatalog
from ..items.places import Place, renumbered
from ..items.text import shown
from .histories import HistoryResolver, as_batch, as_list, given_id, id_text, is_list, row_of_id, rows_of_equal_text
from .history_scores import Pairs, items_seen, pairs_of_rows, rows_seen, search_scored
from .protocols import Entry, ItemTokenizer, RecommendingModel
from .vectors import (
    EncodedHistories,
    as_asked,
    check_needed_tokenizer,
    encode_histories,
    encode_items,
    the_only_history,
    vectors_of_new_items,
)

MOST_PAIRED = 1024
"""Excluded items that a search skips history by history. If there are more, they are removed from the candidates."""


MOST_ITEMS = 2**31 - 1
"""No catalogue has more rows; torch has no shapes for much larger numbers."""


@dataclass
class Recommendations:
    """Recommended items, best first.

    Args:
        scores (float32 `[num_histories, top_k]`, torch or numpy): those of the model: cosine / temperature, with the
            history bias and mixed with the memory where the model has them; for `similar_items`, the
            cosine.
        rows (int64 `[num_histories, top_k]`): rows of the catalogue.
        catalog: names the rows; None if the model has no catalogue.
    """

    scores: Any
    rows: Any
    catalog: ItemCatalog | None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def item_ids(self) -> list[list[str]]:
        """The items' ids, a list for each history."""
        catalog = needed(self.catalog)
        return [[catalog.ids[row] for row in rows] for rows in self.rows.tolist()]

    def to_dicts(self) -> list[list[dict[str, Any]]]:
        """For each history a list of `{"item_id": ..., "score": ..., "attributes": {...}}`."""
        catalog = needed(self.catalog)
        return [
            [
                {"item_id": catalog.ids[row], "score": score, "attributes": catalog[row]}
                for row, score in zip(rows, scores, strict=True)
            ]
            for rows, scores in zip(self.rows.tolist(), self.scores.tolist(), strict=True)
        ]


def recommend(
    model: RecommendingModel,
    histories: Sequence[Sequence[Entry]],
    tokenizer: ItemTokenizer | None,
    top_k: int,
    *,
    exclude_history: bool,
    candidates: Sequence[Any] | None,
    exclude: Sequence[Any] | None,
    max_tokens: int,
    progress: bool | None,
    number_from: int | None,
    return_tensors: str,
) -> Recommendations:
    """See `RecformerForSeqRec.recommend`."""
    choice = checked_choice(model, top_k, exclude_history, candidates, exclude)
    check_return_tensors(return_tensors)
    check_needed_tokenizer(model, tokenizer)
    histories = as_batch(histories)
    scores, rows = [torch.zeros(0, top_k)], [torch.zeros(0, top_k, dtype=torch.int64)]
    first = None if number_from is None and len(histories) == 1 else number_from or 0
    with renumbered(the_only_history if first is None else partial(Place.moved, histories=first)):
        for block in encode_histories(model, model.catalog, histories, tokenizer, max_tokens, progress):
            seen = choice.seen(model, block)
            number = None if first is None else first + sum(len(each) for each in rows)
            pairs = choice.left_out(model, seen, len(block.rows), number)
            found = search_best(model, block.vectors, seen, choice, pairs)
            scores.append(found[0])
            rows.append(found[1])
    return _recommendations(model, torch.cat(scores), torch.cat(rows), return_tensors)


class Choice(NamedTuple):
    """What may be recommended for histories, and how much of it. [`checked_choice`] makes one.

    Args:
        top_k: how many items.
        exclude_history: whether the items of the history itself are left out.
        pool (int64, *optional*): rows to choose from, in ascending order; None: all.
        unwanted (int64, *optional*): rows that no history gets.
        total: how errors refer to what there is to choose from.
    """

    top_k: int
    exclude_history: bool
    pool: np.ndarray | None = None
    unwanted: np.ndarray | None = None
    total: str = ""

    def by_cosine(self, model: RecommendingModel) -> bool:
        """Whether the cosines alone decide. What is left out gets no bias."""
        return model.memory is None and (model.scoring_head.history_bias is None or self.exclude_history)

    def seen(self, model: RecommendingModel, block: EncodedHistories) -> list[list[list[int]]]:
        """For each item of each history the rows that it stands for; `[]` where nobody needs them."""
        if self.by_cosine(model) and not self.exclude_history:
            return []
        return rows_seen(model.catalog, block, self.exclude_history)

    def left_out(
        self, model: RecommendingModel, seen: list[list[list[int]]], num_histories: int, number: int | None
    ) -> Pairs:
        """(history, row) pairs that are not recommended.

        Raises:
            ValueError: if fewer than `top_k` items are left; it counts histories from `number`, None for the only one.
        """
        own = [[row for rows in history for row in rows] for history in seen] if self.exclude_history else []
        pairs = pairs_of_rows(own, self.unwanted, num_histories)
        _check_enough(model.config.num_items, self.top_k, self.total, self.pool, pairs, num_histories, number)
        return pairs


def checked_choice(
    model: RecommendingModel,
    top_k: int,
    exclude_history: object = True,
    candidates: Sequence[Any] | None = None,
    exclude: Sequence[Any] | None = None,
) -> Choice:
    """The [`Choice`] of a request; arguments and errors as in `RecformerForSeqRec.recommend`."""
    check_request(model, top_k)
    if not isinstance(exclude_history, (bool, np.bool_)):
        raise TypeError(f"exclude_history must be True or False, got {shown(exclude_history)}.")
    pool = rows_of_ids(model.catalog, candidates, "Candidate")
    unwanted = rows_of_ids(model.catalog, exclude, "Excluded item")
    total = f"{model.config.num_items} items" if pool is None else f"{len(pool)} candidates"
    if unwanted is not None and len(unwanted) > MOST_PAIRED:
        pool = np.setdiff1d(np.arange(model.config.num_items) if pool is None else pool, unwanted)
        unwanted = None
    return Choice(int(top_k), bool(exclude_history), pool, unwanted, total)


def search_best(
    model: RecommendingModel, vectors: Tensor, seen: list[list[list[int]]], choice: Choice, pairs: Pairs
) -> tuple[Tensor, Tensor]:
    """The best items of encoded histories.

    Args:
        model: with items.
        vectors (`Tensor`, float32 `[num_histories, vector_size]`): the histories.
        seen: of [`Choice.seen`].
        choice: `top_k`, `exclude_history` and `pool` are read.
        pairs: (history, row) pairs to leave out.

    Returns:
        scores, float32 `[num_histories, top_k]`, highest first, and rows, on the CPU.
    """
    if not choice.by_cosine(model):
        return search_scored(model, vectors, items_seen(seen), choice.top_k, choice.pool, pairs)
    pool = None if choice.pool is None else torch.from_numpy(choice.pool)
    scores, rows = model.index.search(vectors, choice.top_k, pool, _tensors(pairs))
    return scores.cpu() / model.scoring_head.temperature_now, rows.cpu()


def similar_items(
    model: RecommendingModel, item: Any, top_k: int, tokenizer: ItemTokenizer | None, return_tensors: str
) -> Recommendations:
    """See `RecformerForSeqRec.similar_items`."""
    check_request(model, top_k)
    check_return_tensors(return_tensors)
    if not isinstance(item, Mapping):
        needed(model.catalog, "an id")
    attributes, row = HistoryResolver(model.catalog).item(item, Place())
    own = [row]
    if row >= 0:
        vector = model.item_vectors.detach()[own]
    else:
        if tokenizer is None:
            raise ValueError("An item that is given by its attributes has to be encoded: pass the tokenizer too.")
        vector = vectors_of_new_items(model, encode_items(model, [attributes], tokenizer))
        own = [] if model.catalog is None else rows_of_equal_text(model.catalog, [attributes])[0]
    pairs = pairs_of_rows([own], None, 1)
    _check_enough(model.config.num_items, top_k, f"{model.config.num_items} items", None, pairs, 1, None)
    scores, rows = model.index.search(vector, top_k, None, _tensors(pairs))
    return _recommendations(model, scores, rows, return_tensors)


def _recommendations(model: RecommendingModel, scores: Tensor, rows: Tensor, return_tensors: str) -> Recommendations:
    scores, rows = (as_asked(each.cpu(), return_tensors) for each in (scores, rows))
    return Recommendations(scores, rows, model.catalog)


# Checks of a request


def check_request(model: RecommendingModel, top_k: object) -> None:
    """Raises ValueError for a model whose items cannot be ranked, and for a bad `top_k`."""
    model.check_item_vectors()
    if isinstance(top_k, bool) or not isinstance(top_k, numbers.Integral) or top_k < 1:
        raise ValueError(f"top_k must be a whole number of at least 1, got {shown(top_k)}.")
    if int(top_k) > MOST_ITEMS:
        raise ValueError(f"top_k is {shown(top_k)}, but there are only {model.config.num_items} items.")


def check_return_tensors(return_tensors: str) -> None:
    """Raises ValueError for anything but the two kinds of arrays."""
    if return_tensors not in ("pt", "np"):
        raise ValueError(f"return_tensors is {return_tensors!r}; expected 'pt' or 'np'.")


def rows_of_ids(catalog: ItemCatalog | None, item_ids: Sequence[Any] | None, name: str) -> np.ndarray | None:
    """The rows of some ids, int64, each once and in ascending order; None for None.

    Args:
        catalog: where to look.
        item_ids: text or whole numbers, or dictionaries that hold an `item_id`, such as recommendations.
        name: how errors refer to one of them.

    Raises:
        TypeError: for something that is not a list of ids.
        ValueError: if there is no catalogue.
        UnknownItemError: for an id that the catalogue does not have.
    """
    return None if item_ids is None else np.unique(rows_in_order(catalog, item_ids, name))


def rows_in_order(catalog: ItemCatalog | None, item_ids: Sequence[Any], name: str) -> np.ndarray:
    """Like [`rows_of_ids`], but in the order of the ids."""
    if not is_list(item_ids) and not isinstance(item_ids, Set):  # their order does not matter
        raise TypeError(f"{name}s must be a list of ids, got a {type(item_ids).__name__}.")
    known, rows = needed(catalog, "ids"), []
    for i, item_id in enumerate(as_list(item_ids)):
        place = f"{name} {i}"
        if isinstance(item_id, Mapping) and ITEM_ID in item_id:
            item_id = given_id(item_id, place)[0]
        rows.append(row_of_id(known, id_text(item_id, place, "an item id: text or a whole number"), place))
    return np.array(rows, dtype=np.int64)


def needed(catalog: ItemCatalog | None, purpose: str = "item ids") -> ItemCatalog:
    """The catalogue.

    Raises:
        ValueError: if there is none; the message names what needs it.
    """
    if catalog is None:
        raise ValueError(
            f"This model has item embeddings but no catalogue, which {purpose} need: nothing says which item a row is. "
            "Attach it: model.catalog = ItemCatalog.from_pretrained(folder)."
        )
    return catalog


# Items to leave out


def _tensors(pairs: tuple[np.ndarray, np.ndarray]) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(pairs[0]), torch.from_numpy(pairs[1])


def _check_enough(
    num_items: int,
    top_k: int,
    total: str,
    pool: np.ndarray | None,
    pairs: tuple[np.ndarray, np.ndarray],
    num_histories: int,
    first: int | None,
) -> None:
    """Raises ValueError if fewer than `top_k` items are left for a history; the error counts histories from `first`."""
    # An excluded item that is not a candidate anyway takes nothing away.
    queries = pairs[0] if pool is None else pairs[0][np.isin(pairs[1], pool)]
    left = (num_items if pool is None else len(pool)) - np.bincount(queries, minlength=num_histories)
    if not num_histories or left.min() >= top_k:
        return
    row = int(np.argmax(left < top_k))
    whose, count = "" if first is None else f" for history {first + row}", int(left[row])
    if count == (num_items if pool is None else len(pool)):
        problem = f"there are only {total}. Ask for at most {count}." if count else f"there are {total}."
        raise ValueError(f"top_k is {top_k}, but {problem}")
    at_most = f"Ask for at most {count}, or exclude less" if count else "Exclude less"
    raise ValueError(
        f"top_k is {top_k}, but only {count} of {total} are left{whose}: the others are excluded. {at_most} "
        "(exclude_history=False, exclude, candidates)."
    )


__all__ = ["Choice", "Recommendations", "checked_choice", "recommend", "search_best", "similar_items"]
