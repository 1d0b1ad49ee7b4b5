from __future__ import annotations

import re

import pytest

pytest.importorskip("mcp", reason="needs the extra [mcp]")

from mcp import Client

from recformer_hf.serving.loading import load_recommender
from recformer_hf.serving.mcp_server import build_server
from recformer_hf.serving.service import Service
from recformer_hf.serving.settings import ServingLimits
from tests.support.serving import IDS, run_async, saved_shop
from tests.support.shops import CATALOG


@pytest.fixture(scope="module")
def recommender():
    return load_recommender(saved_shop() / "shop")


def call_all(recommender, *calls):
    """The answers to calls of tools, in one session."""

    async def test():
        server = build_server(Service(recommender, ServingLimits(max_top_k=20)))
        async with Client(server) as client:
            tools = await client.list_tools()
            return tools.tools, [await client.call_tool(name, arguments) for name, arguments in calls]

    return run_async(test)


def test_the_tools_answer_as_the_model_does(recommender):
    history = [IDS[0], {"title": "hammer"}]
    tools, (best, similar, item, explained) = call_all(
        recommender,
        ("recommend", {"history": history, "top_k": 3, "exclude": [IDS[1]]}),
        ("similar_items", {"item": CATALOG[3], "top_k": 2}),
        ("get_item", {"item_id": IDS[5]}),
        ("explain", {"history": history}),
    )
    assert [tool.name for tool in tools] == ["recommend", "similar_items", "explain", "get_item"]
    assert all(tool.description and tool.annotations.read_only_hint for tool in tools)
    expected = recommender.model.recommend([history], recommender.tokenizer, 3, exclude=[IDS[1]]).item_ids[0]
    assert [each["item_id"] for each in best.structured_content["result"]] == expected
    expected = recommender.model.similar_items(IDS[3], 2).item_ids[0]
    assert [each["item_id"] for each in similar.structured_content["result"]] == expected
    assert (
        explained.structured_content["item_id"]
        == recommender.model.recommend([history], recommender.tokenizer, 1).item_ids[0][0]
    )
    assert item.structured_content == {"item_id": IDS[5], "attributes": CATALOG[5]}


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("recommend", {"history": [IDS[0], "nothing"]}, r"histories\[0\]\[1\]: .*unknown"),
        ("recommend", {"history": []}, r"histories\[0\]"),
        ("recommend", {"history": [IDS[0]], "top_k": 21}, "at most 20"),
        ("similar_items", {"item": {"title": " "}}, "item: "),
        ("get_item", {"item_id": "nothing"}, "no item 'nothing'"),
    ],
)
def test_an_error_says_what_to_change(recommender, name, arguments, words):
    _, (answer,) = call_all(recommender, (name, arguments))
    assert answer.is_error
    assert re.search(words, answer.content[0].text), answer.content[0].text
