"""Filling a new model: which weights may be missing, and which tokenizers and settings fit."""

from __future__ import annotations

import pytest
import torch

from recformer_hf import (
    RecformerConfig,
    RecformerForPretraining,
    RecformerForSeqRec,
    RecformerModel,
    RecformerTokenizer,
)
from recformer_hf.conversion.filling import (
    DECODER,
    WORDS,
    check_settings,
    check_tokenizer,
    fill,
    special_ids,
    tie_decoder,
)
from tests.support.conversion import CLASSES
from tests.support.models import FIXTURES, GOLDEN


def config(**settings) -> RecformerConfig:
    return RecformerConfig.from_pretrained(GOLDEN, num_items=0, **settings)


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    """Weights of a pretraining model, under the names of a head."""
    torch.manual_seed(0)
    model = RecformerForPretraining(config(tie_word_embeddings=False))
    return {name: torch.randn_like(weight) for name, weight in model.state_dict().items()}


class TestTieDecoder:
    @pytest.mark.parametrize(("requested", "tied"), [(None, True), (True, True), (False, False)])
    def test_a_missing_decoder_is_the_word_embeddings(self, requested, tied):
        weights = {WORDS: torch.ones(3, 2)}
        assert tie_decoder(weights, requested) is tied
        assert weights[DECODER] is weights[WORDS]

    @pytest.mark.parametrize(("requested", "tied"), [(None, False), (True, True), (False, False)])
    def test_a_decoder_of_its_own_stays_unless_asked(self, requested, tied):
        decoder = torch.zeros(3, 2)
        weights = {WORDS: torch.ones(3, 2), DECODER: decoder}
        assert tie_decoder(weights, requested) is tied
        assert weights[DECODER] is (weights[WORDS] if tied else decoder)


class TestFill:
    @pytest.mark.parametrize("model_class", CLASSES)
    def test_every_head_has_the_encoders_weights(self, model_class, weights):
        model = fill(model_class, config(tie_word_embeddings=False), weights, "here", head_is_optional=False)
        assert type(model) is model_class
        assert not model.training
        encoder = model if model_class is RecformerModel else model.recformer
        for name, weight in encoder.state_dict().items():
            assert torch.equal(weight, weights[f"recformer.{name}"]), name

    def test_the_head_may_be_missing_only_as_a_whole_and_if_allowed(self, weights):
        encoder = {name: weight for name, weight in weights.items() if name.startswith("recformer.")}
        fill(RecformerForPretraining, config(), encoder, "here", head_is_optional=True)
        with pytest.raises(ValueError, match=r"missing weights lm_head\."):
            fill(RecformerForPretraining, config(), encoder, "here", head_is_optional=False)
        fill(RecformerForSeqRec, config(), encoder, "here", head_is_optional=False)  # it has no such head

    def test_what_does_not_fit_is_named(self, weights):
        name = "recformer.encoder.layer.0.output.dense.bias"
        wrong = {**weights, name: torch.zeros(3), "recformer.more": torch.zeros(1)}
        with pytest.raises(ValueError, match=r"unexpected weights recformer\.more; .*bias is \[3\], expected \[64\]"):
            fill(RecformerForPretraining, config(tie_word_embeddings=False), wrong, "here", head_is_optional=False)


class TestTokenizer:
    @pytest.fixture
    def tokenizer(self) -> RecformerTokenizer:
        return RecformerTokenizer.from_pretrained(FIXTURES / "tokenizer")

    def test_ids_of_special_tokens(self, tokenizer):
        assert special_ids(tokenizer) == {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
        check_tokenizer(tokenizer, config())

    def test_ids_that_the_model_does_not_have(self, tokenizer):
        with pytest.raises(ValueError, match="ids up to 319, but the checkpoint's vocab_size is 100"):
            check_tokenizer(tokenizer, RecformerConfig(vocab_size=100))

    def test_other_special_ids(self, tokenizer):
        with pytest.raises(ValueError, match="has eos_token_id 2, but the checkpoint's is 3"):
            check_tokenizer(tokenizer, RecformerConfig(vocab_size=320, eos_token_id=3))


def test_settings_are_fields_that_the_source_leaves_open():
    check_settings({"temperature": 0.1, "hidden_size": 8})
    with pytest.raises(TypeError, match="no field 'heat'"):
        check_settings({"heat": 0.1})
    with pytest.raises(TypeError, match="hidden_size is set by the source and cannot be changed"):
        check_settings({"hidden_size": 8}, fixed=["hidden_size"])
