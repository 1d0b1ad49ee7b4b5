"""recformer convert: the command line of `recformer_hf.conversion`, with errors in one line."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from recformer_hf.modeling_recformer import RecformerForPretraining
from tests.support.shops import shop_tokenizer


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = shop_tokenizer()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_text_encoder(script, encoder, tmp_path, capsys):
    script.main(["text-encoder", str(encoder), str(tmp_path / "warm"), "--max-token-num", "64", "--quiet"])
    assert f"Wrote {tmp_path / 'warm'}: a RecformerForPretraining of 1 layers" in capsys.readouterr().out
    assert RecformerForPretraining.from_pretrained(tmp_path / "warm").config.max_token_num == 64
    with pytest.raises(SystemExit, match=r"recformer convert: .*warm exists and is not an empty folder"):
        script.main(["text-encoder", str(encoder), str(tmp_path / "warm")])


def test_a_source_that_is_not_there(script, tmp_path):
    with pytest.raises(SystemExit, match="recformer convert: The text encoder no-such is no folder here") as error:
        script.main(["text-encoder", "no-such", str(tmp_path / "warm")])
    assert "\n" not in error.value.code
    with pytest.raises(SystemExit, match="recformer convert: No weights file at"):
        script.main(["replication", str(tmp_path / "nowhere.bin"), str(tmp_path / "warm")])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["text-encodr", "a", "b"], "recformer convert: argument {text-encoder,replication}: invalid choice"),
        (["text-encoder", "a", "b", "--hed", "x"], "recformer convert: there is no option --hed; did you mean --head?"),
        (["text-encoder", "a"], "recformer convert text-encoder: the following arguments are required: OUTPUT_DIR"),
    ],
)
def test_usage_errors_are_one_line(script, words, message, capsys):
    with pytest.raises(SystemExit) as error:
        script.main(words)
    assert error.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith(message)
    assert printed.count("\n") == 1
