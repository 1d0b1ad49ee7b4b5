"""What moved the score of a recommended item: its parts, and the effect of each item, attribute and word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

from ..items.places import Place, renumbered
from ..recommending.histories import HistoryResolver, as_entries
from ..recommending.history_scores import rows_seen
from ..recommending.protocols import Entry, RecommendingModel
from ..recommending.recommend import needed, recommend
from ..recommending.vectors import encode_histories, encode_items, evaluating, the_only_history, vectors_of_new_items
from ..tokenizing.check_tokenizer import check_tokenizer
from .baseline import explain_baseline, is_baseline
from .composing import Findings, explanation_of
from .explanation import Explanation
from .leave_one_out import ReadHistory, history_effects, target_effects
from .score_parts import Targets, additions, residuals_of
from .word_effects import history_words, target_words
from .words import read_alone, read_in_history, read_items


def explain(
    model: Any,
    tokenizer: Any,
    history: Sequence[Entry],
    item: Entry | None = None,
    *,
    exclude_history: bool = True,
    candidates: Sequence[Any] | None = None,
    exclude: Sequence[Any] | None = None,
    attributes: bool = True,
    words: bool = True,
    max_tokens: int = 8192,
) -> Explanation:
    """Explains the score of one item for a history: `RecformerForSeqRec.explain`, see docs/explaining.md.

    Args:
        model: a `RecformerForSeqRec`, or a neural baseline, of which only the effects of items are known.
        tokenizer: the model's `RecformerTokenizer`; None for a baseline.
        history: items, oldest first: ids of the catalogue, dictionaries of attributes, or a mix.
        item: whose score to explain: an id of the catalogue, or a dictionary, of a new item too. By default the item
            that the model recommends first.
        exclude_history, candidates, exclude: as in `recommend`, which finds that first item.
        attributes: whether to leave out each attribute too. That takes about as many times as long as items have
            attributes.
        words: whether to estimate the effects of words, which takes four forward and backward passes of the history.
        max_tokens (`int`): tokens of one forward pass; long histories are encoded in several.

    Returns:
        [`Explanation`].

    Raises:
        UnknownItemError: a `KeyError`, for an id that the catalogue does not have; it shows the closest ids.
        ValueError: for an empty history, a model without items, or an item without text.
        TypeError: for something that is not a history, an item, an id or a tokenizer.
    """
    found = _explained(
        model,
        tokenizer,
        history,
        item,
        1,
        exclude_history,
        candidates,
        exclude,
        _Wanted(attributes, words, max_tokens),
    )
    return found[0]


def explain_top(
    model: Any,
    tokenizer: Any,
    history: Sequence[Entry],
    top_k: int = 10,
    *,
    exclude_history: bool = True,
    candidates: Sequence[Any] | None = None,
    exclude: Sequence[Any] | None = None,
    attributes: bool = True,
    words: bool = True,
    max_tokens: int = 8192,
) -> list[Explanation]:
    """Explains the items that `recommend` finds, best first. The history is encoded once for all of them.

    Args:
        top_k: how many items.
        model, tokenizer, history, exclude_history, candidates, exclude, attributes, words, max_tokens: as in
            [`explain`].
    """
    wanted = _Wanted(attributes, words, max_tokens)
    return _explained(model, tokenizer, history, None, top_k, exclude_history, candidates, exclude, wanted)


class _Wanted(NamedTuple):
    attributes: bool
    words: bool
    max_tokens: int


def _explained(
    model: Any,
    tokenizer: Any,
    history: Sequence[Entry],
    item: Entry | None,
    top_k: int,
    exclude_history: bool,
    candidates: Sequence[Any] | None,
    exclude: Sequence[Any] | None,
    wanted: _Wanted,
) -> list[Explanation]:
    request: dict[str, Any] = {"exclude_history": exclude_history, "candidates": candidates, "exclude": exclude}
    entries = as_entries(history, Place(history="only"))
    if is_baseline(model):
        return explain_baseline(model, entries, item, top_k, request)
    _check_model(model)
    check_tokenizer(tokenizer)
    with _without_graph(model):
        if item is None:
            catalog = needed(model.catalog, "explanations")
            best = recommend(
                model, [entries], tokenizer, top_k, max_tokens=wanted.max_tokens, progress=False, number_from=None,
                return_tensors="pt", **request,
            )  # fmt: skip
            rows = best.rows[0].tolist()
            texts = [catalog[row] for row in rows]
        else:
            if model.config.num_items or not isinstance(
                item, Mapping
            ):  # without a catalogue, two texts can be compared
                model.check_item_vectors()
            text, row = HistoryResolver(model.catalog).item(item, Place())
            rows, texts = [row], [text]
        targets = _targets(model, tokenizer, rows, texts, wanted.max_tokens)
        return _of_targets(model, tokenizer, entries, targets, texts, wanted)


def _check_model(model: Any) -> None:
    if not hasattr(model, "scoring_head") or not hasattr(model, "recformer"):
        raise TypeError(
            f"Expected a RecformerForSeqRec or a neural baseline to explain, got a {type(model).__name__}. Other "
            "recommenders do not say what their scores are made of."
        )


@contextmanager
def _without_graph(model: RecommendingModel) -> Iterator[None]:
    """No gradients but those of words, which tensors of the inference mode could not have."""
    with evaluating(model), torch.inference_mode(False), torch.no_grad():
        yield


def _targets(
    model: RecommendingModel, tokenizer: Any, rows: list[int], texts: list[dict[str, str]], max_tokens: int
) -> Targets:
    if rows == [-1]:
        vectors = vectors_of_new_items(model, encode_items(model, texts, tokenizer, max_tokens, False))
    else:
        vectors = model.item_vectors.detach()[rows]
    return Targets(np.array(rows, np.int64), vectors, residuals_of(model, rows))


def _of_targets(
    model: RecommendingModel,
    tokenizer: Any,
    entries: list[Any],
    targets: Targets,
    texts: list[dict[str, str]],
    wanted: _Wanted,
) -> list[Explanation]:
    history, known = _read_history(model, tokenizer, entries, wanted.max_tokens)
    read = read_items(texts, tokenizer)
    read_alone(read, model.config.max_token_num)
    effects = history_effects(model, tokenizer, history, targets, wanted.attributes, wanted.max_tokens)
    of_targets, words_of_targets, words_of_history = None, None, None
    alone = [(item, targets.one(number)) for number, item in enumerate(read)]
    if wanted.attributes:
        of_targets = [
            target_effects(model, tokenizer, item, own, history.vector, wanted.max_tokens) for item, own in alone
        ]
    if wanted.words:
        words_of_targets = [target_words(model, tokenizer, item, history.vector, own) for item, own in alone]
        if any(item.extent != "none" for item in history.items):  # else the limits leave nothing but <s>
            words_of_history = history_words(model, tokenizer, history.items, history.rows, targets, wanted.max_tokens)
    findings = Findings(
        model.catalog, history, known, targets, read, additions(model, known, targets), effects, of_targets,
        words_of_history, words_of_targets,
    )  # fmt: skip
    return [explanation_of(findings, number) for number in range(len(texts))]


def _read_history(
    model: RecommendingModel, tokenizer: Any, entries: list[Any], max_tokens: int
) -> tuple[ReadHistory, np.ndarray]:
    """What the model reads of a history, and the rows that a history bias and a memory know its items by."""
    config, two_level = model.config, model.config.sequence_head == "two_level"
    with renumbered(the_only_history):
        block = next(encode_histories(model, model.catalog, [entries], tokenizer, max_tokens, False))
        texts, rows = HistoryResolver(model.catalog).resolve([entries])
    window = config.max_item_embeddings - 1
    if not two_level:
        window = min(window, tokenizer.max_item_embeddings - 1)
    items = read_items(texts[0], tokenizer, window)
    if two_level:
        read_alone(items[-window:], config.max_token_num)
    else:
        read_in_history(items, window, min(tokenizer.max_token_num, config.max_token_num))
    known = rows[0]
    if model.memory is not None or model.scoring_head.history_bias is not None:
        known = [each[0] if each else -1 for each in rows_seen(model.catalog, block, required=False)[0]]
    return ReadHistory(texts[0], rows[0], items, block.vectors, window), np.array(known, np.int64)


__all__ = ["explain", "explain_top"]
