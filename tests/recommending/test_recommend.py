"""Recommending for raw histories, and similar items."""

from __future__ import annotations

import copy
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F

from recformer_hf import ItemCatalog, RecformerForSeqRec, RecformerTokenizer, UnknownItemError
from recformer_hf.recommending.history_scores import pairs_of_rows
from tests.support.models import enliven, small_config
from tests.support.shop import ITEMS, MORE, assert_close


class TestRecommend:
    def test_is_the_order_of_the_scores(self, model, tokenizer):
        histories = [["rkA", "gmN"], [ITEMS["wtA"], "bsN"]]
        texts = [[ITEMS["rkA"], ITEMS["gmN"]], [ITEMS["wtA"], ITEMS["bsN"]]]
        with torch.no_grad():
            scores = model(**tokenizer(texts, padding=True, return_tensors="pt")).scores
        found = model.recommend(histories, tokenizer, top_k=6, exclude_history=False)
        torch.testing.assert_close(found.scores, scores.topk(6).values, atol=1e-4, rtol=0)
        assert torch.equal(found.rows, scores.topk(6).indices)
        ids = list(ITEMS)
        assert found.item_ids == [[ids[row] for row in rows] for rows in scores.topk(6).indices.tolist()]
        for history, bought in zip(found.item_ids, (["rkA", "gmN"], ["wtA", "bsN"]), strict=True):
            assert set(history) & set(bought)  # otherwise the next lines would show nothing
        found = model.recommend(histories, tokenizer, top_k=30)
        assert set(found.item_ids[0]) == set(ids) - {"rkA", "gmN"}
        assert set(found.item_ids[1]) == set(ids) - {"wtA", "bsN"}

    def test_answers(self, model, tokenizer):
        found = model.recommend([["rkA"]], tokenizer, top_k=3, return_tensors="np")
        assert isinstance(found.rows, np.ndarray)
        assert len(found) == 1
        (answer,) = found.to_dicts()
        assert [item["item_id"] for item in answer] == found.item_ids[0]
        assert [item["attributes"] for item in answer] == [ITEMS[item_id] for item_id in found.item_ids[0]]
        assert [item["score"] for item in answer] == sorted((float(s) for s in found.scores[0]), reverse=True)
        json.dumps(answer)

    def test_candidates_and_exclude(self, model, tokenizer):
        found = model.recommend([["rkA"], ["gmN"]], tokenizer, 2, candidates=["rkA", "rkN", "gmA", "gmN", "wtA"])
        assert set(found.item_ids[0]) <= {"rkN", "gmA", "gmN", "wtA"}
        assert set(found.item_ids[1]) <= {"rkA", "rkN", "gmA", "wtA"}
        every = list(ITEMS)
        found = model.recommend([["rkA"]], tokenizer, 3, exclude=every[4:])
        assert set(found.item_ids[0]) == set(every[:4]) - {"rkA"}
        both = {"candidates": every[:10], "exclude": every[5:], "exclude_history": False}
        assert set(model.recommend([["rkA"]], tokenizer, 5, **both).item_ids[0]) == set(every[:5])
        twice = {"candidates": ["gmA", "gmA", "gmN"], "exclude": ["wtA", "wtA"]}
        assert set(model.recommend([["rkA", "rkA"]], tokenizer, 2, **twice).item_ids[0]) == {"gmA", "gmN"}

    @pytest.mark.parametrize("candidates", [None, list(ITEMS)[::2]])
    def test_many_that_are_excluded_are_as_few(self, model, tokenizer, candidates, monkeypatch):
        asked = {"top_k": 5, "candidates": candidates, "exclude": list(ITEMS)[3:20]}
        histories = [["rkA"], ["gmN", "wtA"]]
        few = model.recommend(histories, tokenizer, **asked)
        monkeypatch.setattr("recformer_hf.recommending.recommend.MOST_PAIRED", 16)
        paired = []
        monkeypatch.setattr(
            "recformer_hf.recommending.recommend.pairs_of_rows",
            lambda *given: paired.append(given[1]) or pairs_of_rows(*given),
        )
        many = model.recommend(histories, tokenizer, **asked)
        assert paired == [None]  # pairs of histories and items would outgrow memory
        assert many.item_ids == few.item_ids
        torch.testing.assert_close(many.scores, few.scores, rtol=1e-6, atol=1e-5)
        total = "16 candidates" if candidates else "32 items"
        with pytest.raises(ValueError, match=rf"top_k is 25, but only \d+ of {total} are left"):
            model.recommend(histories, tokenizer, **{**asked, "top_k": 25})

    def test_a_described_item_is_every_item_of_its_text(self, encoder, tokenizer):
        shop = {**ITEMS, "copy": {"brand": "Acme", "title": "red kettle"}, "else": {"title": "red kettle"}}
        model = encoder.with_catalog(shop, tokenizer)
        history = [[{"title": "red kettle", "brand": "Acme", "colour": None}]]
        found = set(model.recommend(history, tokenizer, top_k=len(shop) - 2).item_ids[0])
        assert found == set(shop) - {"rkA", "copy"}
        # An id is that item and no other.
        assert "copy" in model.recommend([["rkA"]], tokenizer, top_k=len(shop) - 1).item_ids[0]

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            (
                {"top_k": 31},
                ValueError,
                "top_k is 31, but only 30 of 32 items.*at most 30.*exclude_history=False",
            ),
            ({"top_k": 3, "candidates": ["rkA", "gkA", "gmN"]}, ValueError, "only 1 of 3 candidates are left"),
            ({"top_k": 1, "candidates": []}, ValueError, "top_k is 1, but there are 0 candidates"),
            ({"top_k": 0}, ValueError, "top_k must be a whole number of at least 1, got 0"),
            ({"top_k": 2.0}, ValueError, "got 2.0"),
            ({"top_k": "3"}, ValueError, "got '3'"),
            ({"top_k": 40, "exclude_history": False}, ValueError, "but there are only 32 items. Ask for at most 32"),
            ({"top_k": 3, "candidates": ["rkA", "gmN"]}, ValueError, r"only 0 of 2 .*excluded. Exclude less \("),
            ({"exclude_history": "no"}, TypeError, "exclude_history must be True or False, got 'no'"),
            ({"candidates": [1.5]}, TypeError, "Candidate 0 is a float, 1.5; expected an item id"),
            ({"candidates": [None]}, TypeError, "Candidate 0 is a NoneType, None"),
            ({"exclude": pd.DataFrame({"item_id": ["rkA"]})}, TypeError, "must be a list of ids, got a DataFrame"),
            ({"tokenizer": "my-shop"}, TypeError, "Expected a RecformerTokenizer, got 'my-shop'"),
            ({"max_tokens": 10.5}, ValueError, "max_tokens must be a whole number"),
            ({"top_k": True}, ValueError, "got True"),
            ({"top_k": 10**30}, ValueError, "top_k is 1000000000000000000000000000000, but there are only 32 items"),
            ({"candidates": ["rkA", "nope"]}, UnknownItemError, "Candidate 1 is unknown: No item 'nope'"),
            (
                {"exclude": ["rkM"]},
                UnknownItemError,
                "Excluded item 0 is unknown: .*'rkM'.*Closest: 'rkN'",
            ),
            ({"exclude": "rkA"}, TypeError, "Excluded items must be a list of ids, got a str"),
            ({"candidates": [{"title": "tent"}]}, TypeError, r"Candidate 0 is a dict, .*; expected an item id"),
            ({"max_tokens": 0}, ValueError, "max_tokens must be a whole number of at least 1, got 0"),
            ({"return_tensors": "tf"}, ValueError, "return_tensors is 'tf'"),
        ],
    )
    def test_bad_requests(self, model, tokenizer, arguments, error, message):
        with pytest.raises(error, match=message):
            model.recommend([["rkA", "gmN"]], **{"tokenizer": tokenizer, **arguments})

    def test_the_history_with_too_little_left_is_named(self, model, tokenizer):
        with pytest.raises(ValueError, match="only 30 of 32 items are left for history 1:"):
            model.recommend([["rkA"], ["rkA", "gmN"]], tokenizer, top_k=31)
        with pytest.raises(ValueError, match="for history 41:"):
            model.recommend([["rkA"], ["rkA", "gmN"]], tokenizer, top_k=31, number_from=40)

    def test_without_items_or_catalogue(self, encoder, model, tokenizer):
        with pytest.raises(ValueError, match=r"no items to score.*with_catalog\(items, tokenizer\)"):
            encoder.recommend([[ITEMS["rkA"]]], tokenizer)
        model.catalog = None
        with pytest.raises(ValueError, match="Without a catalogue the model cannot tell which of its items are in"):
            model.recommend([[ITEMS["rkA"]]], tokenizer)
        found = model.recommend([[ITEMS["rkA"]]], tokenizer, top_k=2, exclude_history=False)
        assert found.rows.tolist()[0][0] == 0
        with pytest.raises(ValueError, match="no catalogue, which item ids need"):
            found.to_dicts()
        with pytest.raises(ValueError, match="no catalogue, which ids need"):
            model.recommend([[ITEMS["rkA"]]], tokenizer, exclude=["rkA"])

    def test_no_histories(self, model, tokenizer):
        found = model.recommend([], tokenizer, top_k=3)
        assert found.rows.shape == (0, 3)
        assert found.to_dicts() == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu(tokenizer, dtype):
    model = enliven(RecformerForSeqRec(small_config())).eval().with_catalog(ITEMS, tokenizer)
    histories = [["rkA", ITEMS["gmN"]], ["wtA"]]
    expected = model.recommend(histories, tokenizer, top_k=20, candidates=list(ITEMS)[:25])
    model.to("cuda", dtype)
    found = model.recommend(histories, tokenizer, top_k=20, candidates=list(ITEMS)[:25])
    assert found.scores.device.type == "cpu"
    if dtype == torch.float32:
        torch.testing.assert_close(found.scores, expected.scores, atol=1e-2, rtol=0)
    model.add_items(MORE, tokenizer)
    model.build_index("bfloat16")
    assert model.item_embeddings.device.type == "cuda"
    assert model.recommend(histories, tokenizer, top_k=3).rows.shape == (2, 3)


