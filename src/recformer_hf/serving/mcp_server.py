"""The requests of a service that read, as tools of the Model Context Protocol for chat agents: the extra `[mcp]`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field, ValidationError

from .._version import __version__
from .problems import Problem, of_validation
from .schemas import ExplainRequest, RecommendRequest, SimilarRequest
from .service import Service

INSTRUCTIONS = """Recommends items of a shop's catalogue. A history is what somebody has bought or read, oldest first.
An item is an id of the catalogue, or an object of attributes such as {"title": "Claw hammer"}, which need not be in the
catalogue: describe what a person talks about, and similar_items finds what the shop has. A higher score is better."""

Item = Annotated[str | int | dict[str, Any], Field(description='An id, or attributes: {"title": "Claw hammer"}')]
History = Annotated[list[Item], Field(description="Items, oldest first")]
TopK = Annotated[int, Field(description="How many items", ge=1)]

Request = TypeVar("Request", bound=BaseModel)


def build_server(service: Service) -> MCPServer[Any]:
    """The server of a service, which starts and closes with it."""

    @asynccontextmanager
    async def life(_: MCPServer[Any]) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.close()

    server: MCPServer[Any] = MCPServer(
        "recformer", instructions=INSTRUCTIONS, version=__version__, lifespan=life, log_level="WARNING"
    )
    reads = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)

    @server.tool(annotations=reads)
    async def recommend(
        history: History, top_k: TopK = 10, exclude: list[str] | None = None, candidates: list[str] | None = None
    ) -> list[dict[str, Any]]:
        """The items of the catalogue that fit a history best, best first, without those of the history.

        exclude: ids that are not wanted. candidates: ids to choose from, if not all.
        """
        body = {"histories": [history], "top_k": top_k, "exclude": exclude, "candidates": candidates}
        found = await answered(service.recommend(checked(RecommendRequest, body)))
        best: list[dict[str, Any]] = found["recommendations"][0]
        return best

    @server.tool(annotations=reads)
    async def similar_items(item: Item, top_k: TopK = 10) -> list[dict[str, Any]]:
        """The items of the catalogue that are most similar to one, whether or not the catalogue has it."""
        found = await answered(service.similar(checked(SimilarRequest, {"item": item, "top_k": top_k})))
        similar: list[dict[str, Any]] = found["items"]
        return similar

    @server.tool(annotations=reads)
    async def explain(history: History, item: Item | None = None) -> dict[str, Any]:
        """How much each item of a history, and each of its attributes, moved the score of an item.

        item: the one whose score is explained; by default the one that is recommended first.
        """
        body = {"history": history, "item": item, "words": False}
        return await answered(service.explain(checked(ExplainRequest, body)))

    @server.tool(annotations=reads)
    async def get_item(item_id: str) -> dict[str, Any]:
        """An item of the catalogue, by its id."""
        try:
            return service.item(item_id)
        except Problem as problem:
            raise ToolError(problem.detail) from None

    return server


def checked(kind: type[Request], body: dict[str, Any]) -> Request:
    """A request.

    Raises:
        ToolError: for a body that is none; the message names the field.
    """
    try:
        return kind(**body)
    except ValidationError as error:
        raise ToolError(of_validation(error.errors()).detail) from None


async def answered(answer: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """The answer of a service.

    Raises:
        ToolError: if there is none; the message names the field and how to fix it.
    """
    try:
        return await answer
    except Problem as problem:
        field = "".join(f"{error['field']}: " for error in problem.errors[:1])
        raise ToolError(f"{field}{problem.detail}") from None


__all__ = ["build_server"]
