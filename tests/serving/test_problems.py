from __future__ import annotations

import json

import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")

from recformer_hf.serving.problems import Problem, field_path, of_http, of_validation


def test_a_document_has_the_members_of_the_standard():
    problem = Problem(429, "queue-full", "Try again in 3 s.", headers={"Retry-After": "3"})
    response = problem.response()
    assert response.status_code == 429
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "3"
    assert json.loads(response.body) == {
        "type": "tag:recformer-hf,2026:queue-full", "title": "Queue full", "status": 429, "detail": "Try again in 3 s.",
    }  # fmt: skip


def test_a_field_is_named():
    document = Problem.of_field("histories[0][1]", "It is unknown.").document()
    assert document["errors"] == [{"field": "histories[0][1]", "detail": "It is unknown."}]
    assert document["status"] == 422


def test_half_of_a_surrogate_pair_can_be_quoted():
    body = Problem(422, "invalid-request", "no item '\ud83d'").response().body
    assert json.loads(body)["detail"] == "no item '\ud83d'"


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ((), "body"),
        (("top_k",), "top_k"),
        (("histories", 0, 2), "histories[0][2]"),
        (("items", 1, "id"), "items[1].id"),
    ],
)
def test_a_path_reads_like_javascript(place, path):
    assert field_path(place) == path


def test_at_most_ten_errors_of_validation_are_listed():
    errors = [{"type": "int_type", "loc": ("body", "rows", n), "msg": "Input should be an integer"} for n in range(30)]
    document = of_validation(errors).document()
    assert len(document["errors"]) == 10
    assert document["detail"] == "rows[0]: Input should be an integer. (and 29 more errors)"


def test_other_errors_say_where_to_look():
    document = of_http(404, None).document()
    assert document["status"] == 404
    assert "/docs" in document["detail"]
    assert of_http(418, None).document()["detail"] == "The request failed with status 418."
