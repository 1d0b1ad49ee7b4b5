"""`TextConfig` and `TextModel`: what baselines over frozen text vectors share: the vectors, shops, zero-shot."""

# No `from __future__ import annotations` here: `@strict` checks values against the annotations, and skips strings.

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint
from typing_extensions import Self

from ...data.arrays import offsets_from_lengths
from ...data.torch_datasets import SequenceBatch
from ...items.catalog import ItemCatalog
from .configuration import BaselineConfig
from .model import BaselineModel
from .text_vectors import WORDS, Pooling, prepared, text_vectors

if TYPE_CHECKING:
    from ...data.dataset import SequentialDataset

GIVEN = "given"
"""The `text_encoder` of a model whose vectors a caller gives."""

ITEMS_AT_ONCE = 2**16
"""Items whose vectors are computed together. UniSRec's experts take 4 KiB for each, and as much for the gradient."""


@strict
class TextConfig(BaselineConfig):
    r"""Configuration of a baseline over frozen text vectors, beside the fields of [`BaselineConfig`].

    Args:
        text_encoder (`str`, defaults to `"words"`): where text vectors are from: a folder or Hub id of a text encoder,
            or `"words"`, as in [`~baselines.shared.text_vectors.text_vectors`]; or `"given"`, by
            [`TextModel.with_text_vectors`].
        text_pooling (`"mean"` or `"cls"`, defaults to `"mean"`): of a text encoder that is no Recformer.
        text_size (`int`, defaults to 384): width of the text vectors. A new model takes that of its encoder.
        whitening (`float`, *optional*, defaults to 0.25): power of the whitening of a catalogue's text vectors; 0 only
            centres them, and None leaves them as they are.
        temperature (`float`, *optional*, defaults to 0.07): scores are cosines, divided by it; None: products.
    """

    text_encoder: str = WORDS
    text_pooling: Pooling = "mean"
    text_size: int = 384
    whitening: float | int | None = 0.25
    temperature: float | int | None = 0.07

    def validate_architecture(self) -> None:
        self.check_positive("text_size", *(["temperature"] if self.temperature is not None else []))
        if self.whitening is not None:
            self.check_shares("whitening")
        super().validate_architecture()


