"""What lies beside a recommender's weights: the catalogue that names its items, and a search index over them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn
from transformers.utils import logging

from ..encoder.cpu_alignment import align_weights
from ..items.catalog import CATALOG_FILE, ItemCatalog
from .faiss_index import INDEX_FILE, INDEX_INFO_FILE, FaissIndex
from .search import BFloat16Index, ExactIndex, measure_recall, sample_queries

logger = logging.get_logger(__name__)

NO_ITEMS = (
    "This model has no items to score. Give it some: model.with_catalog(items, tokenizer), or "
    "model.set_item_embeddings(model.encode_items(items, tokenizer))."
)

_PUSH_ARGUMENTS = ("commit_message", "private", "token", "revision", "create_pr", "tags")

if TYPE_CHECKING:
    from transformers import PreTrainedModel as _Model
else:
    _Model = object


class CompanionsMixin(_Model):
    """`catalog` and `index` of a model with `item_embeddings`: saved with it, loaded with it, kept in step with it."""

    config: Any
    item_embeddings: nn.Parameter
    set_item_embeddings: Any
    push_to_hub: Any
    # On the class, because `__init__` of a model need not know of them.
    _catalog: ItemCatalog | None = None
    _catalog_source: dict[str, Any] | None = None
    _index: FaissIndex | ExactIndex | None = None
    _index_folder: Path | None = None
    _exact: tuple[Any, ExactIndex] | None = None

    @property
    def catalog(self) -> ItemCatalog | None:
        """The items' ids and attributes: row i names row i of `item_embeddings`; None if there is none.

        `from_pretrained` finds it beside the weights, `save_pretrained` writes it there. Setting it raises ValueError
        unless it has as many items as the model.
        """
        if self._catalog_source is not None:
            try:
                found = ItemCatalog.from_pretrained(**self._catalog_source)
            except FileNotFoundError:
                found = None
            self._catalog_source = None
            if found is not None and len(found) != self.config.num_items:
                logger.warning(
                    f"{CATALOG_FILE} beside the model has {len(found):,} items, but the model {self.config.num_items:,}"
                    ": it is left aside. Attach the right one: model.catalog = ItemCatalog.from_pretrained(folder)."
                )
                found = None
            self._catalog = found
        return self._catalog

    @catalog.setter
    def catalog(self, catalog: ItemCatalog | None) -> None:
        if catalog is not None and len(catalog) != self.config.num_items:
            raise ValueError(
                f"The catalogue has {len(catalog):,} items, but the model {self.config.num_items:,}. A recommender of "
                "other items is model.with_catalog(catalog, tokenizer)."
            )
        self._catalog, self._catalog_source = catalog, None

    @property
    def exact_index(self) -> ExactIndex:
        """Exact search over the item embeddings as they are now; its norms are computed anew when these change."""
        items = self.item_embeddings
        version = 0 if items.is_inference() else items._version
        # Writing through `.data` leaves the version as it is: a few rows are looked at too.
        sample = items.detach()[:: max(1, len(items) // 16)].sum().item()
        state = (items.data_ptr(), version, items.shape, items.device, sample)
        if self._exact is None or self._exact[0] != state:
            self._exact = (state, ExactIndex(items))
        return self._exact[1]

    @property
    def index(self) -> FaissIndex | ExactIndex:
        """What recommendations are searched with: what [`build_index`] made or was saved beside the model, or exact.

        An index is for the item embeddings as they were; when they change, search is exact again.
        """
        exact = self.exact_index
        if self._index_folder is not None:
            folder, self._index_folder = self._index_folder, None
            try:
                self._index = FaissIndex.from_pretrained(folder, exact)
            except (ImportError, OSError, ValueError) as error:
                logger.warning(f"Search is exact: the index beside the model cannot be used. {error}")
        if self._index is not None and self._index.exact is not exact:
            logger.warning("The item embeddings have changed: search is exact until model.build_index() is called.")
            self._index = None
        return exact if self._index is None else self._index

    def build_index(
        self,
        kind: Literal["exact", "bfloat16", "flat", "hnsw", "ivfpq"] = "hnsw",
        queries: Tensor | None = None,
        seed: int = 0,
        progress: bool | None = None,
        **settings: int,
    ) -> dict[str, float]:
        """Chooses how items are searched; worth it from some hundred thousand items on (`docs/quickstart.md`).

        Args:
            kind: `"exact"`, which needs nothing built; `"bfloat16"`, a copy of the vectors in half precision, for this
                process; or an index of faiss's, saved and loaded with the model: `"flat"`, `"hnsw"`, `"ivfpq"`.
            queries, seed, progress, settings: see [`FaissIndex.build`].

        Returns:
            `{"recall@10": ...}`, measured against exact search.

        Raises:
            ImportError: if the kind needs faiss and it is not installed.
            ValueError: for an unknown kind or setting.
        """
        if self.config.num_items == 0:
            raise ValueError(NO_ITEMS)
        exact = self.exact_index
        self._index, self._index_folder = None, None
        if kind not in ("exact", "bfloat16"):
            index = FaissIndex.build(exact, kind, queries, seed, progress, **settings)
            self._index = index
            return index.recall
        if settings:
            raise ValueError(f"{kind} search has no settings, got {sorted(settings)}.")
        self._index = BFloat16Index(exact) if kind == "bfloat16" else None
        return measure_recall(self.index, sample_queries(exact, seed) if queries is None else queries)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any) -> Any:
        """Loads a model as `PreTrainedModel.from_pretrained` does; the catalogue beside it comes with it."""
        loaded = super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        align_weights(model)
        if pretrained_model_name_or_path is not None:
            model._look_beside(pretrained_model_name_or_path, kwargs)
        return loaded

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles go without an index, which faiss cannot copy: their search is exact."""
        return {**self.__dict__, "_exact": None, "_index": None}

    def _look_beside(self, name_or_folder: Any, kwargs: dict[str, Any]) -> None:
        if self.config.num_items == 0:
            return
        known = ("subfolder", "revision", "token", "cache_dir", "force_download", "local_files_only")
        hub = {name: kwargs[name] for name in known if kwargs.get(name) is not None}
        source = {"name_or_folder": name_or_folder, **hub}
        if not os.path.isdir(name_or_folder):  # from the Hub, once it is asked for, of the same commit
            commit = getattr(self.config, "_commit_hash", None)
            self._catalog_source = source if commit is None else {**source, "revision": commit}
            return
        folder = Path(name_or_folder, kwargs.get("subfolder") or "")
        if (folder / CATALOG_FILE).is_file():
            self._catalog_source = source
            # Now, while the folder is there. Without pyarrow the model still scores; asking again says what is missing.
            with suppress(ImportError):
                self.catalog  # noqa: B018
        if (folder / INDEX_INFO_FILE).is_file():
            self._index_folder = folder

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        push = kwargs.pop("push_to_hub", False)
        result = super().save_pretrained(save_directory, *args, **kwargs)
        if kwargs.get("is_main_process", args[0] if args else True):
            self._save_beside(Path(save_directory))
        if push:  # afterwards, so that it takes the catalogue along
            arguments = {name: kwargs[name] for name in _PUSH_ARGUMENTS if kwargs.get(name) is not None}
            self.push_to_hub(kwargs.get("repo_id") or Path(save_directory).name, **arguments)
        return result

    def _save_beside(self, folder: Path) -> None:
        if self.config.num_items == 0:
            return
        if self.catalog is not None:
            self.catalog.save_pretrained(folder)
        index = self.index if self._index is not None or self._index_folder is not None else None
        if isinstance(index, FaissIndex):
            index.save_pretrained(folder)
        elif (folder / INDEX_INFO_FILE).is_file() and not FaissIndex.fits(folder, self.item_embeddings):
            for name in (INDEX_INFO_FILE, INDEX_FILE):  # of the model that was here before
                (folder / name).unlink(missing_ok=True)


def as_catalog(items: ItemCatalog | Mapping[Any, Mapping[str, Any]] | Sequence[Mapping[str, Any]]) -> ItemCatalog:
    """A catalogue of what a person has: a catalogue, a mapping of id to attributes, or rows with an `item_id`."""
    if isinstance(items, ItemCatalog):
        return items
    return ItemCatalog.from_items(items) if isinstance(items, Mapping) else ItemCatalog.from_rows(items)


__all__ = ["CompanionsMixin", "as_catalog"]
