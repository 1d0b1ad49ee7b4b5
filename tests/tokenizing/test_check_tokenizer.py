"""What is accepted as a tokenizer of items, and what the error says about anything else."""

from __future__ import annotations

import subprocess
import sys

import pytest
from transformers import PreTrainedTokenizerFast

from recformer_hf.tokenization_recformer import RecformerTokenizer
from recformer_hf.tokenizing.check_tokenizer import check_tokenizer
from tests.support.tokenizers import CATALOG


@pytest.fixture(scope="module")
def tokenizer():
    return RecformerTokenizer.train_from_catalog(CATALOG, vocab_size=300)


def test_a_tokenizer_of_items_is_accepted(tokenizer):
    check_tokenizer(tokenizer)

    class RecformerTokenizerOfACheckpoint:
        """The class that a checkpoint's own code defines is another one."""

        max_token_num = 64

        def encode_items(self, items, progress=False):
            raise NotImplementedError

    check_tokenizer(RecformerTokenizerOfACheckpoint())


def test_a_text_tokenizer_is_named_with_the_folder_to_load_from(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    plain = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    with pytest.raises(TypeError, match=r"got a TokenizersBackend.*import recformer_hf") as caught:
        check_tokenizer(plain)
    assert f"RecformerTokenizer.from_pretrained('{tmp_path}')" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, "got None"),
        ("my-recformer", "got 'my-recformer'"),
        (RecformerTokenizer, "got the class RecformerTokenizer"),
        ({"title": "wok"}, "got an object of type dict"),
        (5, "got an object of type int"),
    ],
)
def test_other_objects_are_named(value, found):
    with pytest.raises(TypeError, match=found):
        check_tokenizer(value)


def test_auto_tokenizer_gives_a_tokenizer_of_items_only_after_the_import(tokenizer, tmp_path):
    """Before the import transformers does not know the class, so the message has to name it."""
    tokenizer.save_pretrained(tmp_path)
    code = f"""
from transformers import AutoTokenizer
early = AutoTokenizer.from_pretrained({str(tmp_path)!r})
import recformer_hf
from recformer_hf.tokenizing.check_tokenizer import check_tokenizer
check_tokenizer(AutoTokenizer.from_pretrained({str(tmp_path)!r}))
try:
    check_tokenizer(early)
except TypeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "after `import recformer_hf`" in done.stdout, done.stderr
