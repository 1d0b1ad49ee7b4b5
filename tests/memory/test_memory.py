"""The memory: its scores, the mixture with a model, tuning, other catalogues, and its file."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from recformer_hf import Memory
from recformer_hf.items import catalog_files
from recformer_hf.memory.cooccurrence import cooccurrence
from recformer_hf.memory.memory import MEMORY_FILE, MemoryPart
from recformer_hf.memory.sparse_rows import SparseRows
from recformer_hf.memory.text_index import TextIndex
from recformer_hf.memory.text_neighbours import text_neighbours, whitened
from recformer_hf.memory.weights import Candidates
from tests.memory.test_sparse_rows import dense
from tests.support.faults import full_disk

HISTORIES = [np.array([0, 2]), np.array([1]), np.array([], int), np.array([3, 3, 1])]


def matrix(rows: list[list[float]]) -> SparseRows:
    array = np.array(rows)
    places = np.nonzero(array)
    return SparseRows.from_triples(*places, array[places], *array.shape)


FIRST = matrix([[0, 2, 1, 0], [0, 0, 0, 4], [1, 0, 0, 0], [0, 0, 0, 0]])
SECOND = matrix([[0, 0, 0, 1], [0, 0, 0, 0], [0, 3, 0, 1], [2, 0, 0, 0]])


def memory(factor: float = 1.0) -> Memory:
    parts = (MemoryPart("first", FIRST, math.log(2), 1.0), MemoryPart("second", SECOND, 0.0, 0.5))
    return Memory(parts, factor)


def fitted(num_items: int = 30, **more: object) -> Memory:
    draw = np.random.default_rng(0)
    return Memory.fit(draw.integers(0, num_items, 200), np.arange(0, 201, 10), num_items, **more)  # type: ignore[arg-type]


class TestScores:
    def test_by_hand(self) -> None:
        """History 0, 2: half of row 0 and row 2 of the first, and half of rows 0 and 2 of the second."""
        scores = memory().scores(HISTORIES)
        assert scores.dtype == torch.float32
        assert scores.tolist() == [[1, 2.5, 0.5, 1], [0, 0, 0, 4], [0, 0, 0, 0], [2, 0, 0, 4]]

    def test_items_of_the_history_are_multiplied(self) -> None:
        assert memory(0.5).scores(HISTORIES).tolist() == [[0.5, 2.5, 0.25, 1], [0, 0, 0, 4], [0] * 4, [2, 0, 0, 2]]
        assert memory(0).scores(HISTORIES).tolist() == [[0, 2.5, 0, 1], [0, 0, 0, 4], [0] * 4, [2, 0, 0, 0]]

    @pytest.mark.parametrize("factor", [1.0, 0.3, 0.0])
    def test_sparse_scores_are_the_same(self, factor: float) -> None:
        draw = np.random.default_rng(1)
        whole = fitted(texts=[f"word{item % 7} word{item % 5}" for item in range(30)], history_factor=factor)
        histories = [draw.integers(0, 30, length) for length in (3, 0, 12, 1)]
        sparse = whole.sparse_scores(histories)
        assert dense(sparse) == pytest.approx(whole.scores(histories).numpy(), rel=1e-6)
        assert dense(memory(factor).sparse_scores([])).shape == (0, 4)

    def test_a_part_of_weight_0_says_nothing(self) -> None:
        without = memory().with_weights({"second": 0})
        assert torch.equal(without.scores(HISTORIES), torch.from_numpy(FIRST.sum_of_rows(HISTORIES, math.log(2))))


class TestFit:
    def test_parts_are_the_three_matrices(self) -> None:
        draw = np.random.default_rng(0)
        items, offsets = draw.integers(0, 30, 200), np.arange(0, 201, 10)
        texts = [f"word{item % 7} word{item % 5}" for item in range(30)]
        found = {part.name: part for part in Memory.fit(items, offsets, 30, texts=texts).parts}
        assert list(found) == ["cooccurrence", "directed", "text"]
        expected = [
            cooccurrence(items, offsets, 30),
            cooccurrence(items, offsets, 30, window=3, decay=0.5, directed=True),
            text_neighbours(TextIndex.build(texts)),
        ]
        for part, rows in zip(found.values(), expected, strict=True):
            assert np.array_equal(dense(part.rows), dense(rows))
        assert [part.decay for part in found.values()] == [0.3, 0.8, 0.8]

    def test_items_without_sequences_gain_by_the_cold_factor(self) -> None:
        """Items 0 to 2 are bought, item 3 alone in its sequence, item 4 never."""
        vectors = np.random.default_rng(3).standard_normal((5, 3))
        items, offsets = np.array([0, 1, 2, 3]), np.array([0, 3, 4])
        plain = Memory.fit(items, offsets, 5, vectors=vectors, cold_factor=1.0)
        found = Memory.fit(items, offsets, 5, vectors=vectors)
        assert found.cold.tolist() == [False, False, False, True, True]
        histories = [np.array([0]), np.array([3, 1])]
        expected = plain.scores(histories) * torch.tensor([1.0, 1, 1, 8, 8])
        assert expected[:, 3:].any()
        assert torch.equal(found.scores(histories), expected)
        assert np.allclose(dense(found.sparse_scores(histories)), expected, rtol=1e-6)

    def test_no_item_is_cold_where_nothing_is_counted(self) -> None:
        assert not memory().cold.any()

    def test_vectors_are_whitened(self) -> None:
        vectors = np.random.default_rng(2).standard_normal((30, 8))
        part = fitted(vectors=vectors).parts[2]
        assert np.array_equal(dense(part.rows), dense(text_neighbours(whitened(vectors))))

    def test_says_what_it_compares(self, tmp_path) -> None:
        saved = fitted(vectors=np.random.default_rng(2).standard_normal((30, 8)))
        saved.with_weights({"text": 1}).extended(1).save_pretrained(tmp_path)
        assert Memory.from_pretrained(tmp_path).of_vectors
        assert not fitted(texts=["a"] * 30).of_vectors

    def test_texts_may_be_missing_but_not_twofold_or_too_few(self) -> None:
        assert [part.name for part in fitted().parts] == ["cooccurrence", "directed"]
        with pytest.raises(ValueError, match="3 texts or vectors for 30 items"):
            fitted(texts=["a b"] * 3)
        with pytest.raises(ValueError, match="Both texts and vectors"):
            fitted(texts=["a b"] * 30, vectors=np.eye(30))


class TestMixture:
    def test_raises_the_scores_of_what_the_memory_knows(self) -> None:
        logits = torch.tensor([[0.0, 1, 2, 3]]).repeat(4, 1)
        found = Memory(memory().parts, 0.5, strength=2.0).mixed(logits, HISTORIES)
        m = torch.tensor([[0.5, 2.5, 0.25, 1], [0, 0, 0, 4], [0] * 4, [2, 0, 0, 2]])
        assert torch.allclose(found, logits + 2 * torch.log(1 + m))
        assert torch.equal(found[2], logits[2])

    def test_some_items_are_as_in_the_whole(self) -> None:
        logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(1))
        some = torch.tensor([[3, 1], [0, 2], [1, 2], [2, 0]])
        found = memory().mixture(logits.gather(1, some), memory().scores(HISTORIES).gather(1, some))
        assert torch.equal(found, memory().mixed(logits, HISTORIES).gather(1, some))

    def test_without_strength_the_model_decides(self) -> None:
        logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(2))
        assert torch.equal(memory().with_weights({}, strength=0.0).mixed(logits, HISTORIES), logits)

    def test_half_precision_becomes_float32(self) -> None:
        assert memory().mixed(torch.zeros(4, 4, dtype=torch.bfloat16), HISTORIES).dtype == torch.float32

    def test_logits_of_another_catalogue_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"logits are \[4, 5\]; expected \[4, 4\]"):
            memory().mixed(torch.zeros(4, 5), HISTORIES)


class TestTuning:
    @staticmethod
    def users(target: int) -> tuple[list[np.ndarray], np.ndarray]:
        return [np.array([0])] * 8, np.full(8, target)

    def test_the_part_that_knows_gets_the_weight(self) -> None:
        """After item 0 the first part says 1, the second 3, and the model says nothing of use."""
        logits = torch.zeros(8, 4)
        for target, name, other in ((1, "first", "second"), (3, "second", "first")):
            histories, targets = self.users(target)
            tuned = memory().tuned(memory().candidates(histories, targets, logits))
            weights = {part.name: part.weight for part in tuned.parts}
            assert weights[name] > weights[other]
            assert tuned.mixed(logits, histories).argmax(1).tolist() == targets.tolist()

    def test_a_model_that_knows_keeps_its_say(self) -> None:
        histories, targets = self.users(2)
        logits = torch.tensor([[0.0, 0, 5, 0]]).repeat(8, 1)
        batches = [
            memory().candidates(histories[:3], targets[:3], logits[:3]),
            memory().candidates(histories[3:], targets[3:], logits[3:]),
        ]
        tuned = memory().tuned(Candidates.joined(batches))
        assert tuned.mixed(logits, histories).argmax(1).tolist() == targets.tolist()

    def test_directed_is_the_weight_that_is_chosen(self) -> None:
        """Both parts point to items that the model knows nothing of; only one is right, and neither alone is."""
        parts = (MemoryPart("cooccurrence", FIRST, 0.0, 7.0), MemoryPart("directed", SECOND, 0.0, 7.0))
        start = Memory(parts)
        histories, targets = self.users(1)
        logits = torch.tensor([[0.0, 0, 5, 5]]).repeat(8, 1)
        tuned = start.tuned(start.candidates(histories, targets, logits))
        assert [part.weight for part in tuned.parts] == [7.0, 0.0]
        assert tuned.mixed(logits, histories).argmax(1).tolist() == targets.tolist()

    def test_candidates_of_other_parts_are_refused(self) -> None:
        histories, targets = self.users(1)
        one = Memory(memory().parts[:1]).candidates(histories, targets, torch.zeros(8, 4))
        with pytest.raises(ValueError, match="scores of 2 parts; expected those of a model and of the 2 parts"):
            memory().tuned(one)

    def test_weights_by_name(self) -> None:
        changed = memory().with_weights({"second": 2}, history_factor=0.1)
        assert [part.weight for part in changed.parts] == [1, 2]
        assert (changed.history_factor, changed.strength) == (0.1, 3.0)
        with pytest.raises(ValueError, match="No part third; there are first, second"):
            memory().with_weights({"third": 1})


def test_shown_in_one_line() -> None:
    assert repr(memory()) == (
        "Memory(4 items; weight x entries: first 1 x 4, second 0.5 x 4; history_factor=1, cold_factor=1, strength=3)"
    )


def test_other_catalogues() -> None:
    longer = memory().extended(2)
    assert longer.num_items == 6
    assert torch.equal(longer.scores(HISTORIES)[:, :4], memory().scores(HISTORIES))
    assert not longer.scores(HISTORIES)[:, 4:].any()
    chosen = np.array([2, 0, 1])
    for part, fewer in zip(memory().parts, memory().select(chosen).parts, strict=True):
        assert np.array_equal(dense(fewer.rows), dense(part.rows)[np.ix_(chosen, chosen)])


def test_items_that_are_cold_once_others_are_removed() -> None:
    """0 and 1 stood beside each other alone. What changes later must find the same factors."""
    items, offsets = np.array([0, 1, 2, 3]), np.array([0, 2, 4])
    texts = ["red mug", "red cup", "red mug cup", "red pan mug"]
    left = Memory.fit(items, offsets, 4, texts=texts).select(np.array([1, 2, 3]))
    again = left.with_texts(np.array([0, 1, 2]), texts=texts[1:])
    expected = Memory.fit(np.array([1, 2]), np.array([0, 2]), 3, texts=texts[1:]).scores([np.array([1])])
    np.testing.assert_allclose(again.scores([np.array([1])]), expected, rtol=1e-6)
    assert left.cold.tolist() == [True, False, False]


def test_new_items_are_recommended_by_their_text() -> None:
    texts = [f"word{item % 7} word{item % 5}" for item in range(32)]
    before = fitted(texts=texts[:30])
    empty = before.extended(2)
    after = empty.with_texts(np.array([30, 31]), texts=texts)
    assert not empty.scores([np.arange(30)])[:, 30:].any()
    assert (after.scores([np.arange(30)])[:, 30:] > 0).all()
    for old, new in zip(empty.parts[:2], after.parts[:2], strict=True):
        assert new.rows is old.rows
    whole = dense(text_neighbours(TextIndex.build(texts)))
    assert after.cold[30:].all()
    assert dense(after.parts[2].rows)[30:] == pytest.approx(whole[30:], abs=1e-6)
    nearest = int(whole[30].argmax())
    assert dense(after.parts[2].rows)[nearest] == pytest.approx(whole[nearest], abs=1e-6)
    assert fitted().with_texts(np.array([3]), texts=texts[:30]).parts[0].name == "cooccurrence"
    with pytest.raises(ValueError, match="No texts or vectors were given"):
        empty.with_texts(np.array([30]))


class TestFile:
    def test_there_and_back(self, tmp_path) -> None:
        saved = fitted(texts=[f"word{item % 7}" for item in range(30)]).with_weights({"text": 0.1}, 0.25, 2.0)
        assert saved.save_pretrained(tmp_path / "new") == tmp_path / "new" / MEMORY_FILE
        loaded = Memory.from_pretrained(tmp_path, subfolder="new")
        assert (loaded.history_factor, loaded.strength, loaded.cold_factor) == (0.25, 2.0, 8.0)
        assert not loaded.of_vectors
        for mine, theirs in zip(loaded.parts, saved.parts, strict=True):
            assert (mine.name, mine.decay, mine.weight) == (theirs.name, theirs.decay, theirs.weight)
            assert np.array_equal(dense(mine.rows), dense(theirs.rows))
        assert torch.equal(loaded.scores([np.array([1, 2])]), saved.scores([np.array([1, 2])]))

    def test_an_older_file_has_the_cold_factor_in_its_values(self, tmp_path) -> None:
        now = Memory.fit(np.array([0, 1]), np.array([0, 2]), 3, texts=["red mug", "blue cup", "red cup"])
        scaled = now.parts[2].rows.columns_scaled(np.array([1.0, 1.0, 8.0]))
        before = replace(now, parts=(*now.parts[:2], replace(now.parts[2], rows=scaled)))
        path = before.save_pretrained(tmp_path)
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        save_file(load_file(path), path, {**metadata, "version": "1"})
        assert torch.equal(Memory.from_pretrained(tmp_path).scores([np.array([0])]), now.scores([np.array([0])]))

    def test_a_full_disk_leaves_the_old_file(self, tmp_path) -> None:
        memory().save_pretrained(tmp_path)
        with full_disk(after=1000), pytest.raises(OSError, match=r"memory\.safetensors could not be written"):
            fitted(500).save_pretrained(tmp_path)
        assert Memory.from_pretrained(tmp_path).num_items == 4
        assert os.listdir(tmp_path) == [MEMORY_FILE]

    def test_from_a_repository(self, tmp_path, monkeypatch) -> None:
        path, asked = memory().save_pretrained(tmp_path), []
        monkeypatch.setattr(catalog_files, "hf_hub_download", lambda *a, **k: asked.append((a, k)) or str(path))
        assert Memory.from_pretrained("me/shop", subfolder="best", revision="v1").num_items == 4
        ((arguments, options),) = asked
        assert arguments == ("me/shop", MEMORY_FILE)
        assert (options["subfolder"], options["revision"], options["repo_type"]) == ("best", "v1", "model")

    def test_what_is_not_there(self, tmp_path) -> None:
        with pytest.raises(FileNotFoundError, match=r"No memory\.safetensors in .*save_pretrained"):
            Memory.from_pretrained(tmp_path)
        with pytest.raises(FileNotFoundError, match="neither a local folder nor an accessible model repository"):
            Memory.from_pretrained("no such/name at all", local_files_only=True)

    def test_damaged_files_are_refused(self, tmp_path) -> None:
        path = memory().save_pretrained(tmp_path)
        whole, tensors = path.read_bytes(), load_file(path)
        path.write_bytes(whole[:-3])
        with pytest.raises(ValueError, match="not a whole safetensors file"):
            Memory.from_pretrained(tmp_path)
        save_file(tensors, path, {"version": "7"})
        with pytest.raises(ValueError, match="has the version '7' of a memory's file; expected '2'"):
            Memory.from_pretrained(tmp_path)
        about = {
            "num_items": 4, "history_factor": 1.0, "strength": 1.0, "cold_factor": 1.0,
            "parts": [{"name": "first", "decay": 0.3, "weight": 1.0}],
        }  # fmt: skip
        wrong = tensors["first.columns"].clone()
        wrong[0] = 9
        cases = [
            ({**tensors, "first.columns": wrong}, about, "expected 0 to 3"),
            ({}, about, "no offsets, columns, values"),
            (tensors, {**about, "num_items": 5}, "5"),
            (tensors, {**about, "parts": []}, "at least one part"),
            (tensors, {**about, "parts": [{"name": "first", "decay": -1, "weight": 1}]}, "decay of 'first' is -1"),
            (tensors, {"num_items": 4}, "parts"),
            (tensors, [1], "is not a memory's file"),
        ]
        for content, said, message in cases:
            save_file(content, path, {"version": "2", "memory": json.dumps(said)})
            with pytest.raises(ValueError, match=message):
                Memory.from_pretrained(tmp_path)
        save_file(tensors, path, {"version": "2", "memory": "{"})
        with pytest.raises(ValueError, match="is not a memory's file"):
            Memory.from_pretrained(tmp_path)


def test_parts_that_do_not_fit_are_refused() -> None:
    small = MemoryPart("small", SparseRows.empty(3, 3), 0.0, 1.0)
    with pytest.raises(ValueError, match=r"of \[3, 4\] items"):
        Memory((small, memory().parts[0]))
    with pytest.raises(ValueError, match="each has its own name"):
        Memory((small, small))
    with pytest.raises(ValueError, match="3 x 4; expected a square matrix"):
        MemoryPart("wide", SparseRows.empty(3, 4), 0.0, 1.0)
    with pytest.raises(ValueError, match=r"weight of 'small' is -1"):
        MemoryPart("small", SparseRows.empty(3, 3), 0.0, -1)
    with pytest.raises(ValueError, match=r"has the value -2"):
        MemoryPart("small", matrix([[0, -2], [1, 0]]), 0.0, 1)
    with pytest.raises(ValueError, match="history_factor is nan"):
        Memory((small,), math.nan)
    with pytest.raises(ValueError, match="cold_factor is 0"):
        Memory((small,), cold_factor=0)
