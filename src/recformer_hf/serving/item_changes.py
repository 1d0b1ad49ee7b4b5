"""Adds, changes and removes the items of a recommender, so that what was acknowledged survives a crash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ..items.catalog import ItemCatalog
from ..items.text import shown
from ..recommending import catalog_changes
from ..recommending.vectors import encode_items
from .answering import UnanswerableError
from .items_journal import Change, ItemsJournal
from .loading import Recommender

MAX_TOKENS = 8192
"""Tokens of a forward pass that encodes items."""

COMPACT_EVERY = 1000
"""Changes after which the journal is looked through for lines that no longer count."""


@dataclass
class Changes:
    """What to do with items, by id: their new attributes, or None to remove them."""

    wanted: dict[str, Mapping[str, Any] | None]


@dataclass
class Outcome:
    """What changes did."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


class ChangeableItems:
    """The items of a recommender, with the journal of their changes. All calls come from one thread.

    Args:
        recommender: whose model is changed in place.
        journal: where changes are kept.
    """

    def __init__(self, recommender: Recommender, journal: ItemsJournal) -> None:
        self.recommender, self.journal = recommender, journal
        self._since_compacted = COMPACT_EVERY

    @cached_property
    def encoder(self) -> str:
        """Which encoder vectors are from; reading all of its weights takes a second, and most services never do."""
        return encoder_of(self.recommender)

    def follow(self) -> int:
        """Applies what is new in the journal; returns the number of changes."""
        recommender = self.recommender
        if not self.journal.has_more(recommender.position):
            return 0
        changes, position = self.journal.read(recommender.position)
        last = {change.item_id: change for change in changes}
        self._apply(self._with_vectors(list(last.values())))
        recommender.position = position
        return len(changes)

    def change(self, requests: Sequence[Changes]) -> list[Outcome | UnanswerableError]:
        """Makes changes: first in the journal, then in the model.

        Args:
            requests: applied one after another; one with an error changes nothing.

        Raises:
            OSError: if the journal cannot be written; nothing is changed then.
        """
        with self.journal.locked():
            self.follow()
            known: dict[str, bool] = {}
            for each in requests:
                known |= {item_id: item_id in self.recommender.catalog for item_id in each.wanted}
            total = len(self.recommender.catalog)
            outcomes: list[Outcome | UnanswerableError] = []
            last: dict[str, Change] = {}
            for request in requests:
                try:
                    changes, outcome = _checked(request, known, total)
                except UnanswerableError as error:
                    outcomes.append(error)
                    continue
                outcomes.append(outcome)
                last |= changes
                known |= {item_id: change.attributes is not None for item_id, change in changes.items()}
                total += len(outcome.added) - len(outcome.removed)
            new = self._with_vectors(list(last.values()))
            _, end = self.journal.read(self.recommender.position)  # its beginning, if somebody has removed the file
            position = self.journal.append(new, end)
            self._apply(new)
            self.recommender.position = position
            self._compact(len(new))
        return outcomes

    def keep_vectors(self) -> None:
        """Writes the vectors of this encoder into a journal that has those of another, so that the next start need not
        encode the items again."""
        if not self._of_another_encoder(self.journal.read()[0]):
            return
        with self.journal.locked():
            self.follow()
            changes, position = self.journal.read()
            model, ids = self.recommender.model, self.recommender.catalog.ids
            vectors = model.item_embeddings.detach()
            new = [
                change._replace(vector=vectors[ids.find(change.item_id)].cpu().numpy(), encoder=self.encoder)
                for change in self._of_another_encoder(changes)
            ]
            self.recommender.position = self.journal.append(new, position)
            self._compact(COMPACT_EVERY)

    def _of_another_encoder(self, changes: list[Change]) -> list[Change]:
        last = {change.item_id: change for change in changes}
        return [each for each in last.values() if each.attributes and each.encoder != self.encoder]

    def _compact(self, changes: int) -> None:
        self._since_compacted += changes
        if self._since_compacted >= COMPACT_EVERY:
            self._since_compacted = 0
            if self.journal.compact():
                self.recommender.position = self.journal.read()[1]

    def _with_vectors(self, changes: list[Change]) -> list[Change]:
        """The changes that make a difference, with the vectors of their texts."""
        catalog = self.recommender.catalog
        rows = [catalog.ids.find(change.item_id) for change in changes]
        found = [
            change
            for change, row in zip(changes, rows, strict=True)
            if change.attributes != (None if row is None else catalog[row])
        ]
        missing = [
            number
            for number, change in enumerate(found)
            if change.attributes is not None and (change.vector is None or change.encoder != self.encoder)
        ]
        if missing:
            texts = [found[number].attributes for number in missing]
            model, tokenizer = self.recommender.model, self.recommender.tokenizer
            vectors = encode_items(model, texts, tokenizer, MAX_TOKENS, False).numpy()
            for number, vector in zip(missing, vectors, strict=True):
                found[number] = found[number]._replace(vector=vector, encoder=self.encoder)
        return found

    def _apply(self, changes: list[Change]) -> None:
        """Changes the model; every change makes a difference and has its vector."""
        model, tokenizer = self.recommender.model, self.recommender.tokenizer
        known = {change.item_id: change.item_id in self.recommender.catalog for change in changes}
        removed = [change.item_id for change in changes if change.attributes is None and known[change.item_id]]
        for function, are_known in ((catalog_changes.update_items, True), (catalog_changes.add_items, False)):
            put = [each for each in changes if each.attributes is not None and known[each.item_id] == are_known]
            if put:
                vectors = torch.from_numpy(np.stack([change.vector for change in put if change.vector is not None]))
                catalog = ItemCatalog.from_rows([{"item_id": each.item_id, **(each.attributes or {})} for each in put])
                function(model, catalog, tokenizer, MAX_TOKENS, False, vectors)
        if removed:
            catalog_changes.remove_items(model, removed)


