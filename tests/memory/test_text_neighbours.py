"""Text neighbours against the whole matrix of cosines."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recformer_hf.memory import text_neighbours as module
from recformer_hf.memory.text_index import TextIndex
from recformer_hf.memory.text_neighbours import text_neighbours, unit_vectors, updated_neighbours, whitened
from tests.memory.test_sparse_rows import dense

WORDS = ["iron", "silk", "wool", "red", "blue", "pan", "scarf", "hat", "glove", "pot"]


def texts(seed: int, count: int) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, draw.integers(1, 6))) for _ in range(count)]


def plainly(cosines: np.ndarray, top_k: int, temperature: float) -> np.ndarray:
    """The kernel of a whole matrix of cosines in which 0 is no neighbour."""
    kernel = np.zeros_like(cosines)
    for row, own in enumerate(cosines):
        others = [column for column in np.argsort(-own, kind="stable") if column != row][:top_k]
        weights = np.exp((own[others] - 1) / temperature)
        kernel[row, others] = np.where(own[others] != 0, weights / weights.sum(), 0)
    return kernel


def test_two_neighbours_by_hand() -> None:
    """Cosines of item 0: .6 and 0. Item 3 is like nothing, and nobody's neighbour."""
    vectors = np.array([[1, 0], [3, 4], [0, 2], [0, 0]])
    kernel = dense(text_neighbours(vectors, top_k=2, temperature=0.5))
    near, far = np.exp(0.6 / 0.5), np.exp(0 / 0.5)
    assert kernel[0] == pytest.approx([0, near / (near + far), far / (near + far), 0])
    assert kernel[3].tolist() == [0, 0, 0, 0]
    assert kernel[:, 3].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("cosines_at_once", [1, 1 << 24])
