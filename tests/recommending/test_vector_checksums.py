"""Changed item vectors are found out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import recformer_hf.recommending.vector_checksums as module
from recformer_hf import RecformerForSeqRec
from recformer_hf.recommending.vector_checksums import VectorChecksums
from tests.support.models import small_config
from tests.support.shop import plain_search, vectors

CHANGES = {
    "in place": lambda items: items.mul_(2),
    "through data": lambda items: items.data[500].mul_(50),
    "a single bit": lambda items: items.data[999, 3].copy_(torch.nextafter(items[999, 3], torch.tensor(9.0))),
    "through numpy": lambda items: np.copyto(items.numpy()[1:2], 7),
    "two rows change places": lambda items: items.data.copy_(items[[1, 0, *range(2, len(items))]]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_found(change):
    items = vectors(1000)
    checksums = VectorChecksums(items)
    assert checksums.match(items)
    CHANGES[change](items)
    assert not checksums.match(items)


def test_writing_the_same_values_is_no_change():
    items = vectors(1000)
    checksums = VectorChecksums(items)
    items.copy_(items.clone())
    assert checksums.match(items)
    assert checksums.match(items.clone())


def test_another_device_is_a_change():
    """What an index copied stays where it was."""
    items = vectors(10)
    checksums = VectorChecksums(items)
    checksums._device = torch.device("meta")
    assert not checksums.match(items)


def test_other_shapes_and_no_items():
    assert not VectorChecksums(vectors(10)).match(vectors(11))
    assert not VectorChecksums(vectors(10, 16)).match(vectors(10, 17))
    assert VectorChecksums(torch.zeros(0, 4)).match(torch.zeros(0, 4))


def test_a_large_catalogue_is_compared_slice_by_slice(monkeypatch):
    monkeypatch.setattr(module, "SLICE_BYTES", 100 * 16 * 4)
    items = vectors(1000)
    checksums = VectorChecksums(items)
    assert len(checksums.values) == 10
    items.data[950] += 1
    found = [checksums.match(items) for _ in range(10)]
    assert found == [True] * 9 + [False]
    items.mul_(2)  # torch counts this one: all slices are compared at once
    assert not checksums.match(items)


@pytest.mark.parametrize("kind", ["exact", "bfloat16", "flat", "hnsw"])
def test_a_search_never_uses_old_norms_or_vectors(kind, caplog):
    """The longest vector was once the best item for everybody, with a cosine of 50."""
    if kind in ("flat", "hnsw"):
        pytest.importorskip("faiss")
    model = RecformerForSeqRec(small_config())
    model.set_item_embeddings(vectors(1000, 64))
    model.build_index(kind)
    model.item_embeddings.data[1] *= 50
    query = vectors(1, 64, seed=1)
    model.item_embeddings.data[7] = query[0]
    scores, rows = model.index.search(query, 5)
    assert model.index.kind == "exact"
    assert float(scores.max()) == pytest.approx(1, abs=1e-5)
    assert torch.equal(rows, plain_search(query, model.item_embeddings, 5).indices)
