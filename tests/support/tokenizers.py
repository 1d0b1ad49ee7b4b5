"""Tokenizers of every algorithm, and items and texts to try them on."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import XLMRobertaTokenizer

from recformer_hf.tokenization_recformer import RecformerTokenizer
from tests.support.models import FIXTURES

ROBERTA_FILES = FIXTURES / "tokenizer"

SWITCH = {"title": "Nintendo Switch Console", "brand": "Nintendo", "category": "Video Games"}
GUITAR = {"title": "Guitar strings", "brand": "Ernie Ball"}
SCREWS = {"title": "Stainless steel screws", "brand": None, "pieces": 100}
CATALOG = [SWITCH, GUITAR, SCREWS, {"title": "The Legend of Zelda", "brand": "Nintendo", "category": "Video Games"}]
TEXTS = ["Nintendo Switch", "  two  spaces ", "héllo wörld 日本", "100 steel-screws!", "a<mask>b [MASK] </s>", ""]
SPECIAL_STRINGS = "<s> <pad> </s> <unk> <mask> [CLS] [SEP] [PAD] [UNK] [MASK]".split()  # noqa: SIM905


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


def save_tokenizers(folder: Path) -> dict[str, Path]:
    """One folder for each algorithm, as it would be on the Hub."""
    folders = {name: folder / name for name in ("bert", "xlm_roberta", "trained")}
    for path in folders.values():
        path.mkdir()
    save_bert(folders["bert"])
    save_xlm_roberta(folders["xlm_roberta"])
    RecformerTokenizer.train_from_catalog(CATALOG, vocab_size=300).save_pretrained(folders["trained"])
    return {"roberta": ROBERTA_FILES, **folders}
