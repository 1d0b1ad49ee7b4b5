"""Serving a recommender over HTTP: the extra `[serve]`."""

from __future__ import annotations

import os
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
        admin_token: what changes of items have to show; None: items cannot be changed.
        changes: file of the changes of items; by default `MODEL.item_changes` beside the model's folder. If it exists,
            its changes are in force, with a token or without.
        options: of `from_pretrained`, such as `revision` and `dtype`.

    Raises:
        ImportError: without the extra `[serve]`.
        ValueError: for a model that cannot be served.
    """
    try:
        from .serve import app_of
    except ImportError as error:
        if error.name is not None and error.name.startswith("recformer_hf"):
            raise
        raise ImportError(f"Serving needs {error.name}: pip install 'recformer-hf[serve]'") from error
    return app_of(model, limits or ServingLimits(), admin_token, changes, options)


__all__ = ["ServingLimits", "create_app"]
