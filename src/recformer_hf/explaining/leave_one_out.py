"""How much a score falls without an item of a history, and without an attribute: exact, by encoding what is left."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..recommending.protocols import ItemTokenizer, RecommendingModel
from ..recommending.vectors import encode_items
from .score_parts import Targets, residuals_of, similarities
from .variants import Entry, HistoryVariants
from .words import ReadItem


class ReadHistory(NamedTuple):
    """A history, and what the model reads of it.

    Args:
        texts (`[num_items]`): attributes of each item, oldest first.
        rows (`[num_items]`): of the catalogue; -1 for an item that was given by its attributes.
        items (`[num_items]`): the same, with what is read.
        vector (`Tensor`, float32 `[1, vector_size]`): of the whole history.
        window: how many of the newest items can be read.
    """

    texts: list[dict[str, str]]
    rows: list[int]
    items: list[ReadItem]
    vector: Tensor
    window: int


class HistoryEffects(NamedTuple):
    """Similarities of variants of a history, by the name of the part.

    Args:
        whole: of the history itself, float64 `[num_targets]`.
        without_item: without each item, float64 `[num_items, num_targets]`.
        attributes: for each item and each attribute that is read, how much the similarity falls without it, float64
            `[num_targets]`.
        changed: whether the vector of an item's text differs from the one that the model has stored.
    """

    whole: dict[str, np.ndarray]
    without_item: dict[str, np.ndarray]
    attributes: dict[tuple[int, int], np.ndarray]
    changed: bool = False


def history_effects(
    model: RecommendingModel,
    tokenizer: ItemTokenizer,
    history: ReadHistory,
    targets: Targets,
    attributes: bool,
    max_tokens: int,
) -> HistoryEffects:
    """Leaves out each item of a history, and each attribute, and encodes all variants together.

    What is not read changes nothing, so it is not encoded. A history of which nothing is left has a similarity of 0.

    Args:
        model, tokenizer: a `RecformerForSeqRec` in evaluation mode, and its tokenizer.
        history: what is left out of.
        targets: the items whose similarities are computed.
        attributes: whether attributes are left out too.
        max_tokens: tokens of one forward pass.
    """
    start = max(0, len(history.texts) - history.window - 1)  # one more may be read if another is left out
    entries = [Entry(text, row) for text, row in zip(history.texts[start:], history.rows[start:], strict=True)]
    variants = HistoryVariants(model, tokenizer, entries, max_tokens)
    read = [place for place in range(start, len(history.items)) if history.items[place].extent != "none"]
    left = {place: variants.without(place - start) for place in read}
    two_level = model.config.sequence_head == "two_level"
    anew: dict[int, int] = {}
    fewer: dict[tuple[int, int], int | None] = {}
    for place in read if attributes else ():
        entry, row = history.texts[place], history.rows[place]
        if two_level:
            # Vectors that are stored may be of an earlier state of the encoder, so both sides are encoded now.
            anew[place] = variants.replaced(place - start, Entry(entry, -1, row))
        for number, attribute in enumerate(history.items[place].attributes):
            if attribute.num_read:
                others = {key: value for key, value in entry.items() if key != attribute.key}
                changed = Entry(others, -1, row)
                fewer[place, number] = variants.replaced(place - start, changed) if others else left[place]
    found = similarities(model, torch.cat([history.vector, variants.vectors()]), targets)
    return _effects(found, len(history.items), left, anew, fewer)


def _effects(
    found: dict[str, Tensor],
    num_items: int,
    left: dict[int, int | None],
    anew: dict[int, int],
    fewer: dict[tuple[int, int], int | None],
) -> HistoryEffects:
    """The differences of the similarities: the history is line 0 of them, and variant i is line i + 1."""
    lines = {name: values.cpu().numpy() for name, values in found.items()}
    without = {name: np.repeat(values[:1], num_items, axis=0) for name, values in lines.items()}
    for place, number in left.items():
        for name, values in lines.items():
            without[name][place] = 0.0 if number is None else values[number + 1]
    total = sum(lines.values(), np.zeros(1))
    attributes = {}
    for (place, attribute), number in fewer.items():
        whole = total[anew[place] + 1] if place in anew else total[0]
        attributes[place, attribute] = whole - (0.0 if number is None else total[number + 1])
    changed = any(np.abs(total[number + 1] - total[0]).max() > tolerance(total[0]) for number in anew.values())
    return HistoryEffects({name: values[0] for name, values in lines.items()}, without, attributes, changed)


def tolerance(scores: np.ndarray) -> float:
    """By how much scores may differ because of rounding, and no more."""
    return 1e-3 * max(1.0, float(np.abs(scores).max()))


class TargetEffects(NamedTuple):
    """For each attribute of an explained item, how much its similarity falls without it, and as in [`HistoryEffects`]
    whether its text has another vector now."""

    attributes: list[float]
    changed: bool


def target_effects(
    model: RecommendingModel,
    tokenizer: ItemTokenizer,
    item: ReadItem,
    target: Targets,
    history: Tensor,
    max_tokens: int,
) -> TargetEffects:
    """Leaves out each attribute of the explained item, and encodes what is left.

    Args:
        model, tokenizer, max_tokens: as in [`history_effects`].
        item: the explained item, read alone.
        target: the same, alone.
        history (`Tensor`, float32 `[1, vector_size]`): the vector of the history.
    """
    pairs = [(attribute.key, attribute.value) for attribute in item.attributes]
    numbers = [number for number, attribute in enumerate(item.attributes) if attribute.num_read]
    texts = [dict(pairs), *(dict(pairs[:number] + pairs[number + 1 :]) for number in numbers if len(pairs) > 1)]
    encoded = encode_items(model, texts, tokenizer, max_tokens, False).to(target.vectors.device)
    residuals = residuals_of(model, target.rows.repeat(len(texts)).tolist())
    variants = Targets(target.rows, model.scoring_head.item_vectors(encoded, residuals), residuals)
    scores = sum(similarities(model, history, variants).values(), torch.zeros(1))[0].cpu().numpy()
    stored = sum(similarities(model, history, target).values(), torch.zeros(1))[0].cpu().numpy()
    effects = [0.0] * len(pairs)
    for place, number in enumerate(numbers):
        effects[number] = float(scores[0] - (scores[place + 1] if len(pairs) > 1 else 0.0))
    return TargetEffects(effects, bool(np.abs(scores[0] - stored).max() > tolerance(stored)))


__all__ = ["HistoryEffects", "ReadHistory", "TargetEffects", "history_effects", "target_effects", "tolerance"]
