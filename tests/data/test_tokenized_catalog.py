"""The tokenized catalogue: the tokenizer's own tokens, where words begin, and a cache that is never half-written."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from recformer_hf.data.tokenized_catalog import TokenizedCatalog
from recformer_hf.items.catalog import ItemCatalog
from recformer_hf.tokenization_recformer import RecformerTokenizer

ITEMS = {
    f"B{row}": {"title": f"Claw hammer {row} with a fibreglass handle", "brand": ("Stanley", "Estwing")[row % 2]}
    for row in range(40)
} | {"nails": {"title": "Nails", "note": "galvanised steel, 3 inch"}}


@pytest.fixture(scope="module")
def catalog() -> ItemCatalog:
    return ItemCatalog.from_items(ITEMS)


@pytest.fixture(scope="module")
def tokenizer() -> RecformerTokenizer:
    return RecformerTokenizer.train_from_catalog(ITEMS.values(), vocab_size=320)


def words(tokenized: TokenizedCatalog, tokenizer: RecformerTokenizer, row: int) -> list[str]:
    """An item's words as they would be masked."""
    span = slice(tokenized.offsets[row], tokenized.offsets[row + 1])
    tokens = tokenizer.convert_ids_to_tokens(tokenized.input_ids[span].tolist())
    joined: list[str] = []
    for token, starts in zip(tokens, tokenized.word_starts[span], strict=True):
        if starts:
            joined.append(token)
        else:
            joined[-1] += "|" + token
    return joined


class TestTokens:
    def test_every_item_has_the_tokens_that_the_tokenizer_gives(self, catalog, tokenizer):
        tokenized = TokenizedCatalog.build(catalog, tokenizer)
        assert len(tokenized) == len(catalog)
        for encoded, item in zip(tokenized, ITEMS.values(), strict=True):
            expected = tokenizer.encode_item(item)
            assert encoded.input_ids.dtype == np.int32
            assert encoded.input_ids.tolist() == expected.input_ids.tolist()
            assert encoded.token_type_ids.tolist() == expected.token_type_ids.tolist()
        assert tokenized.lengths.tolist() == [len(item.input_ids) for item in tokenized]

    def test_rows_outside_the_catalogue(self, catalog, tokenizer):
        tokenized = TokenizedCatalog.build(catalog, tokenizer)
        assert np.array_equal(tokenized[-1].input_ids, tokenized[len(catalog) - 1].input_ids)
        with pytest.raises(IndexError, match="No row 41 in a tokenized catalogue of 41 items"):
            tokenized[41]

    def test_small_vocabularies_take_two_bytes_a_token(self, catalog, tokenizer, monkeypatch):
        assert TokenizedCatalog.build(catalog, tokenizer).input_ids.dtype == np.uint16
        monkeypatch.setattr(RecformerTokenizer, "__len__", lambda self: 2**16 + 1)
        monkeypatch.setattr(RecformerTokenizer, "word_start_mask", lambda self: np.zeros(2**16 + 1, bool))
        assert TokenizedCatalog.build(catalog, tokenizer).input_ids.dtype == np.int32

    def test_an_empty_catalogue_is_an_error(self, tokenizer):
        with pytest.raises(ValueError, match="no items"):
            TokenizedCatalog.from_items([], tokenizer)

    def test_a_model_encodes_it_as_it_encodes_dictionaries(self, catalog, tokenizer, tmp_path):
        from recformer_hf import RecformerForSeqRec
        from tests.support.models import small_config

        model = RecformerForSeqRec(small_config(vocab_size=len(tokenizer))).eval()
        tokenized = TokenizedCatalog.build(catalog, tokenizer, tmp_path)
        expected = model.encode_items(list(ITEMS.values()), tokenizer)
        assert (model.encode_items(tokenized, tokenizer) - expected).abs().max() == 0


