from __future__ import annotations

import json

import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")

from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recformer_hf import RecformerForSeqRec, RecformerTokenizer
from recformer_hf.serving import ServingLimits, create_app
from recformer_hf.serving.app import build_app
from recformer_hf.serving.problems import MEDIA_TYPE
from tests.support.neural_baselines import with_items
from tests.support.serving import ADMIN, IDS, TOKEN, copy_shop, saved_shop
from tests.support.shops import CATALOG

LIMITS = ServingLimits(
    max_body_bytes=20_000, max_histories=3, max_history_items=20, max_top_k=30, max_ids=40, max_changes=5, window_ms=0
)


@pytest.fixture(scope="module")
def client():
    """Reading alone."""
    with TestClient(create_app(saved_shop() / "shop", limits=LIMITS)) as client:
        yield client


@pytest.fixture(scope="module")
def admin(tmp_path_factory):
    """With changes; tests leave the items as they found them."""
    app = create_app(copy_shop(tmp_path_factory.mktemp("admin")), limits=LIMITS, admin_token=TOKEN)
    with TestClient(app) as client:
        yield client


def problem(response, status: int, *fields: str) -> str:
    """Checks that an answer is a problem document of these fields, and returns its detail."""
    document = response.json()
    assert response.status_code == document["status"] == status, document
    assert response.headers["content-type"] == MEDIA_TYPE
    assert {"type", "title", "status", "detail"} <= set(document) <= {"type", "title", "status", "detail", "errors"}
    assert [error["field"] for error in document.get("errors", [])] == list(fields)
    assert "Traceback" not in response.text
    return document["detail"]


class TestReading:
    def test_recommend(self, client):
        folder = saved_shop() / "shop"
        model, tokenizer = RecformerForSeqRec.from_pretrained(folder), RecformerTokenizer.from_pretrained(folder)
        histories = [[IDS[0], {"title": "hammer"}], [IDS[5]]]
        response = client.post("/recommend", json={"histories": histories, "top_k": 3, "exclude": [IDS[1]]})
        assert response.status_code == 200
        expected = model.recommend(histories, tokenizer, 3, exclude=[IDS[1]]).to_dicts()
        found = response.json()["recommendations"]
        assert [[item["item_id"] for item in items] for items in found] == [
            [item["item_id"] for item in items] for items in expected
        ]
        assert found[0][0]["score"] == pytest.approx(expected[0][0]["score"], abs=1e-4)
        assert found[0][0]["attributes"] == expected[0][0]["attributes"]

    def test_options(self, client):
        body = {"histories": [[IDS[3]]], "top_k": 1, "candidates": [IDS[3]], "exclude_history": False}
        assert client.post("/recommend", json={**body, "attributes": False}).json() == {
            "recommendations": [[{"item_id": IDS[3], "score": pytest.approx(20.0, abs=25)}]]
        }
        detail = problem(client.post("/recommend", json={**body, "exclude_history": True}), 422, "top_k")
        assert "candidates" in detail

    def test_similar(self, client):
        found = client.post("/similar", json={"item": IDS[3], "top_k": 2}).json()["items"]
        assert len(found) == 2
        assert IDS[3] not in [item["item_id"] for item in found]
        same = client.post("/similar", json={"item": CATALOG[3], "top_k": 2}).json()["items"]
        assert [item["item_id"] for item in same] == [item["item_id"] for item in found]
        problem(client.post("/similar", json={"item": "nothing"}), 422, "item")
        problem(client.post("/similar", json={"item": {"title": ""}}), 422, "item")

    def test_item(self, client):
        assert client.get(f"/items/{IDS[3]}").json() == {"item_id": IDS[3], "attributes": CATALOG[3]}
        for unknown in ("nothing", "..%2f..%2fetc%2fpasswd", "../config.json", "%00", "%ff", "a/b"):
            problem(client.get(f"/items/{unknown}"), 404, *(["item_id"] if "../" not in unknown else []))

    def test_state(self, client):
        assert client.get("/health").json() == {"status": "alive"}
        ready = client.get("/ready").json()
        assert (ready["status"], ready["num_items"]) == ("ready", 60)
        text = client.get("/metrics").text
        assert 'recformer_requests_total{method="GET",path="/ready",status="200"}' in text
        assert "recformer_batch_jobs_bucket" in text

    def test_documentation_has_examples(self, client):
        paths = client.get("/openapi.json").json()
        assert set(paths["paths"]) == {
            "/recommend", "/similar", "/explain", "/items/{item_id}", "/health", "/ready", "/metrics",
        }  # fmt: skip
        request = paths["components"]["schemas"]["RecommendRequest"]
        assert client.post("/recommend", json=request["examples"][0]).status_code == 422  # ids of another shop
        assert client.get("/docs").status_code == 200


