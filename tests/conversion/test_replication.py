"""The public replication's files: the same numbers, clean names, clear refusals."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import load_file
from transformers import LongformerConfig

from recformer_hf import (
    RecformerConfig,
    RecformerForPretraining,
    RecformerForSeqRec,
    RecformerModel,
    RecformerTokenizer,
)
from recformer_hf.conversion import from_replication
from tests.support.conversion import (
    CLASSES,
    assert_equal_weights,
    encoder_of,
    replication_weights,
    write_tokenizer,
    write_weights,
)
from tests.support.models import FIXTURES, GOLDEN, golden_case


@pytest.fixture(name="replication_weights", scope="module")
def weights_of_the_replication() -> dict[str, torch.Tensor]:
    return replication_weights()


def encoder_alone(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in weights.items() if name.startswith("longformer.")}


def prefixed(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: weight for name, weight in weights.items()}


def bare(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix("longformer."): weight for name, weight in encoder_alone(weights).items()}


VARIANTS = {
    "pretraining": lambda weights: weights,
    "encoder": encoder_alone,
    "bare": bare,
    "lightning": lambda weights: prefixed(weights, "model."),
    "deepspeed": lambda weights: prefixed(weights, "_forward_module.model."),
    "distributed": lambda weights: prefixed(weights, "module."),
    "lightning checkpoint": lambda weights: {"epoch": 3, "state_dict": prefixed(weights, "model.")},
    "wrapped": lambda weights: {"model_state_dict": weights},
}


def assert_golden_states(model, golden) -> None:
    inputs, expected = golden_case(golden, "encoder.ragged.in."), golden_case(golden, "encoder.ragged.out.")
    with torch.no_grad():
        found = encoder_of(model)(**inputs).last_hidden_state
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[real], expected["last_hidden_state"], atol=1e-5, rtol=0)


class TestReplication:
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_hidden_states(self, variant, replication_weights, golden, tmp_path):
        model = from_replication(write_weights(tmp_path, VARIANTS[variant](replication_weights)))
        with_head = variant not in ("encoder", "bare")
        assert type(model) is (RecformerForPretraining if with_head else RecformerModel)
        assert not model.training
        assert_golden_states(model, golden)

    def test_language_modelling_head_is_not_tied(self, replication_weights, golden_pretraining_model, tmp_path):
        model = from_replication(write_weights(tmp_path, replication_weights))
        assert model.config.tie_word_embeddings is False
        assert_equal_weights(model, golden_pretraining_model)

    def test_is_tied_where_the_weights_are(self, replication_weights, tmp_path):
        words = replication_weights["longformer.embeddings.word_embeddings.weight"]
        model = from_replication(
            write_weights(tmp_path, {**replication_weights, "lm_head.decoder.weight": words.clone()})
        )
        assert model.config.tie_word_embeddings is True
        assert model.lm_head.decoder.weight is model.get_input_embeddings().weight

    @pytest.mark.parametrize("name", ["item_embedding.weight", "item_embeddings.weight", "model.item_embedding.weight"])
    def test_items(self, name, replication_weights, golden, golden_seqrec_model, tmp_path):
        saved = {**encoder_alone(replication_weights), name: golden["item_embeddings"]}
        model = from_replication(write_weights(tmp_path, saved))
        assert type(model) is RecformerForSeqRec
        assert model.config.num_items == 40
        assert_equal_weights(model, golden_seqrec_model)
        inputs, expected = golden_case(golden, "seqrec.in."), golden_case(golden, "seqrec.out.")
        inputs = {key: value for key, value in inputs.items() if key not in ("candidates", "labels", "negatives")}
        with torch.no_grad():
            torch.testing.assert_close(model(**inputs).scores, expected["scores"], atol=2e-5, rtol=1e-5)

    @pytest.mark.parametrize("model_class", CLASSES)
    @pytest.mark.parametrize("variant", ["pretraining", "bare"])
    def test_head_that_is_asked_for(self, variant, model_class, replication_weights, golden, tmp_path):
        path = write_weights(tmp_path, VARIANTS[variant](replication_weights))
        model = from_replication(path, model_class=model_class)
        assert type(model) is model_class
        assert_golden_states(model, golden)
        assert model.config.num_items == 0  # the configuration says 40, the file holds none

    @pytest.mark.parametrize("model_class", CLASSES)
    def test_saved_as_a_recformer_made_here(self, model_class, replication_weights, golden, tmp_path):
        saved = {**replication_weights, "item_embedding.weight": golden["item_embeddings"]}
        model = from_replication(write_weights(tmp_path, saved), model_class=model_class)
        assert model.state_dict().keys() == model_class(model.config).state_dict().keys()
        model.save_pretrained(tmp_path / "saved")
        model_class(model.config).save_pretrained(tmp_path / "fresh")
        ours, fresh = (load_file(tmp_path / name / "model.safetensors") for name in ("saved", "fresh"))
        assert ours.keys() == fresh.keys()
        loaded = model_class.from_pretrained(tmp_path / "saved")
        assert_equal_weights(loaded, model)
        assert loaded.config.to_dict().keys() == RecformerConfig().to_dict().keys() | {"architectures"}

    def test_settings_come_from_the_config_beside_it(self, replication_weights, tmp_path):
        config = from_replication(write_weights(tmp_path, replication_weights)).config
        assert (config.attention_window, config.num_attention_heads, config.temperature) == ([8, 8, 8], 4, 0.05)
        assert (config.model_type, config.max_token_num) == ("recformer", 128)

    @pytest.mark.parametrize("given", ["folder", "file", "object"])
    def test_a_config_that_is_given(self, given, replication_weights, golden, tmp_path):
        path = write_weights(tmp_path, replication_weights, config=False)
        config = {
            "folder": GOLDEN,
            "file": str(GOLDEN / "config.json"),
            "object": RecformerConfig.from_pretrained(GOLDEN),
        }
        assert_golden_states(from_replication(path, config=config[given], temperature=0.1), golden)
        assert config["object"].num_items == 40  # the caller's object is left alone

    def test_without_a_config_the_shapes_tell(self, replication_weights, golden, tmp_path):
        path = write_weights(tmp_path, replication_weights, config=False)
        model = from_replication(path, num_attention_heads=4, attention_window=8)
        assert_golden_states(model, golden)
        assert (model.config.vocab_size, model.config.num_hidden_layers, model.config.max_token_num) == (320, 3, 128)
        assert from_replication(path).config.num_attention_heads == 1  # heads of width 64

    def test_the_config_of_another_model_beside_it_is_left_aside(self, replication_weights, golden, tmp_path):
        path = write_weights(tmp_path, replication_weights, config=False)
        LongformerConfig().save_pretrained(tmp_path)
        assert_golden_states(from_replication(path, num_attention_heads=4, attention_window=8), golden)
        with pytest.raises(ValueError, match="not a Recformer configuration"):
            from_replication(path, config=tmp_path)

    @pytest.mark.parametrize("given", ["folder", "object"])
    def test_with_a_tokenizer(self, given, replication_weights, tmp_path):
        folder = FIXTURES / "tokenizer"
        tokenizer = RecformerTokenizer.from_pretrained(folder) if given == "object" else folder
        path = write_weights(tmp_path, replication_weights)
        model, made = from_replication(path, tokenizer=tokenizer, max_attr_num=2)
        assert (made.max_token_num, made.max_attr_num) == (128, 2)
        batch = made({"title": "red shoes"}, return_tensors="pt")
        assert torch.isfinite(model.recformer(**batch).pooler_output).all()


class TestRefusedFiles:
    def test_missing_weights_are_named(self, replication_weights, tmp_path):
        weights = dict(replication_weights)
        del weights["longformer.encoder.layer.1.output.dense.bias"], weights["lm_head.dense.weight"]
        with pytest.raises(
            ValueError, match=r"missing weights lm_head\.dense\.weight, .*layer\.1\.output\.dense\.bias;"
        ):
            from_replication(write_weights(tmp_path, weights))

    @pytest.mark.parametrize("config", [True, False])
    def test_another_architecture(self, config, tmp_path):
        with pytest.raises(ValueError, match=r"missing weights .*embeddings\..*transformer\.wte\.weight"):
            from_replication(write_weights(tmp_path, {"transformer.wte.weight": torch.zeros(3, 3)}, config))

    def test_a_plain_longformer(self, replication_weights, tmp_path):
        weights = {name: weight for name, weight in replication_weights.items() if "item_position" not in name}
        for config in (True, False):
            with pytest.raises(ValueError, match=r"missing weights .*embeddings\.item_position_embeddings\.weight"):
                from_replication(write_weights(tmp_path, weights, config))
            (tmp_path / "config.json").unlink(missing_ok=True)

    def test_other_shapes_are_named(self, replication_weights, tmp_path):
        path = write_weights(tmp_path, replication_weights)
        with pytest.raises(ValueError, match=r"item_position_embeddings\.weight is \[51, 64\], expected \[50, 64\]"):
            from_replication(path, max_item_embeddings=50)

    def test_more_layers_than_the_config(self, replication_weights, tmp_path):
        path = write_weights(tmp_path, replication_weights)
        with pytest.raises(ValueError, match=r"unexpected weights recformer\.encoder\.layer\.2\..* and \d+ more"):
            from_replication(path, num_hidden_layers=2, attention_window=8)

    def test_two_biases_that_differ(self, replication_weights, tmp_path):
        weights = {**replication_weights, "lm_head.bias": replication_weights["lm_head.bias"] + 1}
        with pytest.raises(ValueError, match=r"lm_head\.decoder\.bias twice"):
            from_replication(write_weights(tmp_path, weights))

    def test_code_is_refused_and_not_run(self, tmp_path):
        class Payload:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "ran"),)

        path = write_weights(tmp_path, {"state_dict": {}, "payload": Payload()})
        with pytest.raises(ValueError, match=r"more than tensors.*weights_only=False"):
            from_replication(path)
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
    def test_no_checkpoint(self, content, tmp_path):
        (tmp_path / "weights.bin").write_bytes(content)
        with pytest.raises(ValueError, match=r"weights\.bin"):
            from_replication(tmp_path / "weights.bin")

    @pytest.mark.parametrize("size", [100, 5_000, 100_000])
    def test_a_file_cut_short(self, replication_weights, tmp_path, size):
        path = write_weights(tmp_path, replication_weights)
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(ValueError, match="cut short"):
            from_replication(path)

    @pytest.mark.parametrize("content", [[torch.zeros(2)], {}, {"epoch": 3, "optimizer": {"lr": 0.1}}])
    def test_no_weights(self, content, tmp_path):
        with pytest.raises(ValueError, match="expected weights by name"):
            from_replication(write_weights(tmp_path, content))

    def test_no_such_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.bin"):
            from_replication(tmp_path / "nowhere.bin")
        write_weights(tmp_path, {})
        with pytest.raises(FileNotFoundError, match=r"is a folder; name one of its files: pytorch_model\.bin"):
            from_replication(tmp_path)

    def test_a_tokenizer_of_another_model(self, replication_weights, tmp_path):
        path = write_weights(tmp_path, replication_weights)
        (tmp_path / "bert").mkdir()
        write_tokenizer(tmp_path / "bert", "bert")
        with pytest.raises(ValueError, match="has bos_token_id 2, but the checkpoint's is 0"):
            from_replication(path, tokenizer=tmp_path / "bert")
