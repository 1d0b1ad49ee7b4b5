"""RecformerTokenizer: items, histories, batches and plain text over byte-level BPE, WordPiece and Unigram."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
import threading
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoTokenizer,
    BertTokenizer,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

from recformer_hf.configuration_recformer import RecformerConfig
from recformer_hf.tokenization_recformer import EncodedItem, RecformerTokenizer

ROBERTA_FILES = Path(__file__).parent / "fixtures" / "tokenizer"
EXPECTED = json.loads((ROBERTA_FILES / "expected.json").read_text(encoding="utf-8"))
LIMITS = EXPECTED["configs"]

# Where this project differs from the replication on purpose: special-token strings stay text, an attribute without a
# value goes with its key, an empty item or history is an error.
OTHER_ITEMS = {"specials", "empty_value", "empty_item"}
OTHER_HISTORIES = {"specials", "empty", "with_empty_item"}

SWITCH = {"title": "Nintendo Switch Console", "brand": "Nintendo", "category": "Video Games"}
GUITAR = {"title": "Guitar strings", "brand": "Ernie Ball"}
SCREWS = {"title": "Stainless steel screws", "brand": None, "pieces": 100}
CATALOG = [SWITCH, GUITAR, SCREWS, {"title": "The Legend of Zelda", "brand": "Nintendo", "category": "Video Games"}]
TEXTS = ["Nintendo Switch", "  two  spaces ", "héllo wörld 日本", "100 steel-screws!", "a<mask>b [MASK] </s>", ""]
SPECIAL_STRINGS = "<s> <pad> </s> <unk> <mask> [CLS] [SEP] [PAD] [UNK] [MASK]".split()  # noqa: SIM905


def as_dict(pairs: list[list[str]]) -> dict[str, str]:
    return dict(map(tuple, pairs))


def corpus() -> list[str]:
    return [f"{key} {value}" for item in CATALOG for key, value in item.items()] * 5


def save_bert(folder: Path) -> None:
    """A BERT folder with nothing but vocab.txt."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(corpus(), trainers.WordPieceTrainer(vocab_size=150, special_tokens=specials))
    vocab = tokenizer.get_vocab()
    (folder / "vocab.txt").write_text("\n".join(sorted(vocab, key=vocab.__getitem__)) + "\n", encoding="utf-8")


def save_xlm_roberta(folder: Path) -> None:
    """An XLM-R folder as `save_pretrained` writes it. Special tokens are pieces of the Unigram vocabulary too."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    alphabet = list("abcdefghijklmnopqrstuvwxyz<>/[]")
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=120, unk_token="<unk>", special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    pieces = json.loads(tokenizer.to_str())["model"]["vocab"]
    XLMRobertaTokenizer(vocab=[tuple(piece) for piece in [*pieces, ["<mask>", 0.0]]]).save_pretrained(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """One folder an algorithm, as a person would find it on the Hub."""
    found = {name: tmp_path_factory.mktemp(name) for name in ("bert", "xlm_roberta", "trained")}
    save_bert(found["bert"])
    save_xlm_roberta(found["xlm_roberta"])
    RecformerTokenizer.train_from_catalog(CATALOG, vocab_size=300).save_pretrained(found["trained"])
    return {"roberta": ROBERTA_FILES, **found}


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


def test_layout_of_a_history(tokenizer):
    """`<s>`, then the newest item first; an item's key and value tokens are those of each text alone."""
    ids = {text: tokenizer.encode_item({"x": text}) for text in ("title", "Guitar", "Switch")}
    alone = {text: item.input_ids[item.token_type_ids == 2].tolist() for text, item in ids.items()}
    encoded = tokenizer([{"title": "Guitar"}, {"title": "Switch"}])
    bos = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
    assert encoded["input_ids"] == [bos, *alone["title"], *alone["Switch"], *alone["title"], *alone["Guitar"]]
    lengths = [1, *(len(alone[text]) for text in ("title", "Switch", "title", "Guitar"))]
    assert encoded["token_type_ids"] == np.repeat([0, 1, 2, 1, 2], lengths).tolist()
    assert encoded["item_position_ids"] == np.repeat([0, 1, 1, 2, 2], lengths).tolist()
    assert encoded["attention_mask"] == [1] * sum(lengths)
    assert list(encoded) == tokenizer.model_input_names


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
def test_values_as_a_person_would_write_them(tokenizer, value, text):
    item = tokenizer.encode_item({"key": value})
    assert item.input_ids.tolist() == tokenizer.encode_item({"key": text}).input_ids.tolist()