class TestVectorsThatCannotBeRanked:
    def test_items_that_were_never_encoded(self, encoder, tokenizer, tmp_path, caplog):
        model = RecformerForSeqRec(small_config(num_items=4))
        model.catalog = ItemCatalog.from_items({f"B{i}": {"title": f"tent {i}"} for i in range(4)})
        calls = [
            lambda: model.recommend([["B1"]], tokenizer, top_k=1),
            lambda: model.similar_items("B1", top_k=1),
            lambda: model.build_index("exact"),
            lambda: model.export_embeddings(tmp_path / "vectors.npy"),
        ]
        for call in calls:
            with pytest.raises(
                ValueError, match=r"no vectors yet, only zeros: 4 of 4 items, the first is 'B0' \(row 0\)"
            ):
                call()
        model.save_pretrained(tmp_path)
        assert "vectors of 4 of 4 items are saved as zeros" in caplog.text
        vectors = model.encode_items(model.catalog, tokenizer)
        model.set_item_embeddings(vectors.index_fill(0, torch.tensor([2]), 0), model.catalog)
        with pytest.raises(ValueError, match="1 of 4 items, the first is 'B2'"):
            model.recommend([["B1"]], tokenizer, top_k=1)
        model.set_item_embeddings(vectors, model.catalog)
        assert model.recommend([["B1"]], tokenizer, top_k=3).rows.shape == (1, 3)

    @pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e30])
    def test_items_that_are_not_finite(self, model, tokenizer, tmp_path, value):
        vectors = model.item_embeddings.detach().clone()
        vectors[5, 7] = value
        named = r"1 of 32 items, the first is 'rsN' \(row 5\)"
        with pytest.raises(ValueError, match=named):
            model.set_item_embeddings(vectors, model.catalog)
        with torch.no_grad():
            model.item_embeddings.copy_(vectors)
        with pytest.raises(ValueError, match=named):
            model.recommend([["rkA"]], tokenizer, top_k=3)
        model.save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=named):
            RecformerForSeqRec.from_pretrained(tmp_path)

    def test_a_change_that_torch_does_not_count(self, model, tokenizer):
        model.recommend([["rkA"]], tokenizer, top_k=3)
        model.item_embeddings.data[5, 7] = torch.nan
        with pytest.raises(ValueError, match="The item vector in row 5 holds NaN"):
            model.recommend([["rkA"]], tokenizer, top_k=3)

    def test_an_encoder_that_gives_nan(self, encoder, tokenizer):
        broken = copy.deepcopy(encoder)
        broken.recformer.embeddings.word_embeddings.weight.data[tokenizer("boat")["input_ids"][1]] = torch.nan
        shop = encoder.with_catalog(ITEMS, tokenizer)
        shop.recformer = broken.recformer
        with pytest.raises(ValueError, match="History 1 got a vector with NaN"):
            shop.recommend([["rkA"], [{"title": "boat"}]], tokenizer, top_k=3)
        with pytest.raises(ValueError, match="The history got a vector with NaN"):
            shop.recommend([[{"title": "boat"}]], tokenizer, top_k=3)
        with pytest.raises(ValueError, match="Item 2 got a vector with NaN"):
            broken.encode_items([{"title": "tent"}, {"title": "tent"}, {"title": "boat"}], tokenizer)
        with pytest.raises(ValueError, match=r"Item 'n1' \(row 0\) got a vector with NaN"):
            broken.with_catalog({"n1": {"title": "boat"}}, tokenizer)


