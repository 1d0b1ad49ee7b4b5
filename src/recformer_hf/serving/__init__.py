"""Serving a recommender over HTTP: the extra `[serve]`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .settings import ServingLimits

if TYPE_CHECKING:
    from fastapi import FastAPI


def create_app(
    model: str | os.PathLike[str],
    *,
    limits: ServingLimits | None = None,
    admin_token: str | None = None,
    changes: str | os.PathLike[str] | None = None,
    **options: Any,
) -> FastAPI:
    """The application that serves a model, for any ASGI server.

    Args:
        model: a folder, or a repository on the Hub. A folder that is replaced or saved to again is taken over.
        limits: of requests.
        admin_token: what changes of items have to show, at least 16 characters; None: items cannot be changed.
        changes: file of the changes of items; by default `MODEL.item_changes` beside the model's folder. If it exists,
            its changes are in force, with a token or without.
        options: of `from_pretrained`, such as `revision` and `dtype`.

    Raises:
        ImportError: without the extra `[serve]`.
        ValueError: for a model that cannot be served, or a token that is easily guessed or cannot be sent.
    """
    with needs_extra("serve"):
        from .serve import app_of
    return app_of(model, limits or ServingLimits(), admin_token, changes, options)


@contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Names the extra in the error of an import in its block.

    Raises:
        ImportError: if a package of the extra is not installed.
    """
    try:
        yield
    except ImportError as error:
        if error.name is None or error.name.startswith("recformer_hf"):
            raise
        raise ImportError(f"This needs the package {error.name}: pip install 'recformer-hf[{name}]'") from error


__all__ = ["ServingLimits", "create_app", "needs_extra"]