@pytest.mark.parametrize(
    "missing", [None, "", " \t\n", float("nan"), np.float32("nan"), [], [None, ""], Decimal("nan")]
)
def test_missing_values_go_with_their_key_and_do_not_count(tokenizer, missing):
    item = {"a": missing, "b": "x", "c": missing, "d": "y", "e": "z", "f": "not read"}
    assert tokenizer(item) == tokenizer({"b": "x", "d": "y", "e": "z"})


def test_a_value_without_tokens_leaves_its_key(folders):
    bert = RecformerTokenizer.from_pretrained(folders["bert"])
    assert set(bert.encode_item({"title": "\u0000"}).token_type_ids.tolist()) == {1}
    with pytest.raises(ValueError, match="Item 1 gives no tokens"):
        bert.encode_items([SWITCH, {"\u0000": "\u0000"}])


@pytest.mark.parametrize(
    "value",
    [
        {"a": "b"},
        b"bytes",
        {"a", "b"},
        [["a"]],
        [{"a": 1}],
        object(),
        1j,
        np.zeros((2, 2)),
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


def test_encode_history_wants_encoded_items(roberta):
    with pytest.raises(ValueError, match="history is empty"):
        roberta.encode_history([])
    with pytest.raises(TypeError, match="takes encoded items, got dict"):
        roberta.encode_history([SWITCH])
    with pytest.raises(TypeError, match="values"):
        roberta.encode_items({"id": SWITCH})


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


# Special tokens


@pytest.mark.parametrize("string", SPECIAL_STRINGS)
def test_special_strings_stay_text(tokenizer, string):
    specials = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    for text in (string, f"a{string}b", f" {string} ", f"{string}{string}", string.lower()):
        for item in ({"title": text}, {f"x{text}": "value"}):
            assert not specials & set(tokenizer.encode_item(item).input_ids.tolist()), item


def test_special_strings_of_a_byte_level_vocabulary_decode_to_themselves(roberta):
    for string in SPECIAL_STRINGS:
        assert roberta.decode(roberta.encode_item({"": f"a {string} b"}).input_ids) == f"a {string} b"


@pytest.mark.parametrize("model", ["wordlevel", "wordpiece", "bpe"])
def test_special_tokens_that_the_algorithm_itself_could_give(model):
    """Vocabularies in which "[CLS]" is a whole word, and merges that lead to "<s>"."""
    if model == "bpe":
        vocab = {token: index for index, token in enumerate(["<s>", "<pad>", "<", "s", ">", "<s", "▁"])}
        backend = Tokenizer(models.BPE(vocab, [("<", "s"), ("<s", ">")]))
        text, special = "<s>", "<s>"
    else:
        vocab = {"[CLS]": 0, "[PAD]": 1, "[UNK]": 2, "x": 3}
        kind = models.WordLevel if model == "wordlevel" else models.WordPiece
        backend = Tokenizer(kind(vocab, unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        text, special = "[CLS]", "[CLS]"
    tokenizer = RecformerTokenizer(tokenizer_object=backend, bos_token=special, pad_token="<pad>", unk_token=None)
    ids = tokenizer.encode_item({"x": f"{text}"}).input_ids.tolist()
    assert ids
    assert 0 not in ids


def test_added_tokens(roberta):
    """A word that is added is one token in items too; a special one that strips spaces or is normalized stays text."""
    tokenizer = copy.deepcopy(roberta)
    before = tokenizer.encode_item({"title": "zelda <sp> ZELDA"}).input_ids.tolist()
    tokenizer.add_special_tokens(
        {"extra_special_tokens": [AddedToken("<sp>", lstrip=True, rstrip=True, normalized=True)]}
    )
    assert tokenizer.encode_item({"title": "zelda <sp> ZELDA"}).input_ids.tolist() == before
    tokenizer.add_tokens(["zelda"])
    ids = tokenizer.encode_item({"title": "zelda <sp> ZELDA"}).input_ids.tolist()
    assert tokenizer.convert_tokens_to_ids("zelda") in ids
    assert tokenizer.convert_tokens_to_ids("<sp>") not in ids
    assert tokenizer.word_start_mask()[tokenizer.convert_tokens_to_ids("zelda")]


texts = st.text(max_size=12) | st.lists(st.sampled_from([*SPECIAL_STRINGS, " ", "a", "Ġ", "▁", "##"]), max_size=4).map(
    "".join
)


def encode_or_none(tokenizer: RecformerTokenizer, item: dict[str, str]) -> EncodedItem | None:
    try:
        return tokenizer.encode_item(item)
    except ValueError:  # blank, or without tokens
        return None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(catalog=st.lists(st.dictionaries(texts, texts, max_size=5), min_size=1, max_size=4))
def test_any_dictionary_of_strings(tokenizer, catalog):
    """No special ids, whatever the text; many items at once equal each item alone; every limit holds."""
    specials = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    good = [(item, encoded) for item in catalog if (encoded := encode_or_none(tokenizer, item))]
    encoded = tokenizer.encode_items([item for item, _ in good])
    assert len(encoded) == len(good)
    assert encoded.offsets.tolist() == np.cumsum([0, *(len(item.input_ids) for _, item in good)]).tolist()
    for (_, alone), together in zip(good, encoded, strict=True):
        assert not specials & set(alone.input_ids.tolist())
        assert set(alone.token_type_ids.tolist()) <= {1, 2}
        assert 0 < len(alone.input_ids) == len(alone.token_type_ids) <= 3 * 32
        np.testing.assert_array_equal(alone.input_ids, together.input_ids)
        np.testing.assert_array_equal(alone.token_type_ids, together.token_type_ids)


# Many items


def test_encode_items_equals_encode_item(tokenizer, monkeypatch):
    """Also across the blocks and calls that bound its memory."""
    monkeypatch.setattr("recformer_hf.tokenization_recformer._ITEMS_PER_BLOCK", 3)
    monkeypatch.setattr("recformer_hf.tokenizing.item_tokens.TEXTS_PER_CALL", 2)
    items = [*CATALOG, {"title": "long " * 50, "x": "y"}, *CATALOG[::-1]]
    encoded = tokenizer.encode_items(items)
    assert (encoded.input_ids.dtype, encoded.token_type_ids.dtype, encoded.offsets.dtype) == (
        np.int32,
        np.uint8,
        np.int64,
    )
    assert len(encoded) == len(items)
    for item, row in zip(items, encoded, strict=True):
        np.testing.assert_array_equal(tokenizer.encode_item(item).input_ids, row.input_ids)
        np.testing.assert_array_equal(tokenizer.encode_item(item).token_type_ids, row.token_type_ids)
    assert tokenizer.encode_history(encoded) == dict(tokenizer(items))
    np.testing.assert_array_equal(encoded[-1].input_ids, encoded[len(items) - 1].input_ids)
    with pytest.raises(IndexError):
        encoded[len(items)]


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


def test_a_tokenizer_without_a_first_token_says_so():
    backend = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(ValueError, match="neither a BOS nor a CLS token"):
        RecformerTokenizer(tokenizer_object=backend)({"a": "a"})


# Words


def test_word_starts(tokenizer):
    mask = tokenizer.word_start_mask()
    assert mask.dtype == bool
    assert mask.shape == (len(tokenizer),)
    specials = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    assert not mask[list(specials)].any()
    text = "Nintendo Switch Console steel"
    item = tokenizer.encode_item({"title": text})
    starts = mask[item.input_ids] & (item.token_type_ids == 2)
    starts[np.argmax(item.token_type_ids == 2)] = True  # the first token of a value always begins a word
    groups = np.split(item.input_ids, np.flatnonzero(starts))[1:]
    words = [tokenizer.decode(group).strip().lower() for group in groups]
    assert words == text.lower().split()


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


@pytest.mark.parametrize(
    "named", [None, "RobertaTokenizer", "RobertaTokenizerFast", "LongformerTokenizer", "config.json"]
)
@pytest.mark.parametrize("files", ["vocabulary", "tokenizer.json"])
def test_roberta_and_longformer_folders(tmp_path, named, files):
    if files == "tokenizer.json":
        RobertaTokenizer.from_pretrained(ROBERTA_FILES).save_pretrained(tmp_path)
    else:
        shutil.copy(ROBERTA_FILES / "vocab.json", tmp_path)
        shutil.copy(ROBERTA_FILES / "merges.txt", tmp_path)
    (tmp_path / "tokenizer_config.json").unlink(missing_ok=True)
    if named == "config.json":
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "longformer"}))
    elif named:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": named, "model_max_length": 77}))
    tokenizer = RecformerTokenizer.from_pretrained(tmp_path)
    source = RobertaTokenizer.from_pretrained(ROBERTA_FILES)
    assert tokenizer(TEXTS)["input_ids"] == source(TEXTS)["input_ids"]
    assert (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.mask_token_id) == (0, 1, 319)
    if named in ("RobertaTokenizer", "LongformerTokenizer"):
        assert tokenizer.model_max_length == 77


@pytest.mark.parametrize("config", [{}, {"tokenizer_class": "BertTokenizer", "do_lower_case": False}])
def test_bert_folders(folders, tmp_path, config):
    shutil.copy(folders["bert"] / "vocab.txt", tmp_path)
    if config:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer, source = RecformerTokenizer.from_pretrained(tmp_path), BertTokenizer.from_pretrained(tmp_path)
    assert dict(tokenizer(TEXTS)) == dict(source(TEXTS))
    assert tokenizer(SWITCH)["input_ids"][0] == source.cls_token_id
    source.save_pretrained(tmp_path / "saved")  # with a tokenizer.json
    assert dict(RecformerTokenizer.from_pretrained(tmp_path / "saved")(TEXTS)) == dict(source(TEXTS))


@pytest.mark.parametrize("named", ["PreTrainedTokenizerFast", None])
def test_a_tokenizer_json_of_no_model(folders, tmp_path, named):
    """Special tokens that nothing names are recognised by their usual names."""
    source = RecformerTokenizer.from_pretrained(folders["trained"])
    PreTrainedTokenizerFast(tokenizer_object=source.backend_tokenizer).save_pretrained(tmp_path)
    if named is None:
        (tmp_path / "tokenizer_config.json").unlink()
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        tokenizer = RecformerTokenizer.from_pretrained(path)
        assert dict(tokenizer(TEXTS)) == dict(source(TEXTS))
        assert tokenizer(SWITCH) == source(SWITCH)
        assert tokenizer.special_tokens_map == source.special_tokens_map


@pytest.mark.parametrize("options", [{}, {"add_dummy_prefix": False}, {"byte_fallback": True, "vocab_size": 330}])
def test_a_sentencepiece_model(tmp_path, options):
    """Ids of plain text are SentencePiece's own; missing special tokens follow its vocabulary."""
    sentencepiece = pytest.importorskip("sentencepiece")
    (tmp_path / "corpus.txt").write_text("\n".join(corpus()), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "corpus.txt"),
        model_prefix=str(tmp_path / "unigram"),
        minloglevel=2,
        **{"vocab_size": 90, "hard_vocab_limit": False, **options},
    )
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "unigram.model"))
    for path in (tmp_path, tmp_path / "unigram.model"):
        tokenizer = RecformerTokenizer.from_pretrained(path, max_attr_num=2)
        for text in ["Nintendo Switch", "  two  spaces ", "ﬁne ½ 日本 game", "\u00a0x\ty"]:
            assert tokenizer(text, add_special_tokens=False)["input_ids"] == reference.encode(text)
        assert tokenizer(SWITCH)["input_ids"][0] == reference.bos_id()
        assert [tokenizer.pad_token_id, tokenizer.mask_token_id] == [
            reference.get_piece_size(),
            reference.get_piece_size() + 1,
        ]
        assert reference.bos_id() not in tokenizer.encode_item({"title": "a<s>b"}).input_ids
        assert tokenizer.max_attr_num == 2
    tokenizer.save_pretrained(tmp_path / "saved")
    assert RecformerTokenizer.from_pretrained(tmp_path / "saved")(SWITCH) == tokenizer(SWITCH)