@pytest.mark.parametrize("top_k", [1, 4, 100])
def test_vectors_have_the_neighbours_of_all_cosines(
    monkeypatch: pytest.MonkeyPatch, cosines_at_once: int, top_k: int
) -> None:
    monkeypatch.setattr(module, "COSINES_AT_ONCE", cosines_at_once)
    vectors = np.random.default_rng(0).standard_normal((40, 6))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = plainly(units @ units.T, top_k, 0.1)
    assert dense(text_neighbours(vectors, top_k=top_k)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("cosines_at_once", [1, 1 << 24])
def test_texts_have_the_neighbours_of_all_cosines(monkeypatch: pytest.MonkeyPatch, cosines_at_once: int) -> None:
    monkeypatch.setattr(module, "COSINES_AT_ONCE", cosines_at_once)
    # Distinct sets of words have no equal cosines at the edge of the first five here.
    index = TextIndex.build([*texts(0, 30), "", "nothing-shared"])
    cosines = np.stack([index.cosines(item) for item in range(32)]).astype(np.float64)
    kernel = dense(text_neighbours(index, top_k=31))
    assert kernel == pytest.approx(plainly(cosines, 31, 0.1), abs=1e-5)
    nearest = dense(text_neighbours(index, top_k=5))
    for row in range(30):
        edge = np.sort(np.delete(cosines[row], row))[-5]
        chosen = np.flatnonzero(nearest[row])
        assert len(chosen) == 5
        assert row not in chosen
        assert (cosines[row][chosen] >= edge - 1e-6).all()
    assert not nearest[30:].any()
    assert not nearest[:, 30:].any()


def test_a_weak_similarity_stays_small() -> None:
    """Item 0 shares one common word with item 1 alone; the other two of the top three count as cosines of 0."""
    index = TextIndex.build(["iron silk", "iron wool hat", "blue", "pot"])
    cosine = index.cosines(0)[1]
    expected = np.exp(cosine / 0.5) / (np.exp(cosine / 0.5) + 2)
    assert dense(text_neighbours(index, top_k=3, temperature=0.5))[0] == pytest.approx([0, expected, 0, 0])


def test_rows_of_some_items_are_those_of_all() -> None:
    wanted = np.array([7, 0, 19])
    for source in (np.random.default_rng(1).standard_normal((20, 5)), TextIndex.build(texts(1, 20))):
        whole, some = dense(text_neighbours(source, top_k=19)), text_neighbours(source, wanted, top_k=19)
        assert some.num_columns == 20
        assert dense(some) == pytest.approx(whole[wanted], abs=1e-6)
    with pytest.raises(IndexError, match="items 0 to 20; there are 20 items"):
        text_neighbours(source, np.array([0, 20]))


@pytest.mark.parametrize("top_k", [3, 100])
def test_new_items_become_neighbours(top_k: int) -> None:
    """With vectors an item's cosines do not depend on the other items, so the update must be the whole again."""
    vectors = np.random.default_rng(3).standard_normal((25, 3))
    before = text_neighbours(vectors[:20], top_k=top_k).extended(5)
    found = dense(updated_neighbours(before, vectors, np.arange(20, 25), top_k=top_k))
    whole = dense(text_neighbours(vectors, top_k=top_k))
    if top_k == 100:
        assert found == pytest.approx(whole, abs=1e-6)
    near = np.flatnonzero(whole[20:].any(0))
    assert found[near] == pytest.approx(whole[near], abs=1e-6)
    assert found[20:] == pytest.approx(whole[20:], abs=1e-6)
    assert found[:20, 20:].any()
    others = np.setdiff1d(np.arange(20), near)
    assert np.array_equal(found[others], dense(before)[others])


def test_changed_items_are_compared_anew() -> None:
    vectors = np.random.default_rng(4).standard_normal((20, 3))
    before = text_neighbours(vectors, top_k=3)
    vectors[6] = -vectors[6]
    found, whole = dense(updated_neighbours(before, vectors, np.array([6]), top_k=3)), text_neighbours(vectors, top_k=3)
    pointed = np.flatnonzero(dense(before)[:, 6])
    assert len(pointed) > 0
    for row in (6, *pointed):
        assert found[row] == pytest.approx(dense(whole)[row], abs=1e-6)
    with pytest.raises(ValueError, match="19 texts or vectors for 20 items"):
        updated_neighbours(before, vectors[:19], np.array([6]), top_k=3)


def test_catalogues_of_no_and_one_item() -> None:
    assert text_neighbours(TextIndex.build(["iron"])).num_entries == 0
    assert len(text_neighbours(TextIndex.build([]))) == 0
    assert text_neighbours(np.ones((1, 3))).num_entries == 0


def test_whitening_is_the_formula() -> None:
    vectors = np.random.default_rng(2).standard_normal((50, 4)) * [5, 1, 1, 0.1] + 3
    centred = vectors - vectors.mean(0)
    eigenvalues, directions = np.linalg.eigh(centred.T @ centred / 50)
    scales = (eigenvalues + 0.01 * eigenvalues.mean()) ** -0.25
    expected = centred @ directions @ np.diag(scales) @ directions.T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert whitened(vectors, 0.25).numpy() == pytest.approx(expected, abs=1e-5)
    assert whitened(100 * vectors, 0.25).numpy() == pytest.approx(expected, abs=1e-5)


def test_vectors_of_zeros_stay() -> None:
    assert unit_vectors(torch.tensor([[0.0, 0], [0, 2]])).tolist() == [[0, 0], [0, 1]]
    assert whitened(np.ones((3, 2))).tolist() == [[0, 0]] * 3


def test_wrong_arguments_are_refused() -> None:
    vectors = np.eye(3)
    with pytest.raises(ValueError, match="top_k is 0"):
        text_neighbours(vectors, top_k=0)
    with pytest.raises(ValueError, match="temperature is 0"):
        text_neighbours(vectors, temperature=0)
    for wrong in (np.ones(3), np.array([[np.nan, 1]])):
        with pytest.raises(ValueError, match=r"must be \[num_items, width\] and finite"):
            text_neighbours(wrong)
