"""`explain`: against `recommend` on what is left, for every kind of model."""

from __future__ import annotations

import json

import pytest
import torch

from recformer_hf import UnknownItemError
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.explaining import explain, explain_top
from tests.support.explanations import mixed_history, recommender, score_of, tokenizer
from tests.support.heads import HEADS, trained
from tests.support.memories import some_memory
from tests.support.shops import CATALOG

IDS = list(CATALOG.ids)


def assert_sums(explanation) -> None:
    """The rules of sums, to 1e-5."""
    assert sum(part.value for part in explanation.parts) == pytest.approx(explanation.score, abs=1e-5)
    for part in explanation.parts:
        if part.parts:
            assert sum(inner.value for inner in part.parts) == pytest.approx(part.value, abs=1e-5)
        for inner in part.parts:
            assert sum(inner.places) == pytest.approx(inner.value, abs=1e-5)
            assert len(inner.places) == len(explanation.items)
    for item in explanation.items:
        assert sum(item.effect_parts.values()) == pytest.approx(item.effect, abs=1e-5)
        assert list(item.effect_parts) == [part.name for part in explanation.parts]
    if explanation.words:
        assert sum(word.share for word in explanation.words) == pytest.approx(1, abs=1e-5)
        texts = sum(part.value for part in explanation.parts if part.name in ("text", "residual"))
        in_target = [word for attribute in explanation.target for word in attribute.words]
        for words, blank in ((explanation.words, explanation.blank_history), (in_target, explanation.blank_target)):
            assert sum(word.estimate for word in words) + blank == pytest.approx(texts, abs=1e-5, rel=1e-5)


class TestScores:
    @pytest.mark.parametrize("item", [IDS[30], IDS[1]], ids=["another item", "an item of the history"])
    def test_score_and_effects_are_those_of_recommend(self, model, item):
        history = mixed_history()
        found = explain(model, tokenizer(), history, item)
        assert found.item_id == item
        assert found.score == pytest.approx(score_of(model, history, item), abs=1e-5)
        for place, effect in enumerate(found.items):
            left = score_of(model, history[:place] + history[place + 1 :], item)
            assert found.score - effect.effect == pytest.approx(left, abs=1e-5)
        assert_sums(found)
        json.dumps(found.to_dict(), allow_nan=False)

    def test_the_first_recommendation(self, model):
        history = mixed_history()
        best = model.recommend([history], tokenizer(), 3)
        found = explain(model, tokenizer(), history)
        assert found.item_id == best.item_ids[0][0]
        assert found.score == pytest.approx(float(best.scores[0, 0]), abs=1e-5)
        top = explain_top(model, tokenizer(), history, 3)
        assert [each.item_id for each in top] == best.item_ids[0]
        assert [each.score for each in top] == pytest.approx(best.scores[0].tolist(), abs=1e-5)
        assert str(top[0]) == str(found)
        for each in top:
            assert_sums(each)
        exclude, candidates = [found.item_id], [found.item_id, IDS[40]]
        other = explain(model, tokenizer(), history, exclude=exclude, candidates=candidates)
        assert other.item_id == IDS[40]

    def test_a_new_item_is_scored_as_if_it_were_added(self, model):
        history, new = mixed_history(), {"title": "Copper wok", "brand": "Acme"}
        found = explain(model, tokenizer(), history, new)
        bigger = model.with_catalog({"n": new}, tokenizer())
        dictionaries = [CATALOG[IDS.index(entry)] if isinstance(entry, str) else entry for entry in history]
        if model.item_residuals is None:
            assert found.score == pytest.approx(score_of(bigger, dictionaries, "n"), abs=1e-5)
        assert found.item_id is None
        assert_sums(found)

    def test_an_item_of_the_catalogue_by_its_dictionary(self, model):
        item = {"item_id": IDS[9], "title": "ignored"}
        assert (
            explain(model, tokenizer(), [IDS[0]], item).to_dict()
            == explain(model, tokenizer(), [IDS[0]], IDS[9]).to_dict()
        )

    def test_attributes_of_a_flat_model(self):
        model, history = recommender("paper with memory"), mixed_history()
        found = explain(model, tokenizer(), history, IDS[30])
        left = {key: value for key, value in CATALOG[1].items() if key != "title"}
        # The memory counts items, whatever their texts say.
        memory = [part.value for part in found.parts if part.name == "memory"]
        without = explain(recommender("paper"), tokenizer(), [*history[:4], left], IDS[30], words=False)
        title = next(each for each in found.items[4].attributes if each.key == "title")
        assert found.score - title.effect == pytest.approx(without.score + memory[0], abs=2e-5)

    def test_zero_shot(self, model):
        """A shop that the model has never seen, which has learned nothing of its items."""
        shop = model.with_catalog(
            {"a": {"title": "wok"}, "b": {"title": "red pan"}, "c": {"title": "tent"}}, tokenizer()
        )
        found = explain(shop, tokenizer(), ["a", "b"])
        assert found.item_id == "c"
        assert_sums(found)
        assert [part.value for part in found.parts if part.name == "residual"] in ([], [0.0])

    def test_a_model_without_items_compares_two_texts(self, model):
        empty = model.with_catalog({"a": {"title": "wok"}}, tokenizer())
        empty.remove_items(["a"])
        found = explain(empty, tokenizer(), [{"title": "wok"}], {"title": "red pan"})
        assert_sums(found)
        with pytest.raises(ValueError, match="no items"):
            explain(empty, tokenizer(), [{"title": "wok"}])


