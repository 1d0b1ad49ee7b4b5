"""The data of an explanation."""

from __future__ import annotations

import json
from dataclasses import replace

from recformer_hf.explaining import AttributeEffect, ItemEffect
from tests.support.explanations import by_hand


def test_to_dict():
    found = json.loads(json.dumps(by_hand().to_dict(), allow_nan=False))
    assert found["item_id"] == "k7"
    assert found["score"] == 3.0
    assert found["parts"] == [
        {"name": "text", "value": 2.0},
        {
            "name": "memory", "value": 1.0,
            "parts": [{"name": "cooccurrence", "value": 1.0, "places": [1.0, 0.0]}],
        },
    ]  # fmt: skip
    assert found["items"][1] == {
        "place": 1, "item_id": None, "read": "all", "effect": -0.25, "effect_parts": {"text": -0.25, "memory": 0.0},
        "attributes": [
            {
                "key": "title", "value": "Pan", "read": "part", "effect": -0.25,
                "words": [
                    {"text": "title", "in_key": True, "start": 0, "end": 5, "estimate": -0.5, "share": 0.25},
                ],
            },
        ],
    }  # fmt: skip
    assert found["target"] == [{"key": "title", "value": "Blue pan", "read": "all", "effect": 2.0, "words": []}]
    assert found["matches"] == [
        {"key": "title", "word": "Blue", "places": [0]},
        {"key": "title", "word": "pan", "places": [1]},
    ]
    assert (found["blank_history"], found["blank_target"]) == (None, 0.5)
    assert found["notes"] == ["A note."]


def test_all_attributes_and_words():
    explanation = by_hand()
    assert [each.value for each in explanation.attributes] == ["Blue wok", "Acme", "Pan"]
    assert [word.text for word in explanation.words] == ["Blue", "wok", "title"]


def test_the_most_important_item():
    explanation = by_hand()
    assert explanation.most_important.place == 0
    equal = replace(explanation, items=tuple(replace(item, effect=1.0) for item in explanation.items))
    assert equal.most_important.place == 1  # the newest


def test_what_an_item_is_called():
    def label(item_id: str | None, **attributes: str) -> str:
        found = tuple(AttributeEffect(key, value, "all") for key, value in attributes.items())
        return ItemEffect(0, item_id, "all", 0.0, {}, found).label

    assert label("k1", brand="Acme", title="Wok") == "Wok"
    assert label("k1", brand="Acme", Name="Wok") == "Wok"
    assert label("k1", brand="Acme") == "Acme"
    assert label("k1") == "k1"
    assert label(None) == "item"
    assert by_hand().label == "Blue pan"
