"""The recommender of the invented demo shop, for commands that are tried without a model."""

from __future__ import annotations

from pathlib import Path

from transformers.utils import logging

from .output import say

FOLDER = "demo-recformer"
"""Where it is kept, in the current folder."""


def demo_model(folder: str = FOLDER) -> str:
    """The folder of a recommender of the demo shop, which is trained if there is none yet.

    That of `recformer finetune` is taken if it is finished. Otherwise the recipe `hybrid` is trained on the pretrained
    encoder alone: finetuning the encoder first would gain little and take several times as long.
    """
    for name in ("hybrid", "page"):
        if (found := Path(folder, name)).joinpath("metrics.json").is_file():
            return str(found)
    from .commands.finetune import train_for_page  # the trainers take seconds to import

    say(
        "No --model is given: training a tiny recommender on the invented demo shop, about a minute on two cores. "
        f"It is kept in {folder}."
    )
    logging.set_verbosity_error()
    return str(train_for_page(folder))
