"""Which item vectors can be searched: finite ones that an encoder has written."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..items.catalog import ItemCatalog


def as_vectors(vectors: object) -> Tensor:
    """Vectors that a caller gives, a tensor or a numpy array, as a tensor.

    Raises:
        TypeError: for anything else, and for values that are no real numbers.
    """
    if isinstance(vectors, np.ndarray) and vectors.dtype.kind in "fiu":
        # torch knows neither other byte orders, nor long doubles, nor negative strides.
        vectors = torch.tensor(np.ascontiguousarray(vectors, np.float64 if vectors.dtype.itemsize > 4 else np.float32))
    if not isinstance(vectors, Tensor):
        kind = type(vectors).__name__ + (f" of {vectors.dtype}" if isinstance(vectors, np.ndarray) else "")
        raise TypeError(
            f"Item embeddings must be a tensor or a numpy array of numbers, got a {kind}. Items are encoded by "
            "model.encode_items(items, tokenizer)."
        )
    if vectors.is_complex() or vectors.dtype == torch.bool or vectors.layout != torch.strided or vectors.is_meta:
        kind = f"{vectors.dtype}, {vectors.layout}" + (", on the meta device" if vectors.is_meta else "")
        raise TypeError(f"Item embeddings must be a dense tensor of real numbers, got one of {kind}.")
    return vectors


def check_finite(vectors: Tensor, catalog: ItemCatalog | None) -> None:
    """Raises ValueError if item vectors hold NaN or infinite values, or numbers so large that their length is infinite.

    Args:
        vectors (`Tensor`, float `[num_items, hidden_size]`): the vectors.
        catalog: names the items in the message; None: only the row is named.
    """
    wrong = (~torch.linalg.vector_norm(vectors.detach(), dim=1).isfinite()).nonzero()[:, 0]
    if len(wrong):
        raise ValueError(
            f"Item embeddings hold NaN or infinite values, or numbers too large for a float32 length: "
            f"{_items(wrong, len(vectors), catalog)}. Encode the items again, with a model whose weights are finite."
        )


def check_encoded(vectors: Tensor, catalog: ItemCatalog | None) -> None:
    """[`check_finite`], and raises ValueError if vectors are all zeros, as they are before the items are encoded."""
    if vectors.is_meta:
        raise ValueError(
            "The item embeddings are on the meta device (offloaded, or never loaded), so they cannot be searched. Load "
            "the model without offloading."
        )
    check_finite(vectors, catalog)
    if len(wrong := zero_rows(vectors)):
        raise ValueError(
            f"Items have no vectors yet, only zeros: {_items(wrong, len(vectors), catalog)}. Encode them: "
            "model.set_item_embeddings(model.encode_items(model.catalog, tokenizer), model.catalog)."
        )


def zero_rows(vectors: Tensor) -> Tensor:
    """The rows of vectors of zeros, int64 `[num_rows]`."""
    largest: Tensor = torch.linalg.vector_norm(vectors.detach(), ord=torch.inf, dim=1)
    return (largest == 0).nonzero()[:, 0]


def _items(rows: Tensor, total: int, catalog: ItemCatalog | None) -> str:
    first = int(rows[0])
    name = f"row {first}" if catalog is None or len(catalog) != total else f"{catalog.ids[first]!r} (row {first})"
    return f"{len(rows):,} of {total:,} items, the first is {name}"


__all__ = ["as_vectors", "check_encoded", "check_finite", "zero_rows"]
