"""Several domains as one dataset."""

from __future__ import annotations

import pytest

from recformer_hf.data.readers.source import DataError
from recformer_hf.data.splits import by_domain
from tests.support.prepared import check_same_bytes, keep_all, shown


def test_domains_are_sequences_of_their_own_over_one_catalogue():
    shoes = keep_all([("u", "a", 1), ("u", "b", 2), ("v", "b", 1)])
    books = keep_all([("u", "b", 5), ("u", "c", 6), ("u", "a", 7), ("w", "c", 1)])
    dataset = by_domain({"shoes": shoes}, {"books": books})
    assert list(dataset.catalog.ids) == ["a", "b", "c"]
    assert shown(dataset, "train") == {"u/shoes": [(["a", "b"], None)], "v/shoes": [(["b"], None)]}
    assert shown(dataset, "validation") == {"u/books": [(["b", "c"], "a")]}
    assert dataset.test is None
    assert set(dataset.info["domains"]) == {"shoes", "books"}
    both = by_domain({"shoes": shoes, "books": books}, {})
    assert len(both.train) == 4
    assert both.validation is None
    with pytest.raises(DataError, match=r"both train and validate: \['shoes'\]"):
        by_domain({"shoes": shoes}, {"shoes": shoes})
    with pytest.raises(DataError, match="No domain"):
        by_domain({}, {"shoes": shoes})


def test_the_same_log_gives_the_same_bytes_and_a_saved_split_comes_back(tmp_path):
    check_same_bytes(lambda prepared: by_domain({"a": prepared}, {"b": prepared}), tmp_path)
