"""`RecformerScorer`: scores a catalogue with a model that has item embeddings, in batches packed by tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..data.arrays import offsets_from_lengths
from ..data.collators import EvaluationCollator
from ..data.sequences import Sequences
from ..data.tokenized_catalog import TokenizedCatalog
from ..data.torch_datasets import EvaluationSequences
from ..encoder.packing import length_sorted_batches
from ..heads.history_items import Histories, checked_histories, padded
from ..heads.scores import Queries, scores_of_all
from ..items.arrow import ITEM_ID
from ..items.catalog import ItemCatalog
from ..recommending.read_rows import read_rows
from ..recommending.vectors import evaluating
from ..tokenizing.check_tokenizer import check_tokenizer

if TYPE_CHECKING:
    from ..data.dataset import SequentialDataset
    from ..modeling_recformer import RecformerForSeqRec
    from ..tokenization_recformer import RecformerTokenizer


class RecformerScorer:
    """Scores a catalogue by the cosine of item and history vectors over the temperature (Recformer, equation 9), with
    what the model's head and its memory add to it (docs/model.md).

    Nothing is padded: the histories of a call are sorted by length and go through the encoder packed, at most
    `max_tokens` tokens at a time. Then one matrix product scores all of them. During a call the model is in evaluation
    mode. A two-level head reads the vectors of a history's items, so nothing is tokenized for it.

    Args:
        model: a model with item embeddings, on any device.
        tokenizer: the model's tokenizer; a model with a two-level head needs none (`None`).
        catalog: the items that the embeddings belong to; an `ItemCatalog` is tokenized here if the model reads tokens.
        max_tokens (`int`): the most tokens of one forward pass.
        keep_vectors (`bool`): keep the vectors of the histories of every call, and take them when the same call comes
            again, also to a copy of the scorer: for ranking a split twice with the same encoder, with and without its
            memory. They are not thrown away when the model's weights change.

    Raises:
        TypeError: for another kind of model, tokenizer or catalogue.
        ValueError: if the catalogue has more or fewer items than the model, or the model's own catalogue has other ids
            or another order, or it was tokenized by another tokenizer.
    """

    def __init__(
        self,
        model: RecformerForSeqRec,
        tokenizer: RecformerTokenizer | None,
        catalog: TokenizedCatalog | ItemCatalog,
        max_tokens: int = 8192,
        keep_vectors: bool = False,
    ) -> None:
        if not hasattr(model, "item_embeddings"):
            raise TypeError(f"Expected a RecformerForSeqRec, got a {type(model).__name__}.")
        reads_tokens = model.config.sequence_head == "flat"
        if reads_tokens or tokenizer is not None:
            check_tokenizer(tokenizer)
        if not isinstance(catalog, (ItemCatalog, TokenizedCatalog)):
            raise TypeError(
                f"Expected an ItemCatalog or a TokenizedCatalog, got a {type(catalog).__name__}; a dataset's is "
                "dataset.catalog."
            )
        if isinstance(catalog, ItemCatalog):
            _check_rows(model.catalog, catalog)
            if reads_tokens:
                assert tokenizer is not None
                catalog = TokenizedCatalog.build(catalog, tokenizer)
        if len(catalog) != model.config.num_items:
            raise ValueError(
                f"The model has {model.config.num_items:,} item embeddings, the catalogue {len(catalog):,} items; "
                "expected one for each. Set them with "
                "model.set_item_embeddings(model.encode_items(catalog, tokenizer))."
            )
        self.model = model
        self.catalog = catalog
        self.collator: EvaluationCollator | None = None
        if isinstance(catalog, TokenizedCatalog) and tokenizer is not None:
            self.collator = EvaluationCollator(catalog, tokenizer)
        self.max_tokens = max_tokens
        self.kept: dict[bytes, Tensor] | None = {} if keep_vectors else None

    def fit(self, dataset: SequentialDataset) -> RecformerScorer:
        """Check that the dataset's catalogue is the scorer's. Nothing is learned here; a trainer does that.

        Raises:
            ValueError: if the catalogues differ.
        """
        _check_rows(self.model.catalog, dataset.catalog)
        theirs = dataset.catalog.fingerprint
        if isinstance(self.catalog, TokenizedCatalog):
            mine = self.catalog.catalog_fingerprint
        else:
            mine = self.catalog.fingerprint
        if len(self.catalog) != len(dataset.catalog) or mine not in ("", theirs):
            raise ValueError(
                f"The scorer's catalogue ({len(self.catalog):,} items, fingerprint {mine!r}) is not the dataset's "
                f"({len(dataset.catalog):,} items, {theirs!r}): items, texts or order differ. Encode the dataset's "
                "catalogue with model.set_item_embeddings(model.encode_items(dataset.catalog, tokenizer)), and create "
                "the scorer with it."
            )
        return self

    @torch.no_grad()
    def scores(self, histories: Sequence[np.ndarray]) -> Tensor:
        """float32 `[batch, num_items]`, on the model's device.

        Raises:
            ValueError: for an empty history, items that are not in the catalogue, or item vectors that were never
                encoded or are not finite.
        """
        model, head = self.model, self.model.scoring_head
        model.check_item_vectors()
        items, equal, found = model.item_vectors, model.equal_items, None
        if head.history_transformer is not None or head.history_bias is not None:
            found, _ = checked_histories(padded(histories), None, model.config)
            found = Histories(*(each.to(items.device) for each in found))
        with evaluating(model):
            if head.history_transformer is not None:
                vectors = read_rows(head, histories, items, self.max_tokens)
            else:
                vectors = self._kept_or_encoded(histories)
        scores = scores_of_all(head, Queries(vectors, found), items, equal)
        return scores if model.memory is None else model.memory.mixed(scores, histories)

    def _kept_or_encoded(self, histories: Sequence[np.ndarray]) -> Tensor:
        if self.kept is None:
            return self._encode(histories)
        lengths = np.array([len(history) for history in histories])
        call = np.concatenate([lengths, *histories]).astype(np.int64).tobytes()
        if call not in self.kept:
            self.kept[call] = self._encode(histories)
        return self.kept[call]

    def _encode(self, histories: Sequence[np.ndarray]) -> Tensor:
        """Vectors of histories by the text encoder, float32 `[batch, hidden_size]`."""
        assert self.collator is not None
        batch = len(histories)
        offsets = offsets_from_lengths([len(history) for history in histories])
        # The collator's data needs users and targets, but no score depends on them.
        split = Sequences([""] * batch, np.concatenate(histories), offsets, np.zeros(batch, np.int32))
        data = EvaluationSequences(split)
        model = self.model
        vectors = torch.empty(batch, model.config.hidden_size, device=model.device)
        for rows in length_sorted_batches(self.collator.lengths(data), self.max_tokens):
            inputs = self.collator(data[rows])
            pooled = model.recformer(
                **{name: inputs[name].to(model.device) for name in _TOKENS},
                cu_seqlens=inputs["cu_seqlens"],  # on the CPU the model reads it without synchronising with a GPU
                max_seqlen=inputs["max_seqlen"],
                pooled_only=True,
            ).pooler_output
            vectors[torch.from_numpy(rows).to(model.device)] = pooled.float()
        return vectors


def _check_rows(mine: ItemCatalog | None, theirs: ItemCatalog) -> None:
    """Raises ValueError if a model's rows are other items, so that scores would belong to the wrong ones."""
    if mine is None or len(mine) != len(theirs):  # the caller compares the lengths
        return
    places = mine.rows_of(theirs.table[ITEM_ID], unknown="mark")
    wrong = np.flatnonzero(places != np.arange(len(theirs)))
    if wrong.size:
        row = int(wrong[0])
        raise ValueError(
            f"The model's own catalogue differs from this one in {wrong.size:,} of {len(theirs):,} rows, the first is "
            f"row {row}: {mine.id_of(row)!r} instead of {theirs.id_of(row)!r}. Encode this catalogue: "
            "model.set_item_embeddings(model.encode_items(catalog, tokenizer), catalog)."
        )


_TOKENS = ("input_ids", "token_type_ids", "item_position_ids")

__all__ = ["RecformerScorer"]
