"""RecformerConfig: defaults, checks, and files of the public replication."""

from __future__ import annotations

import json

import pytest

from recformer_hf import RecformerConfig


def test_defaults_are_the_papers_base_size():
    config = RecformerConfig()
    expected = {
        "vocab_size": 50265, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "layer_norm_eps": 1e-5, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
        "attention_window": 64, "token_type_size": 4, "max_token_num": 1024, "max_item_embeddings": 51,
        "max_attr_num": 3, "max_attr_length": 32, "pooler_type": "cls", "temperature": 0.05, "mlm_weight": 0.1,
        "num_items": 0, "use_token_type_embeddings": True, "use_item_position_embeddings": True,
        "tie_word_embeddings": True, "max_position_embeddings": 1026,
    }  # fmt: skip
    assert {name: getattr(config, name) for name in expected} == expected
    assert config.attention_windows == [64] * 12


def test_position_table_follows_max_token_num():
    assert RecformerConfig(max_token_num=200, pad_token_id=0, bos_token_id=3).max_position_embeddings == 201


def test_round_trip(tmp_path):
    config = RecformerConfig(temperature=0.07, attention_window=[8] * 12, num_items=3, pooler_type="avg")
    config.save_pretrained(tmp_path)
    loaded = RecformerConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() | {"_name_or_path": ""} == config.to_dict() | {"_name_or_path": ""}


def test_arguments_are_keywords():
    with pytest.raises((TypeError, ValueError), match=r"keyword|positional"):
        RecformerConfig(50265)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"hidden_size": 770}, ["hidden_size", "770", "num_attention_heads", "12"]),
        ({"attention_window": 63}, ["even", "63"]),
        ({"attention_window": 0}, ["positive", "0"]),
        ({"attention_window": [64, 64]}, ["2 layers", "num_hidden_layers is 12"]),
        ({"attention_window": [64] * 11 + [7]}, ["even", "7"]),
        ({"max_position_embeddings": 1000}, ["max_position_embeddings", "1000", "max_token_num", "1024", "1026"]),
        ({"token_type_size": 3}, ["token_type_size", "3"]),
        ({"max_item_embeddings": 1}, ["max_item_embeddings", "1"]),
        ({"bos_token_id": 50265}, ["bos_token_id", "50265", "vocab_size"]),
        ({"bos_token_id": 1}, ["bos_token_id", "pad_token_id", "1"]),
        ({"hidden_act": "foo"}, ["hidden_act", "foo", "gelu"]),
        ({"temperature": float("nan")}, ["temperature", "nan"]),
        ({"mlm_weight": float("inf")}, ["mlm_weight", "inf"]),
        ({"temperature": 0}, ["temperature", "0"]),
        ({"mlm_weight": -0.1}, ["mlm_weight", "-0.1"]),
        ({"num_items": -1}, ["num_items", "-1"]),
        ({"hidden_dropout_prob": 1.0}, ["hidden_dropout_prob", "1.0"]),
        ({"num_hidden_layers": 0}, ["num_hidden_layers", "0"]),
        ({"num_hidden_layers": 10**9}, ["num_hidden_layers", "at most 1000", "1000000000"]),
        ({"head_num_layers": 10**9}, ["head_num_layers", "at most 1000", "1000000000"]),
        ({"max_token_num": 0}, ["max_token_num", "0"]),
    ],
)
def test_impossible_combinations_name_the_values(settings, named):
    with pytest.raises(Exception, match="Class validation error") as error:
        RecformerConfig(**settings)
    assert all(part in str(error.value) for part in named)


@pytest.mark.parametrize(
    "settings",
    [{"pooler_type": "max"}, {"hidden_size": "768"}, {"attention_window": 64.0}, {"temperature": None}],
    ids=str,
)
def test_wrong_types(settings):
    with pytest.raises(Exception, match=f"field '{next(iter(settings))}'"):
        RecformerConfig(**settings)


def test_replications_file(tmp_path):
    """Its names, and `temperature: 1.0`, a generation default that transformers 4 wrote into every file."""
    saved = {"model_type": "longformer", "temp": 0.1, "temperature": 1.0, "item_num": 12, "top_k": 50, "max_length": 20}
    (tmp_path / "config.json").write_text(json.dumps(saved))
    config = RecformerConfig.from_pretrained(tmp_path)
    assert (config.temperature, config.num_items, config.model_type) == (0.1, 12, "recformer")
    config.save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    assert not {"temp", "item_num", "top_k"} & set(again)


def test_another_models_file_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 32}))
    with pytest.raises(ValueError, match=r"model type is 'bert'.*from_text_encoder"):
        RecformerConfig.from_pretrained(tmp_path)
