"""What a visitor of the page does, without the page: searching, a history, recommendations, reasons, invented items.

Nothing here changes the model or its catalogue, and what belongs to one visitor is in the `Visit` that is passed along.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

from ..explaining import Explanation, explain
from ..items.catalog import ItemCatalog
from ..recommending.histories import rows_of_equal_text
from ..recommending.recommend import needed
from ..tokenizing.check_tokenizer import check_tokenizer

TOP_K = 10
MOST_FOUND = 8
"""Items that a search shows."""
MOST_HISTORY = 20
"""Items of a history. The more there are, the longer an explanation takes, which leaves out each of them."""
MOST_FIELDS = 6
"""Attributes of an invented item."""
MOST_CHARACTERS = 500
"""Characters of an attribute, and of a search."""
SAMPLED_ITEMS = 1000
"""Items that are read to find the attributes that most of them have."""
INVENTED = ""
"""What stands for the invented item where an id is expected; no item of a catalogue has an empty id."""


@dataclass(frozen=True)
class Visit:
    """What one visitor has chosen.

    Args:
        history: oldest first: ids of the catalogue, and attributes of invented items.
        keep_history: whether items of the history are recommended too.
        opened: `("why" or "similar", item_id)` of the item that shows more; the id of the invented item is `INVENTED`.
        invented: attributes of the item whose place is asked for.
    """

    history: tuple[str | Mapping[str, str], ...] = ()
    keep_history: bool = False
    opened: tuple[str, str] | None = None
    invented: Mapping[str, str] | None = None


class Scored(NamedTuple):
    """An item of the catalogue and its score."""

    item_id: str
    score: float


class Placed(NamedTuple):
    """Where an invented item would stand.

    Args:
        place: from 1.
        total: of how many items, itself included.
        score: its own.
        above, below: the items next to it, in the order of their scores.
    """

    place: int
    total: int
    score: float
    above: list[Scored]
    below: list[Scored]


class Shop:
    """A recommender as the page uses it.

    Args:
        model: a `RecformerForSeqRec` with items and their catalogue.
        tokenizer: its `RecformerTokenizer`.

    Raises:
        TypeError: for a model that does not read texts, such as a baseline, or another tokenizer.
        ValueError: for a model without items or catalogue.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        if not hasattr(model, "scoring_head") or not hasattr(model, "similar_items"):
            raise TypeError(
                f"The page needs a RecformerForSeqRec, which reads items as text, but got a {type(model).__name__}. "
                "recformer finetune trains one."
            )
        check_tokenizer(tokenizer)
        model.check_item_vectors()
        self.catalog: ItemCatalog = needed(model.catalog, "the page")
        self.model, self.tokenizer = model.eval(), tokenizer

    # Items

    def item(self, item_id: str) -> dict[str, str]:
        """The attributes of an item."""
        return self.catalog[self.catalog.row_of(item_id)]

    @cached_property
    def fields(self) -> list[str]:
        """The attributes that most items have, in the order of an item."""
        items = list(islice(self.catalog, SAMPLED_ITEMS))
        counts = Counter(key for item in items for key in item)
        common = {key for key, _ in counts.most_common(MOST_FIELDS)}
        return [key for key in self.catalog.attribute_names if key in common]

    def search(self, words: str) -> list[str]:
        """The ids of the items that have all of some words, or beginnings of words, at most `MOST_FOUND`.

        Those whose first attribute, mostly the title, has more of the words come first. Without words, these are items
        from all over the catalogue.
        """
        wanted = words[:MOST_CHARACTERS].casefold().split()
        if not wanted:
            step = max(1, len(self.catalog) // MOST_FOUND)
            return [self.catalog.ids[row] for row in range(0, len(self.catalog), step)][:MOST_FOUND]
        hits = []
        for row, (title, text) in enumerate(self._texts):
            if all(word in text for word in wanted):
                hits.append((-sum(word in title for word in wanted), row))
        return [self.catalog.ids[row] for _, row in heapq.nsmallest(MOST_FOUND, hits)]

    @cached_property
    def _texts(self) -> list[tuple[str, str]]:
        """The title of each item, and all of its text, as a search compares them."""
        texts = []
        for item_id, item in zip(self.catalog.ids, self.catalog, strict=True):
            values = [value.casefold() for value in item.values()]
            texts.append((values[0] if values else "", "\n".join([*values, item_id.casefold()])))
        return texts

    # What a visitor does

    def act(self, visit: Visit, act: str, item: str) -> Visit:
        """The visit after a click. What a browser sends is not trusted: a click that makes no sense changes nothing.

        Args:
            act: `"add"` or `"remove"`, `"why"` or `"similar"`; the last two close what they have opened.
            item: the id of an item, or `INVENTED`; for `"remove"` the place in the history.
        """
        if act == "remove":
            if not (item.isascii() and item.isdigit() and int(item[:9]) < len(visit.history)):
                return visit
            place = int(item[:9])
            return replace(visit, history=visit.history[:place] + visit.history[place + 1 :], opened=None)
        entry = visit.invented if item == INVENTED else item if item in self.catalog else None
        if entry is None:
            return visit
        if act == "add" and len(visit.history) < MOST_HISTORY:
            return replace(visit, history=(*visit.history, entry), opened=None)
        if act in ("why", "similar"):
            return replace(visit, opened=None if visit.opened == (act, item) else (act, item))
        return visit

    def invent(self, visit: Visit, values: Mapping[str, str]) -> Visit:
        """The visit with an invented item, whose blank attributes are left out; none, if all are."""
        texts = {key: (value or "").strip()[:MOST_CHARACTERS] for key, value in values.items() if key in self.fields}
        invented = {key: text for key, text in texts.items() if text}
        return replace(visit, invented=invented or None, opened=None)

    def example(self, visit: Visit, number: int) -> Visit:
        """The visit with a history that the number chooses: an item, and some that are similar to it."""
        draw = random.Random(number)
        first = self.catalog.ids[draw.randrange(len(self.catalog))]
        near = [each.item_id for each in self.similar(first)]
        return replace(visit, history=(*draw.sample(near, min(3, len(near))), first), opened=None)

    # What the model says

    def recommended(self, visit: Visit) -> list[Scored]:
        """The best items for the history, at most `TOP_K`; none for an empty history."""
        top_k = min(TOP_K, len(self.catalog) - len(self._left_out(visit)))
        return self._best(visit, top_k, not visit.keep_history) if visit.history and top_k > 0 else []

    def explained(self, visit: Visit, item: str) -> Explanation:
        """Why an item, or the invented one, has its score."""
        target = visit.invented if item == INVENTED else item
        assert target is not None
        return explain(self.model, self.tokenizer, list(visit.history), target)

    def similar(self, item: str | Mapping[str, str]) -> list[Scored]:
        """The items whose texts are closest to that of an item, with their cosines."""
        rows = 1 if isinstance(item, str) else len(rows_of_equal_text(self.catalog, [item])[0])
        top_k = min(TOP_K, len(self.catalog) - rows)
        if top_k < 1:
            return []
        found = self.model.similar_items(item, top_k, self.tokenizer)
        return [Scored(*each) for each in zip(found.item_ids[0], found.scores[0].tolist(), strict=True)]

    def placed(self, visit: Visit) -> Placed | None:
        """Where the invented item would stand among those that are recommended; None without one or without history."""
        if not visit.history or visit.invented is None:
            return None
        history = list(visit.history)
        score = explain(self.model, self.tokenizer, history, visit.invented, attributes=False, words=False).score
        hidden = self._left_out(visit)
        found = [each for each in self._best(visit, len(self.catalog), False) if each.item_id not in hidden]
        place = sum(each.score > score for each in found)
        return Placed(place + 1, len(found) + 1, score, found[max(0, place - 2) : place], found[place : place + 2])

    def _best(self, visit: Visit, top_k: int, exclude_history: bool) -> list[Scored]:
        found = self.model.recommend(
            [list(visit.history)], self.tokenizer, top_k, exclude_history=exclude_history, progress=False
        )
        return [Scored(*each) for each in zip(found.item_ids[0], found.scores[0].tolist(), strict=True)]

    def _left_out(self, visit: Visit) -> set[str]:
        """The ids of the items of the history, unless they are kept."""
        if visit.keep_history:
            return set()
        described = [entry for entry in visit.history if not isinstance(entry, str)]
        rows = [row for same in rows_of_equal_text(self.catalog, described) for row in same]
        return {entry for entry in visit.history if isinstance(entry, str)} | {self.catalog.ids[row] for row in rows}


__all__ = ["INVENTED", "MOST_HISTORY", "Placed", "Scored", "Shop", "Visit"]
