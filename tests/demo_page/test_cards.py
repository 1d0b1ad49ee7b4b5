"""The lists of the page as HTML: what stands in them, that it is escaped, and which buttons they have."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from recformer_hf.demo_page.cards import chosen_items, found_items, invented_item, name_of, recommended_items
from recformer_hf.demo_page.session import INVENTED, MOST_HISTORY, Visit
from tests.support.demo_page import HOSTILE, HOSTILE_ID, some_shop
from tests.support.shops import CATALOG

IDS = list(CATALOG.ids)


class Read(HTMLParser):
    """The text, the kinds of elements, and the buttons of some HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.buttons = "", set(), []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        assert not [name for name, _ in attributes if name.startswith("on")]
        if tag == "button":
            self.buttons.append(dict(attributes))

    def handle_data(self, data):
        self.text += data

    def items(self, act: str) -> list[str]:
        return [button["data-item"] for button in self.buttons if button["data-act"] == act]


def test_found_items_can_be_added():
    shop = some_shop()
    read = Read(found_items(shop, ""))
    assert read.items("add") == shop.search("")
    assert all(name_of(shop.item(item_id)) in read.text for item_id in shop.search(""))
    assert "No item has all of these words" in found_items(shop, "zebra")


def test_the_history_has_its_newest_item_first():
    shop = some_shop()
    read = Read(chosen_items(shop, Visit((IDS[0], {"title": "Mine"}, IDS[1]))))
    assert read.items("remove") == ["2", "1", "0"]
    assert read.text.index(CATALOG[1]["title"]) < read.text.index("Mine") < read.text.index(CATALOG[0]["title"])
    assert "at most" in chosen_items(shop, Visit((IDS[0],) * MOST_HISTORY))
    assert "Empty" in chosen_items(shop, Visit())


def test_ten_items_with_scores_and_one_of_them_opened():
    shop, visit = some_shop(), Visit((IDS[0], IDS[1]))
    best = shop.recommended(visit)
    read = Read(recommended_items(shop, visit))
    assert read.items("why") == read.items("similar") == read.items("add") == [each.item_id for each in best]
    assert all(f"{each.score:.3f}" in read.text for each in best)
    assert {button.get("aria-expanded") for button in read.buttons} == {"false", None}

    opened = recommended_items(shop, shop.act(visit, "why", best[3].item_id))
    assert shop.explained(visit, best[3].item_id).to_html() in opened
    (pressed,) = [button for button in Read(opened).buttons if button.get("aria-expanded") == "true"]
    assert (pressed["data-act"], pressed["data-item"]) == ("why", best[3].item_id)

    read = Read(recommended_items(shop, shop.act(visit, "similar", best[3].item_id)))
    near = [each.item_id for each in shop.similar(best[3].item_id)]
    assert read.items("add")[4:14] == near

    assert "appear here" in recommended_items(shop, Visit())


def test_an_invented_item_stands_between_its_neighbours():
    shop, visit = some_shop(), Visit((IDS[0],), invented={"title": "Copper Wok", "brand": "Lumwick"})
    placed, html = shop.placed(visit), invented_item(shop, visit)
    read = Read(html)
    assert f"Place {placed.place} of {placed.total}" in read.text
    assert read.items("add") == read.items("why") == [INVENTED]
    names = [name_of(shop.item(each.item_id)) for each in placed.above]
    names += ["Copper Wok", *(name_of(shop.item(each.item_id)) for each in placed.below)]
    places = [read.text.index(f"{name}{'Lumwick' if name == 'Copper Wok' else ''}") for name in names]
    assert places == sorted(places)
    assert "rf-why" in invented_item(shop, shop.act(visit, "why", INVENTED))
    assert len(Read(invented_item(shop, shop.act(visit, "similar", INVENTED))).items("add")) == 11
    assert "add an item to it first" in invented_item(shop, Visit(invented={"title": "Copper Wok"}))
    assert "Nothing is saved" in invented_item(shop, Visit((IDS[0],)))


@pytest.mark.parametrize("act", ["why", "similar"])
def test_texts_and_ids_are_escaped(act):
    shop = some_shop()
    hostile = {"title": HOSTILE, "brand": HOSTILE}
    visit = shop.act(Visit((HOSTILE_ID, hostile, IDS[0]), True, invented={"title": HOSTILE}), act, HOSTILE_ID)
    opened = shop.act(visit, act, INVENTED)
    parts = [found_items(shop, "onerror"), chosen_items(shop, visit), invented_item(shop, opened)]
    for part in (*parts, recommended_items(shop, visit)):
        read = Read(part)
        assert not read.tags & {"img", "script"}
        if part in parts:
            assert "<img src=x onerror=alert(1)>" in read.text
    assert Read(parts[0]).items("add") == [HOSTILE_ID]


def test_the_name_of_an_item():
    assert name_of({"brand": "Acme", "Title": "Wok"}) == "Wok"
    assert name_of({"brand": "Acme", "title": " "}) == "Acme"
    assert name_of({}) == "(no text)"


def test_long_texts_are_cut():
    shop = some_shop()
    html = chosen_items(shop, Visit(({"title": "Wok", "about": "word " * 99},)))
    assert "…" in html
    assert html.count("word") < 40