def _checked(request: Changes, known: Mapping[str, bool], total: int) -> tuple[dict[str, Change], Outcome]:
    """The changes of a request with texts as a catalogue keeps them, and what they will do."""
    outcome, changes = Outcome(), {}
    for place, (item_id, attributes) in enumerate(request.wanted.items()):
        if attributes is None:
            if not known[item_id]:
                raise UnanswerableError(f"item_ids[{place}]", f"There is no item {shown(item_id)} to remove.")
            outcome.removed.append(item_id)
            changes[item_id] = Change(item_id, None)
            continue
        (outcome.changed if known[item_id] else outcome.added).append(item_id)
        changes[item_id] = Change(*normal_item(item_id, attributes, f"items[{place}]"))
    if total + len(outcome.added) <= len(outcome.removed):
        raise UnanswerableError("item_ids", "This would remove the last item; a model needs at least one to recommend.")
    return changes, outcome


def normal_item(item_id: str, attributes: Mapping[str, Any], field: str) -> tuple[str, dict[str, str]]:
    """An item as a catalogue keeps it.

    Raises:
        UnanswerableError: for attributes that no catalogue can have.
    """
    if "item_id" in attributes:
        raise UnanswerableError(f"{field}.attributes", "An attribute cannot be called item_id; give it another name.")
    try:
        catalog = ItemCatalog.from_rows([{"item_id": item_id, **attributes}])
    except (TypeError, ValueError) as error:
        raise UnanswerableError(f"{field}.attributes", str(error)) from error
    if not any(text.strip() for text in catalog[0].values()):
        raise UnanswerableError(f"{field}.attributes", "The item needs an attribute with text.")
    return catalog.ids[0], catalog[0]


def encoder_of(recommender: Recommender) -> str:
    """32 hexadecimal digits that depend on what turns a text into a vector: weights, and how texts are tokenized."""
    digest = hashlib.blake2b(digest_size=16)
    for name, weight in sorted(recommender.model.recformer.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    tokenizer = recommender.tokenizer
    limits = (tokenizer.max_attr_num, tokenizer.max_attr_length, tokenizer.max_token_num)
    digest.update(f"{limits} {tokenizer.backend_tokenizer.to_str()}".encode())
    return digest.hexdigest()


__all__ = ["ChangeableItems", "Changes", "Outcome", "encoder_of", "normal_item"]