class TestWords:
    def test_byte_level_bpe(self, tokenizer):
        tokenized = TokenizedCatalog.from_items([{"title": "Zebra hammer", "x": "Yak"}], tokenizer)
        found = words(tokenized, tokenizer, 0)
        assert [word.replace("|", "") for word in found] == ["title", "Zebra", "Ġhammer", "x", "Yak"]
        assert found[1] != "Zebra"  # more than one token: the test would show nothing otherwise

    def test_wordpiece(self):
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[MASK]", "ham", "##mer", "claw", "title", "##s", "brand"]
        backend = Tokenizer(models.WordPiece({token: row for row, token in enumerate(vocabulary)}, unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer = RecformerTokenizer(tokenizer_object=backend, unk_token="[UNK]", cls_token="[CLS]")
        tokenized = TokenizedCatalog.from_items([{"title": "claw hammers qqq", "brand": "claws"}], tokenizer)
        assert words(tokenized, tokenizer, 0) == ["title", "claw", "ham|##mer|##s", "[UNK]", "brand", "claw|##s"]

    def test_unigram(self):
        vocabulary = [
            ("<unk>", 0.0),
            ("<s>", 0.0),
            ("▁claw", -1.0),
            ("▁ham", -1.0),
            ("mer", -1.0),
            ("▁title", -1.0),
            ("▁", -5.0),
        ]
        backend = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=False))
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer = RecformerTokenizer(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>")
        tokenized = TokenizedCatalog.from_items([{"title": "claw hammer"}], tokenizer)
        assert words(tokenized, tokenizer, 0) == ["▁title", "▁claw", "▁ham|mer"]


def refuse(*args, **kwargs):
    raise AssertionError("tokenized again")


def count_and_tokenize(log: str, catalog: ItemCatalog, tokenizer: RecformerTokenizer, cache: str) -> None:
    """What each of several processes runs: writes a line when it really tokenizes."""
    original = RecformerTokenizer.encode_items

    def counted(self, *args, **kwargs):
        with open(log, "a") as file:
            file.write("tokenized\n")
        return original(self, *args, **kwargs)

    RecformerTokenizer.encode_items = counted
    assert len(TokenizedCatalog.build(catalog, tokenizer, cache)) == len(catalog)


class TestCache:
    def test_the_second_call_opens_what_the_first_wrote(self, catalog, tokenizer, tmp_path, monkeypatch):
        first = TokenizedCatalog.build(catalog, tokenizer, tmp_path)
        monkeypatch.setattr(RecformerTokenizer, "encode_items", refuse)
        second = TokenizedCatalog.build(catalog, tokenizer, tmp_path)
        in_memory_names = ("input_ids", "token_type_ids", "word_starts", "offsets")
        monkeypatch.undo()
        expected = TokenizedCatalog.build(catalog, tokenizer)
        for name in in_memory_names:
            assert np.array_equal(getattr(second, name), getattr(expected, name))
            assert getattr(second, name).dtype == getattr(expected, name).dtype
        assert second.catalog_fingerprint == catalog.fingerprint
        assert first.path == second.path

    def test_another_catalogue_or_tokenizer_gets_a_folder_of_its_own(self, catalog, tokenizer, tmp_path):
        other_items = catalog.add({"new": {"title": "Saw"}})
        other_tokenizer = RecformerTokenizer.train_from_catalog(ITEMS.values(), vocab_size=320, max_attr_num=1)
        made = [
            TokenizedCatalog.build(catalog, tokenizer, tmp_path),
            TokenizedCatalog.build(other_items, tokenizer, tmp_path),
            TokenizedCatalog.build(catalog, other_tokenizer, tmp_path),
        ]
        assert len({each.path for each in made}) == 3
        assert len(made[1]) == 42
        assert len(made[2].input_ids) < len(made[0].input_ids)

    def test_pickling_passes_on_the_path_alone(self, catalog, tokenizer, tmp_path):
        mapped = TokenizedCatalog.build(catalog, tokenizer, tmp_path)
        pickled = pickle.dumps(mapped)
        assert len(pickled) < 500
        assert np.array_equal(pickle.loads(pickled).input_ids, mapped.input_ids)
        in_memory = pickle.loads(pickle.dumps(TokenizedCatalog.build(catalog, tokenizer)))
        assert np.array_equal(in_memory.input_ids, mapped.input_ids)
        assert in_memory.tokenizer_fingerprint == mapped.tokenizer_fingerprint

    @pytest.mark.parametrize("damage", ["cut short", "meta", "version", "file gone", "sizes"])
    def test_a_damaged_folder_is_refused_by_open_and_made_again_by_build(self, catalog, tokenizer, tmp_path, damage):
        path = TokenizedCatalog.build(catalog, tokenizer, tmp_path).path
        if damage == "cut short":
            ids = path / "input_ids.npy"
            ids.write_bytes(ids.read_bytes()[:-100])
        elif damage == "meta":
            (path / "meta.json").write_text("{")
        elif damage == "version":
            meta = json.loads((path / "meta.json").read_text())
            (path / "meta.json").write_text(json.dumps(meta | {"format": 99}))
        elif damage == "file gone":
            (path / "offsets.npy").unlink()
        else:
            np.save(path / "word_starts.npy", np.zeros(3, dtype=bool))
        with pytest.raises(ValueError, match="damaged or of another version"):
            TokenizedCatalog.open(path)
        again = TokenizedCatalog.build(catalog, tokenizer, tmp_path)
        assert np.array_equal(again.input_ids, TokenizedCatalog.build(catalog, tokenizer).input_ids)

    @pytest.mark.parametrize(
        ("name", "array"),
        [
            ("offsets", lambda a: np.array([*a[:-2], 2**62, a[-1]])),
            ("offsets", lambda a: np.array([*a[:-2], -5, a[-1]])),
            ("offsets", lambda a: a + 1),
            ("offsets", lambda a: a.astype(np.float64)),
            ("offsets", lambda a: np.array(a.tolist(), dtype=object)),
            ("offsets", lambda a: a[:, None]),
            ("input_ids", lambda a: a.astype(np.float32)),
            ("input_ids", lambda a: np.full(len(a), -1, np.int32)),
            ("input_ids", lambda a: np.array(5)),
            ("token_type_ids", lambda a: np.full(len(a), 9, np.uint8)),
            ("token_type_ids", lambda a: a[:-1]),
            ("word_starts", lambda a: np.array([str(x) for x in a])),
            ("meta", lambda m: m | {"num_items": "41"}),
            ("meta", lambda m: m | {"num_items": -1, "num_tokens": 0}),
            ("meta", lambda m: [m]),
            ("meta", lambda m: m | {"num_tokens": None}),
        ],
    )
    def test_hostile_arrays_are_refused_before_they_are_used(self, catalog, tokenizer, tmp_path, name, array):
        path = TokenizedCatalog.build(catalog, tokenizer, tmp_path).path
        if name == "meta":
            (path / "meta.json").write_text(json.dumps(array(json.loads((path / "meta.json").read_text()))))
        else:
            np.save(path / f"{name}.npy", array(np.load(path / f"{name}.npy")), allow_pickle=True)
        with pytest.raises(ValueError, match="damaged or of another version"):
            TokenizedCatalog.open(path)
        again = TokenizedCatalog.build(catalog, tokenizer, tmp_path)
        assert np.array_equal(again.offsets, TokenizedCatalog.build(catalog, tokenizer).offsets)

    @pytest.mark.parametrize("name", ["input_ids", "offsets", "word_starts"])
    def test_every_changed_byte_of_a_header(self, catalog, tokenizer, tmp_path, name):
        path = TokenizedCatalog.build(catalog, tokenizer, tmp_path).path
        whole, messages = (path / f"{name}.npy").read_bytes(), set()
        for place in range(100):
            for byte in (0, ord("("), ord("'"), 0xFF):
                (path / f"{name}.npy").write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
                try:
                    opened = TokenizedCatalog.open(path)
                except ValueError as error:
                    messages.add(str(error))
                else:
                    assert len(opened[len(opened) - 1].input_ids) > 0
        assert messages
        assert not [message for message in messages if "damaged or of another version" not in message]

    def test_rows_are_whole_numbers(self, catalog, tokenizer):
        with pytest.raises(TypeError, match="expected a whole number"):
            TokenizedCatalog.build(catalog, tokenizer)[1.0]

    def test_no_folder_is_an_error(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="No tokenized catalogue"):
            TokenizedCatalog.open(tmp_path)

    def test_a_full_disk_leaves_nothing_behind(self, catalog, tokenizer, tmp_path, monkeypatch):
        saved, original = [], np.save

        def save(path, array):
            saved.append(path)
            if len(saved) == 3:
                raise OSError(28, "No space left on device")
            original(path, array)

        monkeypatch.setattr(np, "save", save)
        with pytest.raises(OSError, match="No space left"):
            TokenizedCatalog.build(catalog, tokenizer, tmp_path)
        assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []
        monkeypatch.undo()
        assert len(TokenizedCatalog.build(catalog, tokenizer, tmp_path)) == len(catalog)

    @pytest.mark.skipif(os.name != "posix", reason="forks")
    @pytest.mark.filterwarnings("ignore:.*fork.*")
    def test_of_several_processes_that_start_at_once_one_tokenizes(
        self, catalog, tokenizer, tmp_path: Path, monkeypatch
    ):
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
        log = tmp_path / "log"
        context = multiprocessing.get_context("fork")
        arguments = (str(log), catalog, tokenizer, str(tmp_path / "cache"))
        processes = [context.Process(target=count_and_tokenize, args=arguments) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0] * 4
        assert log.read_text() == "tokenized\n"
