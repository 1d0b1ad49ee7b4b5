"""Warm starts from text encoders and the public replication's files: the same numbers, clean names, clear refusals."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    CamembertConfig,
    ElectraConfig,
    GPT2Config,
    LongformerConfig,
    RobertaConfig,
    XLMRobertaConfig,
)
from transformers.utils import logging

from recformer_hf import (
    RecformerConfig,
    RecformerForPretraining,
    RecformerForSeqRec,
    RecformerModel,
    RecformerTokenizer,
)
from recformer_hf.conversion import from_replication, from_text_encoder
from recformer_hf.conversion.__main__ import main
from tests.support.models import FIXTURES, GOLDEN, enliven, golden_case

FAMILIES = {
    "bert": BertConfig,
    "camembert": CamembertConfig,
    "electra": ElectraConfig,
    "longformer": LongformerConfig,
    "roberta": RobertaConfig,
    "xlm-roberta": XLMRobertaConfig,
}
CLASSES = [RecformerModel, RecformerForPretraining, RecformerForSeqRec]
TEXTS = ["red shoes", "a", "a nintendo switch"]
WINDOW = 64  # every text of TEXTS is shorter than half of it
WIDTH = 32
POSITIONS = 48


def write_tokenizer(folder: Path, family: str) -> None:
    if family in ("bert", "electra"):
        letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "shoes", *letters, *(f"##{c}" for c in letters)]
        (folder / "vocab.txt").write_text("\n".join(words))
        settings = {"tokenizer_class": "BertTokenizer", "model_max_length": POSITIONS}
    else:
        for file in ("vocab.json", "merges.txt"):
            shutil.copy(FIXTURES / "tokenizer" / file, folder)
        settings = {"tokenizer_class": "RobertaTokenizer", "model_max_length": POSITIONS}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def source_config(family: str, **settings):
    special = (
        {"pad_token_id": 0}
        if family in ("bert", "electra")
        else {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    )
    own = {"electra": {"embedding_size": WIDTH}, "longformer": {"attention_window": WINDOW}}.get(family, {})
    common = {
        "vocab_size": 320, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 48, "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "layer_norm_eps": 1e-6,
        "hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3,
    }  # fmt: skip
    return FAMILIES[family](**{**common, **special, **own, **settings})


def make_source(folder: Path, family: str, auto=AutoModelForMaskedLM, dtype=torch.float32, **settings):
    """A small random checkpoint of a family, with its tokenizer."""
    model = enliven(auto.from_config(source_config(family, **settings)), seed=1).eval()
    model.to(dtype).save_pretrained(folder)
    write_tokenizer(folder, family)
    return model


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


def encoder_of(model) -> RecformerModel:
    return model if isinstance(model, RecformerModel) else model.recformer


def tokenize(tokenizer, texts=TEXTS) -> dict[str, torch.Tensor]:
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def assert_same_states(model, source, family: str, batch) -> None:
    assert batch["input_ids"].shape[1] < WINDOW // 2
    with torch.no_grad():
        found = encoder_of(model)(**batch).last_hidden_state
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(found[real], states_of(source, family, batch)[real], atol=1e-5, rtol=0)


def assert_equal_weights(model, other) -> None:
    ours, theirs = model.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


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
            ({"hidden_size": 64}, "hidden_size is the source's"),
            ({"pad_token_id": 3}, "pad_token_id is the source's"),
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


@pytest.fixture(scope="module")
def replication_weights() -> dict[str, torch.Tensor]:
    """The replication's state dict as it saves it: one bias twice, position ids, a pooler."""
    weights = load_file(GOLDEN / "weights_pretraining.safetensors")
    weights["lm_head.bias"] = weights["lm_head.decoder.bias"]
    weights["longformer.embeddings.position_ids"] = torch.arange(130)[None]
    weights["longformer.pooler.dense.weight"] = torch.zeros(64, 64)
    weights["longformer.pooler.dense.bias"] = torch.zeros(64)
    return weights


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


