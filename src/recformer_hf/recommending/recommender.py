"""The methods with which a model recommends. Each one delegates its work to another module of this folder."""

from __future__ import annotations

import copy
import importlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..configuration_recformer import RecformerConfig
from ..heads.head_changes import set_head
from ..heads.scoring_head import ScoringHead
from ..items.catalog import ItemCatalog
from ..items.places import renumbered
from ..memory.memory import Memory
from .catalog_changes import add_items, remove_items, update_items
from .checked_vectors import as_vectors, check_finite
from .export import write_embeddings
from .faiss_index import FaissIndex
from .histories import as_batch
from .item_store import ITEM_WEIGHTS, NO_ITEMS, IndexKind, ItemStore, as_catalog, check_catalog
from .protocols import Entry, FlatItems, Items, ItemTokenizer
from .recommend import Recommendations, needed, recommend, similar_items
from .search import ExactIndex
from .vectors import (
    as_asked,
    check_needed_tokenizer,
    encode_histories,
    encode_items,
    equal_rows,
    the_only_history,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel as _Model
else:
    _Model = object


class RecommenderMixin(_Model):
    """Encoding, recommending and changing the catalogue, for a model with an encoder and `item_embeddings`."""

    config: RecformerConfig
    recformer: Any
    item_embeddings: nn.Parameter
    item_residuals: nn.Parameter | None
    scoring_head: ScoringHead
    item_store: ItemStore

    # Vectors

    def encode_items(
        self,
        items: Iterable[Any] | FlatItems,
        tokenizer: ItemTokenizer,
        max_tokens: int = 8192,
        progress: bool | None = None,
        return_tensors: Literal["pt", "np"] = "pt",
    ) -> Any:
        """Encodes items: each item alone behind `<s>`, through the encoder that also encodes histories.

        Args:
            items: item dictionaries, whose `item_id` is not read as text; an `ItemCatalog`; a table with a column
                `item_id`; or what `tokenizer.encode_items` returned for them.
            tokenizer: a `RecformerTokenizer`.
            max_tokens (`int`): tokens of one forward pass. Items are sorted by length and packed, so that no padding is
                computed.
            progress (`bool`): whether to show a progress bar; by default from 512 items on.
            return_tensors: `"pt"` for torch, `"np"` for numpy.

        Returns:
            float32 `[num_items, hidden_size]` on the CPU, in the order of `items`. The vectors are not normalised.
            Items with equal tokens are encoded once, so that their vectors are equal to the last bit.
        """
        return as_asked(encode_items(self, items, tokenizer, max_tokens, progress), return_tensors)

    def encode_histories(
        self,
        histories: Sequence[Sequence[Entry]],
        tokenizer: ItemTokenizer | None,
        max_tokens: int = 8192,
        progress: bool | None = None,
        return_tensors: Literal["pt", "np"] = "pt",
    ) -> Any:
        """Encodes histories.

        A two-level head reads the vectors of their items: it looks up those of ids, and only encodes dictionaries.

        Args:
            histories: a list of histories (or an array, a column of a frame or dataset, a generator). Each is a list of
                items, oldest first: dictionaries of attributes, ids of the attached catalogue, rows of it (a dictionary
                with its `item_id`), or a mix. The newest `max_item_embeddings - 1` items are read.
            tokenizer: a `RecformerTokenizer`. With a two-level head, histories of ids need none (`None`).
            max_tokens (`int`): tokens of one forward pass; a longer history gets a forward pass of its own.
            progress (`bool`): whether to show a progress bar; by default from 512 histories on.
            return_tensors: `"pt"` for torch, `"np"` for numpy.

        Returns:
            float32 `[num_histories, config.vector_size]` on the CPU, in the order of `histories`. The vectors are not
            normalised.

        Raises:
            TypeError, ValueError, UnknownItemError: for a history or an item that cannot be read; the message names
                it.
        """
        check_needed_tokenizer(self, tokenizer)
        histories = as_batch(histories)
        found = [torch.zeros(0, self.config.vector_size, device="cpu")]
        with renumbered(the_only_history if len(histories) == 1 else lambda place: place):
            blocks = encode_histories(self, self.catalog, histories, tokenizer, max_tokens, progress)
            found += [block.vectors for block in blocks]
        return as_asked(torch.cat(found), return_tensors)

    # Recommending

    def recommend(
        self,
        histories: Sequence[Sequence[Entry]],
        tokenizer: ItemTokenizer | None,
        top_k: int = 10,
        *,
        exclude_history: bool = True,
        candidates: Sequence[Any] | None = None,
        exclude: Sequence[Any] | None = None,
        max_tokens: int = 8192,
        progress: bool | None = None,
        number_from: int | None = None,
        return_tensors: Literal["pt", "np"] = "pt",
    ) -> Recommendations:
        """Finds the items with the highest scores for each history.

        Args:
            histories, tokenizer: as in [`encode_histories`].
            top_k: how many items, at least 1.
            exclude_history: leave out the items of the history itself. An item that is given as a dictionary stands for
                every item of the catalogue with exactly these attributes. If they are not left out, a history bias is
                for the items of the history; a dictionary is then the first item with exactly these attributes.
            candidates: ids to choose from, for all histories; by default all items.
            exclude: ids that are not recommended for any history.
            max_tokens, progress: as in [`encode_histories`].
            number_from: the number that errors give the first history, if the histories are a part of more.
            return_tensors: `"pt"` for torch, `"np"` for numpy.

        Returns:
            [`Recommendations`], on the CPU.

        Raises:
            UnknownItemError: a `KeyError`, for ids that the catalogue does not have; it shows the closest ids.
            ValueError: for a model without items or with items that were never encoded, a vector with NaN, an empty
                history, or a `top_k` larger than what is left.
            TypeError: for something that is not a history, an item or an id.
        """
        return recommend(
            self, histories, tokenizer, top_k, exclude_history=exclude_history, candidates=candidates, exclude=exclude,
            max_tokens=max_tokens, progress=progress, number_from=number_from, return_tensors=return_tensors,
        )  # fmt: skip

    def similar_items(
        self,
        item: Any,
        top_k: int = 10,
        tokenizer: ItemTokenizer | None = None,
        return_tensors: Literal["pt", "np"] = "pt",
    ) -> Recommendations:
        """Finds the items whose vectors are closest to an item's; the item itself is left out.

        Args:
            item: an id of the catalogue, or a dictionary of attributes, whether or not the catalogue has it. One with
                the `item_id` of an item of the catalogue is that item.
            top_k: how many, at least 1.
            tokenizer: a `RecformerTokenizer`, for a dictionary.
            return_tensors: `"pt"` for torch, `"np"` for numpy.

        Returns:
            [`Recommendations`] of one line; scores are cosine similarities, in [-1, 1].

        Raises:
            UnknownItemError, ValueError, TypeError: as in [`recommend`].
        """
        return similar_items(self, item, top_k, tokenizer, return_tensors)

    def explain(
        self, history: Sequence[Entry], tokenizer: ItemTokenizer, item: Entry | None = None, **settings: Any
    ) -> Any:
        """Says what moved the score of an item: the parts of the score, and how much each item, attribute and word of
        the history adds to it (docs/explaining.md).

        Args:
            history: items, oldest first, as in [`recommend`].
            tokenizer: a `RecformerTokenizer`.
            item: an id of the catalogue, or a dictionary of attributes; by default the item that is recommended first.
            settings: see `recformer_hf.explaining.explain`.

        Returns:
            `recformer_hf.explaining.Explanation`; print it, or call its `to_dict()`, `to_html()` or `plot()`.

        Raises:
            ImportError: if this is the code of a checkpoint, and the package is not installed.
            UnknownItemError, ValueError, TypeError: as in [`recommend`].
        """
        return _explaining().explain(self, tokenizer, history, item, **settings)

    def explain_top(
        self, history: Sequence[Entry], tokenizer: ItemTokenizer, top_k: int = 10, **settings: Any
    ) -> list[Any]:
        """Explains the `top_k` items that are recommended, best first. They share the work that the history takes."""
        found: list[Any] = _explaining().explain_top(self, tokenizer, history, top_k, **settings)
        return found

    # The catalogue

    def set_item_embeddings(self, embeddings: Tensor | np.ndarray, catalog: ItemCatalog | None = None) -> None:
        """Replaces the items' vectors and sets `config.num_items` to their number.

        Args:
            embeddings (`Tensor` or numpy array, float `[num_items, hidden_size]`): one vector per item; copied, in
                float32.
            catalog: names the rows. By default the model has no catalogue afterwards, because the previous one may name
                other items. To encode the same items again: `set_item_embeddings(vectors, model.catalog)`; only then
                `item_residuals` and the memory stay, otherwise they are zeros and None.

        Raises:
            TypeError: for anything but a tensor or an array.
            ValueError: for another shape, values that are not finite, or a catalogue of another number of items.
        """
        embeddings = as_vectors(embeddings)
        width = self.config.hidden_size
        if embeddings.ndim != 2 or embeddings.shape[1] != width:
            raise ValueError(f"Item embeddings must be [num_items, {width}], got {list(embeddings.shape)}.")
        device = torch.device("cpu") if self.item_embeddings.is_meta else self.item_embeddings.device
        embeddings = embeddings.detach().to(device=device, dtype=torch.float32)
        check_catalog(catalog)
        if catalog is not None and len(catalog) != len(embeddings):
            raise ValueError(f"There are {len(embeddings):,} item embeddings, but {len(catalog):,} items.")
        check_finite(embeddings, catalog)
        same_items = catalog is not None and catalog is self.catalog
        residuals = self.item_residuals.detach() if same_items and self.item_residuals is not None else None
        self._set_items(embeddings, catalog, residuals, self.memory if same_items else None)

    def _set_items(
        self,
        embeddings: Tensor,
        catalog: ItemCatalog | None,
        residuals: Tensor | None = None,
        memory: Memory | None = None,
    ) -> None:
        """Sets checked vectors of items, and what is known about each; by default nothing: zeros, and no memory."""
        self._set_weight("item_embeddings", embeddings)
        if self.item_residuals is not None:
            empty = embeddings.new_zeros(len(embeddings), self.config.vector_size)
            self._set_weight("item_residuals", empty if residuals is None else residuals)
        self.config.num_items = embeddings.shape[0]
        self.item_store.forget_check()
        self.catalog, self.memory = catalog, memory

    def _set_weight(self, name: str, values: Tensor) -> None:
        weight = getattr(self, name)
        if values.shape == weight.shape and not weight.is_meta:
            weight.data.copy_(values)
        else:
            setattr(self, name, nn.Parameter(values.clone(), requires_grad=weight.requires_grad))

    @property
    def item_vectors(self) -> Tensor:
        """What the vectors of histories are compared with, float32 `[num_items, config.vector_size]`.

        These are `item_embeddings`, changed by the projection and the residuals where the configuration has them
        ([`ScoringHead.item_vectors`]); without both, `item_embeddings` themselves. They have no graph, and are computed
        anew after a change of these weights that torch counts, and after `train()` and `eval()`: torch does not count
        a change through `.data`.
        """
        head = self.scoring_head
        if not head.changes_items(self.item_residuals):
            return self.item_embeddings

        def compute() -> Tensor:
            # Tensors of the inference mode could not be part of a later graph.
            with torch.inference_mode(False), torch.no_grad():
                return head.item_vectors(self.item_embeddings, self.item_residuals)

        return self.item_store.derived("item vectors", self._item_weights(), compute)

    @property
    def equal_items(self) -> Tensor:
        """Rows of items whose vectors are equal to that of an earlier item, and the first such item of each.

        int64 `[2, num_repeated]`. Items of equal text are such items, unless training has given them residuals. It
        passes over the vectors only if they have changed since the last call.
        """

        def compute() -> Tensor:
            return torch.stack(equal_rows(self.item_vectors))

        return self.item_store.derived("equal items", self._item_weights(), compute)

    def _item_weights(self) -> list[Tensor | None] | None:
        """What [`item_vectors`] is computed from; None if it is more than weights."""
        weights = self.scoring_head.item_weights()
        return None if weights is None else [self.item_embeddings, self.item_residuals, *weights]

    def train(self, mode: bool = True) -> Any:
        """As `nn.Module.train`. Item vectors are computed anew, since a caller may have written to `.data`."""
        self.item_store.forget_check()
        return super().train(mode)

    def _item_vectors(self, rows: Tensor | None = None, texts: Tensor | None = None) -> Tensor:
        """[`item_vectors`] of all items or of some rows, with their graph while the model trains.

        `texts` are the vectors of the rows' texts, `[num_rows, hidden_size]`; by default those of the item matrix.
        """
        if texts is None and not (self.training and torch.is_grad_enabled()):
            return self.item_vectors if rows is None else self.item_vectors[rows]
        self.item_store.forget_check()  # a fused optimizer will change weights without telling torch
        residuals = self.item_residuals
        if rows is not None and residuals is not None:
            residuals = residuals[rows]  # type: ignore[assignment]
        embeddings = texts
        if embeddings is None:
            embeddings = self.item_embeddings if rows is None else self.item_embeddings[rows]
        return self.scoring_head.item_vectors(embeddings, residuals, drop_residuals=self.training)

    def set_head(self, **fields: Any) -> bool:
        """Changes what the model learns beside the text encoder, in place (see docs/model.md).

        Weights that both heads have in the same shape stay; the others begin in their starting state, in which they
        change nothing.

        Args:
            fields: fields of the configuration: `sequence_head`, `item_projection`, `item_residuals`, `history_bias`,
                `learned_temperature`, `residual_dropout`, `head_size`, `head_num_layers`, `head_num_attention_heads`,
                `head_dropout`. Those that are not given stay.

        Returns:
            whether anything changed.

        Raises:
            TypeError: for another field.
            StrictDataclassClassValidationError: if values contradict each other; the model is then unchanged.

        ```python
        >>> model.set_head(sequence_head="two_level", item_residuals=True, history_bias=True)
        ```
        """
        changed = set_head(self, fields)
        if changed:
            self.item_store.forget_check()  # new weights may lie where old ones did, which would look like no change
        return changed

    @property
    def catalog(self) -> ItemCatalog | None:
        """The items' ids and attributes: row i names row i of `item_embeddings`. None if there is none.

        `from_pretrained` loads it with the weights, and `save_pretrained` writes it beside them. Setting it raises
        ValueError unless it has as many items as the model.
        """
        return self.item_store.catalog(self.config.num_items)

    @catalog.setter
    def catalog(self, catalog: ItemCatalog | None) -> None:
        self.item_store.set_catalog(catalog, self.config.num_items)

    @property
    def memory(self) -> Memory | None:
        """What counting knows of the items, which scores are mixed with; None if there is none.

        `recommend`, the pipeline, `RecformerScorer` and the trainer's ranking use it, [`forward`] never does: it
        computes what the model alone says. `from_pretrained` loads it with the weights, `save_pretrained` writes it
        beside them. Setting it raises ValueError unless it is of as many items as the model.

        ```python
        >>> model.memory = Memory.fit(items, offsets, len(model.catalog), vectors=model.item_embeddings)
        ```
        """
        return self.item_store.memory

    @memory.setter
    def memory(self, memory: Memory | None) -> None:
        self.item_store.set_memory(memory, self.config.num_items)
        self.config.has_memory = memory is not None

    def with_catalog(
        self, items: Items, tokenizer: ItemTokenizer, max_tokens: int = 8192, progress: bool | None = None
    ) -> Any:
        """Makes a recommender of other items with the same encoder: zero-shot for a shop that the model has never seen.

        Args:
            items: an `ItemCatalog`, a mapping of id to attributes, or rows that hold an `item_id`.
            tokenizer, max_tokens, progress: as in [`encode_items`].

        Returns:
            a new model with a catalogue of its own. It shares the weights of the encoder and of the head with this one,
            so that moving or training one moves or trains both. It has learned nothing about its items yet
            (`item_residuals` are zeros), and it has no memory.
        """
        catalog = as_catalog(items)
        vectors = encode_items(self, catalog, tokenizer, max_tokens, progress)
        with torch.device("meta"):  # the new encoder is replaced at once, so it needs no memory
            model = type(self)(self.config)
        model.recformer, model.scoring_head = self.recformer, self.scoring_head.shared_with(model.config)
        device = self.item_embeddings.device
        for name in ITEM_WEIGHTS:
            if (weight := getattr(self, name)) is not None:
                empty = torch.zeros(0, weight.shape[1], device=device)
                setattr(model, name, nn.Parameter(empty, requires_grad=weight.requires_grad))
        model.train(self.training)
        model.name_or_path = self.name_or_path
        if hasattr(self, "hf_device_map"):
            model.hf_device_map = self.hf_device_map  # offloaded weights are saved by it
        model.set_item_embeddings(vectors, catalog)
        return model

    def add_items(
        self, items: Items, tokenizer: ItemTokenizer, max_tokens: int = 8192, progress: bool | None = None
    ) -> None:
        """Appends items. Only the new ones are encoded; the others keep their rows and vectors. A memory has
        counted nothing about the new ones; it compares their texts if it was fitted on vectors.

        Args:
            items: as in [`with_catalog`]; the catalogue must not have any of their ids yet.
            tokenizer, max_tokens, progress: as in [`encode_items`].

        Raises:
            ValueError: for ids that are in the catalogue, items without text, or a model whose items have no catalogue.
        """
        add_items(self, items, tokenizer, max_tokens, progress)

    def remove_items(self, item_ids: Sequence[Any]) -> None:
        """Removes items; the items behind them move up.

        Raises:
            UnknownItemError: for an id that is not in the catalogue; nothing is removed.
        """
        remove_items(self, item_ids)

    def update_items(
        self, items: Items, tokenizer: ItemTokenizer, max_tokens: int = 8192, progress: bool | None = None
    ) -> None:
        """Gives items other attributes. Only these items are encoded again, and all items keep their rows.

        Args:
            items: as in [`with_catalog`]; the catalogue must have all of their ids.
            tokenizer, max_tokens, progress: as in [`encode_items`].

        Raises:
            UnknownItemError: for an id that is not in the catalogue; nothing is changed.
        """
        update_items(self, items, tokenizer, max_tokens, progress)

    def export_embeddings(self, path: str | os.PathLike[str], normalize: bool = False) -> None:
        """Writes the item vectors ([`item_vectors`]) for another vector database.

        Args:
            path: a `.parquet` file gets the columns `item_id` and `embedding` (a fixed-size list of float32). A `.npy`
                file gets float32 `[num_items, config.vector_size]`, and `<name>.ids.json` beside it holds the ids.
            normalize: scale every vector to length 1, so that its inner products are cosines.

        Raises:
            ValueError: for a model without items or catalogue, or another file extension.
        """
        self.check_item_vectors()
        write_embeddings(path, self.item_vectors.detach(), needed(self.catalog, "exporting").ids, normalize)

    def check_item_vectors(self) -> None:
        """Raises ValueError if the model has no items, or an item's vector is not finite or was never encoded (zeros).

        Whatever ranks the items calls this before. It reads the vectors only if they have changed since the last call.
        """
        if self.config.num_items == 0:
            raise ValueError(NO_ITEMS)
        self._check_consistent()
        self.item_store.check_vectors(self.item_embeddings)

    # The search index

    @property
    def exact_index(self) -> ExactIndex:
        """Exact search over the item vectors ([`item_vectors`]). Every search reads them again."""
        return self.item_store.exact(self.item_vectors)

    @property
    def index(self) -> FaissIndex | ExactIndex:
        """What recommendations are searched with: the index that [`build_index`] built or that was saved beside the
        model, or else exact search.

        An index is valid for the item embeddings that it was built from. If they change, search is exact again, and a
        warning says so. A change through `.data` of more than 64 MiB of embeddings is noticed after some searches
        ([`VectorChecksums`]); call [`build_index`] after one.
        """
        return self.item_store.index(self.item_vectors)

    def build_index(
        self,
        kind: IndexKind = "hnsw",
        queries: Tensor | None = None,
        seed: int = 0,
        progress: bool | None = None,
        **settings: int,
    ) -> dict[str, float]:
        """Chooses how items are searched. See `docs/quickstart.md`: an index pays off from a few hundred thousand items
        on.

        Args:
            kind: `"exact"`, which needs no index; `"bfloat16"`, a copy of the vectors in half precision, which is not
                saved; or a faiss index, which is saved and loaded with the model: `"flat"`, `"hnsw"`, `"ivfpq"`.
            queries, seed, progress, settings: see [`FaissIndex.build`].

        Returns:
            `{"recall@10": ...}`, measured against exact search.

        Raises:
            ImportError: if the kind needs faiss and faiss is not installed.
            TypeError, ValueError: for an unknown kind or setting, or queries of another kind or shape.
        """
        if self.config.num_items == 0:
            raise ValueError(NO_ITEMS)
        self.check_item_vectors()
        return self.item_store.build_index(self.item_vectors, kind, queries, seed, progress, **settings)

    def __getstate__(self) -> dict[str, Any]:
        """The state of a copy or pickle, which has items of its own: `copy.copy` alone would share the vectors."""
        config = copy.copy(self.config)
        modules = {**self._modules, "scoring_head": self.scoring_head.shared_with(config)}
        own = {"_parameters": dict(self._parameters), "_modules": modules, "config": config}
        return {**self.__dict__, **own, "item_store": copy.copy(self.item_store)}

    def _check_consistent(self) -> None:
        self.config.has_memory = self.memory is not None  # a model of this configuration may have no memory yet
        self.config.validate_architecture()
        if self.config.num_items != len(self.item_embeddings):
            raise ValueError(
                f"config.num_items is {self.config.num_items:,}, but the model has {len(self.item_embeddings):,} item "
                "embeddings. It was changed by hand: set it back, or set other items with model.set_item_embeddings."
            )

    def _save_beside(self, folder: Path, replaces: bool) -> None:
        self.item_store.save(folder, self.item_embeddings, self.item_vectors, replaces)


def _explaining() -> Any:
    """The room that explains scores. It does not travel with a checkpoint, so it is imported by its full name."""
    try:
        return importlib.import_module("recformer_hf.explaining")
    except ModuleNotFoundError as error:
        raise ImportError(
            "Explanations need the package, of which this checkpoint holds only the code that recommends: pip install "
            "recformer-hf."
        ) from error


__all__ = ["RecommenderMixin"]
