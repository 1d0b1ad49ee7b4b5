"""Folders of other models' tokenizers."""

from __future__ import annotations

import json
import shutil

import pytest
from transformers import BertTokenizer, PreTrainedTokenizerFast, RobertaTokenizer

from recformer_hf.tokenization_recformer import RecformerTokenizer
from tests.support.tokenizers import ROBERTA_FILES, SWITCH, TEXTS


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


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "0 bytes; Expecting value"),
        (b'{"version": "1.0"', "17 bytes; Expecting"),
        (b"[]", "a JSON list instead of an object"),
        (b"null", "a JSON NoneType instead of an object"),
        (b"\xff\xfe{}", "can't decode byte 0xff"),
    ],
)
def test_a_damaged_file_is_named(folders, tmp_path, name, content, problem):
    shutil.copytree(folders["trained"], tmp_path / "x")
    (tmp_path / "x" / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"cannot be loaded: \S+{name} is damaged \(.*{problem}.*copy or download it"):
        RecformerTokenizer.from_pretrained(tmp_path / "x")


def test_a_tokenizer_json_without_a_model_is_named(folders, tmp_path):
    shutil.copytree(folders["trained"], tmp_path / "x")
    (tmp_path / "x" / "tokenizer.json").write_text('{"version": "1.0"}')
    for path in (tmp_path / "x", tmp_path / "x" / "tokenizer.json"):
        with pytest.raises(ValueError, match=r"tokenizer\.json is damaged \(18 bytes; "):
            RecformerTokenizer.from_pretrained(path)
