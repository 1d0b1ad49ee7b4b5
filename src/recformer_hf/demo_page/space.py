"""Writes the page as a Hugging Face Space: a folder that runs on the Hub, and here with `python app.py`."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from .._version import __version__
from ..serving import needs_extra
from ..serving.loading import load_recommender
from ..storage.atomic import atomic_folder
from .session import Shop

MODEL_FOLDER = "model"

README = """\
---
title: {title}
emoji: 🛒
colorFrom: blue
colorTo: gray
sdk: gradio
sdk_version: {gradio}
python_version: "{python}"
app_file: app.py
pinned: false
{models}---

A recommender from item text, made with recformer_hf: click a history together, see what is recommended next, and why.

{origin} `python app.py` runs the page on any machine with the packages of `requirements.txt`. To put it on the Hub:

    hf upload --repo-type space --create USER/NAME . .
"""

# On the Hub a processor is the default machine, and torch for a graphics card would take minutes to install.
REQUIREMENTS = """\
--extra-index-url https://download.pytorch.org/whl/cpu
recformer-hf[demo]>={version}
"""

APP = '''\
"""The page of a recommender; `recformer demo --export_space` wrote it."""

from recformer_hf.demo_page import launch_page, load_page

MODEL = {model}

launch_page(load_page(MODEL, {title}{options}))
'''

ATTRIBUTES = "*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.arrow filter=lfs diff=lfs merge=lfs -text\n"
"""Large files, for those who push the folder with git."""


def export_space(
    folder: str | os.PathLike[str], model: str | os.PathLike[str], title: str, **options: Any
) -> list[Path]:
    """Writes a Space. It appears whole or not at all.

    Args:
        folder: to create; it may exist if it is empty.
        model: a folder, which is copied into the Space, or a repository on the Hub, which the Space loads.
        title: the heading of the page.
        options: of `from_pretrained`, such as `revision`.

    Returns:
        the files at the top of the folder.

    Raises:
        ImportError: without the extra `[demo]`.
        FileExistsError: if the folder has files.
        TypeError, ValueError: for a model that the page cannot show.
    """
    with needs_extra("demo"):
        import gradio  # noqa: F401 - its version is written below
    name, is_local = os.fspath(model), Path(model).is_dir()
    if not is_local:
        validate_repo_id(name)
    recommender = load_recommender(name, **options)  # before anything is written
    Shop(recommender.model, recommender.tokenizer)
    with atomic_folder(folder) as temporary:
        if is_local:
            recommender.model.save_pretrained(temporary / MODEL_FOLDER)
            recommender.tokenizer.save_pretrained(temporary / MODEL_FOLDER)
        for file, text in _texts(name, is_local, title, options).items():
            (temporary / file).write_text(text, "utf-8")
    return sorted(Path(folder).iterdir())


def _texts(name: str, is_local: bool, title: str, options: dict[str, Any]) -> dict[str, str]:
    quoted = json.dumps(title)  # a text of JSON is one of YAML and of Python too
    origin = f"The model is in `{MODEL_FOLDER}/`." if is_local else f"The model is [{name}](https://hf.co/{name})."
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    models = "" if is_local else f"models:\n- {name}\n"
    given = "" if is_local else "".join(f", {key}={json.dumps(value)}" for key, value in options.items())
    where = f'Path(__file__).with_name("{MODEL_FOLDER}")' if is_local else json.dumps(name)
    app = APP.format(model=where, title=quoted, options=given)
    if is_local:
        app = app.replace("from recformer_hf", "from pathlib import Path\n\nfrom recformer_hf", 1)
    return {
        "README.md": README.format(title=quoted, gradio=version("gradio"), python=python, models=models, origin=origin),
        "requirements.txt": REQUIREMENTS.format(version=__version__),
        "app.py": app,
        ".gitattributes": ATTRIBUTES,
    }


__all__ = ["export_space"]