def write(folder: Path, content, config: bool = True, name: str = "pytorch_model.bin") -> Path:
    torch.save(content, folder / name)
    if config:
        shutil.copy(GOLDEN / "config.json", folder)
    return folder / name


def assert_golden_states(model, golden) -> None:
    inputs, expected = golden_case(golden, "encoder.ragged.in."), golden_case(golden, "encoder.ragged.out.")
    with torch.no_grad():
        found = encoder_of(model)(**inputs).last_hidden_state
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[real], expected["last_hidden_state"], atol=1e-5, rtol=0)


class TestReplication:
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_hidden_states(self, variant, replication_weights, golden, tmp_path):
        model = from_replication(write(tmp_path, VARIANTS[variant](replication_weights)))
        with_head = variant not in ("encoder", "bare")
        assert type(model) is (RecformerForPretraining if with_head else RecformerModel)
        assert not model.training
        assert_golden_states(model, golden)

    def test_language_modelling_head_is_not_tied(self, replication_weights, golden_pretraining_model, tmp_path):
        model = from_replication(write(tmp_path, replication_weights))
        assert model.config.tie_word_embeddings is False
        assert_equal_weights(model, golden_pretraining_model)

    def test_is_tied_where_the_weights_are(self, replication_weights, tmp_path):
        words = replication_weights["longformer.embeddings.word_embeddings.weight"]
        model = from_replication(write(tmp_path, {**replication_weights, "lm_head.decoder.weight": words.clone()}))
        assert model.config.tie_word_embeddings is True
        assert model.lm_head.decoder.weight is model.get_input_embeddings().weight

    @pytest.mark.parametrize("name", ["item_embedding.weight", "item_embeddings.weight", "model.item_embedding.weight"])
    def test_items(self, name, replication_weights, golden, golden_seqrec_model, tmp_path):
        saved = {**encoder_alone(replication_weights), name: golden["item_embeddings"]}
        model = from_replication(write(tmp_path, saved))
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
        path = write(tmp_path, VARIANTS[variant](replication_weights))
        model = from_replication(path, model_class=model_class)
        assert type(model) is model_class
        assert_golden_states(model, golden)
        assert model.config.num_items == 0  # the configuration says 40, the file holds none

    @pytest.mark.parametrize("model_class", CLASSES)
    def test_saved_as_a_recformer_made_here(self, model_class, replication_weights, golden, tmp_path):
        saved = {**replication_weights, "item_embedding.weight": golden["item_embeddings"]}
        model = from_replication(write(tmp_path, saved), model_class=model_class)
        assert model.state_dict().keys() == model_class(model.config).state_dict().keys()
        model.save_pretrained(tmp_path / "saved")
        model_class(model.config).save_pretrained(tmp_path / "fresh")
        ours, fresh = (load_file(tmp_path / name / "model.safetensors") for name in ("saved", "fresh"))
        assert ours.keys() == fresh.keys()
        loaded = model_class.from_pretrained(tmp_path / "saved")
        assert_equal_weights(loaded, model)
        assert loaded.config.to_dict().keys() == RecformerConfig().to_dict().keys() | {"architectures"}

    def test_settings_come_from_the_config_beside_it(self, replication_weights, tmp_path):
        config = from_replication(write(tmp_path, replication_weights)).config
        assert (config.attention_window, config.num_attention_heads, config.temperature) == ([8, 8, 8], 4, 0.05)
        assert (config.model_type, config.max_token_num) == ("recformer", 128)

    @pytest.mark.parametrize("given", ["folder", "file", "object"])
    def test_a_config_that_is_given(self, given, replication_weights, golden, tmp_path):
        path = write(tmp_path, replication_weights, config=False)
        config = {
            "folder": GOLDEN,
            "file": str(GOLDEN / "config.json"),
            "object": RecformerConfig.from_pretrained(GOLDEN),
        }
        assert_golden_states(from_replication(path, config=config[given], temperature=0.1), golden)
        assert config["object"].num_items == 40  # the caller's object is left alone

    def test_without_a_config_the_shapes_tell(self, replication_weights, golden, tmp_path):
        path = write(tmp_path, replication_weights, config=False)
        model = from_replication(path, num_attention_heads=4, attention_window=8)
        assert_golden_states(model, golden)
        assert (model.config.vocab_size, model.config.num_hidden_layers, model.config.max_token_num) == (320, 3, 128)
        assert from_replication(path).config.num_attention_heads == 1  # heads of width 64

    def test_the_config_of_another_model_beside_it_is_left_aside(self, replication_weights, golden, tmp_path):
        path = write(tmp_path, replication_weights, config=False)
        LongformerConfig().save_pretrained(tmp_path)
        assert_golden_states(from_replication(path, num_attention_heads=4, attention_window=8), golden)
        with pytest.raises(ValueError, match="no Recformer configuration"):
            from_replication(path, config=tmp_path)

    @pytest.mark.parametrize("given", ["folder", "object"])
    def test_with_a_tokenizer(self, given, replication_weights, tmp_path):
        folder = FIXTURES / "tokenizer"
        tokenizer = RecformerTokenizer.from_pretrained(folder) if given == "object" else folder
        path = write(tmp_path, replication_weights)
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
            from_replication(write(tmp_path, weights))

    @pytest.mark.parametrize("config", [True, False])
    def test_another_architecture(self, config, tmp_path):
        with pytest.raises(ValueError, match=r"missing weights .*embeddings\..*transformer\.wte\.weight"):
            from_replication(write(tmp_path, {"transformer.wte.weight": torch.zeros(3, 3)}, config))

    def test_a_plain_longformer(self, replication_weights, tmp_path):
        weights = {name: weight for name, weight in replication_weights.items() if "item_position" not in name}
        for config in (True, False):
            with pytest.raises(ValueError, match=r"missing weights .*embeddings\.item_position_embeddings\.weight"):
                from_replication(write(tmp_path, weights, config))
            (tmp_path / "config.json").unlink(missing_ok=True)

    def test_other_shapes_are_named(self, replication_weights, tmp_path):
        path = write(tmp_path, replication_weights)
        with pytest.raises(ValueError, match=r"item_position_embeddings\.weight is \[51, 64\], expected \[50, 64\]"):
            from_replication(path, max_item_embeddings=50)

    def test_more_layers_than_the_config(self, replication_weights, tmp_path):
        path = write(tmp_path, replication_weights)
        with pytest.raises(ValueError, match=r"unexpected weights recformer\.encoder\.layer\.2\..* and \d+ more"):
            from_replication(path, num_hidden_layers=2, attention_window=8)

    def test_two_biases_that_differ(self, replication_weights, tmp_path):
        weights = {**replication_weights, "lm_head.bias": replication_weights["lm_head.bias"] + 1}
        with pytest.raises(ValueError, match=r"lm_head\.decoder\.bias twice"):
            from_replication(write(tmp_path, weights))

    def test_code_is_refused_and_not_run(self, tmp_path):
        class Payload:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "ran"),)

        path = write(tmp_path, {"state_dict": {}, "payload": Payload()})
        with pytest.raises(ValueError, match=r"more than tensors.*weights_only=False"):
            from_replication(path)
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
    def test_no_checkpoint(self, content, tmp_path):
        (tmp_path / "weights.bin").write_bytes(content)
        with pytest.raises(ValueError, match=r"weights\.bin"):
            from_replication(tmp_path / "weights.bin")

    def test_a_file_cut_short(self, replication_weights, tmp_path):
        path = write(tmp_path, replication_weights)
        path.write_bytes(path.read_bytes()[:100_000])
        with pytest.raises(ValueError, match="cut short"):
            from_replication(path)

    @pytest.mark.parametrize("content", [[torch.zeros(2)], {}, {"epoch": 3, "optimizer": {"lr": 0.1}}])
    def test_no_weights(self, content, tmp_path):
        with pytest.raises(ValueError, match="expected weights by name"):
            from_replication(write(tmp_path, content))

    def test_no_such_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.bin"):
            from_replication(tmp_path / "nowhere.bin")
        write(tmp_path, {})
        with pytest.raises(FileNotFoundError, match=r"is a folder; name one of its files: pytorch_model\.bin"):
            from_replication(tmp_path)

    def test_a_tokenizer_of_another_model(self, replication_weights, tmp_path):
        path = write(tmp_path, replication_weights)
        (tmp_path / "bert").mkdir()
        write_tokenizer(tmp_path / "bert", "bert")
        with pytest.raises(ValueError, match="has bos_token_id 2, but the checkpoint's is 0"):
            from_replication(path, tokenizer=tmp_path / "bert")