class TestItemsOfTheCatalogueInAnyForm:
    """A row of the catalogue is that item: the vector is that of the id, and it is excluded as part of the history."""

    @pytest.fixture
    def forms(self, model):
        found = model.recommend([["gmN"]], RecformerTokenizer.train_from_catalog(ITEMS.values(), vocab_size=320))
        output = next(item for items in found.to_dicts() for item in items)
        item_id = output["item_id"]
        row = model.catalog.row_of(item_id)
        attributes = ITEMS[item_id]
        return item_id, {
            "id": item_id,
            "numpy text": np.str_(item_id),
            "Arrow text": pa.scalar(item_id),
            "row of a frame": {"item_id": item_id, **attributes},
            "id alone": {"item_id": item_id},
            "with other text": {"item_id": item_id, "title": "something else", "price": 3.5},
            "with missing text": {"item_id": item_id, "title": None},
            "recommendation": output,
            "row of the table": model.catalog.table.slice(row, 1).to_pylist()[0],
            "attributes": model.catalog[row],
        }

    def test_history(self, model, tokenizer, forms):
        item_id, forms = forms
        expected = model.encode_histories([["rkA", item_id]], tokenizer)
        recommended = model.recommend([["rkA", item_id]], tokenizer, top_k=30)
        for name, form in forms.items():
            assert_close(model.encode_histories([["rkA", form]], tokenizer), expected)
            found = model.recommend([["rkA", form]], tokenizer, top_k=30)
            assert found.item_ids == recommended.item_ids, name
            assert item_id not in found.item_ids[0]
            similar = model.similar_items(form, top_k=31, tokenizer=tokenizer)
            assert similar.item_ids == model.similar_items(item_id, top_k=31).item_ids, name

    def test_candidates_and_exclude(self, model, tokenizer, forms):
        item_id, forms = forms
        forms.pop("attributes")
        for form in forms.values():
            found = model.recommend([["rkA"]], tokenizer, top_k=1, candidates=[form])
            assert found.item_ids == [[item_id]]
            assert item_id not in model.recommend([["rkA"]], tokenizer, top_k=30, exclude=[form]).item_ids[0]

    def test_an_id_that_the_catalogue_does_not_have_is_no_text(self, model, tokenizer):
        expected = model.encode_histories([[{"title": "red boat"}]], tokenizer)
        unknown = [
            {"item_id": "n1", "title": "red boat"},
            {"title": "red boat", "item_id": 17},
            {"item_id": None, "title": "red boat"},
            {"item_id": float("nan"), "title": "red boat"},
            {"item_id": "n1", "score": 3.0, "attributes": {"title": "red boat"}},
            {"item_id": "n1", "attributes": [{"key": "title", "value": "red boat"}]},
        ]
        for item in unknown:
            assert torch.equal(model.encode_histories([[item]], tokenizer), expected)
            assert torch.equal(
                model.encode_items([item], tokenizer), model.encode_items([{"title": "red boat"}], tokenizer)
            )
        with pytest.raises(UnknownItemError, match="Item 0 of the history is unknown: No item 'n1'"):
            model.recommend([[{"item_id": "n1"}]], tokenizer)
        with pytest.raises(ValueError, match="Item 0 of the history is empty"):
            model.recommend([[{"item_id": None}]], tokenizer)
        with pytest.raises(
            TypeError, match=r"Item 1 of the history has an item_id that is none\. The item id .* is a list"
        ):
            model.recommend([["rkA", {"item_id": ["n1"], "title": "boat"}]], tokenizer)
        model.catalog = None
        assert torch.equal(model.encode_histories([unknown[:1]], tokenizer), expected)
        with pytest.raises(ValueError, match="is the id 'n1', but the model has no catalogue"):
            model.encode_histories([[{"item_id": "n1"}]], tokenizer)

    def test_ids_that_are_whole_numbers(self, encoder, tokenizer):
        shop = encoder.with_catalog({i: {"title": f"tent {i}"} for i in range(9)}, tokenizer)
        expected = shop.recommend([["3", "7"]], tokenizer, top_k=5).rows
        for history in ([3, 7], np.array([3.0, 7.0]), np.array([3, 7], np.uint8), torch.tensor([3, 7]), ["3", 7.0]):
            assert torch.equal(shop.recommend([history], tokenizer, top_k=5).rows, expected)
        for wrong in (3.5, np.float32("nan"), float("inf"), True, b"3", [3]):
            with pytest.raises(TypeError, match="Item 1 of the history is a "):
                shop.recommend([[3, wrong]], tokenizer, top_k=5)


