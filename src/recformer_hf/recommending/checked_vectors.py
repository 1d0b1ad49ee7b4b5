"""Which item vectors can be searched: finite ones that an encoder has written."""

from __future__ import annotations

import torch
from torch import Tensor

from ..items.catalog import ItemCatalog


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


__all__ = ["check_encoded", "check_finite", "zero_rows"]
