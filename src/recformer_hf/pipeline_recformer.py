"""The pipeline "sequential-recommendation": it recommends items for histories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from torch.utils.data import Dataset
from transformers import AutoTokenizer, Pipeline

from .recommending.histories import as_list, described, is_list
from .recommending.recommend import Recommendations

_OPTIONS = ("top_k", "exclude_history", "candidates", "exclude", "max_tokens")


class SequentialRecommendationPipeline(Pipeline):
    """Recommends items for histories.

    ```python
    >>> from transformers import pipeline
    >>> import recformer_hf  # registers the task
    >>> recommender = pipeline("sequential-recommendation", model="org/recformer-scientific")
    >>> recommender(["B01ABC", {"title": "Digital caliper, 150 mm"}], top_k=3)  # one history, oldest item first
    [{'item_id': 'B07XYZ', 'score': 14.2, 'attributes': {'title': ..., 'brand': ...}}, ...]
    ```

    Options that are given to `pipeline(...)` are defaults for every call.

    Args:
        model: a `RecformerForSeqRec` with items and their catalogue, or the name of one.
        tokenizer: its `RecformerTokenizer`. A neural baseline (`recformer_hf.baselines`) reads ids and needs none.
        top_k (`int`, defaults to 10): items for each history.
        exclude_history (`bool`, defaults to `True`): leave out items of the history itself.
        candidates (list of ids): recommend only these.
        exclude (list of ids): never recommend these.
        batch_size (`int`, defaults to 1): histories of a stream that are answered together. With 1, every history is
            answered as soon as it is read; larger batches are faster. A list is always answered as a whole.
        max_tokens (`int`, defaults to 8,192): tokens of one forward pass; histories are sorted by length and packed.
    """

    model: Any
    _load_tokenizer: Any = None  # where there is one; a model that reads ids alone has none
    _load_processor: Any = False
    _load_image_processor: Any = False
    _load_video_processor: Any = False
    _load_feature_extractor: Any = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        folder = getattr(getattr(self.model, "config", None), "_name_or_path", "")
        if self.tokenizer is None and getattr(self.model, "reads_text", True) and kwargs.get("task") and folder:
            tokenizer: Any = AutoTokenizer.from_pretrained(folder)  # or says why it cannot be loaded
            self.tokenizer = tokenizer

    def __call__(self, histories: Any, *, batch_size: int | None = None, num_workers: int = 0, **options: Any) -> Any:  # type: ignore[override]
        """Recommends items.

        Args:
            histories: one history, a list of histories, or any other iterable of histories (a generator, a dataset's
                column), which is read lazily. A history is a list of entries, oldest first, each of which is an item
                dictionary or an id of the model's catalogue; a single entry is a history of one. A dictionary with the
                `item_id` of an item of the catalogue, such as a recommendation, is that item.
            batch_size, options: see the class.
            num_workers: ignored; other pipelines have it.

        Returns:
            for one history, a list of `{"item_id": str, "score": float, "attributes": dict}`, best first; for a list of
            histories, a list of such lists; for a stream, an iterator over such lists.

        Raises:
            TypeError, ValueError, UnknownItemError: as in `RecformerForSeqRec.recommend`.
        """
        if not hasattr(self.model, "recommend"):
            raise TypeError(
                f"Expected a RecformerForSeqRec, got a {type(self.model).__name__}, which does not recommend. Load the "
                "checkpoint with RecformerForSeqRec.from_pretrained, or pass its name."
            )
        batch_size = self._batch_size if batch_size is None else batch_size
        if batch_size is not None and (
            isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1
        ):
            raise ValueError(f"batch_size must be a whole number of at least 1, got {batch_size!r}.")
        given = {**self._forward_params, **self._sanitize_parameters(**options)[1]}
        if isinstance(histories, (str, int, Mapping)):
            return self._recommend([[histories]], given)[0]
        if isinstance(histories, Dataset) and not isinstance(histories, Iterable):  # torch's: by index, in order
            histories = map(histories.__getitem__, range(len(histories)))  # type: ignore[arg-type]
        if not is_list(histories):
            raise TypeError(
                "Expected a history (a list of items), a list of histories, or an iterable of histories, got "
                f"{described(histories)}."
            )
        # A column of a frame, or an array, may be a single history. Whatever is read lazily holds histories.
        if not isinstance(histories, (list, tuple)) and _is_history(histories):
            histories = as_list(histories)
        if not isinstance(histories, (list, tuple)):
            return self._stream(iter(histories), int(batch_size or 1), given)
        if not any(is_list(entry) for entry in histories):
            return self._recommend([histories], given)[0]
        return self._recommend(histories, given)

    def _stream(
        self, histories: Iterator[Any], batch_size: int, options: dict[str, Any]
    ) -> Iterator[list[dict[str, Any]]]:
        start = 0
        while batch := list(islice(histories, batch_size)):
            yield from self._recommend(batch, {**options, "number_from": start})
            start += len(batch)

    def _recommend(self, histories: Any, options: dict[str, Any]) -> list[list[dict[str, Any]]]:
        # Without `forward`, which would search every item for tensors to move: the model moves its own.
        with self.device_placement():
            return self.postprocess(self._forward(self.preprocess(histories), **options))

    def _sanitize_parameters(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if unknown := sorted(set(options) - set(_OPTIONS)):
            raise TypeError(
                f"This pipeline has no option {', '.join(unknown)}; it has {', '.join(_OPTIONS)}, batch_size."
            )
        return {}, options, {}

    def preprocess(self, histories: Any, **_: Any) -> dict[str, Any]:  # type: ignore[override]
        if self.tokenizer is None and getattr(self.model, "reads_text", True):
            raise ValueError(
                "The pipeline has no tokenizer. Save one beside the model (tokenizer.save_pretrained(folder)), or pass "
                "tokenizer=RecformerTokenizer.from_pretrained(...)."
            )
        return {"histories": histories}

    def _forward(self, inputs: dict[str, Any], **options: Any) -> Any:  # type: ignore[override]
        options.setdefault("progress", False)
        return self.model.recommend(inputs["histories"], self.tokenizer, **options)

    def postprocess(self, found: Recommendations, **_: Any) -> list[list[dict[str, Any]]]:  # type: ignore[override]
        return found.to_dicts()

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Saves model, catalogue and tokenizer; `with_code=True` also the code, this pipeline's included."""
        self.model.save_pretrained(save_directory, **kwargs)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(save_directory, **kwargs)


def _is_history(entries: Any) -> bool:
    """Whether a column or an array holds items: it has a type, and no lists in it."""
    return (hasattr(entries, "dtype") or hasattr(entries, "to_pylist")) and not any(is_list(entry) for entry in entries)


__all__ = ["SequentialRecommendationPipeline"]