class TestHistoriesOfAnyKind:
    LISTS = [["rkA", "gmN"], ["wtA"]]

    def test_taken(self, model, tokenizer):
        datasets = pytest.importorskip("datasets")
        polars = pytest.importorskip("polars")
        expected = model.recommend(self.LISTS, tokenizer, top_k=5).rows
        arrays = np.empty(2, object)
        arrays[:] = [np.array(history) for history in self.LISTS]
        batches = {
            "tuples": tuple(map(tuple, self.LISTS)),
            "generators": (iter(history) for history in self.LISTS),
            "array of arrays": arrays,
            "pandas": pd.Series(self.LISTS),
            "pandas within": [pd.Series(history) for history in self.LISTS],
            "polars": polars.Series(self.LISTS),
            "Column": datasets.Dataset.from_dict({"history": self.LISTS})["history"],
            "Arrow": pa.array(self.LISTS),
            "Arrow within": [pa.array(history) for history in self.LISTS],
            "values": {"a": self.LISTS[0], "b": self.LISTS[1]}.values(),
        }
        for name, histories in batches.items():
            assert torch.equal(model.recommend(histories, tokenizer, top_k=5).rows, expected), name
        twice = model.recommend(np.array([["rkA", "gmN"]] * 2), tokenizer, top_k=5).rows
        assert torch.equal(twice, expected[[0, 0]])

    @pytest.mark.parametrize(
        ("histories", "message"),
        [
            ({"rkA": 1}, "Expected a list of histories, got a dict"),
            (None, "Expected a list of histories, got a NoneType"),
            (b"rkA", "Expected a list of histories, got a bytes"),
            ({"rkA", "gmN"}, "got a set, which has no order"),
            (
                pd.DataFrame({"history": [["rkA"]]}),
                r"got a DataFrame\. Pass one column of it, such as frame\['history'\]",
            ),
            ([pd.DataFrame({"item_id": ["rkA"]})], "The history is a DataFrame"),
            (np.array(["rkA", "gmN"]), r"One history is \[history\]"),
            (pd.Series(["rkA", "gmN"]), r"One history is \[history\]"),
            ([ITEMS["rkA"]], r"got a list of dict\. One history is \[history\]"),
            ([[["rkA"], ["gmN"]]], "Item 0 of the history is a list"),
            ([{"rkA", "gmN"}, ["rkA"]], "History 0 is a set, which has no order"),
        ],
    )
    def test_refused(self, model, tokenizer, histories, message):
        with pytest.raises(TypeError, match=message):
            model.recommend(histories, tokenizer, top_k=5)


