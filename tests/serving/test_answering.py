from __future__ import annotations

import numpy as np
import pytest

from recformer_hf import RecformerForSeqRec, RecformerTokenizer
from recformer_hf.serving.answering import Question, UnanswerableError, answer_all
from tests.support.heads import trained
from tests.support.memories import some_memory
from tests.support.neural_baselines import with_items
from tests.support.serving import IDS, saved_shop
from tests.support.shops import CATALOG

MANY = [
    Question([[IDS[3], {"title": "Frosted whisk"}]], 5),
    Question([[IDS[7]], [IDS[1], IDS[7], IDS[20]]], 2, exclude_history=False),
    Question([[IDS[9], CATALOG[4]]], 7, exclude=IDS[10:30]),
    Question([[IDS[9]]], 3, candidates=IDS[:12]),
    Question([[IDS[2]]], 1, exclude_history=False, exclude=[IDS[2]]),
    Question([[IDS[40], IDS[41]]], 58),
    Question([[{"title": "A kettle", "brand": "Acme"}]], 3, candidates=[IDS[5], IDS[50], IDS[4], IDS[5]], exclude=[]),
]
WRONG = {
    "histories[1][0]": Question([[IDS[0]], ["nothing"]]),
    "histories[0][1]": Question([[IDS[0], {"title": " "}]]),
    "histories[0][0]": Question([[{"title": {1, 2}}]]),
    "candidates[1]": Question([[IDS[0]]], candidates=[IDS[1], "nothing"]),
    "exclude[0]": Question([[IDS[0]]], exclude=["nothing"]),
    "top_k": Question([[IDS[0]]], 60),
}


def load() -> tuple[RecformerForSeqRec, RecformerTokenizer]:
    folder = saved_shop() / "shop"
    return RecformerForSeqRec.from_pretrained(folder), RecformerTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def flat():
    return load()


@pytest.fixture(scope="module")
def mixed(flat):
    """With history bias, and mixed with a memory."""
    model = trained(CATALOG, flat[1], "bias")
    model.memory = some_memory(60)
    return model, flat[1]


@pytest.fixture(scope="module")
def two_level(flat):
    return trained(CATALOG, flat[1], "narrow"), flat[1]


@pytest.mark.parametrize("kind", ["flat", "mixed", "two_level"])
def test_each_question_is_answered_as_if_it_were_alone(kind, request):
    model, tokenizer = request.getfixturevalue(kind)
    answers = answer_all(model, tokenizer, MANY, 200)
    for question, answer in zip(MANY, answers, strict=True):
        found = model.recommend(
            question.histories, tokenizer, question.top_k, exclude_history=question.exclude_history,
            candidates=question.candidates, exclude=question.exclude,
        )  # fmt: skip
        assert [[item for item, _, _ in items] for items in answer] == found.item_ids
        assert [[row for _, _, row in items] for items in answer] == found.rows.tolist()
        scores = np.array([[score for _, score, _ in items] for items in answer])
        np.testing.assert_allclose(scores, found.scores, atol=1e-4)


def test_questions_share_their_forward_pass(flat, monkeypatch):
    model, tokenizer = flat
    batches = []
    forward = model.recformer.forward

    def counted(*args, **inputs):
        batches.append(len(inputs["cu_seqlens"]) - 1)
        return forward(*args, **inputs)

    monkeypatch.setattr(model.recformer, "forward", counted)
    answer_all(model, tokenizer, MANY, 100_000)
    assert batches == [8]


@pytest.mark.parametrize("field", WRONG)
def test_a_wrong_question_is_named_and_the_others_are_answered(flat, field):
    model, tokenizer = flat
    good, bad, last = answer_all(model, tokenizer, [MANY[0], WRONG[field], MANY[1]], 1000)
    assert isinstance(bad, UnanswerableError)
    assert bad.field == field
    for answer, alone in zip([good, last], answer_all(model, tokenizer, [MANY[0], MANY[1]], 1000), strict=True):
        assert [[row for _, _, row in items] for items in answer] == [[row for _, _, row in items] for items in alone]


def test_only_wrong_questions(flat):
    assert [error.field for error in answer_all(*flat, list(WRONG.values()), 1000)] == list(WRONG)


def test_a_baseline_answers_ids():
    model = with_items("sasrec")
    ids = list(model.catalog.ids)
    good = Question([[ids[0], ids[1]], [ids[2]]], 3, exclude=[ids[4]])
    wrong = [Question([["nothing"]]), Question([[ids[0]]], 3, candidates=["nothing"]), Question([[ids[0]]], len(ids))]
    answer, *errors = answer_all(model, None, [good, *wrong], 1000)
    found = model.recommend(good.histories, top_k=3, exclude=[ids[4]])
    assert [[item for item, _, _ in items] for items in answer] == found.item_ids
    assert [error.field for error in errors] == ["histories[0][0]", "candidates[0]", "histories[0]"]
