"""The routes of a service."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.responses import Response

from .._version import __version__
from .limits import Answers, BodyLimit
from .problems import Problem, answer_problem, of_http, of_validation
from .schemas import (
    Changed,
    ExplainRequest,
    ItemBody,
    ItemId,
    ItemRow,
    ItemsBody,
    ProblemDocument,
    Recommended,
    RecommendRequest,
    Similar,
    SimilarRequest,
    Status,
)
from .service import Service

DESCRIPTION = """Recommends the items of a catalogue for histories of items.

A history is a list of items, oldest first. An item is an id of the catalogue, or an object of attributes, whether or
not the catalogue has such an item. Errors are problem documents (RFC 9457), which name the field and how to fix it."""

_PROBLEM = {"model": ProblemDocument, "content": {"application/problem+json": {}}}
READING: dict[int | str, dict[str, Any]] = {
    413: {**_PROBLEM, "description": "The body is too large."},
    422: {**_PROBLEM, "description": "A field of the request is wrong."},
    429: {**_PROBLEM, "description": "Too many requests wait; Retry-After says when to try again."},
    503: {**_PROBLEM, "description": "There was no answer in time, or the service is shutting down."},
}
UNKNOWN: dict[int | str, dict[str, Any]] = {404: {**_PROBLEM, "description": "There is no such item."}}
CHANGING: dict[int | str, dict[str, Any]] = {
    401: {**_PROBLEM, "description": "The token is missing or wrong."},
    507: {**_PROBLEM, "description": "The change could not be written; nothing was changed."},
}


def build_app(service: Service, admin_token: str | None = None) -> FastAPI:
    """The application of a service.

    Args:
        service: not started; it starts and closes with the application.
        admin_token: what changes of items have to show; None: there are no routes for changes.
    """

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.close()

    app = FastAPI(
        title="recformer-hf", version=__version__, description=DESCRIPTION, lifespan=life, redirect_slashes=False
    )
    app.state.service = service
    app.include_router(reading_routes(service))
    app.include_router(state_routes(service))
    if admin_token is not None:
        app.include_router(changing_routes(service, admin_token))
    app.add_exception_handler(Problem, answer_problem)
    app.add_exception_handler(RequestValidationError, _answer_validation)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_middleware(BodyLimit, max_bytes=service.limits.max_body_bytes, seconds=service.limits.timeout_seconds)
    app.add_middleware(Answers, metrics=service.metrics)
    return app


async def _answer_validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return of_validation(error.errors()).response()


async def _answer_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return of_http(error.status_code, error.headers).response()


def reading_routes(service: Service) -> APIRouter:
    """What everybody may ask."""
    router = APIRouter(tags=["reading"], responses=READING)

    @router.post("/recommend", response_model=Recommended, summary="The best items for histories")
    async def recommend(request: RecommendRequest) -> Response:
        return JSONResponse(await service.recommend(request))

    @router.post("/similar", response_model=Similar, summary="The items most similar to one")
    async def similar(request: SimilarRequest) -> Response:
        return JSONResponse(await service.similar(request))

    @router.post("/explain", summary="What of a history moved the score of an item")
    async def explain(request: ExplainRequest) -> Response:
        return JSONResponse(await service.explain(request))

    @router.get("/items/{item_id:path}", response_model=ItemRow, responses=UNKNOWN, summary="An item")
    async def item(item_id: str) -> Response:
        return JSONResponse(service.item(item_id))

    return router


def state_routes(service: Service) -> APIRouter:
    """What balancers and monitors ask."""
    router = APIRouter(tags=["state"])

    @router.get("/health", summary="Whether the process lives")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/ready", response_model=Status, responses={503: READING[503]}, summary="Whether it takes requests")
    async def ready() -> Response:
        return JSONResponse(service.status(), 200 if service.ready else 503)

    @router.get("/metrics", summary="Metrics for Prometheus")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def changing_routes(service: Service, admin_token: str) -> APIRouter:
    """What needs the token."""
    expected = admin_token.encode()

    def check(found: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]) -> None:
        given = b"" if found is None else found.credentials.encode("utf-8", "backslashreplace")
        if found is None or not hmac.compare_digest(given, expected):
            detail = (
                "Changing items needs the header Authorization: Bearer TOKEN, with the token of --admin_token_file."
            )
            raise Problem(401, "token-needed", detail, headers={"WWW-Authenticate": "Bearer"})

    router = APIRouter(tags=["changing"], responses={**READING, **CHANGING}, dependencies=[Depends(check)])

    async def changed(wanted: Mapping[str, Mapping[str, Any] | None]) -> Response:
        found = await service.change(wanted)
        return JSONResponse(found, 201 if found["added"] else 200)

    @router.put("/items", response_model=Changed, status_code=200, summary="Adds or changes items")
    async def put_items(body: ItemsBody) -> Response:
        return await changed({item.item_id: item.attributes for item in body.items})

    @router.delete("/items", response_model=Changed, responses=UNKNOWN, summary="Removes items")
    async def delete_items(item_ids: Annotated[list[ItemId], Query(min_length=1)]) -> Response:
        return await changed(dict.fromkeys(item_ids))

    @router.put("/items/{item_id:path}", response_model=Changed, status_code=200, summary="Adds or changes an item")
    async def put_item(item_id: ItemId, body: ItemBody) -> Response:
        return await changed({item_id: body.attributes})

    @router.delete("/items/{item_id:path}", response_model=Changed, responses=UNKNOWN, summary="Removes an item")
    async def delete_item(item_id: ItemId) -> Response:
        return await changed({item_id: None})

    return router


__all__ = ["build_app"]
