"""What happens to every request before a route sees it: its body is limited, its answer is counted."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from transformers.utils import logging

from .metrics import Metrics
from .problems import Problem, internal_error

logger = logging.get_logger(__name__)


class BodyLimit:
    """Reads a request's body before its route runs, up to a number of bytes and for some time.

    `Content-Length` is only a promise, and a chunked body has none, so the bytes themselves are counted.

    Args:
        app: what answers.
        max_bytes: bytes of a body; a longer one gets status 413.
        seconds: for all of a body; after that the answer is status 408.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float) -> None:
        self.app, self.max_bytes, self.seconds = app, max_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            body = await asyncio.wait_for(self._read(scope, receive), self.seconds)
        except asyncio.TimeoutError:
            detail = f"The body did not arrive within {self.seconds:g} s. Send it faster, or in smaller requests."
            await Problem(408, "body-too-slow", detail, headers={"Connection": "close"}).response()(
                scope, receive, send
            )
            return
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        if body is None:  # the client has gone
            return
        first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_again() -> Message:
            return first.pop() if first else await receive()

        await self.app(scope, receive_again, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared[:20]) > self.max_bytes:
            raise self._too_large()
        body = bytearray()
        while True:
            message: Any = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self.max_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                return bytes(body)

    def _too_large(self) -> Problem:
        detail = f"The body has more than {self.max_bytes:,} bytes. Send fewer histories or items at once."
        return Problem(413, "body-too-large", detail, headers={"Connection": "close"})


class Answers:
    """Counts answers, and makes a problem document of an error that nobody expected.

    Args:
        app: what answers.
        metrics: what counts.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_counted)
        except Exception:
            logger.exception(f"{scope['method']} {scope['path']!r} has failed.")
            if not status:
                await internal_error().response()(scope, receive, send_counted)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in ("GET", "POST", "PUT", "DELETE") else "other"
            self.metrics.count_request(route, method, status, time.perf_counter() - started)


__all__ = ["Answers", "BodyLimit"]