class TestSimilarItems:
    def test_of_an_id(self, model):
        found = model.similar_items("rkA", top_k=31)
        cosines = F.cosine_similarity(model.item_embeddings[:1], model.item_embeddings[1:])
        torch.testing.assert_close(found.scores[0], cosines.sort(descending=True).values, atol=1e-6, rtol=0)
        assert set(found.item_ids[0]) == set(ITEMS) - {"rkA"}

    def test_of_a_description(self, model, tokenizer):
        expected = model.similar_items("rkA", top_k=5)
        found = model.similar_items(ITEMS["rkA"], 5, tokenizer)
        assert found.item_ids == expected.item_ids
        assert model.similar_items({"title": "red kettle"}, 1, tokenizer, "np").scores.shape == (1, 1)

    def test_bad_input(self, model, tokenizer):
        with pytest.raises(UnknownItemError, match="The item is unknown: No item 'nope'"):
            model.similar_items("nope")
        with pytest.raises(ValueError, match="pass the tokenizer too"):
            model.similar_items({"title": "tent"})
        with pytest.raises(ValueError, match="only 31 of 32 items are left: "):
            model.similar_items("rkA", top_k=32)
        with pytest.raises(TypeError, match=r"The item is a NoneType, None; expected .* or an item id"):
            model.similar_items(None)


