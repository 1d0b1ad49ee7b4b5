"""Recommending with every part of a head: the scores are those of forward."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from recformer_hf import ItemCatalog, RecformerForSeqRec
from recformer_hf.heads.history_items import padded
from recformer_hf.memory.memory import Memory
from recformer_hf.recommending.history_scores import items_seen, pairs_of_rows, rows_seen
from recformer_hf.recommending.search import ExactIndex
from recformer_hf.recommending.vectors import EncodedHistories
from tests.support.heads import HEADS, trained
from tests.support.memories import some_memory
from tests.support.models import assert_parity
from tests.support.shop import ITEMS

IDS = list(ITEMS)
HISTORIES = [["rkA", "gmN"], ["wtA"], ["bsN", "wtA", "bsN", "rkA", "bsN"], IDS[:20], IDS * 2]
PACKED = 2e-6  # a text is packed with others, which rounds its vector differently
BIASED = [name for name, fields in HEADS.items() if fields.get("history_bias")]


def forward_scores(model: RecformerForSeqRec, tokenizer, histories=HISTORIES) -> torch.Tensor:
    """Scores of the whole catalogue, from one call of the model for each history."""
    rows = [np.array([IDS.index(item) for item in history]) for history in histories]
    batches = [{"history_rows": padded([each])} for each in rows]
    if model.config.sequence_head == "flat":
        for batch, history in zip(batches, histories, strict=True):
            batch |= tokenizer([[ITEMS[item] for item in history]], return_tensors="pt")
    with torch.no_grad():
        return torch.cat([model(**batch).scores for batch in batches])


def assert_best(found, scores: torch.Tensor, top_k: int, tolerance: float = 1e-6) -> None:
    """What was found are the `top_k` items with the highest of these scores."""
    assert_parity(found.scores, scores.topk(top_k).values, tolerance)
    assert_parity(found.scores, scores.gather(1, found.rows), tolerance)
    assert all(len(set(rows)) == top_k for rows in found.rows.tolist())


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("parts", HEADS)
def test_recommends_by_the_scores_of_forward(tokenizer, parts, memory):
    """Mixed with the memory, if there is one, as the scorer mixes them."""
    model = trained(ITEMS, tokenizer, parts)
    scores = forward_scores(model, tokenizer)
    if memory:
        model.memory = some_memory(32)
        assert torch.equal(forward_scores(model, tokenizer), scores)  # the model alone
        scores = mixed(model, scores)
    for top_k in (1, 7, 32):
        found = model.recommend(HISTORIES, tokenizer, top_k, exclude_history=False)
        assert_best(found, scores, top_k)
    without = scores.clone()
    for row, history in enumerate(HISTORIES[:3]):
        without[row, [IDS.index(item) for item in history]] = -torch.inf
    assert_best(model.recommend(HISTORIES[:3], tokenizer, 28), without[:3], 28)


def mixed(model: RecformerForSeqRec, scores: torch.Tensor, histories=HISTORIES) -> torch.Tensor:
    return model.memory.mixed(scores, [np.array([IDS.index(item) for item in history]) for history in histories])


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("kind", ["bfloat16", "flat", "hnsw"])
@pytest.mark.parametrize("parts", BIASED)
def test_any_index_takes_bias_and_memory(tokenizer, parts, kind, memory):
    if kind in ("flat", "hnsw"):
        pytest.importorskip("faiss")
    model = trained(ITEMS, tokenizer, parts)
    model.build_index(kind)
    scores = forward_scores(model, tokenizer)
    if memory:
        model.memory = some_memory(32)
        scores = mixed(model, scores)
    found = model.recommend(HISTORIES, tokenizer, 9, exclude_history=False)
    assert_best(found, scores, 9)


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("parts", BIASED)
def test_candidates_and_exclude(tokenizer, parts, memory):
    model = trained(ITEMS, tokenizer, parts)
    forward = forward_scores(model, tokenizer)
    if memory:
        model.memory = some_memory(32)
        forward = mixed(model, forward)
    pool, unwanted = IDS[1:20:2], IDS[3:6]
    left = [IDS.index(item) for item in pool if item not in unwanted]
    scores = torch.full((len(HISTORIES), len(IDS)), -torch.inf)
    scores[:, left] = forward[:, left]
    options = {"exclude_history": False, "candidates": pool, "exclude": unwanted}
    found = model.recommend(HISTORIES, tokenizer, len(left), **options)
    assert_best(found, scores, len(left))
    with pytest.raises(ValueError, match=f"top_k is {len(left) + 1}, but only {len(left)} of 10 candidates are left"):
        model.recommend(HISTORIES, tokenizer, len(left) + 1, **options)


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("parts", HEADS)
def test_lists_are_prefixes_whatever_the_batch(tokenizer, parts, memory, monkeypatch):
    model = trained({**ITEMS, **{f"{item}2": text for item, text in ITEMS.items()}}, tokenizer, parts)
    model.memory = some_memory(64) if memory else None
    monkeypatch.setattr("recformer_hf.recommending.history_scores.QUERY_BLOCK", 2)
    longest = model.recommend(HISTORIES, tokenizer, 64, exclude_history=False)
    for top_k in (1, 2, 10, 40):
        found = model.recommend(HISTORIES, tokenizer, top_k, exclude_history=False)
        assert torch.equal(found.rows, longest.rows[:, :top_k])
        assert torch.equal(found.scores, longest.scores[:, :top_k])
    for row, history in enumerate(HISTORIES):
        alone = model.recommend([history], tokenizer, 10, exclude_history=False)
        assert alone.rows.tolist() == longest.rows[row : row + 1, :10].tolist()
        assert_parity(alone.scores, longest.scores[row : row + 1, :10], PACKED)


@pytest.mark.parametrize("strength", [0.0, 1000.0])
def test_a_memory_that_decides_alone_or_not_at_all(tokenizer, strength):
    """Items that it does not tell apart are in the order of the model."""
    model = trained(ITEMS, tokenizer, {"history_bias": True})
    scores = forward_scores(model, tokenizer)
    model.memory = replace(some_memory(32), strength=strength)
    found = model.recommend(HISTORIES, tokenizer, 9, exclude_history=False)
    assert_best(found, mixed(model, scores), 9)
    if not strength:
        assert_best(found, scores, 9)


def test_what_cannot_be_among_the_best_is_not_scored_again(tokenizer, monkeypatch):
    """The rough scores of a product decide which of the many items that a memory points to are."""
    shop = {f"{item}{copy}": text for copy in range(20) for item, text in ITEMS.items()}
    model = trained(shop, tokenizer, {"item_residuals": True, "history_bias": True})
    model.memory = memory = some_memory(640)
    histories = [list(shop)[5:9], list(shop)[100:160]]
    scored = []
    whole = ExactIndex.cosines
    monkeypatch.setattr(ExactIndex, "cosines", lambda *given: scored.append(given[2].shape) or whole(*given))
    found = model.recommend(histories, tokenizer, 10, exclude_history=False)
    assert max(columns for _, columns in scored) < 40
    assert min(np.diff(memory.sparse_scores([np.arange(5, 9), np.arange(100, 160)]).offsets)) > 90
    model.memory = None
    alone = model.recommend(histories, tokenizer, 640, exclude_history=False)
    scores = torch.zeros(2, 640).scatter(1, alone.rows, alone.scores)
    assert_best(found, memory.mixed(scores, [np.arange(5, 9), np.arange(100, 160)]), 10)


def test_a_memory_reads_the_items_of_dictionaries(tokenizer):
    """Those that the catalogue has; a history of nothing that it has leaves the order to the model."""
    model = trained(ITEMS, tokenizer, {"history_bias": True})
    model.memory = some_memory(32)
    by_id = model.recommend([["rkA", "gmN"]], tokenizer, 9)
    by_text = model.recommend([["rkA", ITEMS["gmN"]]], tokenizer, 9)
    assert torch.equal(by_text.rows, by_id.rows)
    assert_parity(by_text.scores, by_id.scores, PACKED)
    unknown = [[{"title": "Nothing like it"}]]
    found = model.recommend(unknown, tokenizer, 9)
    model.memory = None
    alone = model.recommend(unknown, tokenizer, 32)
    assert torch.equal(found.rows, alone.rows[:, :9])
    assert_parity(found.scores, alone.scores[:, :9], PACKED)


@pytest.mark.parametrize("parts", ["paper", "narrow"])
def test_a_memory_of_a_shops_own_log_without_training(tokenizer, parts):
    """After a red kettle people here buy a white tent, whatever its text."""
    model = trained(ITEMS, tokenizer, parts)
    kettle, tent = IDS.index("rkA"), IDS.index("wtN")
    log = np.array([kettle, tent] * 20, dtype=np.int32)
    model.memory = Memory.fit(log, np.arange(0, 41, 2), 32).with_weights({"cooccurrence": 5.0})
    assert model.recommend([["rkA"]], tokenizer, 1).item_ids == [["wtN"]]


@pytest.mark.parametrize("parts", ["flat", "narrow"])
def test_dictionaries_are_items_that_training_has_not_seen(tokenizer, parts):
    """An id has the residual of its item, a dictionary none. The bias is for both if the catalogue has the text."""
    model = trained(ITEMS, tokenizer, parts)
    described = [["rkA", ITEMS["gmN"]], [ITEMS["wtA"]], [{"title": "Nothing like it"}, "bsN"]]
    with torch.no_grad():
        model.item_residuals.zero_()
    scores = forward_scores(model, tokenizer, [["rkA", "gmN"], ["wtA"]])
    assert_best(model.recommend(described[:2], tokenizer, 32, exclude_history=False), scores, 32)
    found = model.recommend(described[2:], tokenizer, 32, exclude_history=False)
    vectors = model.encode_histories(described[2:], tokenizer)
    expected = model.exact_index.cosines(vectors, found.rows) / model.scoring_head.temperature_now
    expected[found.rows == IDS.index("bsN")] += float(model.scoring_head.history_bias[0].detach())
    assert_parity(found.scores, expected, 1e-6)  # "bsN" is the newest item, and the other one no item of the catalogue


def test_a_two_level_head_looks_items_up(tokenizer, monkeypatch):
    model = trained(ITEMS, tokenizer, "narrow")
    assert model.encode_histories([], tokenizer).shape == (0, 32)
    expected = model.recommend(HISTORIES[:4], tokenizer, 5)
    monkeypatch.setattr(type(model.recformer), "forward", None)
    monkeypatch.setattr(ItemCatalog, "__getitem__", None)
    assert torch.equal(model.recommend(HISTORIES[:4], None, 5).rows, expected.rows)
    vectors = model.encode_histories(HISTORIES, None, return_tensors="np")
    assert vectors.shape == (len(HISTORIES), 32)
    with pytest.raises(ValueError, match=r"Item 1 of history 2 is given by its attributes, .* pass the tokenizer"):
        model.recommend([["rkA"], ["wtA"], ["rkA", {"title": "Red"}]], None)


def test_a_flat_model_needs_the_tokenizer(tokenizer):
    with pytest.raises(TypeError, match="Expected a RecformerTokenizer, got None"):
        trained(ITEMS, tokenizer, "flat").recommend(HISTORIES, None)


def test_an_item_that_cannot_be_encoded_is_named(tokenizer):
    model = trained(ITEMS, tokenizer, "two_level")
    with torch.no_grad():
        model.recformer.embeddings.word_embeddings.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="Item 1 of history 1 got a vector with NaN"):
        model.recommend([["rkA"], ["rkA", {"title": "Red"}]], tokenizer)


@pytest.mark.parametrize("parts", ["items", "narrow"])
def test_similar_items_are_near_in_what_is_compared(tokenizer, parts):
    model = trained(ITEMS, tokenizer, parts)
    unit = torch.nn.functional.normalize(model.item_vectors, dim=1)
    cosines = unit @ unit[3]
    cosines[3] = -torch.inf
    found = model.similar_items(IDS[3], 31)
    assert_best(found, cosines[None], 31)
    with torch.no_grad():
        model.item_residuals[3] = 0
    unit = torch.nn.functional.normalize(model.item_vectors, dim=1)
    found = model.similar_items(ITEMS[IDS[3]], 31, tokenizer)
    assert_parity(found.scores[0], (unit @ unit[3])[found.rows[0]], 1e-6)


@pytest.mark.parametrize("parts", HEADS)
def test_embeddings_are_exported_as_they_are_compared(tokenizer, tmp_path, parts):
    model = trained(ITEMS, tokenizer, parts)
    model.export_embeddings(tmp_path / "items.npy")
    items = np.load(tmp_path / "items.npy")
    assert np.array_equal(items, model.item_vectors.detach().numpy())
    if parts == "items":  # whoever searches the file finds what the model recommends
        queries = model.encode_histories(HISTORIES[:1], tokenizer, return_tensors="np")
        unit = items / np.linalg.norm(items, axis=1, keepdims=True)
        best = np.argsort(-(queries @ unit.T), axis=1)[0, :5]
        found = model.recommend(HISTORIES[:1], tokenizer, 5, exclude_history=False, return_tensors="np")
        assert found.rows[0].tolist() == best.tolist()


def test_rows_seen():
    catalog = ItemCatalog.from_items({"a": {"t": "x"}, "b": {"t": "y"}, "c": {"t": "x"}})
    block = EncodedHistories(torch.zeros(2, 1), [[1, -1, -1], [0]], [[{"t": "x"}, {"t": "z"}], []])
    seen = rows_seen(catalog, block, required=True)
    assert seen == [[[1], [0, 2], []], [[0]]]
    items = items_seen(seen)
    assert [column.tolist() for column in items] == [[0, 0, 1], [1, 0, 0], [2, 1, 0]]
    assert rows_seen(None, block, required=False) == [[[1], [], []], [[0]]]
    with pytest.raises(ValueError, match="Without a catalogue the model cannot tell"):
        rows_seen(None, block, required=True)


def test_pairs_of_rows():
    found = pairs_of_rows([[3, 1, 3], [], [2]], np.array([2, 5]), 3)
    assert [each.tolist() for each in found] == [[0, 0, 0, 0, 1, 1, 2, 2], [1, 2, 3, 5, 2, 5, 2, 5]]
    assert [each.tolist() for each in pairs_of_rows([], None, 3)] == [[], []]