def test_a_sentencepiece_model_of_xlm_roberta(tmp_path):
    """fairseq's ids: one above the file's, four special tokens first, `<mask>` last."""
    sentencepiece = pytest.importorskip("sentencepiece")
    (tmp_path / "corpus.txt").write_text("\n".join(corpus()), encoding="utf-8")
    options = {"vocab_size": 90, "hard_vocab_limit": False, "minloglevel": 2}
    prefix = str(tmp_path / "sentencepiece.bpe")
    sentencepiece.SentencePieceTrainer.train(input=str(tmp_path / "corpus.txt"), model_prefix=prefix, **options)
    reference = sentencepiece.SentencePieceProcessor(model_file=f"{prefix}.model")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "XLMRobertaTokenizer"}))
    tokenizer = RecformerTokenizer.from_pretrained(tmp_path)
    text = "Nintendo Switch steel"
    assert tokenizer(text)["input_ids"] == [0, *(index + 1 for index in reference.encode(text)), 2]
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.mask_token_id) == (1, 3, len(tokenizer) - 1)


def test_folders_that_hold_no_tokenizer(tmp_path):
    with pytest.raises(OSError, match=r"No tokenizer in .*expected a tokenizer.json"):
        RecformerTokenizer.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(OSError, match="No tokenizer in"):  # not a tokenizer of special tokens alone
        RecformerTokenizer.from_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "x.model").write_bytes(b"\x00 not protobuf")
    with pytest.raises(ValueError, match="not a SentencePiece"):
        RecformerTokenizer.from_pretrained(tmp_path)


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