class TestTies:
    """Of equal scores the lower row comes first, and a list is the beginning of every longer one."""

    @pytest.fixture(scope="class")
    def shop(self, encoder, tokenizer) -> RecformerForSeqRec:
        cards = {f"G{i:03}": {"title": "Gift card"} for i in range(120)}
        return encoder.with_catalog({**cards, **ITEMS, "last": {"title": "Gift card"}}, tokenizer)

    @pytest.mark.parametrize("kind", ["exact", "bfloat16", "flat", "hnsw"])
    def test_items_of_equal_text(self, shop, tokenizer, kind):
        if kind in ("flat", "hnsw"):
            pytest.importorskip("faiss")
        shop.build_index(kind)
        histories = [[{"title": "Gift card"}, ITEMS["rkA"]], ["rkA", "gmN"], [ITEMS["wtA"]]]
        options = {"exclude_history": False, "exclude": ["G001", "G110"]}
        longest = shop.recommend(histories, tokenizer, top_k=151, **options).rows
        assert all(sorted(cards) == cards for row in longest.tolist() for cards in [[i for i in row if i < 120]])
        for top_k in (1, 2, 3, 5, 10, 100):
            assert torch.equal(shop.recommend(histories, tokenizer, top_k=top_k, **options).rows, longest[:, :top_k])
        alone = [shop.recommend([history], tokenizer, top_k=40, **options).rows[0] for history in histories]
        assert torch.equal(torch.stack(alone), longest[:, :40])
        pool = ["G100", "last", "G007", "rkA", "G050"]
        rows = shop.recommend(
            [[{"title": "Gift card"}]], tokenizer, top_k=3, exclude_history=False, candidates=pool
        ).rows
        assert rows.tolist() == [[7, 50, 100]]
        assert shop.similar_items("G005", top_k=4).item_ids == [["G000", "G001", "G002", "G003"]]
        shop.build_index("exact")
