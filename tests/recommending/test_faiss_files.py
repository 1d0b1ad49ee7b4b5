"""Index files are checked whole before faiss reads them."""

from __future__ import annotations

import numpy as np
import pytest

from recformer_hf.recommending.faiss_files import check_index_file, file_checksum
from recformer_hf.recommending.faiss_index import FaissIndex
from recformer_hf.recommending.search import ExactIndex
from tests.support.shop import vectors

faiss = pytest.importorskip("faiss")

SMALL = {"flat": {}, "hnsw": {"neighbours": 4}, "ivfpq": {"lists": 8, "subvectors": 4, "bits": 4, "probes": 8}}
ITEMS, WIDTH = 400, 8


@pytest.fixture(scope="module")
def exact() -> ExactIndex:
    return ExactIndex(vectors(ITEMS, WIDTH))


def written(index, path) -> None:
    faiss.write_index(index, str(path))


@pytest.mark.parametrize("kind", list(SMALL))
class TestEveryKind:
    @pytest.mark.parametrize("num_items", [1, 2, ITEMS])
    def test_what_faiss_writes(self, kind, tmp_path, num_items):
        if kind == "ivfpq" and num_items < 16:
            pytest.skip("needs more items")
        index = FaissIndex.build(ExactIndex(vectors(num_items, WIDTH)), kind, **SMALL[kind])
        written(index.index, tmp_path / "index")
        check_index_file(tmp_path / "index", kind, num_items, WIDTH)
        for items, width in ((num_items + 1, WIDTH), (num_items, WIDTH + 8)):
            with pytest.raises(ValueError, match="expected"):
                check_index_file(tmp_path / "index", kind, items, width)

    def test_another_kind(self, kind, exact, tmp_path):
        written(FaissIndex.build(exact, kind, **SMALL[kind]).index, tmp_path / "index")
        for other in set(SMALL) - {kind}:
            with pytest.raises(ValueError, match=f"is not an {other} index .*: its type is"):
                check_index_file(tmp_path / "index", other, ITEMS, WIDTH)

    def test_cut_or_longer(self, kind, exact, tmp_path):
        path = tmp_path / "index"
        written(FaissIndex.build(exact, kind, **SMALL[kind]).index, path)
        content = path.read_bytes()
        for size in (0, 3, 40, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:size])
            with pytest.raises(ValueError, match="is not an"):
                check_index_file(path, kind, ITEMS, WIDTH)
        path.write_bytes(content + b"0")
        with pytest.raises(ValueError, match="bytes at the end is 1, expected 0"):
            check_index_file(path, kind, ITEMS, WIDTH)

    def test_what_passes_can_be_searched(self, kind, exact, tmp_path):
        """Any number changed: refused, or faiss finds rows that exist. It would crash on a row that does not."""
        path, queries = tmp_path / "index", vectors(3, WIDTH, seed=1)
        written(FaissIndex.build(exact, kind, **SMALL[kind]).index, path)
        content = path.read_bytes()
        draw, refused = np.random.default_rng(0), 0
        for turn in range(300):
            changed = bytearray(content)
            place = int(draw.integers(0, len(content) - 8) if turn % 2 else draw.integers(0, 900))
            value = (b"\xff" * 8, b"\0" * 8, draw.bytes(1), draw.bytes(4), (2**40).to_bytes(8, "little"))[turn % 5]
            changed[place : place + len(value)] = value
            path.write_bytes(changed)
            try:
                check_index_file(path, kind, ITEMS, WIDTH)
            except ValueError:
                refused += 1
                continue
            rows = faiss.read_index(str(path)).search(queries.numpy(), 5)[1]
            assert ((rows >= -1) & (rows < ITEMS)).all()
        assert refused > 3


def test_rows_that_are_repeated_or_invented(exact, tmp_path):
    for rows in (np.zeros(ITEMS, np.int64), np.arange(ITEMS) + 1, np.arange(ITEMS)[::-1]):
        index = FaissIndex.build(exact, "ivfpq", **SMALL["ivfpq"]).index
        index.reset()
        index.add_with_ids(exact.unit_vectors(slice(None)).numpy(), np.ascontiguousarray(rows))
        written(index, tmp_path / "index")
        if set(rows.tolist()) == set(range(ITEMS)):
            check_index_file(tmp_path / "index", "ivfpq", ITEMS, WIDTH)
        else:
            with pytest.raises(ValueError, match=r"repeat some rows|does not exist"):
                check_index_file(tmp_path / "index", "ivfpq", ITEMS, WIDTH)
    written(faiss.IndexIDMap(faiss.IndexFlatIP(WIDTH)), tmp_path / "index")
    with pytest.raises(ValueError, match="its type is b'IxMp'"):
        check_index_file(tmp_path / "index", "flat", ITEMS, WIDTH)


def test_lists_in_another_file(exact, tmp_path):
    """faiss would open the file that the index names."""
    index = FaissIndex.build(exact, "ivfpq", **SMALL["ivfpq"]).index
    lists = faiss.OnDiskInvertedLists(index.nlist, index.code_size, str(tmp_path / "other"))
    lists.merge_from_1(index.invlists)
    index.replace_invlists(lists)
    written(index, tmp_path / "index")
    with pytest.raises(ValueError, match="the type of its lists is b'ilod', expected b'ilar'"):
        check_index_file(tmp_path / "index", "ivfpq", ITEMS, WIDTH)


def test_neighbours_that_do_not_exist(exact, tmp_path):
    for value in (ITEMS, -2, 2**31 - 1):
        index = FaissIndex.build(exact, "hnsw", **SMALL["hnsw"]).index
        neighbours = faiss.vector_to_array(index.hnsw.neighbors)
        neighbours[7] = value
        faiss.copy_array_to_vector(neighbours, index.hnsw.neighbors)
        written(index, tmp_path / "index")
        with pytest.raises(ValueError, match="a neighbour is a row that does not exist"):
            check_index_file(tmp_path / "index", "hnsw", ITEMS, WIDTH)


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none(exact, tmp_path, kind, value):
    """faiss 1.9 searches a graph with such a vector without end."""
    path = tmp_path / "index"
    written(FaissIndex.build(exact, kind, **SMALL[kind]).index, path)
    content = bytearray(path.read_bytes())
    place = -8 if kind != "ivfpq" else 37 + 16 + 37 + 8  # among the vectors, which end the file, or the centroids
    content[place : place + 4] = np.float32(value).tobytes()
    path.write_bytes(content)
    with pytest.raises(ValueError, match="NaN or infinite"):
        check_index_file(path, kind, ITEMS, WIDTH)


def test_checksum(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 3_000_000)
    before = file_checksum(path)
    assert before == file_checksum(path)
    path.write_bytes(b"abc" * 2_999_999 + b"abd")
    assert file_checksum(path) != before
