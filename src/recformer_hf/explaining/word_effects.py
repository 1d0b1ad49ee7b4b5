"""What the words of a history, and those of the explained item, add to the similarity of their texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..encoder.losses import similarity_scores
from ..heads.history_items import whole_histories
from ..recommending.protocols import ItemTokenizer, RecommendingModel
from .effects import WordEffect
from .score_parts import Targets, residuals_of
from .word_paths import token_effects
from .words import ReadAttribute, ReadItem, Word


class Words(NamedTuple):
    """The words of some items.

    Args:
        of_items: for each item, for each of its attributes, the words that are read.
        blank: the similarity of the same texts without words. With the estimates of all words it sums up to the
            similarity of the texts as they are encoded now.
    """

    of_items: list[list[tuple[WordEffect, ...]]]
    blank: float


def history_words(
    model: RecommendingModel,
    tokenizer: ItemTokenizer,
    items: Sequence[ReadItem],
    rows: Sequence[int],
    targets: Targets,
    max_tokens: int,
) -> list[Words]:
    """The words of a history, for each target.

    Args:
        model: a `RecformerForSeqRec` in evaluation mode.
        tokenizer: its tokenizer.
        items: the history, oldest first.
        rows: of the catalogue, whose residuals a two-level head reads; -1 for an item without one.
        targets: the explained items.
        max_tokens: tokens of one forward pass.
    """
    read = [place for place, item in enumerate(items) if item.extent != "none"]
    head, vectors = model.scoring_head, targets.vectors.to(model.device)

    def scores(encoded: Tensor) -> Tensor:
        users = encoded
        if head.history_transformer is not None:
            entries = head.item_vectors(encoded, residuals_of(model, [rows[place] for place in read]))
            users = head.read(entries, whole_histories(torch.arange(len(read), device=encoded.device)[None]))
        return similarity_scores(users, vectors, head.temperature_now)[0]

    found = token_effects(model, [items[place] for place in read], first_token(tokenizer), scores, max_tokens)
    return [_words_of(items, *each) for each in zip(found.estimates, found.blank.tolist(), strict=True)]


def target_words(
    model: RecommendingModel,
    tokenizer: ItemTokenizer,
    item: ReadItem,
    history: Tensor,
    target: Targets,
) -> Words:
    """The words of the explained item.

    Args:
        model, tokenizer: as in [`history_words`].
        item: the explained item, read alone.
        history (`Tensor`, float32 `[1, vector_size]`): the vector of the history.
        target: the explained item, whose residual is added.
    """
    head = model.scoring_head
    residuals = None if target.residuals is None else target.residuals.to(model.device)

    def scores(encoded: Tensor) -> Tensor:
        vectors = head.item_vectors(encoded, residuals)
        return similarity_scores(history.to(vectors.device), vectors, head.temperature_now)[0]

    # A single item is a batch of its own, whatever the limit on tokens.
    found = token_effects(model, [item], first_token(tokenizer), scores, 1)
    return _words_of([item], found.estimates[0], float(found.blank[0]))


def first_token(tokenizer: ItemTokenizer) -> int:
    """The id of `<s>`; BERT has no BOS token, and begins with [CLS]."""
    return int(tokenizer.cls_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id)


def _words_of(items: Sequence[ReadItem], estimates: np.ndarray, blank: float) -> Words:
    """Sums the estimates of tokens, float64 `[total_tokens]`, up to words, and computes their shares."""
    found, done = [], 0
    for item in items:
        of_item = []
        for attribute in item.attributes:
            of_item.append(_estimates(attribute, estimates[done : done + attribute.num_read]))
            done += attribute.num_read
        found.append(of_item)
    assert done == len(estimates)
    total = sum(abs(estimate) for of_item in found for words in of_item for _, estimate in words) or 1.0
    of_items = [
        [
            tuple(
                WordEffect(attribute.text_of(word), word.in_key, word.start, word.end, estimate, abs(estimate) / total)
                for word, estimate in words
            )
            for attribute, words in zip(item.attributes, of_item, strict=True)
        ]
        for item, of_item in zip(items, found, strict=True)
    ]
    return Words(of_items, blank)


def _estimates(attribute: ReadAttribute, estimates: np.ndarray) -> list[tuple[Word, float]]:
    """The words of which a token is read, and the sum of their tokens' estimates, float64 `[num_read]`."""
    found, start = [], 0
    for word in attribute.words:
        if start < len(estimates):
            found.append((word, float(estimates[start : start + word.tokens].sum())))
        start += word.tokens
    return found


__all__ = ["Words", "first_token", "history_words", "target_words"]
