from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from recformer_hf import RecformerForSeqRec, RecformerTokenizer
from recformer_hf.serving.answering import UnanswerableError
from recformer_hf.serving.item_changes import COMPACT_EVERY, ChangeableItems, Changes, encoder_of, normal_item
from recformer_hf.serving.items_journal import FEWEST_STALE, ItemsJournal
from recformer_hf.serving.loading import Recommender
from tests.support.heads import trained
from tests.support.memories import some_memory
from tests.support.serving import IDS, saved_shop
from tests.support.shops import CATALOG


def items(tmp_path: Path, model: RecformerForSeqRec | None = None) -> ChangeableItems:
    folder = saved_shop() / "shop"
    tokenizer = RecformerTokenizer.from_pretrained(folder)
    model = RecformerForSeqRec.from_pretrained(folder) if model is None else model
    return ChangeableItems(Recommender("shop", model, tokenizer), ItemsJournal(tmp_path / "journal"))


def change(changeable: ChangeableItems, **wanted):
    return changeable.change([Changes({key.replace("_", "-"): value for key, value in wanted.items()})])[0]


def assert_same_model(found, expected):
    assert list(found.catalog.ids) == list(expected.catalog.ids)
    assert list(found.catalog) == list(expected.catalog)
    torch.testing.assert_close(found.item_vectors.data, expected.item_vectors.data, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("head", ["paper", "narrow"])
def test_changes_are_those_of_the_model_s_own_methods(tmp_path, head):
    tokenizer = RecformerTokenizer.from_pretrained(saved_shop() / "shop")
    model, expected = (trained(CATALOG, tokenizer, head) for _ in range(2))
    for each in (model, expected):
        each.memory = some_memory(60)
    changeable = items(tmp_path, model)
    outcome = change(
        changeable, new_1={"title": "A new whisk", "brand": None, "size": 3}, kitchen_0003={"title": "Pan"}
    )
    assert (outcome.added, outcome.changed, outcome.removed) == (["new-1"], ["kitchen-0003"], [])
    assert change(changeable, kitchen_0007=None).removed == ["kitchen-0007"]
    expected.update_items({"kitchen-0003": {"title": "Pan"}}, tokenizer)
    expected.add_items({"new-1": {"title": "A new whisk", "size": "3"}}, tokenizer)
    expected.remove_items(["kitchen-0007"])
    assert_same_model(model, expected)
    rows = [np.array([1, 2])]
    torch.testing.assert_close(model.memory.scores(rows), expected.memory.scores(rows), atol=1e-5, rtol=1e-5)


def test_a_new_process_has_the_changes_without_encoding_them(tmp_path, monkeypatch):
    first = items(tmp_path)
    change(first, new_1={"title": "A new whisk"}, kitchen_0003={"title": "Pan"})
    change(first, new_1=None, kitchen_0004=None, new_2={"title": "A newer whisk"})
    second = items(tmp_path)
    monkeypatch.setattr("recformer_hf.serving.item_changes.encode_items", lambda *_: pytest.fail("encoded again"))
    assert second.follow() == 5
    assert second.follow() == 0
    assert_same_model(second.recommender.model, first.recommender.model)


def test_processes_follow_each_other(tmp_path):
    first, second = items(tmp_path), items(tmp_path)
    change(first, new_1={"title": "A new whisk"})
    change(second, new_2={"title": "A newer whisk"})  # it has read the first change before
    assert list(second.recommender.catalog.ids) == [*IDS, "new-1", "new-2"]
    first.follow()
    assert_same_model(first.recommender.model, second.recommender.model)


def test_vectors_of_another_encoder_are_not_taken(tmp_path, monkeypatch):
    change(items(tmp_path), new_1={"title": "A new whisk"}, kitchen_0003={"title": "Pan"})
    other = items(tmp_path)
    with torch.no_grad():
        other.recommender.model.recformer.embeddings.word_embeddings.weight.mul_(1.1)
    other.follow()
    tokenizer = other.recommender.tokenizer
    expected = other.recommender.model.encode_items([{"title": "A new whisk"}], tokenizer)[0]
    torch.testing.assert_close(other.recommender.model.item_embeddings[60].data, expected)
    other.keep_vectors()
    again = items(tmp_path)
    again.recommender.model = other.recommender.model  # an equal encoder
    monkeypatch.setattr("recformer_hf.serving.item_changes.encode_items", lambda *_: pytest.fail("encoded again"))
    again.follow()
    size = again.journal.path.stat().st_size
    again.keep_vectors()
    assert again.journal.path.stat().st_size == size


def test_a_change_without_a_difference_is_not_written(tmp_path):
    changeable = items(tmp_path)
    outcome = change(changeable, kitchen_0003=CATALOG[3])
    assert outcome.changed == ["kitchen-0003"]
    assert not changeable.journal.path.exists() or not changeable.journal.path.stat().st_size


def test_requests_that_run_together_see_each_other(tmp_path):
    changeable = items(tmp_path)
    requests = [
        Changes({"a": {"title": "one"}}), Changes({"a": {"title": "two"}, "b": {"title": "b"}}), Changes({"c": None}),
        Changes({"b": None}), Changes({"b": None}),
    ]  # fmt: skip
    first, second, unknown, fourth, gone = changeable.change(requests)
    assert first.added == ["a"]
    assert (second.changed, second.added) == (["a"], ["b"])
    assert isinstance(unknown, UnanswerableError)
    assert unknown.field == "item_ids[0]"
    assert fourth.removed == ["b"]
    assert isinstance(gone, UnanswerableError)
    assert list(changeable.recommender.catalog.ids) == [*IDS, "a"]
    assert changeable.recommender.catalog[60] == {"title": "two"}


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"title": " "}, "text"),
        ({"title": None}, "text"),
        ({"item_id": "x", "title": "b"}, "cannot be called item_id"),
        ({"title": {1, 2}}, "set"),
    ],
)
def test_what_no_catalogue_can_have_is_refused(tmp_path, attributes, words):
    changeable = items(tmp_path)
    bad, good = changeable.change([Changes({"a": {"title": "x"}, "b": attributes}), Changes({"c": {"title": "x"}})])
    assert isinstance(bad, UnanswerableError)
    assert bad.field == "items[1].attributes"
    assert words in bad.detail
    assert good.added == ["c"]
    assert "a" not in changeable.recommender.catalog


