"""From findings to an explanation: sums, ids, notes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recformer_hf.explaining.composing import Findings, explanation_of
from recformer_hf.explaining.effects import WordEffect
from recformer_hf.explaining.leave_one_out import HistoryEffects, ReadHistory, TargetEffects
from recformer_hf.explaining.memory_terms import MemoryTerms
from recformer_hf.explaining.score_parts import Additions, Targets
from recformer_hf.explaining.word_effects import Words
from recformer_hf.explaining.words import read_alone, read_items
from tests.support.explanations import tokenizer
from tests.support.shops import CATALOG

MEMORY = MemoryTerms(
    whole=np.array([3.0, 0.0]), without=np.array([[2.0, 0.0], [1.0, 0.0]]),
    terms=np.array([[[1.0, 0.0], [2.0, 0.0]]]), names=("directed",), strength=2.0,
)  # fmt: skip


def findings(**changed: Any) -> Findings:
    """Two items and two targets, the second of which is new."""
    texts = [{"title": "mug"}, {"title": "pan", "brand": "Acme"}]
    items = read_items(texts, tokenizer())
    read_alone(items, 128)
    read = read_items([CATALOG[3], {"title": "new mug"}], tokenizer())
    read_alone(read, 128)
    whole = {"text": np.array([4.0, 5.0]), "residual": np.array([0.5, 0.0])}
    without = {"text": np.array([[3.0, 5.5], [1.0, 5.0]]), "residual": np.array([[0.25, 0.0], [0.5, 0.0]])}
    attributes = {(0, 0): np.array([1.0, -0.5]), (1, 0): np.array([2.0, 0.1]), (1, 1): np.array([0.5, 0.2])}
    vectors: Any = None
    word = WordEffect("mug", False, 0, 3, 0.5, 1.0)
    values: dict[str, Any] = {
        "catalog": CATALOG, "history": ReadHistory(texts, [8, -1], items, vectors, 50), "known": np.array([8, -1]),
        "targets": Targets(np.array([3, -1]), vectors, None), "read": read,
        "added": Additions(None, MEMORY), "effects": HistoryEffects(whole, without, attributes),
        "target_effects": [TargetEffects([1.0, 2.0, 3.0], False), TargetEffects([4.0], False)],
        "history_words": [Words([[(word,)], [(), ()]], 0.25), Words([[()], [(), ()]], 0.5)],
        "target_words": [Words([[(), (), ()]], 0.75), Words([[(word,)]], 1.0)],
    }  # fmt: skip
    return Findings(**{**values, **changed})


def test_parts_and_effects_sum_up():
    found = explanation_of(findings(), 0)
    gain = 2 * np.log(4.0)
    assert [(part.name, part.value) for part in found.parts] == [
        ("text", 4.0), ("residual", 0.5), ("memory", pytest.approx(gain)),
    ]  # fmt: skip
    assert found.score == pytest.approx(4.5 + gain)
    (inner,) = found.parts[2].parts
    assert inner.name == "directed"
    assert inner.places == pytest.approx((gain / 3, 2 * gain / 3))
    assert inner.value == pytest.approx(gain)
    first = {"text": 1.0, "residual": 0.25, "memory": pytest.approx(gain - 2 * np.log(3.0))}
    assert found.items[0].effect_parts == first
    assert found.items[0].effect == pytest.approx(1.25 + gain - 2 * np.log(3.0))
    assert [each.effect for each in found.attributes] == [1.0, 2.0, 0.5]
    assert [each.effect for each in found.target] == [1.0, 2.0, 3.0]
    assert [word.text for word in found.words] == ["mug"]
    assert (found.blank_history, found.blank_target) == (0.25, 0.75)
    assert (found.item_id, [item.item_id for item in found.items]) == (CATALOG.id_of(3), [CATALOG.id_of(8), None])


def test_a_new_item():
    found = explanation_of(findings(), 1)
    assert found.item_id is None
    assert found.score == 5.0
    assert found.items[0].effect == -0.5
    assert [(match.word, match.places) for match in found.matches] == [("mug", (0,))]
    assert found.target[0].words[0].text == "mug"
    assert found.notes == ("The memory knows nothing of an item that is not in the catalogue.",)
    assert explanation_of(findings(added=Additions(None, None)), 1).notes == ()


def test_what_was_not_asked_for():
    found = explanation_of(findings(target_effects=None, history_words=None, target_words=None), 0)
    assert [each.effect for each in (*found.attributes, *found.target)] == [None] * 6
    assert not found.words
    assert found.blank_history is found.blank_target is None


def test_notes():
    base = findings()
    assert explanation_of(base, 0).notes == ()
    assert "is in the history" in explanation_of(findings(known=np.array([3, -1])), 0).notes[0]
    changed = [TargetEffects([1.0, 2.0, 3.0], True)]
    assert "other vectors now" in explanation_of(findings(target_effects=changed), 0).notes[0]
    changed_history = base.effects._replace(changed=True)
    assert "other vectors now" in explanation_of(findings(effects=changed_history), 0).notes[0]
    for attribute in base.history.items[0].attributes:
        attribute.num_read = 0
    (note,) = explanation_of(base, 0).notes
    assert "does not read the oldest 1 of 2 items" in note
    assert "memory still count them" in note
    without = findings(added=Additions(None, None), history=base.history)
    assert "they have no effect" in explanation_of(without, 0).notes[0]
    assert explanation_of(without, 0).items[0].read == "none"
    assert explanation_of(without, 0).items[0].attributes[0].effect == 0.0
