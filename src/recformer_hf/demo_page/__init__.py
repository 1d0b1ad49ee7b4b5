"""A page to try a recommender in a browser: the extra `[demo]`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..serving import needs_extra

if TYPE_CHECKING:
    from gradio import Blocks

TITLE = "What comes next?"


def build_page(model: Any, tokenizer: Any, title: str = TITLE) -> Blocks:
    """A page on which visitors click a history together, and see what is recommended, and why.

    Visitors share the model and nothing else. They cannot change it, nor its catalogue.

    Args:
        model: a `RecformerForSeqRec` with items and their catalogue.
        tokenizer: its `RecformerTokenizer`.
        title: the heading.

    Returns:
        `gradio.Blocks`; [`launch_page`] or its own `launch()` starts it.

    Raises:
        ImportError: without the extra `[demo]`.
        TypeError: for a model that does not read texts.
        ValueError: for a model without items or catalogue.
    """
    with needs_extra("demo"):
        from .page import blocks_of
    from .session import Shop

    return blocks_of(Shop(model, tokenizer), title)


def load_page(name: str | os.PathLike[str], title: str = TITLE, **options: Any) -> Blocks:
    """[`build_page`] for a checkpoint, with the code of this package alone.

    Args:
        name: a folder, or a repository on the Hub.
        title: the heading.
        options: of `from_pretrained`, such as `revision`.

    Raises:
        OSError: if there is no checkpoint.
        ImportError, TypeError, ValueError: as in [`build_page`].
    """
    from ..serving.loading import load_recommender

    with needs_extra("demo"):
        import gradio  # noqa: F401 - before a large model is loaded for nothing
    recommender = load_recommender(name, **options)
    return build_page(recommender.model, recommender.tokenizer, title)


def launch_page(page: Blocks, **options: Any) -> Any:
    """Starts a page, and by default waits until it is stopped.

    Args:
        page: of [`build_page`].
        options: of `gradio.Blocks.launch`, such as `server_name`, `server_port` and `prevent_thread_lock`.

    Returns:
        what `launch` returns.
    """
    from gradio.themes import Base

    # Gradio's own fonts would be fetched from elsewhere, and its history of runs would keep what visitors did.
    theme = Base(text_size="lg", font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace"))
    defaults: dict[str, Any] = {
        "theme": theme, "ssr_mode": False, "run_history": False, "footer_links": [],
        "max_file_size": 1,  # byte: Gradio takes files on every page, of any size, and this one needs none
    }  # fmt: skip
    return page.launch(**{**defaults, **options})


__all__ = ["build_page", "launch_page", "load_page"]