class TestEdges:
    def test_a_history_of_one_item(self, model):
        found = explain(model, tokenizer(), [IDS[3]], IDS[30])
        assert found.items[0].effect == pytest.approx(found.score, abs=1e-9)
        assert found.items[0].effect_parts == pytest.approx({part.name: part.value for part in found.parts})
        assert any("whole score" in note for note in found.notes)

    def test_an_item_that_is_there_twice(self, model):
        """Each place is left out alone."""
        found = explain(model, tokenizer(), [IDS[3], IDS[3]], IDS[30])
        left = score_of(model, [IDS[3]], IDS[30])
        assert [found.score - item.effect for item in found.items] == pytest.approx([left, left], abs=1e-5)

    @pytest.mark.parametrize("kind", ["paper", "paper with memory", "narrow"])
    def test_items_that_are_not_read(self, kind):
        model = recommender(kind)
        history = IDS[:55]  # of which the newest 50 can be read, and a flat model has no tokens for all of them
        found = explain(model, tokenizer(), history, IDS[58], attributes=False, words=False)
        unread = [item.place for item in found.items if item.read == "none"]
        assert unread == list(range(5 if kind == "narrow" else 17))
        assert f"the oldest {len(unread)} of 55 items" in found.notes[0]
        for place in (0, 4, 5, 17, 54):
            left = score_of(model, history[:place] + history[place + 1 :], IDS[58])
            assert found.score - found.items[place].effect == pytest.approx(left, abs=1e-5)
        if kind == "paper":
            assert all(found.items[place].effect == 0 for place in unread)
        assert_sums(found)

    def test_tokens_that_are_not_read(self):
        model, history = recommender("paper with memory"), IDS[:4]
        limit, model.config.max_token_num = model.config.max_token_num, 36
        try:
            found = explain(model, tokenizer(), history, IDS[58])
            left = [score_of(model, history[:place] + history[place + 1 :], IDS[58]) for place in range(4)]
        finally:
            model.config.max_token_num = limit
        assert [item.read for item in found.items] == ["none", "none", "part", "all"]
        assert [found.score - item.effect for item in found.items] == pytest.approx(left, abs=1e-5)
        assert all(item.effect_parts["text"] == 0 for item in found.items[:2])
        first, *_, last = found.items[2].attributes
        assert first.effect != 0
        assert (last.read, last.effect, last.words) == ("none", 0.0, ())
        assert_sums(found)

    def test_limits_that_leave_nothing_to_read(self):
        model = recommender("paper")
        limit, model.config.max_token_num = model.config.max_token_num, 1
        try:
            found = explain(model, tokenizer(), IDS[:2], IDS[58])
        finally:
            model.config.max_token_num = limit
        assert [item.read for item in found.items] == ["none", "none"]
        assert [item.effect for item in found.items] == [0, 0]
        assert not found.words

    def test_an_item_of_the_history(self, model):
        found = explain(model, tokenizer(), IDS[:3], IDS[1])
        assert "recommend leaves it out unless exclude_history=False" in found.notes[0]

    def test_parts_of_the_work(self, model):
        history = mixed_history()
        whole = explain(model, tokenizer(), history, IDS[30])
        items = explain(model, tokenizer(), history, IDS[30], attributes=False, words=False)
        assert [each.effect for each in items.items] == pytest.approx([each.effect for each in whole.items], abs=1e-5)
        assert all(each.effect is None for each in (*items.attributes, *items.target))
        assert not items.words
        assert all(each.effect is not None for each in (*whole.attributes, *whole.target))
        assert whole.words

    def test_little_memory(self, model):
        """Forward passes of few tokens give the same numbers."""
        history = mixed_history()
        many, few = (explain(model, tokenizer(), history, IDS[30], max_tokens=most).to_dict() for most in (8192, 40))
        torch.testing.assert_close(
            torch.tensor([item["effect"] for item in few["items"]]),
            torch.tensor([item["effect"] for item in many["items"]]),
            atol=1e-5, rtol=0,
        )  # fmt: skip

    def test_a_model_in_training_stays_in_it_and_inference_mode_does_not_hinder(self):
        model, history = recommender("narrow"), mixed_history()
        expected = explain(model, tokenizer(), history, IDS[30])
        weights = {name: weight.clone() for name, weight in model.state_dict().items()}
        model.train()
        try:
            with torch.inference_mode():
                found = explain(model, tokenizer(), history, IDS[30])
            assert model.training
        finally:
            model.eval()
        assert found.score == pytest.approx(expected.score, abs=1e-5)
        assert [word.estimate for word in found.words] == pytest.approx(
            [word.estimate for word in expected.words], abs=1e-4
        )
        assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())
        assert all(weight.grad is None for weight in model.parameters())


