"""No item text gives a special token, whatever the algorithm and whatever the text."""

from __future__ import annotations

import copy

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from recformer_hf.tokenization_recformer import RecformerTokenizer
from tests.support.tokenizers import SPECIAL_STRINGS


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
