"""Errors as problem documents (RFC 9457): which field is wrong, what was found, and how to fix it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"

NO_OBJECT = "The body must be a JSON object, sent with the header Content-Type: application/json; /docs shows one."


class Problem(Exception):
    """An answer that says why there is no other.

    Args:
        status: of HTTP.
        kind: what went wrong, in lower-case words joined by hyphens; it ends the document's `type`.
        detail: what was found, where, and how to fix it.
        errors: the field and the detail of each error, if they are about fields of the request.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail
        self.errors, self.headers = list(errors), dict(headers or {})

    @classmethod
    def of_field(cls, field: str, detail: str, status: int = 422, kind: str = "invalid-request") -> Problem:
        """A problem of one field of the request."""
        return cls(status, kind, detail, [{"field": field, "detail": detail}])

    def document(self) -> dict[str, Any]:
        title = self.kind.replace("-", " ").capitalize()
        found = {
            "type": f"tag:recformer-hf,2026:{self.kind}", "title": title, "status": self.status, "detail": self.detail,
        }  # fmt: skip
        return {**found, "errors": self.errors} if self.errors else found

    def response(self) -> Response:
        # Escaped, because a detail may quote half of a surrogate pair, which UTF-8 cannot hold.
        content = json.dumps(self.document(), ensure_ascii=True).encode()
        return Response(content, self.status, self.headers, MEDIA_TYPE)


def field_path(place: Sequence[int | str]) -> str:
    """A field's name as in JavaScript: `histories[0][2].title`."""
    path = ""
    for part in place:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path or "body"


def of_validation(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """The problem that pydantic's errors describe; the first ten of them."""
    if any(error["type"] == "json_invalid" for error in errors):
        return Problem(400, "invalid-json", f"The body is no valid JSON. {NO_OBJECT}")
    found = []
    for error in errors[:10]:
        place = [part for part in error["loc"] if part != "body"]
        whole = not place and error["type"] in ("missing", "model_attributes_type", "dict_type")
        detail = NO_OBJECT if whole else f"{error['msg']}."
        found.append({"field": field_path(place), "detail": detail.replace("..", ".")})
    more = f" (and {len(errors) - 1} more errors)" if len(errors) > 1 else ""
    return Problem(422, "invalid-request", f"{found[0]['field']}: {found[0]['detail']}{more}", found)


HTTP = {
    400: ("bad-request", "The body cannot be read. Send a JSON object of fewer levels, with numbers of usual size."),
    404: ("not-found", "There is nothing at this address. /docs lists what there is."),
    405: ("method-not-allowed", "This address has no such method. /docs lists what there is."),
}
"""Kind and detail of the errors that the framework raises."""


def of_http(status: int, headers: Mapping[str, str] | None) -> Problem:
    """The problem of an error that the framework has raised."""
    kind, detail = HTTP.get(status, ("http-error", f"The request failed with status {status}."))
    return Problem(status, kind, detail, headers=headers)


def internal_error() -> Problem:
    """The problem of an error that nobody expected; a new one each time, because a raised one keeps its traceback."""
    return Problem(500, "internal-error", "The service failed; its log says why. Trying again may help.")


async def answer_problem(_: Request, error: Exception) -> Response:
    """The handler of [`Problem`]s, which a route or a dependency raised."""
    assert isinstance(error, Problem)
    return error.response()


__all__ = ["MEDIA_TYPE", "Problem", "answer_problem", "field_path", "internal_error", "of_http", "of_validation"]
