"""Recommenders to explain, and an explanation written by hand."""

from __future__ import annotations

from functools import cache, lru_cache

from recformer_hf import RecformerForSeqRec
from recformer_hf.explaining import AttributeEffect, Explanation, ItemEffect, Match, ScorePart, WordEffect
from tests.support.heads import trained
from tests.support.memories import some_memory
from tests.support.shops import CATALOG, shop_tokenizer

tokenizer = lru_cache(maxsize=None)(shop_tokenizer)

KINDS = {
    "paper": ("paper", False),
    "paper with memory": ("paper", True),
    "flat": ("flat", True),
    "two_level": ("two_level", False),
    "narrow": ("narrow", True),
}
"""A head ([`HEADS`]), and whether the model has a memory."""


@cache
def recommender(kind: str) -> RecformerForSeqRec:
    """A model of the kitchen's items; tests must not change it."""
    head, with_memory = KINDS[kind]
    model = trained(CATALOG, tokenizer(), head)
    if with_memory:
        model.memory = some_memory(len(CATALOG))
    return model


def mixed_history() -> list:
    """Ids, one of them twice, a dictionary of an item of the catalogue, and one of a new item."""
    ids = list(CATALOG.ids)
    return [ids[0], ids[1], {"title": "Blue Wok", "brand": "X"}, CATALOG[2], ids[1]]


def score_of(model: RecformerForSeqRec, history: list, item_id: str) -> float:
    """What `recommend` gives an item, whether or not it is in the history."""
    found = model.recommend([history], tokenizer(), 1, exclude_history=False, candidates=[item_id])
    return float(found.scores[0, 0])


def by_hand(title: str = "Blue wok") -> Explanation:
    """Two items, one of which lowers the score; the numbers fit each other."""
    wok = AttributeEffect(
        "title", title, "all", 1.5,
        (WordEffect("Blue", False, 0, 4, 0.5, 0.25), WordEffect(title[5:], False, 5, len(title), -1.0, 0.5)),
    )  # fmt: skip
    brand = AttributeEffect("brand", "Acme", "none", 0.0)
    pan = AttributeEffect("title", "Pan", "part", -0.25, (WordEffect("title", True, 0, 5, -0.5, 0.25),))
    memory = ScorePart("memory", 1.0, parts=(ScorePart("cooccurrence", 1.0, (1.0, 0.0)),))
    return Explanation(
        item_id="k7",
        score=3.0,
        parts=(ScorePart("text", 2.0), memory),
        items=(
            ItemEffect(0, "k1", "part", 2.0, {"text": 1.0, "memory": 1.0}, (wok, brand)),
            ItemEffect(1, None, "all", -0.25, {"text": -0.25, "memory": 0.0}, (pan,)),
        ),
        target=(AttributeEffect("title", "Blue pan", "all", 2.0),),
        matches=(Match("title", "Blue", (0,)), Match("title", "pan", (1,))),
        blank_target=0.5,
        notes=("A note.",),
    )
