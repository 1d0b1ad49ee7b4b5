from __future__ import annotations

import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")

from pydantic import BaseModel, ValidationError

from recformer_hf.serving import schemas
from recformer_hf.serving.schemas import ExplainRequest, ItemsBody, RecommendRequest, SimilarRequest


def test_ids_may_be_whole_numbers():
    request = RecommendRequest(histories=[[3, "B01", {"title": "Hammer"}]], exclude=[7])
    assert request.histories == [["3", "B01", {"title": "Hammer"}]]
    assert request.exclude == ["7"]
    assert (request.top_k, request.exclude_history, request.candidates) == (10, True, None)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"histories": []}, ("histories",)),
        ({"histories": [[]]}, ("histories", 0)),
        ({"histories": [[True]]}, ("histories", 0, 0)),
        ({"histories": [["a"], [1.5]]}, ("histories", 1, 0)),
        ({"histories": [[None]]}, ("histories", 0, 0)),
        ({"histories": [[{}]]}, ("histories", 0, 0)),
        ({"histories": [["x" * 513]]}, ("histories", 0, 0)),
        ({"histories": [["\ud83d"]]}, ("histories", 0, 0)),
        ({"histories": ["ab"]}, ("histories", 0)),
        ({"histories": [["a"]], "top_k": "3"}, ("top_k",)),
        ({"histories": [["a"]], "top_k": True}, ("top_k",)),
        ({"histories": [["a"]], "topk": 3}, ("topk",)),
        ({"histories": [["a"]], "candidates": [{}]}, ("candidates", 0)),
        ({"histories": [["a"]], "exclude_history": 1}, ("exclude_history",)),
    ],
    ids=str,
)
def test_an_error_names_its_place(body, place):
    with pytest.raises(ValidationError) as caught:
        RecommendRequest(**body)
    assert caught.value.errors()[0]["loc"] == place
    assert len(caught.value.errors()) == 1


@pytest.mark.parametrize(
    ("model", "body", "place"),
    [
        (RecommendRequest, {"histories": [[1.5] * 300]}, ("histories", 0, 0)),
        (RecommendRequest, {"histories": [1] * 300}, ("histories", 0)),
        (RecommendRequest, {"histories": [["a"]], "exclude": [[]] * 300}, ("exclude", 0)),
        (RecommendRequest, {"histories": [["a"]], "candidates": [[]] * 300}, ("candidates", 0)),
        (RecommendRequest, {"histories": [["a"]], **{str(number): 1 for number in range(300)}}, ()),
        (ExplainRequest, {"history": [1.5] * 300}, ("history", 0)),
        (ItemsBody, {"items": [1] * 300}, ("items", 0)),
        (ItemsBody, {"items": [{str(number): 1 for number in range(300)}]}, ("items", 0)),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_body_of_errors_has_one(model, body, place):
    """A megabyte of them would keep the service from everything else for seconds."""
    with pytest.raises(ValidationError) as caught:
        model(**body)
    assert [error["loc"] for error in caught.value.errors()] == [place]


def test_other_requests_check_the_same():
    for model, body in (
        (SimilarRequest, {"item": []}),
        (ExplainRequest, {"history": [[]]}),
        (ItemsBody, {"items": []}),
    ):
        with pytest.raises(ValidationError):
            model(**body)


def test_every_example_is_valid():
    found = [model for model in vars(schemas).values() if isinstance(model, type) and issubclass(model, BaseModel)]
    checked = 0
    for model in found:
        for example in model.model_config.get("json_schema_extra", {}).get("examples", []):
            model(**example)
            checked += 1
    assert checked >= 10
