"""SentencePiece files, against the sentencepiece library."""

from __future__ import annotations

import json

import pytest

from recformer_hf.tokenization_recformer import RecformerTokenizer
from tests.support.tokenizers import SWITCH, corpus


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
