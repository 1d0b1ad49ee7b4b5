"""RecformerTokenizer: items, histories, batches and plain text over byte-level BPE, WordPiece and Unigram."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import subprocess
import sys
import threading
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers, processors
from transformers import (
    AutoTokenizer,
    BertTokenizer,
    DataCollatorWithPadding,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

from recformer_hf.configuration_recformer import RecformerConfig
from recformer_hf.tokenization_recformer import EncodedItem, RecformerTokenizer, _item_backends
from tests.support.tokenizers import (
    CATALOG,
    GUITAR,
    ROBERTA_FILES,
    SCREWS,
    SPECIAL_STRINGS,
    SWITCH,
    TEXTS,
    save_tokenizers,
)

EXPECTED = json.loads((ROBERTA_FILES / "expected.json").read_text(encoding="utf-8"))
LIMITS = EXPECTED["configs"]

# Where this project differs from the replication on purpose: special-token strings stay text, an attribute without a
# value goes with its key, an empty item or history is an error.
OTHER_ITEMS = {"specials", "empty_value", "empty_item"}
OTHER_HISTORIES = {"specials", "empty", "with_empty_item"}


def as_dict(pairs: list[list[str]]) -> dict[str, str]:
    return dict(map(tuple, pairs))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    return save_tokenizers(tmp_path_factory.mktemp("tokenizers"))


@pytest.fixture(scope="module", params=["roberta", "bert", "xlm_roberta", "trained"])
def tokenizer(request, folders) -> RecformerTokenizer:
    return RecformerTokenizer.from_pretrained(folders[request.param])


@pytest.fixture(scope="module")
def roberta() -> RecformerTokenizer:
    return RecformerTokenizer.from_pretrained(ROBERTA_FILES)


# What the public replication gives


def test_texts_equal_the_replication(roberta):
    for case in EXPECTED["texts"]:
        if not any(special in case["text"] for special in SPECIAL_STRINGS):
            assert roberta(case["text"], add_special_tokens=False)["input_ids"] == case["ids"], case["text"]


@pytest.mark.parametrize("config", EXPECTED["encoded_items"])
def test_items_equal_the_replication(config):
    tokenizer = RecformerTokenizer.from_pretrained(ROBERTA_FILES, **LIMITS[config])
    for name, pairs in EXPECTED["items"].items():
        if name not in OTHER_ITEMS:
            encoded = tokenizer.encode_item(as_dict(pairs))
            assert encoded.input_ids.tolist() == EXPECTED["encoded_items"][config][name]["input_ids"], name
            assert encoded.token_type_ids.tolist() == EXPECTED["encoded_items"][config][name]["token_type_ids"], name


@pytest.mark.parametrize("config", EXPECTED["sequences"])
def test_histories_equal_the_replication(config):
    tokenizer = RecformerTokenizer.from_pretrained(ROBERTA_FILES, **LIMITS[config])
    for name, history in EXPECTED["histories"].items():
        if name not in OTHER_HISTORIES:
            items = [as_dict(pairs) for pairs in history]
            encoded = tokenizer(items, return_attention_mask=False)
            assert encoded == EXPECTED["sequences"][config][name], name
            joined = tokenizer.encode_history([tokenizer.encode_item(item) for item in items])
            assert {**encoded, "attention_mask": [1] * len(joined["input_ids"])} == joined


@pytest.mark.parametrize("config", ["default", "tight", "one_token", "one_item"])
def test_batches_equal_the_replication(config):
    """Its batches hold an empty history and an empty item, so ours is put together from parts, and padded."""
    tokenizer = RecformerTokenizer.from_pretrained(ROBERTA_FILES, **LIMITS[config])
    nothing = EncodedItem(np.empty(0, np.int32), np.empty(0, np.uint8))
    rows = []
    for name in EXPECTED["batches"][config]["names"]:
        items = [tokenizer.encode_item(as_dict(p)) if p else nothing for p in EXPECTED["histories"][name]]
        rows.append(tokenizer.encode_history(items or [nothing]))
    expected = {key: value for key, value in EXPECTED["batches"][config].items() if key != "names"}
    assert dict(tokenizer.pad(rows)) == expected


def test_what_differs_from_the_replication_on_purpose(roberta):
    ids = roberta.encode_item(as_dict(EXPECTED["items"]["specials"])).input_ids
    assert not set(ids.tolist()) & set(roberta.all_special_ids)
    assert roberta.decode(roberta.encode_item({"title": "", "brand": "Sony"}).input_ids) == "brandSony"


# Plain text


def test_text_is_as_in_the_source_tokenizer(folders):
    for name, source_class in {
        "roberta": RobertaTokenizer,
        "bert": BertTokenizer,
        "xlm_roberta": XLMRobertaTokenizer,
    }.items():
        source, ours = source_class.from_pretrained(folders[name]), RecformerTokenizer.from_pretrained(folders[name])
        assert dict(ours(TEXTS)) == dict(source(TEXTS)), name
        assert dict(ours("one", "two")) == dict(source("one", "two"))
        options = {"padding": "max_length", "max_length": 6, "truncation": True, "return_tensors": "np"}
        assert {k: v.tolist() for k, v in ours(TEXTS, **options).items()} == {
            k: v.tolist() for k, v in source(TEXTS, **options).items()
        }
        assert [ours.tokenize(text) for text in TEXTS] == [source.tokenize(text) for text in TEXTS]
        split = {"is_split_into_words": True, "add_special_tokens": False}
        if name != "roberta":  # which needs add_prefix_space for split words
            assert dict(ours([["steel", "screws"]], **split)) == dict(source([["steel", "screws"]], **split))
        assert ours.special_tokens_map == source.special_tokens_map


def test_text_is_not_changed_by_items(tokenizer):
    before = dict(tokenizer(TEXTS))
    tokenizer([SWITCH, GUITAR], padding="max_length", max_length=5, truncation=True)
    assert dict(tokenizer(TEXTS)) == before
    assert not tokenizer.backend_tokenizer.encode_special_tokens


def test_text_and_items_in_two_threads(tokenizer):
    text, item, wrong = dict(tokenizer(TEXTS)), dict(tokenizer(SWITCH)), []

    def check(data, expected, **options):
        for _ in range(200):
            if dict(tokenizer(data, **options)) != expected:
                wrong.append(data)

    threads = [threading.Thread(target=check, args=(TEXTS, text)), threading.Thread(target=check, args=(SWITCH, item))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# Items


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2017, "2017"),
        (12.5, "12.5"),
        (True, "True"),
        (Decimal("9.90"), "9.90"),
        (np.float32(0.1), "0.1"),
        (np.int64(7), "7"),
        (np.bool_(False), "False"),
        (["Video Games", "Nintendo"], "Video Games Nintendo"),
        (("a", 2, None, "", 3.5), "a 2 3.5"),
        (np.array(["a", "b"]), "a b"),
        ("\ud83c\udfae", "🎮"),
        ("\ud800x", "�x"),
    ],
)
def test_values_become_text_as_str_writes_them(tokenizer, value, text):
    item = tokenizer.encode_item({"key": value})
    assert item.input_ids.tolist() == tokenizer.encode_item({"key": text}).input_ids.tolist()


@pytest.mark.parametrize(
    "missing", [None, "", " \t\n", float("nan"), np.float32("nan"), [], [None, ""], Decimal("nan")]
)
def test_missing_values_go_with_their_key_and_do_not_count(tokenizer, missing):
    item = {"a": missing, "b": "x", "c": missing, "d": "y", "e": "z", "f": "not read"}
    assert tokenizer(item) == tokenizer({"b": "x", "d": "y", "e": "z"})


@pytest.mark.parametrize(
    "value",
    [
        b"bytes",
        {"a", "b"},
        {"a": b"bytes"},
        [[[[[[[[["a"]]]]]]]]],
        timedelta(1),
        object(),
        1j,
        pytest.param(10**5000, id="huge"),
    ],
)
def test_values_that_are_no_text_raise(tokenizer, value):
    with pytest.raises(TypeError, match=r"The item has a value of type \w+ under 'details'"):
        tokenizer.encode_item({"title": "x", "details": value})
    with pytest.raises(TypeError, match=r"Item 1 of the history .* under 'details'"):
        tokenizer([SWITCH, {"details": value}])
    with pytest.raises(TypeError, match=r"Item 0 of history 1 .* under 'details'"):
        tokenizer([[SWITCH], [{"details": value}]])
    with pytest.raises(TypeError, match=r"Item 2 .* under 'details'"):
        tokenizer.encode_items([SWITCH, GUITAR, {"details": value}])


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({}, ValueError, "The item is empty"),
        ({"title": None}, ValueError, "The item is empty"),
        ({3: "x"}, TypeError, "The item has the key 3 of type int"),
        ([], ValueError, "The history is empty"),
        ([[]], ValueError, "History 0 is empty"),
        ([[SWITCH], []], ValueError, "History 1 is empty"),
        ([SWITCH, {}], ValueError, "Item 1 of the history is empty"),
        ([[SWITCH], [SWITCH, {"a": ""}]], ValueError, "Item 1 of history 1 is empty"),
        ([{(): "x"}], TypeError, "Item 0 of the history has the key"),
        ([SWITCH, "Switch"], TypeError, "Item 1 of the history must be a dictionary .* got str"),
        (["Switch", SWITCH], TypeError, "Item 0 of the history must be a dictionary .* got str"),
        ([[SWITCH, None]], TypeError, "Item 1 of history 0 must be a dictionary .* got NoneType"),
        ([SWITCH, [SWITCH]], TypeError, "History 0 of the batch must be a list of items"),
        (5, TypeError, "The item must be a dictionary .* got int"),
        ([5], TypeError, "Item 0 of the history must be a dictionary .* got int"),
    ],
)
def test_bad_input_is_named(tokenizer, data, error, message):
    with pytest.raises(error, match=message):
        tokenizer(data)


def test_an_old_item_is_checked_even_if_it_is_cut_off(roberta):
    with pytest.raises(TypeError, match="Item 0 of the history"):
        roberta([3, *[SWITCH] * 60])


def test_limits(tokenizer):
    """Each limit by itself, against what the tokenizer gives without it."""
    full = tokenizer.encode_item({"a": "x", "b": "y", "c": "z"})
    short = copy.deepcopy(tokenizer)
    short.max_attr_num = 2
    assert (
        short.encode_item({"a": "x", "b": "y", "c": "z"}).input_ids.tolist()
        == tokenizer.encode_item({"a": "x", "b": "y"}).input_ids.tolist()
    )
    short = copy.deepcopy(tokenizer)
    short.max_attr_length = 1
    assert short.encode_item({"a": "x", "b": "y", "c": "z"}).token_type_ids.tolist() == [1, 1, 1]
    assert short.encode_item({"a": "x"}).input_ids.tolist() == full.input_ids[:1].tolist()
    short = copy.deepcopy(tokenizer)
    short.max_item_embeddings = 3
    assert short([GUITAR, SWITCH, SCREWS]) == tokenizer([SWITCH, SCREWS])
    short = copy.deepcopy(tokenizer)
    short.max_token_num = 4
    assert dict(short([GUITAR, SWITCH])) == {name: values[:4] for name, values in tokenizer([GUITAR, SWITCH]).items()}


@pytest.mark.parametrize("name", ["max_attr_num", "max_attr_length", "max_item_embeddings", "max_token_num"])
@pytest.mark.parametrize("value", [0, -3, 2.0, "3", True, None])
def test_bad_limits_raise(roberta, name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least [12], got"):
        RecformerTokenizer.from_pretrained(ROBERTA_FILES, **{name: value})
    with pytest.raises(ValueError, match=name):
        setattr(copy.copy(roberta), name, value)


def test_no_room_for_an_item_raises():
    with pytest.raises(ValueError, match="max_item_embeddings must be an integer of at least 2, got 1"):
        RecformerTokenizer.from_pretrained(ROBERTA_FILES, max_item_embeddings=1)


# Many items


def test_encode_items_takes_any_iterable(roberta):
    assert len(roberta.encode_items(iter(CATALOG))) == len(roberta.encode_items(CATALOG)) == 4
    assert len(roberta.encode_items([])) == 0
    with pytest.raises(ValueError, match="Item 2 is empty"):
        roberta.encode_items([SWITCH, GUITAR, {}], progress=True)


# Calling it as any tokenizer


def test_padding(tokenizer):
    batch = [[SWITCH], [GUITAR, SWITCH, SCREWS]]
    ragged, padded = tokenizer(batch), tokenizer(batch, padding=True)
    length = len(ragged["input_ids"][1])
    missing = length - len(ragged["input_ids"][0])
    fill = {
        "input_ids": tokenizer.pad_token_id,
        "token_type_ids": 3,
        "item_position_ids": tokenizer.max_item_embeddings - 1,
        "attention_mask": 0,
    }
    for name, value in fill.items():
        assert padded[name] == [ragged[name][0] + [value] * missing, ragged[name][1]]
    assert dict(tokenizer(batch, padding="longest")) == dict(padded)
    assert len(tokenizer(batch, padding=True, pad_to_multiple_of=64)["input_ids"][0]) == -(-length // 64) * 64
    assert len(tokenizer(SWITCH, padding="max_length", max_length=200)["item_position_ids"]) == 200
    assert len(tokenizer(SWITCH, padding="max_length")["input_ids"]) == tokenizer.max_token_num


def test_truncation(tokenizer):
    full = tokenizer([GUITAR, SWITCH])
    assert dict(tokenizer([GUITAR, SWITCH], max_length=5, truncation=True)) == {k: v[:5] for k, v in full.items()}
    assert dict(tokenizer([GUITAR, SWITCH], max_length=5)) == {k: v[:5] for k, v in full.items()}
    assert dict(tokenizer([GUITAR, SWITCH], max_length=99_999, truncation=True)) == dict(full)
    assert dict(tokenizer([GUITAR, SWITCH], truncation=True)) == dict(full)
    assert tokenizer([GUITAR], max_length=1)["item_position_ids"] == [0]
    with pytest.raises(ValueError, match="max_length must be at least 1"):
        tokenizer([GUITAR], max_length=0)


@pytest.mark.parametrize("kind", ["np", "pt"])
def test_tensors(tokenizer, kind):
    for data, rows in ((SWITCH, 1), ([SWITCH, GUITAR], 1), ([[SWITCH], [SWITCH, GUITAR]], 2)):
        encoded = tokenizer(data, padding=True, return_tensors=kind)
        for values in encoded.values():
            assert values.shape == (rows, encoded["input_ids"].shape[1])
            assert values.dtype in (np.int64, torch.int64)
    with pytest.raises(ValueError, match="padding"):
        tokenizer([[SWITCH], [SWITCH, GUITAR]], return_tensors="pt")


def test_what_is_returned(roberta):
    assert list(roberta(SWITCH, return_attention_mask=False, padding=True)) == roberta.model_input_names[:3]
    assert "token_type_ids" not in roberta([[SWITCH], [GUITAR]], return_token_type_ids=False, padding=True)
    assert roberta((SWITCH, GUITAR)) == roberta([SWITCH, GUITAR])
    assert roberta(text=SWITCH)["input_ids"] == roberta(SWITCH)["input_ids"]


@pytest.mark.parametrize(
    "argument",
    [
        {"text_pair": "x"},
        {"stride": 2},
        {"return_offsets_mapping": True},
        {"return_overflowing_tokens": True},
        {"return_special_tokens_mask": True},
        {"return_length": True},
        {"paddin": False},
    ],
)
def test_arguments_without_meaning_for_items_raise(roberta, argument):
    with pytest.raises(TypeError, match=next(iter(argument))):
        roberta(SWITCH, **argument)


def test_arguments_that_say_off_are_fine(roberta):
    off = {"stride": 0, "text_pair": None, "return_offsets_mapping": False, "is_split_into_words": False}
    assert roberta(SWITCH, **off) == roberta(SWITCH)
    with pytest.raises(ValueError, match="starts with <s>"):
        roberta(SWITCH, add_special_tokens=False)
    with pytest.raises(TypeError, match="one positional argument"):
        roberta(SWITCH, GUITAR)


def test_padding_on_the_left_is_refused(roberta):
    with pytest.raises(ValueError, match="padded on the right, got padding_side='left'"):
        roberta([[SWITCH], [GUITAR]], padding=True, padding_side="left")
    left = copy.copy(roberta)
    left.padding_side = "left"
    with pytest.raises(ValueError, match=r"tokenizer\.padding_side = 'right'"):
        left([[SWITCH], [GUITAR]], padding=True)
    assert left(["a", "a b"], padding=True)["attention_mask"][0][0] == 0


def test_data_collator(tokenizer):
    histories = [[SWITCH], [GUITAR, SWITCH, SCREWS]]
    rows = [{**tokenizer(history), "label": index} for index, history in enumerate(histories)]
    batch = DataCollatorWithPadding(tokenizer)(rows)
    expected = tokenizer(histories, padding=True, return_tensors="pt")
    assert batch.pop("labels").tolist() == [0, 1]
    assert {name: values.tolist() for name, values in batch.items()} == {k: v.tolist() for k, v in expected.items()}
    plain = tokenizer.pad([tokenizer("a"), tokenizer("a b c")])
    assert set(plain) == set(tokenizer("a"))
    assert set(plain.get("token_type_ids", [[0]])[0]) == {0}


# Loading and saving


@pytest.mark.parametrize("way", ["save_pretrained", "AutoTokenizer", "pickle", "deepcopy"])
def test_round_trip(tokenizer, way, tmp_path):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.max_attr_num, tokenizer.max_attr_length = 2, 7
    tokenizer.max_item_embeddings, tokenizer.max_token_num = 4, 20
    tokenizer(SWITCH)
    if way == "pickle":
        again = pickle.loads(pickle.dumps(tokenizer))
    elif way == "deepcopy":
        again = copy.deepcopy(tokenizer)
    else:
        tokenizer.save_pretrained(tmp_path)
        if way == "AutoTokenizer":
            AutoTokenizer.register(RecformerConfig, tokenizer_class=RecformerTokenizer, exist_ok=True)
            again = AutoTokenizer.from_pretrained(tmp_path)
        else:
            again = RecformerTokenizer.from_pretrained(tmp_path)
    assert type(again) is RecformerTokenizer
    for name in ("max_attr_num", "max_attr_length", "max_item_embeddings", "max_token_num"):
        assert getattr(again, name) == getattr(tokenizer, name)
    assert again.special_tokens_map == tokenizer.special_tokens_map
    assert again.all_special_ids == tokenizer.all_special_ids
    assert again.model_input_names == tokenizer.model_input_names
    assert again.get_vocab() == tokenizer.get_vocab()
    assert dict(again(TEXTS)) == dict(tokenizer(TEXTS))
    assert again([SWITCH, GUITAR, SCREWS]) == tokenizer([SWITCH, GUITAR, SCREWS])
    assert (
        again.encode_item({"t": "<s> [CLS]"}).input_ids.tolist()
        == tokenizer.encode_item({"t": "<s> [CLS]"}).input_ids.tolist()
    )
    np.testing.assert_array_equal(again.word_start_mask(), tokenizer.word_start_mask())


def test_limits_given_on_loading_win(tmp_path):
    RecformerTokenizer.from_pretrained(ROBERTA_FILES, max_attr_num=2).save_pretrained(tmp_path)
    assert RecformerTokenizer.from_pretrained(tmp_path).max_attr_num == 2
    assert RecformerTokenizer.from_pretrained(tmp_path, max_attr_num=1, max_token_num=9).max_attr_num == 1


def test_post_processing_of_the_source_is_kept(tmp_path, folders):
    """A pre-tokenizer and post-processor of one's own survive: `tokenizer.json` is loaded whole."""
    source = RecformerTokenizer.from_pretrained(folders["trained"])
    source.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    source.backend_tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 2)])
    source.save_pretrained(tmp_path)
    again = RecformerTokenizer.from_pretrained(tmp_path)
    assert again("steel 100") == source("steel 100")
    assert again("steel")["input_ids"][-1] == 2
    assert json.loads((tmp_path / "tokenizer.json").read_text())["pre_tokenizer"]["type"] == "Sequence"


