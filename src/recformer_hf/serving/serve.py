"""Makes the application of a model, and runs it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
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

CONNECTIONS = 1024
"""Connections at once; further ones get status 503."""


@dataclass
class ServeArguments:
    """What to serve, and where."""

    model: str = field(metadata={"help": "Folder of a model with its catalogue, or a repository on the Hub."})
    host: str = field(default="127.0.0.1", metadata={"help": "Address to listen at; 0.0.0.0: all of this machine."})
    port: int = field(default=8000, metadata={"help": "Port to listen at; 0: any free one."})
    admin_token_file: str | None = field(
        default=None, metadata={"help": "File with the token that changes of items need; without it there are none."}
    )
    changes: str | None = field(
        default=None, metadata={"help": "File of the changes of items; by default MODEL.item_changes beside the model."}
    )
    revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of a repository on the Hub."})
    dtype: str | None = field(default=None, metadata={"help": "float32 or bfloat16; by default the checkpoint's."})


def app_of(
    model: str | os.PathLike[str],
    limits: ServingLimits,
    admin_token: str | None,
    changes: str | os.PathLike[str] | None,
    options: Mapping[str, Any],
) -> FastAPI:
    """See [`recformer_hf.serving.create_app`]."""
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
    return build_app(Service(recommender, limits, journal, load if is_folder else None), admin_token)


def read_token(path: str | os.PathLike[str]) -> str:
    """The token in a file.

    Raises:
        ValueError: for a file that cannot be read, or a token that is easily guessed or cannot be sent.
    """
    advice = "Make one: python -c 'import secrets; print(secrets.token_urlsafe(32))' > token.txt"
    try:
        token = Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"The token for admins in {path} cannot be read: {error}. {advice}") from error
    if len(token) < FEWEST_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(
            f"The token for admins in {path} has {len(token)} characters; it needs at least {FEWEST_CHARACTERS} of "
            f"ASCII, without spaces. {advice}"
        )
    return token


def serve(arguments: ServeArguments, limits: ServingLimits) -> None:
    """Serves a model until SIGTERM or SIGINT, and then finishes the requests that it has taken.

    Raises:
        OSError, ValueError: for a model that cannot be served, or a token that cannot be used.
    """
    token = None if arguments.admin_token_file is None else read_token(arguments.admin_token_file)
    options = {"revision": arguments.revision, "dtype": arguments.dtype}
    given = {name: value for name, value in options.items() if value is not None}
    logging.disable_progress_bar()
    app = app_of(arguments.model, limits, token, arguments.changes, given)
    config = uvicorn.Config(
        app, host=arguments.host, port=arguments.port, access_log=False, server_header=False, log_level="info",
        limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=max(1, int(limits.timeout_seconds) + 1),
    )  # fmt: skip
    uvicorn.Server(config).run()


__all__ = ["ServeArguments", "app_of", "read_token", "serve"]
