"""Which item vectors can be searched."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recformer_hf import ItemCatalog
from recformer_hf.recommending.checked_vectors import as_vectors, check_encoded, check_finite, zero_rows

CATALOG = ItemCatalog.from_items({f"B{row}": {"title": f"tent {row}"} for row in range(6)})


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 3e38])
def test_the_first_item_that_is_not_finite_is_named(value):
    vectors = torch.ones(6, 3)
    check_encoded(vectors, CATALOG)
    vectors[[2, 4], 1] = value
    with pytest.raises(ValueError, match=r"2 of 6 items, the first is 'B2' \(row 2\)"):
        check_finite(vectors, CATALOG)
    for catalog in (None, CATALOG.select([0])):
        with pytest.raises(ValueError, match=r"2 of 6 items, the first is row 2\."):
            check_finite(vectors, catalog)


def test_zeros():
    vectors = torch.full((6, 3), 1e-30)  # so short that the square of the length is 0
    assert len(zero_rows(vectors)) == 0
    vectors[3] = 0
    check_finite(vectors, CATALOG)
    assert zero_rows(vectors).tolist() == [3]
    with pytest.raises(ValueError, match="only zeros: 1 of 6 items, the first is 'B3'"):
        check_encoded(vectors, CATALOG)


def test_offloaded():
    with pytest.raises(ValueError, match="on the meta device"):
        check_encoded(torch.zeros(6, 3, device="meta"), CATALOG)


@pytest.mark.parametrize(
    "change",
    [
        lambda array: array.astype(">f4"),
        lambda array: array.astype(np.longdouble),
        lambda array: array[::-1][::-1],
        lambda array: np.asfortranarray(array)[::1],
        lambda array: array.astype(np.int8),
        lambda array: array.astype(np.float16),
        torch.from_numpy,
    ],
)
def test_arrays_that_torch_does_not_take(change):
    array = np.arange(6.0).reshape(2, 3)
    assert as_vectors(change(array)).tolist() == array.tolist()
    assert as_vectors(array[::-1]).tolist() == array[::-1].tolist()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (torch.zeros(2, 3, dtype=torch.complex64), "complex64"),
        (torch.zeros(2, 3, dtype=torch.bool), "torch.bool"),
        (torch.zeros(2, 3).to_sparse(), "sparse_coo"),
        (torch.zeros(2, 3, device="meta"), "on the meta device"),
        (np.full((2, 3), "a"), "ndarray of <U1"),
        (np.zeros((2, 3), complex), "ndarray of complex128"),
        (np.zeros((2, 3), object), "ndarray of object"),
    ],
)
def test_what_are_no_vectors(wrong, named):
    with pytest.raises(TypeError, match=rf"Item embeddings must be .*{named}"):
        as_vectors(wrong)