class TestErrors:
    @pytest.mark.parametrize(
        ("body", "fields"),
        [
            ({"histories": [[IDS[0]], ["nothing"]]}, ["histories[1][0]"]),
            ({"histories": [[IDS[0], {"title": [[[[[[[[["deep"]]]]]]]]]}]]}, ["histories[0][1]"]),
            ({"histories": [[IDS[0]]] * 4}, ["histories"]),
            ({"histories": [[IDS[0]] * 21]}, ["histories[0]"]),
            ({"histories": [[IDS[0]]], "top_k": 31}, ["top_k"]),
            ({"histories": [[IDS[0]]], "exclude": IDS[:41]}, ["exclude"]),
            ({"histories": [[IDS[0]]], "exclude": ["nothing"]}, ["exclude[0]"]),
            ({"histories": [[IDS[0]]], "candidates": []}, ["top_k"]),
            ({"histories": [[]], "k": 3}, ["histories[0]", "k"]),
            ([], ["body"]),
            ("text", ["body"]),
        ],
        ids=str,
    )
    def test_a_field_is_named(self, client, body, fields):
        problem(client.post("/recommend", json=body), 422, *fields)

    @pytest.mark.parametrize(
        ("content", "status"),
        [
            (b"", 422), (b"{", 400), (b"\xff\xfe", 400), (b"[" * 10_000, 400), (b'{"histories": NaN}', 422),
            (b'{"top_k": ' + b"9" * 6000 + b"}", 400), (b'{"histories": [["\\ud83d"]]}', 422), (b"null", 422),
            (b'{"histories": [[{"\\ud83d": "\\udc00"}]]}', 200), (b'{"\\ud83d": 1, "histories": [["a"]]}', 422),
        ],
    )  # fmt: skip
    def test_bodies_that_are_no_json_objects(self, client, content, status):
        response = client.post("/recommend", content=content, headers={"Content-Type": "application/json"})
        assert response.status_code == status
        if status != 200:
            assert response.headers["content-type"] == MEDIA_TYPE

    def test_another_content_type(self, client):
        content = json.dumps({"histories": [[IDS[0]]]})
        assert "Content-Type" in problem(client.post("/recommend", content=content), 422, "body")

    def test_a_large_body_is_refused_with_and_without_its_length(self, client):
        large = json.dumps({"histories": [[{"title": "x" * 20_000}]]}).encode()
        problem(client.post("/recommend", content=large), 413)
        problem(client.post("/recommend", content=iter([large[:9000], large[9000:]])), 413)

    def test_other_addresses_and_methods(self, client):
        problem(client.get("/nothing"), 404)
        assert problem(client.get("/recommend"), 405)
        assert client.get("/recommend").headers["allow"] == "POST"

    def test_without_a_token_there_are_no_changes(self, client):
        problem(client.put(f"/items/{IDS[0]}", json={"attributes": {"title": "x"}}, headers=ADMIN), 405)
        problem(client.delete(f"/items/{IDS[0]}", headers=ADMIN), 405)
        assert client.put("/items", json={"items": []}, headers=ADMIN).status_code in (404, 405)
        assert client.get(f"/items/{IDS[0]}").json()["attributes"] == CATALOG[0]