# Training


def test_training(folders):
    tokenizer = RecformerTokenizer.train_from_catalog(iter(CATALOG), vocab_size=300, max_attr_num=2, max_token_num=64)
    assert tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]) == [0, 1, 2, 3, 4]
    assert len(tokenizer) <= 300
    assert (tokenizer.max_attr_num, tokenizer.max_token_num, tokenizer.model_max_length) == (2, 64, 64)
    for text in ["Nintendo Switch", "never seen: 日本語 🎮\n\ttabs", "a <s> b"]:
        assert tokenizer.decode(tokenizer.encode_item({"": text}).input_ids) == text
    assert tokenizer("Nintendo")["input_ids"][0] == 0
    assert tokenizer("Nintendo")["input_ids"][-1] == 2
    assert tokenizer.unk_token_id not in tokenizer(TEXTS[2])["input_ids"]


def test_training_is_deterministic_and_learns_words():
    catalog = [{"title": f"Nintendo game {i}", "brand": ["Video", "Games"], "nothing": None} for i in range(50)]
    first, second = (RecformerTokenizer.train_from_catalog(catalog, vocab_size=400) for _ in range(2))
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()
    assert {"title", "brand", "Nintendo", "Video", "ĠGames"} <= set(first.get_vocab())
    assert "nothing" not in first.get_vocab()  # the key of a missing value is never read


def test_training_refuses():
    with pytest.raises(ValueError, match="no item"):
        RecformerTokenizer.train_from_catalog([])
    with pytest.raises(ValueError, match="vocab_size must be at least 261, got 260"):
        RecformerTokenizer.train_from_catalog(CATALOG, vocab_size=260)
    with pytest.raises(ValueError, match="Item 1 is empty"):
        RecformerTokenizer.train_from_catalog([SWITCH, {}])
    with pytest.raises(TypeError, match="Unknown limits"):
        RecformerTokenizer.train_from_catalog(CATALOG, max_attrs=3)
    with pytest.raises(TypeError, match="values"):
        RecformerTokenizer.train_from_catalog({"id": SWITCH})
    with pytest.raises(ValueError, match="max_attr_num"):
        RecformerTokenizer.train_from_catalog(CATALOG, max_attr_num=0)
