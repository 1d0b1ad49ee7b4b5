"""The bodies of requests and answers, with the examples that the documentation at /docs shows."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    StrictInt,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

MAX_ID_LENGTH = 512
"""Characters of an item's id."""

MOST_FIELDS = 100
"""Fields of an object; one with fewer has an error for each unknown field."""


def _checked_id(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # JSON's reader has refused numbers of thousands of digits
    if not isinstance(value, str):
        raise PydanticCustomError("item_id", "This must be an item id: text or a whole number")
    if not 0 < len(value) <= MAX_ID_LENGTH:
        raise PydanticCustomError("item_id", f"An item id must have 1 to {MAX_ID_LENGTH} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        text = "This id has half of a surrogate pair, which no text can hold"
        raise PydanticCustomError("item_id", text) from None
    return value


def _checked_attributes(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        text = 'This must be an object of attributes, such as {"title": "Claw hammer"}'
        raise PydanticCustomError("attributes", text)
    return value


def _checked_entry(value: object) -> str | dict[str, Any]:
    if isinstance(value, dict):
        return _checked_attributes(value)
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        text = 'An item must be an id (text or a whole number) or an object of attributes, such as {"title": "Hammer"}'
        raise PydanticCustomError("item", text)
    return _checked_id(value)


_ID: dict[str, Any] = {"anyOf": [{"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH}, {"type": "integer"}]}
_ATTRIBUTES: dict[str, Any] = {"type": "object", "additionalProperties": True, "minProperties": 1}

ItemId = Annotated[Any, PlainValidator(_checked_id), WithJsonSchema(_ID)]
Attributes = Annotated[Any, PlainValidator(_checked_attributes), WithJsonSchema(_ATTRIBUTES)]
Entry = Annotated[Any, PlainValidator(_checked_entry), WithJsonSchema({"anyOf": [*_ID["anyOf"], _ATTRIBUTES]})]
# A list ends at its first error, because a body of a megabyte can have half a million of them.
History = Annotated[list[Entry], Field(min_length=1, fail_fast=True, description="Items, oldest first.")]
Ids = Annotated[list[ItemId], Field(fail_fast=True)]

TopK = Annotated[StrictInt, Field(ge=1, description="How many items.")]
WithAttributes = Annotated[StrictBool, Field(description="Whether the answer has the items' attributes.")]

HAMMER = {"title": "Claw hammer", "brand": "Kraft"}
FOUND = {"item_id": "B07XYZ", "score": 14.25, "attributes": {"title": "Nails, 100 pieces", "brand": "Kraft"}}


def _example(value: dict[str, Any]) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [value]})


class _Body(BaseModel):
    """An object of a request."""

    @model_validator(mode="before")
    @classmethod
    def _check_number_of_fields(cls, value: object) -> object:
        if isinstance(value, dict) and len(value) > MOST_FIELDS:
            counts = {"found": f"{len(value):,}", "known": ", ".join(cls.model_fields)}
            raise PydanticCustomError("too_many_fields", "This has {found} fields; it may have {known}", counts)
        return value


class RecommendRequest(_Body):
    """What to recommend for histories."""

    model_config = _example({"histories": [["B01ABC", HAMMER]], "top_k": 3, "exclude": ["B02DEF"]})
    histories: Annotated[list[History], Field(min_length=1, fail_fast=True)]
    top_k: TopK = 10
    exclude_history: StrictBool = Field(True, description="Leave out the items of the history itself.")
    candidates: Ids | None = Field(None, description="Recommend only these.")
    exclude: Ids | None = Field(None, description="Never recommend these.")
    attributes: WithAttributes = True


class SimilarRequest(_Body):
    """Which items are similar to one."""

    model_config = _example({"item": HAMMER, "top_k": 3})
    item: Entry
    top_k: TopK = 10
    attributes: WithAttributes = True


class ExplainRequest(_Body):
    """Why an item is recommended for a history."""

    model_config = _example({"history": ["B01ABC", HAMMER], "item": "B07XYZ"})
    history: History
    item: Entry | None = Field(None, description="By default the item that is recommended first.")
    attributes: StrictBool = Field(True, description="Whether to leave out each attribute, too; that takes longest.")
    words: StrictBool = Field(True, description="Whether to estimate the effect of each word.")


class ItemBody(_Body):
    """An item's text."""

    model_config = _example({"attributes": HAMMER})
    attributes: Attributes


class ItemRow(_Body):
    """An item."""

    model_config = _example({"item_id": "B01ABC", "attributes": HAMMER})
    item_id: ItemId
    attributes: Attributes


class ItemsBody(_Body):
    """Items to add or to change."""

    model_config = _example({"items": [{"item_id": "B01ABC", "attributes": HAMMER}]})
    items: Annotated[list[ItemRow], Field(min_length=1, fail_fast=True)]


class FoundItem(BaseModel):
    """An item that was found."""

    model_config = _example(FOUND)
    item_id: str
    score: float
    attributes: dict[str, str] | None = None


class Recommended(BaseModel):
    """For each history the best items, best first."""

    model_config = _example({"recommendations": [[FOUND]]})
    recommendations: list[list[FoundItem]]


class Similar(BaseModel):
    """The most similar items, most similar first; scores are cosines."""

    model_config = _example({"items": [{**FOUND, "score": 0.93}]})
    items: list[FoundItem]


class Changed(BaseModel):
    """What a change did."""

    model_config = _example({"added": ["B01ABC"], "changed": [], "removed": [], "num_items": 1201})
    added: list[str]
    changed: list[str]
    removed: list[str]
    num_items: int


class Status(BaseModel):
    """The state of the service."""

    model_config = _example({"status": "ready", "model": "shop", "num_items": 1200, "version": "1.0.0"})
    status: str
    model: str
    num_items: int
    version: str


class FieldError(BaseModel):
    """An error of one field."""

    field: str
    detail: str


class ProblemDocument(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "tag:recformer-hf,2026:invalid-request", "title": "Invalid request", "status": 422,
                    "detail": "top_k: Input should be greater than or equal to 1.",
                    "errors": [{"field": "top_k", "detail": "Input should be greater than or equal to 1."}],
                }
            ]
        }
    )  # fmt: skip
    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None


__all__ = [
    "MAX_ID_LENGTH",
    "Changed",
    "ExplainRequest",
    "ItemBody",
    "ItemRow",
    "ItemsBody",
    "ProblemDocument",
    "RecommendRequest",
    "Recommended",
    "Similar",
    "SimilarRequest",
    "Status",
]
