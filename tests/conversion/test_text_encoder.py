"""Warm starts from text encoders: the same numbers, clean names, clear refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer, GPT2Config
from transformers.utils import logging

from recformer_hf import RecformerConfig, RecformerModel, RecformerTokenizer
from recformer_hf.conversion import from_text_encoder
from tests.support.conversion import (
    CLASSES,
    FAMILIES,
    WIDTH,
    WINDOW,
    assert_equal_weights,
    encoder_of,
    make_source,
    source_config,
)

TEXTS = ["red shoes", "a", "a nintendo switch"]  # each shorter than half of WINDOW


@pytest.fixture(params=FAMILIES)
def family(request) -> str:
    return request.param


def states_of(source, family: str, batch) -> torch.Tensor:
    """The source's own hidden states; a Longformer's with its global attention on `<s>`."""
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    if family == "longformer":
        inputs["global_attention_mask"] = torch.zeros_like(batch["input_ids"])
        inputs["global_attention_mask"][:, 0] = 1
    with torch.no_grad():
        return source.base_model(**inputs).last_hidden_state


def tokenize(tokenizer, texts=TEXTS) -> dict[str, torch.Tensor]:
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def assert_same_states(model, source, family: str, batch) -> None:
    assert batch["input_ids"].shape[1] < WINDOW // 2
    with torch.no_grad():
        found = encoder_of(model)(**batch).last_hidden_state
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(found[real], states_of(source, family, batch)[real], atol=1e-5, rtol=0)


class TestSameNumbersAsTheTextEncoder:
    def test_hidden_states_of_a_short_text(self, family, tmp_path):
        source = make_source(tmp_path, family)
        model, tokenizer = from_text_encoder(tmp_path, model_class=RecformerModel)
        batch = tokenize(tokenizer)
        assert torch.equal(batch["input_ids"], tokenize(AutoTokenizer.from_pretrained(tmp_path))["input_ids"])
        assert_same_states(model, source, family, batch)

    @pytest.mark.parametrize("model_class", CLASSES)
    def test_in_every_head(self, model_class, tmp_path):
        source = make_source(tmp_path, "bert")
        model, tokenizer = from_text_encoder(tmp_path, model_class=model_class)
        assert type(model) is model_class
        assert not model.training
        assert_same_states(model, source, "bert", tokenize(tokenizer))

    def test_a_longer_text_than_the_window_differs(self, tmp_path):
        source = make_source(tmp_path, "roberta")
        model, tokenizer = from_text_encoder(tmp_path, attention_window=4)
        with pytest.raises(AssertionError, match="not close"):
            assert_same_states(model, source, "roberta", tokenize(tokenizer))

    def test_predictions_of_masked_tokens(self, family, tmp_path):
        source = make_source(tmp_path, family)
        model, tokenizer = from_text_encoder(tmp_path)
        batch = tokenize(tokenizer, ["red shoes"])
        inputs = dict(batch)
        if family == "longformer":
            inputs["global_attention_mask"] = (torch.arange(batch["input_ids"].shape[1]) == 0).long()[None]
        with torch.no_grad():
            expected = source(**inputs).logits
            found = model.lm_head(model.recformer(**batch).last_hidden_state)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
        assert model.lm_head.decoder.weight is model.get_input_embeddings().weight

    def test_a_checkpoint_without_a_head(self, family, tmp_path, caplog):
        source = make_source(tmp_path, family, AutoModel)
        verbosity = logging.get_verbosity()
        model, tokenizer = from_text_encoder(tmp_path)
        assert logging.get_verbosity() == verbosity
        assert_same_states(model, source, family, tokenize(tokenizer))
        assert model.lm_head.decoder.weight is model.get_input_embeddings().weight
        assert (model.lm_head.decoder.bias == 0).all()
        assert not [record for record in caplog.records if record.levelname == "WARNING"]  # a usual kind of checkpoint

    def test_without_token_types(self, tmp_path):
        source = make_source(tmp_path, "bert")
        switches = {"use_token_type_embeddings": False, "use_item_position_embeddings": False}
        model, tokenizer = from_text_encoder(tmp_path, **switches)
        assert_same_states(model, source, "bert", tokenize(tokenizer))

    def test_of_a_half_precision_checkpoint_in_float32(self, tmp_path):
        source = make_source(tmp_path, "roberta", dtype=torch.bfloat16).float()
        model, tokenizer = from_text_encoder(tmp_path)
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}
        assert_same_states(model, source, "roberta", tokenize(tokenizer))


class TestWhatIsCopied:
    @pytest.mark.parametrize("max_token_num", [20, 100])
    def test_positions_start_behind_the_padding_id_and_repeat(self, family, max_token_num, tmp_path):
        source = make_source(tmp_path, family).base_model.embeddings.position_embeddings.weight
        model, _ = from_text_encoder(tmp_path, max_token_num=max_token_num)
        pad = model.config.pad_token_id
        table = model.recformer.embeddings.position_embeddings.weight
        usable = source if family in ("bert", "electra") else source[2:]
        assert (pad, len(table)) == (0 if family in ("bert", "electra") else 1, max_token_num + pad + 1)
        assert (table[: pad + 1] == 0).all()
        for position in range(max_token_num):
            assert torch.equal(table[pad + 1 + position], usable[position % len(usable)])

    def test_a_text_beyond_the_sources_positions_is_encoded(self, tmp_path):
        make_source(tmp_path, "bert")
        model, _ = from_text_encoder(tmp_path, max_token_num=100)
        ids = torch.randint(5, 59, (1, 100))
        assert torch.isfinite(model.recformer(input_ids=ids).last_hidden_state).all()

    def test_every_token_type_is_the_sources_first_and_item_positions_are_zero(self, family, tmp_path):
        source = make_source(tmp_path, family)
        embeddings = from_text_encoder(tmp_path)[0].recformer.embeddings
        first = source.base_model.embeddings.token_type_embeddings.weight[0]
        assert torch.equal(embeddings.token_type_embeddings.weight, first.expand(4, -1))
        assert embeddings.item_position_embeddings.weight.shape == (51, WIDTH)
        assert (embeddings.item_position_embeddings.weight == 0).all()

    def test_global_projections(self, family, tmp_path):
        source = make_source(tmp_path, family)
        model, _ = from_text_encoder(tmp_path, model_class=RecformerModel)
        for ours, theirs in zip(model.encoder.layer, source.base_model.encoder.layer, strict=True):
            for name in ("query", "key", "value"):
                origin = f"{name}_global" if family == "longformer" else name
                for kind in ("weight", "bias"):
                    found = getattr(getattr(ours.attention.self, f"{name}_global"), kind)
                    assert torch.equal(found, getattr(getattr(theirs.attention.self, origin), kind))

    def test_settings_of_the_source(self, tmp_path):
        make_source(tmp_path, "bert", hidden_act="gelu_new")
        config = from_text_encoder(tmp_path)[0].config
        assert (config.vocab_size, config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (
            320,
            32,
            2,
            2,
        )
        assert (config.intermediate_size, config.layer_norm_eps, config.hidden_act) == (48, 1e-6, "gelu_new")
        assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.2, 0.3)
        assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (0, 2, 3)  # [PAD], [CLS], [SEP]
        assert (config.attention_window, config.max_token_num, config.pooler_type) == (64, 1024, "cls")

    def test_settings_of_the_caller(self, tmp_path):
        make_source(tmp_path, "longformer")
        chosen = {"attention_window": [8, 16], "max_token_num": 64, "hidden_dropout_prob": 0.0, "pooler_type": "avg"}
        limits = {"max_attr_num": 2, "max_attr_length": 5, "max_item_embeddings": 9}
        model, tokenizer = from_text_encoder(tmp_path, **chosen, **limits)
        for name, value in {**chosen, **limits}.items():
            assert getattr(model.config, name) == value
        for name, value in {**limits, "max_token_num": 64, "model_max_length": 64}.items():
            assert getattr(tokenizer, name) == value
        tokenizer.save_pretrained(tmp_path / "saved")
        assert RecformerTokenizer.from_pretrained(tmp_path / "saved").max_attr_length == 5

    def test_an_untied_decoder_stays_untied_unless_asked(self, tmp_path, caplog):
        source = make_source(tmp_path, "roberta", tie_word_embeddings=False)
        model, _ = from_text_encoder(tmp_path)
        assert model.config.tie_word_embeddings is False
        assert torch.equal(model.lm_head.decoder.weight, source.lm_head.decoder.weight)
        assert not torch.equal(model.lm_head.decoder.weight, model.get_input_embeddings().weight)
        tied, _ = from_text_encoder(tmp_path, tie_word_embeddings=True)
        assert tied.lm_head.decoder.weight is tied.get_input_embeddings().weight

    def test_a_tied_decoder_can_be_freed(self, tmp_path):
        make_source(tmp_path, "bert")
        model, _ = from_text_encoder(tmp_path, tie_word_embeddings=False)
        assert model.lm_head.decoder.weight is not model.get_input_embeddings().weight
        assert torch.equal(model.lm_head.decoder.weight, model.get_input_embeddings().weight)

    @pytest.mark.parametrize("model_class", CLASSES)
    def test_saved_as_a_recformer_made_here(self, model_class, tmp_path):
        make_source(tmp_path / "source", "bert")
        model, tokenizer = from_text_encoder(tmp_path / "source", model_class=model_class)
        assert model.state_dict().keys() == model_class(model.config).state_dict().keys()
        model.save_pretrained(tmp_path / "saved")
        tokenizer.save_pretrained(tmp_path / "saved")
        model_class(model.config).save_pretrained(tmp_path / "fresh")
        saved, fresh = (load_file(tmp_path / name / "model.safetensors") for name in ("saved", "fresh"))
        assert saved.keys() == fresh.keys()
        assert_equal_weights(model_class.from_pretrained(tmp_path / "saved"), model)
        again = RecformerTokenizer.from_pretrained(tmp_path / "saved")
        assert again({"title": "red shoes"}) == tokenizer({"title": "red shoes"})


class TestRefusedTextEncoders:
    def test_another_architecture(self, tmp_path):
        GPT2Config().save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=r"model_type 'gpt2'; a Recformer can start from bert, .*xlm-roberta"):
            from_text_encoder(tmp_path)

    def test_a_recformer(self, tmp_path):
        RecformerConfig().save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=r"is a Recformer already: load it with RecformerModel\.from_pretrained"):
            from_text_encoder(tmp_path)

    @pytest.mark.parametrize(
        ("family", "field", "value"),
        [
            ("bert", "is_decoder", True),
            ("bert", "position_embedding_type", "relative_key"),
            ("electra", "embedding_size", 16),
        ],
    )
    def test_a_layout_of_its_own(self, family, field, value, tmp_path):
        source_config(family).save_pretrained(tmp_path)
        settings = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({**settings, field: value}))
        with pytest.raises(ValueError, match=f"{field}={value!r}"):
            from_text_encoder(tmp_path)

    def test_a_checkpoint_that_lacks_weights(self, tmp_path):
        make_source(tmp_path, "bert")
        weights = load_file(tmp_path / "model.safetensors")
        del weights["bert.encoder.layer.1.output.dense.weight"]
        save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(ValueError, match=r"missing weights bert\.encoder\.layer\.1\.output\.dense\.weight"):
            from_text_encoder(tmp_path)

    def test_a_checkpoint_with_more_layers_than_its_config(self, tmp_path):
        make_source(tmp_path, "roberta")
        source_config("roberta", num_hidden_layers=1).save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=r"unexpected weights roberta\.encoder\.layer\.1\."):
            from_text_encoder(tmp_path)

    def test_a_tokenizer_of_another_vocabulary(self, tmp_path):
        make_source(tmp_path, "roberta", vocab_size=100)
        with pytest.raises(ValueError, match="ids up to 319, but the checkpoint's vocab_size is 100"):
            from_text_encoder(tmp_path)

    def test_no_tokenizer(self, tmp_path):
        make_source(tmp_path, "bert")
        for file in ("vocab.txt", "tokenizer_config.json"):
            (tmp_path / file).unlink()
        with pytest.raises(OSError, match="No tokenizer in"):
            from_text_encoder(tmp_path)

    def test_no_such_folder(self, tmp_path):
        with pytest.raises(OSError, match="nowhere"):
            from_text_encoder(tmp_path / "nowhere")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"attention_windows": 8}, "no field 'attention_windows'.*attention_window"),
            ({"hidden_size": 64}, "hidden_size is set by the source"),
            ({"pad_token_id": 3}, "pad_token_id is set by the source"),
        ],
    )
    def test_settings(self, settings, message, tmp_path):
        with pytest.raises(TypeError, match=message):
            from_text_encoder(tmp_path, **settings)


def write_modules(folder: Path, kinds: dict[str, str], pooling: dict | None = None) -> None:
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    if pooling is not None:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


MEAN = {"word_embedding_dimension": WIDTH, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
CLS = {"word_embedding_dimension": WIDTH, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
USUAL = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}


class TestSentenceTransformers:
    def test_mean_pooling(self, tmp_path):
        source = make_source(tmp_path, "bert", AutoModel)
        write_modules(tmp_path, USUAL, MEAN)
        model, tokenizer = from_text_encoder(tmp_path, model_class=RecformerModel)
        assert model.config.pooler_type == "avg"
        batch = tokenize(tokenizer)
        real = batch["attention_mask"][..., None]
        with torch.no_grad():
            expected = (states_of(source, "bert", batch) * real).sum(1) / real.sum(1)
            found = model(**batch).pooler_output
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)

    @pytest.mark.parametrize(
        ("pooling", "expected"),
        [(MEAN, "avg"), (CLS, "cls"), ({"pooling_mode": "mean"}, "avg"), ({"pooling_mode": "cls"}, "cls")],
    )
    def test_pooling_setting(self, pooling, expected, tmp_path):
        make_source(tmp_path, "bert", AutoModel)
        write_modules(tmp_path, USUAL, pooling)
        assert from_text_encoder(tmp_path)[0].config.pooler_type == expected

    def test_pooling_folder_alone(self, tmp_path):
        make_source(tmp_path, "bert", AutoModel)
        write_modules(tmp_path, USUAL, MEAN)
        (tmp_path / "modules.json").unlink()
        assert from_text_encoder(tmp_path)[0].config.pooler_type == "avg"

    def test_encoder_in_a_folder_of_its_own(self, tmp_path):
        (tmp_path / "0_Transformer").mkdir()
        source = make_source(tmp_path / "0_Transformer", "bert", AutoModel)
        write_modules(tmp_path, {**USUAL, "Transformer": "0_Transformer"}, MEAN)
        model, tokenizer = from_text_encoder(tmp_path)
        assert_same_states(model, source, "bert", tokenize(tokenizer))
        assert model.config.pooler_type == "avg"

    @pytest.mark.parametrize(
        ("kinds", "pooling", "message"),
        [
            (USUAL, {"pooling_mode_max_tokens": True}, "pools by max_tokens"),
            (USUAL, {**MEAN, "pooling_mode_max_tokens": True}, "pools by mean_tokens and max_tokens"),
            ({**USUAL, "Dense": "2_Dense"}, MEAN, "with Dense, which a Recformer has no place for"),
        ],
    )
    def test_what_a_recformer_cannot_do_raises_unless_a_pooling_is_named(self, kinds, pooling, message, tmp_path):
        source = make_source(tmp_path, "bert", AutoModel)
        write_modules(tmp_path, kinds, pooling)
        with pytest.raises(ValueError, match=message):
            from_text_encoder(tmp_path)
        model, tokenizer = from_text_encoder(tmp_path, pooler_type="avg")
        assert model.config.pooler_type == "avg"
        assert_same_states(model, source, "bert", tokenize(tokenizer))