class TestFingerprint:
    """`datasets` finds its cached results by a hash of the tokenizer, which use must not change."""

    def test_use_leaves_the_hash(self, tokenizer, tmp_path):
        from datasets.fingerprint import Hasher

        tokenizer = copy.deepcopy(tokenizer)
        before = Hasher.hash(tokenizer)
        tokenizer([[SWITCH], [GUITAR, SWITCH]], padding=True, return_tensors="pt")
        tokenizer.encode_items([SWITCH])
        tokenizer.word_start_mask()
        tokenizer("plain text")
        tokenizer.save_pretrained(tmp_path)
        assert Hasher.hash(tokenizer) == before
        for again in (copy.deepcopy(tokenizer), copy.copy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
            assert Hasher.hash(again) == before
            assert again(SWITCH) == tokenizer(SWITCH)
            assert Hasher.hash(again) == before
        tokenizer.max_attr_num = 1  # changes what an item becomes
        assert Hasher.hash(tokenizer) != before

    def test_processes_share_the_cache_of_map(self, folders, tmp_path, capsys):
        code = f"""
import datasets
from datasets.fingerprint import Hasher
from recformer_hf import RecformerTokenizer
tokenizer = RecformerTokenizer.from_pretrained({str(folders["trained"])!r})
tokenizer([{{"title": "wok"}}])
dataset = datasets.load_dataset("json", data_files={str(tmp_path / "items.jsonl")!r}, cache_dir={str(tmp_path / "c")!r})
print(Hasher.hash(tokenizer), dataset["train"].map(tokenizer).cache_files)
"""
        (tmp_path / "items.jsonl").write_text('{"title": "wok"}\n{"title": "pan"}\n')
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert other.stdout, other.stderr
        capsys.readouterr()
        exec(code, {})
        assert capsys.readouterr().out == other.stdout
        assert len(list((tmp_path / "c").rglob("cache-*.arrow"))) == 1

    def test_a_tokenizer_that_is_gone_leaves_nothing_behind(self, folders):
        tokenizer = RecformerTokenizer.from_pretrained(folders["trained"])
        gc.collect()
        before = len(_item_backends)
        tokenizer(SWITCH)
        assert len(_item_backends) == before + 1
        del tokenizer
        gc.collect()
        assert len(_item_backends) == before