class TestErrors:
    def test_ids(self, model):
        with pytest.raises(UnknownItemError, match=r"The item is unknown: .*kitchen-0001"):
            explain(model, tokenizer(), [IDS[0]], "kitchen-00011")
        with pytest.raises(UnknownItemError, match="Item 1 of the history is unknown"):
            explain(model, tokenizer(), [IDS[0], "nothing"], IDS[1])

    def test_histories(self, model):
        with pytest.raises(ValueError, match="The history is empty"):
            explain(model, tokenizer(), [], IDS[1])
        with pytest.raises(TypeError, match="expected a list of items"):
            explain(model, tokenizer(), IDS[0], IDS[1])
        with pytest.raises(ValueError, match="Item 1 of the history is empty"):
            explain(model, tokenizer(), [IDS[0], {"title": " "}], IDS[1])

    def test_items(self, model):
        with pytest.raises(ValueError, match="The item is empty"):
            explain(model, tokenizer(), [IDS[0]], {"title": ""})
        with pytest.raises(TypeError, match="The item is a list"):
            explain(model, tokenizer(), [IDS[0]], [IDS[1]])

    def test_tokenizers_and_models(self, model):
        with pytest.raises(TypeError, match="RecformerTokenizer"):
            explain(model, None, [IDS[0]], IDS[1])
        with pytest.raises(
            TypeError, match="Expected a RecformerForSeqRec or a neural baseline to explain, got a dict"
        ):
            explain({}, tokenizer(), [IDS[0]], IDS[1])
        with pytest.raises(ValueError, match="top_k is 100"):
            explain_top(model, tokenizer(), [IDS[0]], 100)


def named_as_most_important(parts: str, num_users: int, most_items: int, **settings: int) -> int:
    """Of how many users the item that is named is the one without which `recommend` scores lowest."""
    dataset = load_demo_domain("kitchen", num_users=num_users, num_items=60)
    model = trained(dataset.catalog, tokenizer(), parts, **settings)
    model.memory = some_memory(len(dataset.catalog))
    right = 0
    for user in range(num_users):
        history = [dataset.catalog.id_of(row) for row in dataset.splits["test"].history(user)[-most_items:].tolist()]
        found = explain(model, tokenizer(), history, attributes=False, words=False)
        assert_sums(found)
        left = [history[:place] + history[place + 1 :] for place in range(len(history))]
        scores = model.recommend(left, tokenizer(), 1, exclude_history=False, candidates=[found.item_id]).scores[:, 0]
        right += bool(scores[found.most_important.place] <= scores.min() + 1e-5)
    return right


def test_the_most_important_item_of_a_hundred_users():
    assert named_as_most_important("narrow", 100, 5, num_hidden_layers=1) == 100


@pytest.mark.slow
@pytest.mark.parametrize("parts", HEADS)
def test_the_most_important_item_of_whole_histories(parts):
    assert named_as_most_important(parts, 100, 50) == 100
