"""What recommending needs from a model and from a tokenizer, whose classes are above or beside this room."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..configuration_recformer import RecformerConfig
from ..encoder.packing import FlatItems
from ..heads.scoring_head import ScoringHead
from ..items.catalog import ItemCatalog
from ..memory.memory import Memory
from .search import ExactIndex

Items = ItemCatalog | Mapping[Any, Mapping[str, Any]] | Sequence[Mapping[str, Any]]
"""Items with their ids: a catalogue, a mapping of id to attributes, or rows that hold an `item_id`."""

Entry = Mapping[str, Any] | str | int
"""An item of a history: a dictionary of attributes, or an id of the catalogue."""


class ItemTokenizer(Protocol):
    """A `RecformerTokenizer`."""

    max_token_num: int

    @property
    def bos_token_id(self) -> Any: ...
    @property
    def cls_token_id(self) -> Any: ...
    def encode_items(self, items: Iterable[Mapping[str, Any]], progress: bool = False) -> FlatItems: ...
    def __call__(
        self, text: Any, *, truncation: bool, max_length: int, padding: bool, return_tensors: str | None
    ) -> Any: ...


class Encoder(Protocol):
    """A `RecformerModel`: called with a packed batch, it returns an output with `pooler_output`."""

    def __call__(self, **batch: Any) -> Any: ...


class EncodingModel(Protocol):
    """A model whose encoder is `recformer`."""

    config: RecformerConfig

    @property
    def recformer(self) -> Encoder: ...
    @property
    def device(self) -> torch.device: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def eval(self) -> Any: ...


class SearchIndex(Protocol):
    """What finds the items that are closest to a query: exact search, or an index that was built."""

    @property
    def kind(self) -> str: ...
    def __len__(self) -> int: ...
    def search(
        self,
        queries: Tensor,
        top_k: int,
        candidates: Tensor | None = None,
        excluded: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]: ...


class RecommendingModel(EncodingModel, Protocol):
    """A `RecformerForSeqRec`: an encoder with an embedding, and perhaps a name, for every item."""

    item_embeddings: nn.Parameter
    item_residuals: nn.Parameter | None
    scoring_head: ScoringHead

    @property
    def item_vectors(self) -> Tensor: ...
    @property
    def catalog(self) -> ItemCatalog | None: ...
    @property
    def memory(self) -> Memory | None: ...
    @property
    def index(self) -> SearchIndex: ...
    @property
    def exact_index(self) -> ExactIndex: ...
    def check_item_vectors(self) -> None: ...
    def set_item_embeddings(self, embeddings: Tensor, catalog: ItemCatalog | None = None) -> None: ...
    def _set_items(
        self,
        embeddings: Tensor,
        catalog: ItemCatalog | None,
        residuals: Tensor | None = None,
        memory: Memory | None = None,
    ) -> None: ...


__all__ = [
    "Encoder",
    "EncodingModel",
    "Entry",
    "FlatItems",
    "ItemTokenizer",
    "Items",
    "RecommendingModel",
    "SearchIndex",
]