class TestCommand:
    def test_text_encoder(self, tmp_path):
        make_source(tmp_path / "source", "bert")
        command = [
            sys.executable,
            "-m",
            "recformer_hf.conversion",
            "text-encoder",
            tmp_path / "source",
            tmp_path / "made",
        ]
        done = subprocess.run([*command, "--max-token-num", "64"], capture_output=True, text=True, check=True)
        assert f'RecformerForPretraining.from_pretrained("{tmp_path / "made"}")' in done.stdout
        made = RecformerForPretraining.from_pretrained(tmp_path / "made")
        assert_equal_weights(made, from_text_encoder(tmp_path / "source", max_token_num=64)[0])
        assert RecformerTokenizer.from_pretrained(tmp_path / "made").max_token_num == 64
        assert sorted(file.name for file in tmp_path.iterdir()) == ["made", "source"]  # nothing temporary is left

    def test_replication(self, replication_weights, tmp_path, capsys):
        path, made = write(tmp_path, replication_weights), tmp_path / "deep" / "made"
        main(["replication", str(path), str(made), "--tokenizer", str(FIXTURES / "tokenizer"), "--head", "seqrec"])
        assert "a RecformerForSeqRec of 3 layers of width 64" in capsys.readouterr().out
        RecformerForSeqRec.from_pretrained(made)
        assert RecformerTokenizer.from_pretrained(made).max_token_num == 128

    def test_replication_without_a_tokenizer(self, replication_weights, tmp_path, capsys):
        path, made = write(tmp_path, replication_weights, config=False), tmp_path / "made"
        made.mkdir()  # empty: may be written to
        main(["replication", str(path), str(made), "--config", str(GOLDEN), "--attention-window", "16"])
        assert "No tokenizer was saved" in capsys.readouterr().out
        assert RecformerForPretraining.from_pretrained(made).config.attention_window == 16

    def test_a_full_folder_is_left_alone(self, replication_weights, tmp_path):
        path = write(tmp_path, replication_weights)
        before = sorted(file.name for file in tmp_path.iterdir())
        for source in (path, tmp_path / "not even read"):
            with pytest.raises(SystemExit, match="not an empty folder; nothing was written"):
                main(["replication", str(source), str(tmp_path)])
        assert sorted(file.name for file in tmp_path.iterdir()) == before

    def test_a_failure_leaves_nothing_behind(self, replication_weights, tmp_path, monkeypatch):
        path = write(tmp_path, replication_weights)

        def full_disk(*args, **kwargs):
            raise OSError("No space left on device")

        monkeypatch.setattr(RecformerTokenizer, "save_pretrained", full_disk)
        with pytest.raises(SystemExit, match="error: No space left on device"):
            main(["replication", str(path), str(tmp_path / "made"), "--tokenizer", str(FIXTURES / "tokenizer")])
        assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "pytorch_model.bin"]

    def test_errors_are_one_line(self, tmp_path):
        with pytest.raises(SystemExit, match=r"error: No weights file at .*nowhere\.bin"):
            main(["replication", str(tmp_path / "nowhere.bin"), str(tmp_path / "made")])
        assert not (tmp_path / "made").exists()
