"""Recommends items on Hugging Face Inference Endpoints. `recformer serve --model FOLDER --write_handler` wrote this.

    {"inputs": ["B01ABC", {"title": "Claw hammer"}], "parameters": {"top_k": 3}}

`inputs` is a history, oldest item first, or a list of histories. Parameters: top_k, exclude_history, candidates,
exclude.
"""

from __future__ import annotations

from typing import Any

import torch

from recformer_hf.serving.loading import load_recommender

PARAMETERS = ("top_k", "exclude_history", "candidates", "exclude")


class EndpointHandler:
    """What the endpoint calls.

    Args:
        path: folder of the checkpoint.
    """

    def __init__(self, path: str = "") -> None:
        self.recommender = load_recommender(path)
        if torch.cuda.is_available():
            self.recommender.model.to("cuda")

    def __call__(self, data: dict[str, Any]) -> list[Any]:
        """The recommendations for a history, or for each of several.

        Args:
            data: `inputs` and, if wanted, `parameters`.

        Returns:
            lists of `{"item_id": str, "score": float, "attributes": dict}`, best first.

        Raises:
            ValueError: for another request; the message says what is wrong.
        """
        inputs, parameters = data.get("inputs"), data.get("parameters") or {}
        if not isinstance(inputs, list) or not inputs:
            raise ValueError(
                'inputs must be a history, such as ["B01ABC", {"title": "Claw hammer"}], or a list of them.'
            )
        if not isinstance(parameters, dict) or (unknown := sorted(set(parameters) - set(PARAMETERS))):
            found = unknown if isinstance(parameters, dict) else parameters
            raise ValueError(f"parameters must be an object with some of {', '.join(PARAMETERS)}; got {found!r}.")
        several = any(isinstance(entry, list) for entry in inputs)
        model, tokenizer = self.recommender.model, self.recommender.tokenizer
        found = model.recommend(inputs if several else [inputs], tokenizer, progress=False, **parameters).to_dicts()
        answers: list[Any] = found if several else found[0]
        return answers


__all__ = ["EndpointHandler"]