class TextModel(BaselineModel):
    """A baseline that knows an item by the vector of its text, which does not train.

    So it takes several shops in pretraining, and ranks a catalogue that it was not trained on (`zero_shot`). Rows of
    histories and targets then count through the catalogues of all shops, one behind the other (`shop_starts`).
    """

    config: TextConfig
    config_class: type[TextConfig] = TextConfig
    text_vectors: Tensor
    """Of the catalogue, float32 `[num_items, text_size]`."""
    shop_vectors: Tensor
    """Of all shops of a pretraining, float32 `[num_shop_items, text_size]`; they are not saved."""

    def __init__(self, config: TextConfig | None = None, **settings: Any) -> None:
        self.shop_starts: list[int] = [0]
        """Where each shop's items begin in `shop_vectors`, and where the last ones end."""
        self._prepared: dict[str, Tensor] = {}
        self._kept: tuple[object, Tensor] | None = None
        super().__init__(config, **settings)

    def build(self) -> None:
        config = self.config
        self.register_buffer("text_vectors", torch.zeros(config.num_items, config.text_size))
        self.register_buffer("shop_vectors", torch.zeros(0, config.text_size), persistent=False)

    # Text vectors

    def with_text_vectors(self, catalog: ItemCatalog, vectors: Tensor | np.ndarray) -> Self:
        """Gives the model text vectors of a catalogue, instead of an encoder; it uses them when it takes the catalogue.

        ```python
        >>> UniSRec().with_text_vectors(dataset.catalog, vectors).fit(dataset)
        ```

        Args:
            catalog: the items.
            vectors: float `[num_items, width]`, finite.

        Returns:
            the model itself.

        Raises:
            ValueError: if there are more or fewer vectors than items, or they are not finite.
        """
        if len(vectors) != len(catalog):
            raise ValueError(f"{len(vectors):,} vectors for {len(catalog):,} items; expected as many.")
        self._prepared[catalog.fingerprint] = prepared(vectors, self.config.whitening)
        self.config.text_encoder = GIVEN
        return self

    def vectors_of_texts(self, catalog: ItemCatalog) -> Tensor:
        """Prepared text vectors of a catalogue, float32 `[num_items, text_size]` on the model's device.

        Raises:
            ValueError: if the model is trained and they are of another width; or if vectors are given, but not these.
        """
        config = self.config
        found = self._prepared.get(catalog.fingerprint)
        if found is None:
            if config.text_encoder == GIVEN:
                raise ValueError(
                    f"This {type(self).__name__} has no text vectors of this catalogue of {len(catalog):,} items. Give "
                    "them: with_text_vectors(catalog, vectors)."
                )
            raw = text_vectors(
                catalog, config.text_encoder, width=config.text_size, pooling=config.text_pooling, device=self.device
            )
            found = self._prepared[catalog.fingerprint] = prepared(raw, config.whitening)
        if found.shape[1] != config.text_size:
            self._take_width(found.shape[1])
        return found.to(self.device)

    def _take_width(self, width: int) -> None:
        if not self.is_new:
            raise ValueError(
                f"The {type(self).__name__} was trained on text vectors of width {self.config.text_size:,}, but these "
                f"are of width {width:,}. Use vectors of the encoder that it was trained with."
            )
        device = self.device
        self.config.text_size = width
        self.build()
        self.to(device)  # type: ignore[arg-type]
        self.draw_weights()

    # Items

    def take_catalog(self, catalog: ItemCatalog) -> None:
        if self._catalog is not None and self._catalog.fingerprint == catalog.fingerprint:
            return
        vectors = self.vectors_of_texts(catalog)  # before anything changes, because it may fail
        super().take_catalog(catalog)
        self.text_vectors, self._kept = vectors, None

    def take_datasets(self, datasets: "Sequence[SequentialDataset]", pretraining: bool) -> None:
        if not pretraining:
            super().take_datasets(datasets, pretraining)
            self.shop_vectors, self.shop_starts = self.shop_vectors[:0].clone(), [0]
            return
        vectors = [self.vectors_of_texts(dataset.catalog) for dataset in datasets]
        if self.config.num_items:
            self._drop_items()
        self.shop_vectors = torch.cat(vectors)
        self.shop_starts = offsets_from_lengths(np.array([len(each) for each in vectors])).tolist()

    def _drop_items(self) -> None:
        self.config.num_items, self._catalog, self._kept = 0, None, None
        self.text_vectors = self.text_vectors[:0].clone()
        for name in self.item_tables:
            table = getattr(self, name)
            if table is not None:
                setattr(self, name, torch.nn.Embedding(0, table.embedding_dim, device=table.weight.device))

    @torch.no_grad()
    def zero_shot(self, dataset: "SequentialDataset") -> "TextModel":
        """A model with the same weights over the items of another dataset, in evaluation mode.

        What was learned of single items is zero in it.
        """
        catalog = dataset.catalog
        if self._catalog is not None and self._catalog.fingerprint == catalog.fingerprint:
            return self
        vectors = self.vectors_of_texts(catalog)
        config = copy.deepcopy(self.config)
        config.num_items, config.only_pretrained = len(catalog), False  # `fit` has nothing to train in it
        with torch.random.fork_rng(devices=[]):  # the training that goes on draws as if there were no new model
            model: TextModel = type(self)(config).to(self.device)  # type: ignore[arg-type]
        per_item = ("text_vectors", *(f"{name}.weight" for name in self.item_tables))
        weights = {name: value for name, value in self.state_dict().items() if name not in per_item}
        model.load_state_dict(weights, strict=False)
        for name in self.item_tables:
            table = getattr(model, name)
            if table is not None:
                table.weight.zero_()
        model.text_vectors, model._catalog, model.is_new = vectors, catalog, False
        model._prepared = self._prepared
        model.train(False)
        return model

    # Scores

    def item_vectors_of(self, rows: Tensor | None = None) -> Tensor:
        """What states are compared with, of some rows of the catalogue or of all, `[n, hidden_size]`."""
        raise NotImplementedError

    def item_vectors(self) -> Tensor:
        """Those of all items. Without gradient in evaluation mode, they are kept until a weight or the mode changes.

        In training, those of a large catalogue are computed in parts, and again in the backward pass, so that the
        memory of what leads to them does not grow with the number of items.
        """
        if self.training or torch.is_grad_enabled():
            if len(self.text_vectors) <= ITEMS_AT_ONCE:
                return self.item_vectors_of()
            parts = self._parts_of_rows()
            return torch.cat([checkpoint(self.item_vectors_of, part, use_reentrant=False) for part in parts])
        weights = [*self.parameters(), self.text_vectors]
        kind = self.device.type
        cast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        state = (*((id(weight), weight._version) for weight in weights), self.device, cast)
        if self._kept is None or self._kept[0] != state:
            self._kept = state, torch.cat([self.item_vectors_of(part) for part in self._parts_of_rows()])
        return self._kept[1]

    def _parts_of_rows(self) -> tuple[Tensor, ...]:
        parts: tuple[Tensor, ...] = torch.arange(len(self.text_vectors), device=self.device).split(ITEMS_AT_ONCE)
        return parts

    def train(self, mode: bool = True) -> Self:
        self._kept = None
        return super().train(mode)  # type: ignore[no-any-return]

    def states_to_score(self, states: Tensor) -> Tensor:
        """States `[n, hidden_size]` as the scores' left side: unit vectors over the temperature."""
        tau = self.config.temperature
        return states if tau is None else normalize(states, dim=-1) / tau

    def items_to_score(self, vectors: Tensor) -> Tensor:
        """Item vectors `[n, hidden_size]` as the scores' right side: unit vectors."""
        return vectors if self.config.temperature is None else normalize(vectors, dim=-1)


class ShopRows:
    """Rows of several shops' catalogues as rows of all of them, one behind the other.

    Args:
        sizes: items of each shop.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.starts = offsets_from_lengths(np.array(sizes))

    def __call__(self, batch: SequenceBatch) -> np.ndarray:
        """`batch.items` with its shop's start added, int64."""
        starts = self.starts[batch.index["dataset"]]
        rows: np.ndarray = batch.items + np.repeat(starts, np.diff(batch.offsets))
        return rows


__all__ = ["GIVEN", "ShopRows", "TextConfig", "TextModel"]
