"""Answers several requests at once: their histories share packed forward passes, and their searches are one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch

from ..items.places import Place, PlacedText
from ..recommending.histories import HistoryResolver
from ..recommending.history_scores import pairs_of_rows
from ..recommending.recommend import Choice, Recommendations, checked_choice, search_best
from ..recommending.vectors import EncodedHistories, encode_resolved

P = ParamSpec("P")
T = TypeVar("T")


class UnanswerableError(ValueError):
    """A request that the model cannot answer.

    Args:
        field: of the request, such as `histories[0][2]`.
        detail: what was found there, and how to fix it.
    """

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field, self.detail = field, detail


@dataclass(frozen=True)
class Question:
    """What to recommend for some histories; see `RecformerForSeqRec.recommend`."""

    histories: list[list[Any]]
    top_k: int = 10
    exclude_history: bool = True
    candidates: list[str] | None = None
    exclude: list[str] | None = None


Answer = list[list[tuple[str, float, int]]]
"""For each history the items, best first: id, score, and row of the catalogue."""


def answer_all(
    model: Any, tokenizer: Any, questions: Sequence[Question], max_tokens: int
) -> list[Answer | UnanswerableError]:
    """The answer to each question, or why there is none.

    Args:
        model: a `RecformerForSeqRec` or a neural baseline, with a catalogue.
        tokenizer: its tokenizer; None if it reads ids alone.
        questions: any number.
        max_tokens: tokens of a forward pass.
    """
    if not hasattr(model, "recformer"):
        return [caught("histories", _ask_alone, model, question) for question in questions]
    # One for all, because histories share items, and each is read from the catalogue once.
    resolver = HistoryResolver(model.catalog, read_texts=model.config.sequence_head != "two_level")
    prepared = [caught("histories", _Prepared.of, model, question, resolver) for question in questions]
    good = [each for each in prepared if isinstance(each, _Prepared)]
    answers = iter(_answers(model, tokenizer, good, max_tokens))
    return [next(answers) if isinstance(each, _Prepared) else each for each in prepared]


@dataclass(frozen=True)
class _Prepared:
    """A question whose ids were looked up, and whose items were checked."""

    choice: Choice
    texts: list[list[dict[str, str]]]
    rows: list[list[int]]

    @classmethod
    def of(cls, model: Any, question: Question, resolver: HistoryResolver) -> _Prepared:
        choice = _choice(model, question)
        return cls(choice, *resolver.resolve(question.histories))


def _choice(model: Any, question: Question) -> Choice:
    whole = question.top_k, question.exclude_history, question.candidates, question.exclude
    try:
        return checked_choice(model, *whole)
    except (KeyError, TypeError, ValueError):  # look for the field: a good question has its ids looked up once
        with _Field("candidates"):
            checked_choice(model, 1, candidates=question.candidates)
        with _Field("exclude"):
            checked_choice(model, 1, exclude=question.exclude)
        with _Field("top_k"):
            return checked_choice(model, *whole)


def _answers(
    model: Any, tokenizer: Any, prepared: list[_Prepared], max_tokens: int
) -> list[Answer | UnanswerableError]:
    if not prepared:
        return []
    texts = [text for each in prepared for text in each.texts]
    rows = [history for each in prepared for history in each.rows]
    block = encode_resolved(model, texts, rows, tokenizer, max_tokens)
    bounds = [0, *accumulate(len(each.rows) for each in prepared)]
    answers: list[Answer | UnanswerableError | None] = [None] * len(prepared)
    # Of those with candidates each is searched by itself, because a search has one set of them.
    together: dict[object, list[int]] = {}
    for number, each in enumerate(prepared):
        alone = each.choice.pool is not None
        together.setdefault(number if alone else each.choice.exclude_history, []).append(number)
    for numbers in together.values():
        parts = [_part(block, bounds[number], bounds[number + 1]) for number in numbers]
        found = _search(model, [prepared[number].choice for number in numbers], parts)
        for number, answer in zip(numbers, found, strict=True):
            answers[number] = answer
    return [answer for answer in answers if answer is not None]


def _part(block: EncodedHistories, start: int, stop: int) -> EncodedHistories:
    return EncodedHistories(block.vectors[start:stop], block.rows[start:stop], block.described[start:stop])


def _search(model: Any, choices: list[Choice], parts: list[EncodedHistories]) -> list[Answer | UnanswerableError]:
    """Searches the items of questions that only differ in `top_k` and `unwanted`."""
    whole = EncodedHistories(
        torch.cat([part.vectors for part in parts]),
        [rows for part in parts for rows in part.rows],
        [items for part in parts for items in part.described],
    )
    # One call for all histories, because it passes over the texts of the whole catalogue.
    seen = choices[0].seen(model, whole)
    bounds = [0, *accumulate(len(part.rows) for part in parts)]
    errors: dict[int, UnanswerableError] = {}
    pairs = []
    for number, choice in enumerate(choices):
        start, count = bounds[number], len(parts[number].rows)
        first = None if count == 1 else 0
        checked = caught("top_k", choice.left_out, model, seen[start : start + count], count, first)
        if isinstance(checked, UnanswerableError):
            errors[number] = checked
        else:
            pairs.append(np.stack([checked[0] + start, checked[1]]))
    joined = np.concatenate(pairs, 1) if pairs else np.stack(pairs_of_rows([], None, 0))
    largest = choices[0]._replace(top_k=max(choice.top_k for choice in choices))
    scores, rows = search_best(model, whole.vectors, seen, largest, (joined[0], joined[1]))
    answers: list[Answer | UnanswerableError] = []
    for number, choice in enumerate(choices):
        mine = slice(bounds[number], bounds[number + 1])
        found = Recommendations(scores[mine, : choice.top_k], rows[mine, : choice.top_k], model.catalog)
        answers.append(errors.get(number) or as_answer(found))
    return answers


def as_answer(found: Recommendations) -> Answer:
    """The items with their ids, scores and rows."""
    columns = zip(found.item_ids, found.scores.tolist(), found.rows.tolist(), strict=True)
    return [list(zip(*each, strict=True)) for each in columns]


def _ask_alone(model: Any, question: Question) -> Answer:
    """The answer of a baseline, whose forward pass costs little."""
    _choice(model, question)
    found = model.recommend(
        question.histories, None, question.top_k, exclude_history=question.exclude_history,
        candidates=question.candidates, exclude=question.exclude, number_from=0,
    )  # fmt: skip
    return as_answer(found)


class _Field:
    """Turns a library's error in its block into one that names the field of the request.

    Args:
        name: of the field that the block reads.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (KeyError, TypeError, ValueError)) and not isinstance(error, UnanswerableError):
            raise UnanswerableError(_place_in(self.name, error), str(error)) from error


def _place_in(field: str, error: Exception) -> str:
    """The field with the indices that the error names."""
    text = error.args[0] if error.args else None
    place = text.place if isinstance(text, PlacedText) else None
    if isinstance(place, Place):
        if place == Place():  # neither in a history nor one of several
            return "item"
        history = 0 if place.history == "only" else place.history
        indices = (history, place.item) if field == "histories" else (place.item,)
        return field + "".join(f"[{index}]" for index in indices if index is not None)
    number = str(place).rpartition(" ")[2]  # "Candidate 3"
    return f"{field}[{number}]" if number.isdecimal() else field


def caught(field: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | UnanswerableError:
    """What a call returns, or the error that it raises, for the field of the request that the call reads."""
    try:
        with _Field(field):
            return call(*args, **kwargs)
    except UnanswerableError as error:
        return error


__all__ = ["Answer", "Question", "UnanswerableError", "answer_all", "as_answer", "caught"]
