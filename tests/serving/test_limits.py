from __future__ import annotations

import asyncio
import json

import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")

from recformer_hf.serving.limits import Answers, BodyLimit
from recformer_hf.serving.metrics import Metrics
from tests.support.serving import run_async

SCOPE = {"type": "http", "method": "POST", "path": "/echo", "headers": []}


async def echo(scope, receive, send):
    """Answers with the body that it receives."""
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def call(app, chunks, headers=()):
    """The status and body that an application answers to a body in chunks; None in the chunks waits for ever."""

    async def test():
        sent, waiting = [], list(chunks)

        async def receive():
            chunk = waiting.pop(0)
            if chunk is None:
                await asyncio.sleep(1000)
            if isinstance(chunk, dict):
                return chunk
            return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

        async def send(message):
            sent.append(message)

        await app({**SCOPE, "headers": list(headers)}, receive, send)
        if not sent:
            return None
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])

    return run_async(test)


def test_a_body_passes_whole():
    assert call(BodyLimit(echo, 10, 1), [b"01234", b"", b"56789"]) == (200, b"0123456789")
    assert call(BodyLimit(echo, 10, 1), [b""]) == (200, b"")


def test_a_chunked_body_is_counted():
    status, body = call(BodyLimit(echo, 10, 1), [b"0123456789", b"x", b"never read"])
    assert status == 413
    assert json.loads(body)["type"].endswith("body-too-large")


def test_a_declared_length_is_believed_if_it_is_too_large():
    status, _ = call(BodyLimit(echo, 10, 1), [b"0"], [(b"content-length", b"11")])
    assert status == 413
    assert call(BodyLimit(echo, 10, 1), [b"0"], [(b"content-length", b"9" * 5000)])[0] == 413
    assert call(BodyLimit(echo, 10, 1), [b"0"], [(b"content-length", b"-1")])[0] == 200
    assert call(BodyLimit(echo, 10, 1), [b"0" * 11], [(b"content-length", b"1")])[0] == 413


def test_a_slow_body_is_given_up():
    status, body = call(BodyLimit(echo, 10, 0.05), [b"0", None])
    assert status == 408
    assert json.loads(body)["status"] == 408


def test_a_client_that_has_gone_gets_nothing():
    assert call(BodyLimit(echo, 10, 1), [b"0", {"type": "http.disconnect"}]) is None


def test_an_error_becomes_a_document_without_its_text(caplog):
    async def fails(scope, receive, send):
        raise RuntimeError("a secret")

    metrics = Metrics()
    status, body = call(Answers(fails, metrics), [b""])
    assert status == 500
    assert b"secret" not in body
    assert json.loads(body)["title"] == "Internal error"
    labels = {"path": "other", "method": "POST", "status": "500"}
    assert metrics.registry.get_sample_value("recformer_requests_total", labels) == 1


def test_answers_are_counted_by_the_path_of_their_route():
    class Route:
        path = "/items/{item_id}"

    async def routed(scope, receive, send):
        scope["route"] = Route()
        await echo(scope, receive, send)

    metrics = Metrics()
    assert call(Answers(routed, metrics), [b"x"]) == (200, b"x")
    labels = {"path": "/items/{item_id}", "method": "POST", "status": "200"}
    assert metrics.registry.get_sample_value("recformer_requests_total", labels) == 1
