"""Makes the application of a model, and runs it."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from transformers.utils import logging

from .app import build_app
from .items_journal import ItemsJournal
from .loading import load_recommender
from .service import Service
from .settings import ServingLimits

logger = logging.get_logger(__name__)

FEWEST_CHARACTERS = 16
"""Characters of a token."""

_ADVICE = "Make one: python -c 'import secrets; print(secrets.token_urlsafe(32))' > token.txt"

CONNECTIONS = 1024
"""Connections at once; further ones get status 503."""

KEEP_ALIVE = 75
"""Seconds that a connection without requests stays open. Balancers keep theirs for 60 s; if a service closes one
sooner, a balancer sends a request into one that is just being closed."""


def app_of(
    model: str | os.PathLike[str],
    limits: ServingLimits,
    admin_token: str | None,
    changes: str | os.PathLike[str] | None,
    options: Mapping[str, Any],
) -> FastAPI:
    """See [`recformer_hf.serving.create_app`]."""
    if admin_token is not None:
        check_token(admin_token, "admin_token")
    return build_app(service_of(model, limits, admin_token, changes, options), admin_token)


def service_of(
    model: str | os.PathLike[str],
    limits: ServingLimits,
    admin_token: str | None,
    changes: str | os.PathLike[str] | None,
    options: Mapping[str, Any],
) -> Service:
    """The service of a model; see [`recformer_hf.serving.create_app`]."""
    name = os.fspath(model)
    load = partial(load_recommender, name, **options)
    recommender = load()
    is_folder = os.path.isdir(name)
    path = changes or (f"{Path(name)}.item_changes" if is_folder else None)
    if admin_token is not None and path is None:
        raise ValueError(
            f"{name} is a repository on the Hub, so there is no folder beside which changes of items could be kept. "
            "Name a file for them: --changes shop.item_changes."
        )
    can_change = hasattr(recommender.model, "update_items")
    if admin_token is not None and not can_change:
        raise ValueError(
            f"{name} is a {type(recommender.model).__name__}, which knows the items of its training alone: none can be "
            "added or changed. Serve it without --admin_token_file, or serve a Recformer."
        )
    journal = ItemsJournal(path) if path is not None and can_change else None
    return Service(recommender, limits, journal, load if is_folder else None)


def read_token(path: str | os.PathLike[str]) -> str:
    """The token in a file.

    Raises:
        ValueError: for a file that cannot be read, or a token that is easily guessed or cannot be sent.
    """
    try:
        token = Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"The token for admins in {path} cannot be read: {error}. {_ADVICE}") from error
    check_token(token, path)
    return token


def check_token(token: str, place: str | os.PathLike[str]) -> None:
    """Checks that a token can be sent, and is not easily guessed. An empty one would be that of every request.

    Args:
        token: what changes of items have to show.
        place: where it was found.

    Raises:
        ValueError: for another one.
    """
    if len(token) < FEWEST_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(
            f"The token for admins in {place} has {len(token)} characters; it needs at least {FEWEST_CHARACTERS} of "
            f"ASCII, without spaces. {_ADVICE}"
        )


def serve(
    model: str,
    limits: ServingLimits,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    admin_token_file: str | None = None,
    changes: str | None = None,
    **options: Any,
) -> None:
    """Serves a model until SIGTERM or SIGINT, and then finishes the requests that it has taken.

    Args:
        model, limits, changes, options: as in [`recformer_hf.serving.create_app`].
        host, port: where to listen; port 0 is any free one.
        admin_token_file: file with the token that changes of items need.

    Raises:
        OSError, ValueError: for a model that cannot be served, or a token that cannot be used.
    """
    token = None if admin_token_file is None else read_token(admin_token_file)
    app = app_of(model, limits, token, changes, options)
    gc.collect()
    gc.freeze()  # what is loaded stays: the collector need not look through it for each large body
    logging.disable_progress_bar()  # a model that is taken over later has nobody to watch it
    config = uvicorn.Config(
        app, host=host, port=port, access_log=False, server_header=False, log_level="info",
        limit_concurrency=CONNECTIONS, timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(limits.timeout_seconds) + 1,
    )  # fmt: skip
    uvicorn.Server(config).run()


__all__ = ["app_of", "read_token", "serve", "service_of"]