class TestChanging:
    def test_an_item_is_added_changed_and_removed(self, admin):
        body = {"attributes": {"title": "A new whisk", "price": 3, "brand": None}}
        response = admin.put("/items/new/1", json=body, headers=ADMIN)
        assert response.status_code == 201
        assert response.json() == {"added": ["new/1"], "changed": [], "removed": [], "num_items": 61}
        assert admin.get("/items/new/1").json()["attributes"] == {"title": "A new whisk", "price": "3"}
        found = admin.post("/similar", json={"item": {"title": "A new whisk", "price": "3"}, "top_k": 1})
        assert found.json()["items"][0]["item_id"] != "new/1"  # an item with this text is the item itself
        changed = admin.put("/items/new/1", json={"attributes": {"title": "A whisk"}}, headers=ADMIN)
        assert (changed.status_code, changed.json()["changed"]) == (200, ["new/1"])
        recommended = admin.post("/recommend", json={"histories": [["new/1"]], "candidates": ["new/1"], "top_k": 1,
                                                     "exclude_history": False})  # fmt: skip
        assert recommended.json()["recommendations"][0][0]["attributes"] == {"title": "A whisk"}
        assert admin.delete("/items/new/1", headers=ADMIN).json()["removed"] == ["new/1"]
        problem(admin.delete("/items/new/1", headers=ADMIN), 404, "item_ids[0]")
        problem(admin.get("/items/new/1"), 404, "item_id")

    def test_many_items_at_once(self, admin):
        rows = [{"item_id": number, "attributes": {"title": f"item {number}"}} for number in (1, 2)]
        assert admin.put("/items", json={"items": rows}, headers=ADMIN).json()["added"] == ["1", "2"]
        problem(admin.delete("/items?item_ids=1&item_ids=nothing", headers=ADMIN), 404, "item_ids[1]")
        assert admin.get("/items/1").status_code == 200  # nothing of it was done
        assert admin.delete("/items?item_ids=1&item_ids=2", headers=ADMIN).json()["num_items"] == 60
        too_many = [{"item_id": number, "attributes": {"title": "x"}} for number in range(6)]
        problem(admin.put("/items", json={"items": too_many}, headers=ADMIN), 422, "items")
        problem(admin.put("/items", json={"items": []}, headers=ADMIN), 422, "items")
        problem(admin.put("/items/a", json={"attributes": {"title": " "}}, headers=ADMIN), 422, "items[0].attributes")

    @pytest.mark.parametrize(
        "headers",
        [{}, {"Authorization": "Bearer "}, {"Authorization": f"Bearer {TOKEN[:-1]}"}, {"Authorization": TOKEN},
         {"Authorization": f"Basic {TOKEN}"}, {"Authorization": f"Bearer {TOKEN}x"},
         {"Authorization": b"Bearer \xff\xfe"}],
    )  # fmt: skip
    def test_a_wrong_token_changes_nothing(self, admin, headers):
        for response in (
            admin.put(f"/items/{IDS[0]}", json={"attributes": {"title": "x"}}, headers=headers),
            admin.put("/items", json={"items": [{"item_id": "a", "attributes": {"title": "x"}}]}, headers=headers),
            admin.delete(f"/items/{IDS[0]}", headers=headers),
            admin.delete(f"/items?item_ids={IDS[0]}", headers=headers),
        ):
            problem(response, 401)
            assert response.headers["www-authenticate"] == "Bearer"
        assert admin.get("/ready").json()["num_items"] == 60


def test_no_token_is_never_the_right_one(tmp_path):
    with TestClient(build_app(create_app(copy_shop(tmp_path)).state.service, admin_token="")) as client:
        for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "}):
            assert problem(client.delete(f"/items/{IDS[0]}", headers=headers), 401)


def test_a_baseline_recommends_ids_and_says_what_it_cannot(tmp_path):
    with_items("sasrec").save_pretrained(tmp_path)
    with TestClient(create_app(tmp_path)) as client:
        found = client.post("/recommend", json={"histories": [[IDS[0], IDS[1]]], "top_k": 2}).json()
        assert len(found["recommendations"][0]) == 2
        refused = client.post("/recommend", json={"histories": [[IDS[0], {"title": "item 3"}]], "top_k": 2})
        assert "ids alone" in problem(refused, 422, "histories[0][1]")
        assert "SASRec" in problem(client.post("/similar", json={"item": IDS[0]}), 501)
        explained = client.post("/explain", json={"history": [IDS[0]], "item": IDS[3]}).json()
        assert explained["item_id"] == IDS[3]


# Malformed bodies

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(IDS[:5]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
names = ["histories", "top_k", "exclude_history", "candidates", "exclude", "attributes", "item", "history", "items"]
bodies = (
    st.dictionaries(st.sampled_from(names), json_values | st.lists(st.lists(json_values)), max_size=5) | json_values
)
contents = bodies.map(lambda body: json.dumps(body).encode()) | st.binary(max_size=60)
requests = st.tuples(
    st.sampled_from([("POST", "/recommend"), ("POST", "/similar"), ("PUT", "/items"), ("PUT", "/items/a"),
                     ("DELETE", "/items"), ("GET", "/items/a"), ("POST", "/nothing")]),
    contents,
    st.sampled_from(["application/json", "text/plain", "application/x-www-form-urlencoded"]),
    st.booleans(),
)  # fmt: skip


def check_malformed(client, request) -> None:
    (method, path), content, content_type, cut = request
    content = content[: len(content) // 2] if cut else content
    headers = {"Content-Type": content_type, **ADMIN}
    response = client.request(method, path, content=content, headers=headers)
    assert response.status_code < 500, (request, response.text)
    if response.status_code >= 400:
        assert response.headers["content-type"] == MEDIA_TYPE
        assert response.json()["status"] == response.status_code


quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]


@settings(max_examples=60, deadline=None, suppress_health_check=quiet)
@given(request_=requests)
def test_malformed_requests_are_the_clients_fault(admin, request_):
    check_malformed(admin, request_)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=quiet)
@given(request_=requests)
def test_ten_thousand_malformed_requests(admin, request_):
    check_malformed(admin, request_)
