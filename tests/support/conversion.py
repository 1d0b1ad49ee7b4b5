"""Small checkpoints to convert: text encoders with their tokenizers, and the public replication's weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    CamembertConfig,
    ElectraConfig,
    LongformerConfig,
    PreTrainedConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from recformer_hf import RecformerForPretraining, RecformerForSeqRec, RecformerModel
from tests.support.models import FIXTURES, GOLDEN, enliven

FAMILIES = {
    "bert": BertConfig,
    "camembert": CamembertConfig,
    "electra": ElectraConfig,
    "longformer": LongformerConfig,
    "roberta": RobertaConfig,
    "xlm-roberta": XLMRobertaConfig,
}
CLASSES = [RecformerModel, RecformerForPretraining, RecformerForSeqRec]
WINDOW = 64
WIDTH = 32
POSITIONS = 48


def write_tokenizer(folder: Path, family: str) -> None:
    """Files of a small tokenizer as the family has it."""
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


def source_config(family: str, **settings: Any) -> PreTrainedConfig:
    """Configuration of a small text encoder."""
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


def make_source(
    folder: Path, family: str, auto: Any = AutoModelForMaskedLM, dtype: torch.dtype = torch.float32, **settings: Any
) -> Any:
    """A small random checkpoint of a family, with its tokenizer."""
    model = enliven(auto.from_config(source_config(family, **settings)), seed=1).eval()
    model.to(dtype).save_pretrained(folder)
    write_tokenizer(folder, family)
    return model


def replication_weights() -> dict[str, Tensor]:
    """The replication's state dict as it saves it: one bias twice, position ids, a pooler."""
    weights = load_file(GOLDEN / "weights_pretraining.safetensors")
    weights["lm_head.bias"] = weights["lm_head.decoder.bias"]
    weights["longformer.embeddings.position_ids"] = torch.arange(130)[None]
    weights["longformer.pooler.dense.weight"] = torch.zeros(64, 64)
    weights["longformer.pooler.dense.bias"] = torch.zeros(64)
    return weights


def write_weights(folder: Path, content: Any, config: bool = True, name: str = "pytorch_model.bin") -> Path:
    """Saves a file as the replication does, with its configuration beside it."""
    torch.save(content, folder / name)
    if config:
        shutil.copy(GOLDEN / "config.json", folder)
    return folder / name


def encoder_of(model: Any) -> RecformerModel:
    return model if isinstance(model, RecformerModel) else model.recformer


def assert_equal_weights(model: torch.nn.Module, other: torch.nn.Module) -> None:
    ours, theirs = model.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())
