from __future__ import annotations

import importlib.util

import pytest

from recformer_hf import RecformerForSeqRec, RecformerTokenizer
from recformer_hf.serving import handler as handler_module
from tests.support.serving import IDS, saved_shop


@pytest.fixture(scope="module")
def handler():
    """Loaded by its path, as an endpoint does."""
    spec = importlib.util.spec_from_file_location("handler", handler_module.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EndpointHandler(str(saved_shop() / "shop"))


def test_it_recommends_what_the_model_does(handler):
    folder = saved_shop() / "shop"
    model, tokenizer = RecformerForSeqRec.from_pretrained(folder), RecformerTokenizer.from_pretrained(folder)
    history = [IDS[0], {"title": "hammer"}]
    expected = model.recommend([history], tokenizer, 3, exclude=[IDS[1]]).item_ids
    parameters = {"top_k": 3, "exclude": [IDS[1]]}
    one = handler({"inputs": history, "parameters": parameters})
    assert [item["item_id"] for item in one] == expected[0]
    several = handler({"inputs": [history, [IDS[4]]], "parameters": parameters})
    assert [item["item_id"] for item in several[0]] == expected[0]
    assert len(handler({"inputs": [IDS[0]], "parameters": None})) == 10


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "inputs must be a history"),
        ({"inputs": "text"}, "inputs must be a history"),
        ({"inputs": [IDS[0]], "parameters": {"k": 3}}, r"top_k.*got \['k'\]"),
        ({"inputs": [IDS[0]], "parameters": [3]}, "parameters must be an object"),
    ],
)
def test_another_request_is_explained(handler, data, words):
    with pytest.raises(ValueError, match=words):
        handler(data)
