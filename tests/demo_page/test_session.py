"""Visits of the page: searching, the history, and what the model says, against plain calls of the model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from recformer_hf import ItemCatalog, RecformerForSeqRec
from recformer_hf.demo_page import session
from recformer_hf.demo_page.session import INVENTED, MOST_HISTORY, Shop, Visit
from tests.support.demo_page import HOSTILE_ID, some_shop
from tests.support.shops import CATALOG, shop_encoder, shop_tokenizer

IDS = list(CATALOG.ids)
WOK = {"title": "Copper Wok Blue", "brand": "Lumwick"}


@pytest.fixture(params=["paper", "flat", "two_level"])
def shop(request) -> Shop:
    return some_shop(request.param)


def scores_of(shop: Shop, history: list) -> dict[str, float]:
    """The score of every item, whether or not it is in the history; a third of the items at a time."""
    found = {}
    for start in range(3):
        ids = list(shop.catalog.ids)[start::3]
        best = shop.model.recommend([history], shop.tokenizer, len(ids), exclude_history=False, candidates=ids)
        found.update(zip(best.item_ids[0], best.scores[0].tolist(), strict=True))
    return found


class TestSearch:
    def test_all_words_have_to_be_there_and_those_of_the_title_come_first(self):
        items = {
            "a": {"title": "Iron pan", "about": "red, as a kettle"},
            "b": {"title": "Red Kettle", "about": "iron"},
            "c": {"title": "Red kettle"},
            "d-kettle-red": {"title": "Cup"},
        }
        tokenizer = shop_tokenizer()
        shop = Shop(shop_encoder(tokenizer).with_catalog(ItemCatalog.from_items(items), tokenizer), tokenizer)
        assert shop.search("KETT red") == ["b", "c", "a", "d-kettle-red"]
        assert shop.search("iron kettle") == ["a", "b"]
        assert shop.search("kettles") == []
        assert shop.search("  ") == list(items)

    def test_it_shows_a_few_items_of_the_whole_catalogue(self):
        shop = some_shop()
        found = shop.search("")
        assert len(found) == session.MOST_FOUND
        assert found[0] == IDS[0]
        assert shop.catalog.row_of(found[-1]) > len(IDS) * 3 // 4
        assert len(shop.search("e")) == session.MOST_FOUND


class TestActs:
    def test_items_are_added_and_removed(self):
        shop = some_shop()
        visit = Visit()
        for item_id in (IDS[3], IDS[1], IDS[3]):
            visit = shop.act(visit, "add", item_id)
        assert visit.history == (IDS[3], IDS[1], IDS[3])
        assert shop.act(visit, "remove", "0").history == (IDS[1], IDS[3])
        assert shop.act(visit, "remove", "2").history == (IDS[3], IDS[1])

    def test_a_click_opens_and_closes_and_a_new_history_closes(self):
        shop = some_shop()
        visit = shop.act(Visit((IDS[0],)), "why", IDS[1])
        assert visit.opened == ("why", IDS[1])
        assert shop.act(visit, "similar", IDS[1]).opened == ("similar", IDS[1])
        assert shop.act(visit, "why", IDS[1]).opened is None
        assert shop.act(visit, "add", IDS[5]).opened is None

    @pytest.mark.parametrize(
        ("act", "item"),
        [("add", "nope"), ("add", INVENTED), ("why", INVENTED), ("remove", "1"), ("remove", "-1"), ("remove", "²"),
         ("remove", "9" * 5000), ("drop", IDS[0]), ("", ""), ("add", "\ud800"), ("remove", "")],
    )  # fmt: skip
    def test_what_makes_no_sense_changes_nothing(self, act, item):
        visit = Visit((IDS[0],))
        assert some_shop().act(visit, act, item) == visit

    def test_a_history_has_a_limit(self):
        visit = Visit((IDS[0],) * MOST_HISTORY)
        assert some_shop().act(visit, "add", IDS[1]) == visit

    def test_an_example_is_a_history_that_its_number_chooses(self):
        shop = some_shop()
        visit = shop.example(Visit(keep_history=True), 7)
        assert visit == shop.example(Visit(keep_history=True), 7)
        assert len(set(visit.history)) == 4
        assert set(visit.history) <= set(shop.catalog.ids)
        assert len({shop.example(Visit(), number).history for number in range(5)}) > 1

    def test_an_invented_item_has_the_known_attributes_that_are_filled_in(self):
        shop = some_shop()
        assert shop.fields == ["title", "brand", "category"]
        visit = shop.invent(Visit(opened=("why", IDS[0])), {"title": " Wok ", "brand": " ", "x": "y"})
        assert (visit.invented, visit.opened) == ({"title": "Wok"}, None)
        assert shop.invent(visit, {"title": ""}).invented is None
        assert len(shop.invent(visit, {"title": "a" * 9999}).invented["title"]) == session.MOST_CHARACTERS
        assert shop.act(visit, "add", INVENTED).history == ({"title": "Wok"},)


class TestRecommendations:
    def test_they_are_those_of_the_model(self, shop):
        history = [IDS[0], WOK, IDS[1]]
        for keep in (False, True):
            expected = shop.model.recommend([history], shop.tokenizer, 10, exclude_history=not keep)
            found = shop.recommended(Visit(tuple(history), keep))
            assert [each.item_id for each in found] == expected.item_ids[0]
            assert [each.score for each in found] == expected.scores[0].tolist()

    def test_there_are_fewer_where_little_is_left(self):
        tokenizer, items = shop_tokenizer(), CATALOG.select([0, 1, 2])
        shop = Shop(shop_encoder(tokenizer).with_catalog(items, tokenizer), tokenizer)
        assert [each.item_id for each in shop.recommended(Visit((IDS[0], dict(CATALOG[1]))))] == [IDS[2]]
        assert shop.recommended(Visit((*IDS[:2], IDS[2]))) == []
        assert len(shop.recommended(Visit(tuple(IDS[:3]), keep_history=True))) == 3
        assert shop.recommended(Visit()) == []
        assert len(shop.similar(IDS[0])) == 2
        assert len(shop.similar(CATALOG[0])) == 2

    def test_similar_items_and_reasons(self, shop):
        assert [each.item_id for each in shop.similar(IDS[4])] == shop.model.similar_items(IDS[4], 10).item_ids[0]
        visit = Visit((IDS[0], IDS[1]), invented=WOK)
        best = shop.recommended(visit)[2]
        assert shop.explained(visit, best.item_id).score == pytest.approx(best.score, abs=1e-4)
        assert shop.explained(visit, INVENTED).score == pytest.approx(shop.placed(visit).score, abs=1e-6)


class TestInvented:
    def test_the_place_is_among_the_scores_of_all_items(self, shop):
        history = (IDS[0], IDS[1], dict(CATALOG[2]))
        catalog, vectors = shop.model.catalog, shop.model.item_embeddings.clone()
        visit = Visit(history, invented=WOK)
        for keep in (False, True):
            placed = shop.placed(replace(visit, keep_history=keep))
            scores = scores_of(shop, list(history))
            if not keep:
                scores = {item_id: score for item_id, score in scores.items() if item_id not in IDS[:3]}
            above = [item_id for item_id in scores if scores[item_id] > placed.score]
            assert (placed.place, placed.total) == (len(above) + 1, len(scores) + 1)
            order = sorted(scores, key=lambda item_id: -scores[item_id])
            assert [each.item_id for each in placed.above] == order[max(0, len(above) - 2) : len(above)]
            assert [each.item_id for each in placed.below] == order[len(above) : len(above) + 2]
        assert shop.model.catalog is catalog
        assert torch.equal(shop.model.item_embeddings, vectors)

    def test_an_item_with_the_text_of_another_has_its_score(self):
        shop = some_shop()
        placed = shop.placed(Visit((IDS[0],), invented=CATALOG[9]))
        assert placed.score == pytest.approx(scores_of(shop, [IDS[0]])[IDS[9]], abs=1e-4)

    def test_without_history_or_item_there_is_no_place(self):
        assert some_shop().placed(Visit(invented=WOK)) is None
        assert some_shop().placed(Visit((IDS[0],))) is None


def test_what_the_page_cannot_show_is_said():
    tokenizer = shop_tokenizer()
    with pytest.raises(TypeError, match="needs a RecformerForSeqRec, which reads items as text, but got a Linear"):
        Shop(torch.nn.Linear(1, 1), tokenizer)
    with pytest.raises(ValueError, match="no items"):
        Shop(shop_encoder(tokenizer), tokenizer)
    model: RecformerForSeqRec = shop_encoder(tokenizer)
    model.set_item_embeddings(torch.ones(3, model.config.hidden_size))
    with pytest.raises(ValueError, match="no catalogue"):
        Shop(model, tokenizer)
    assert HOSTILE_ID in some_shop().catalog