def test_the_last_item_stays(tmp_path):
    changeable = items(tmp_path)
    everything = changeable.change([Changes(dict.fromkeys(IDS))])[0]
    assert isinstance(everything, UnanswerableError)
    assert "last item" in everything.detail
    assert len(changeable.change([Changes(dict.fromkeys(IDS[1:]))])[0].removed) == 59
    assert isinstance(changeable.change([Changes({IDS[0]: None})])[0], UnanswerableError)


def test_a_failed_write_changes_nothing(tmp_path, monkeypatch):
    changeable = items(tmp_path)

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ItemsJournal, "append", fails)
    with pytest.raises(OSError, match="No space"):
        change(changeable, a={"title": "x"})
    assert list(changeable.recommender.catalog.ids) == IDS


def test_a_long_journal_is_compacted(tmp_path):
    changeable = items(tmp_path)
    for number in range(12):
        changeable.change([Changes({f"n{i}": {"title": f"{number}"} for i in range(100)})])
    assert max(FEWEST_STALE, COMPACT_EVERY) <= 1200 - 100
    assert len(changeable.journal.read()[0]) <= 300
    change(changeable, last={"title": "x"})
    again = items(tmp_path)
    again.follow()
    assert_same_model(again.recommender.model, changeable.recommender.model)


@pytest.mark.parametrize("key", ["attributes", "key", "value", "title\n", "", "score", "Item_ID"])
def test_any_name_of_an_attribute_survives(tmp_path, key):
    changeable = items(tmp_path)
    text = "first, ‘second’"
    assert normal_item("a", {key: text}, "") == ("a", {key: text})
    change(changeable, a={key: text, "title": "x"})
    again = items(tmp_path)
    again.follow()
    assert again.recommender.catalog[60] == {key: text, "title": "x"}


def test_an_encoder_is_its_weights_and_its_tokenizer(tmp_path):
    changeable = items(tmp_path)
    name = encoder_of(changeable.recommender)
    shutil.copytree(saved_shop() / "shop", tmp_path / "shop")
    model = RecformerForSeqRec.from_pretrained(tmp_path / "shop")
    tokenizer = RecformerTokenizer.from_pretrained(tmp_path / "shop")
    assert encoder_of(Recommender("copy", model, tokenizer)) == name
    tokenizer.max_attr_num = 1
    assert encoder_of(Recommender("copy", model, tokenizer)) != name
    with torch.no_grad():
        changeable.recommender.model.recformer.embeddings.word_embeddings.weight[5, 5] += 1e-3
    assert encoder_of(changeable.recommender) != name
