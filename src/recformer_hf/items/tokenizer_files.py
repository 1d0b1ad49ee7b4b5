"""Rust tokenizers from other models' files, and without their special tokens."""

from __future__ import annotations

import json
import secrets
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedConfig, PreTrainedTokenizerBase
from transformers.utils import cached_file

# Arguments of `from_pretrained` that say where files come from, for the look-ups made before a tokenizer exists.
HUB_ARGUMENTS = ["cache_dir", "force_download", "proxies", "token", "revision", "local_files_only", "subfolder"]


def without_special_tokens(backend: Tokenizer, specials: set[str]) -> Tokenizer:
    """A copy of a Rust tokenizer with the same ids, in which no text gives a special token's id.

    (But the unknown token's, where it stands for what the vocabulary lacks.) Special tokens are renamed to strings with
    a random part, so no text matches them, neither as an added token nor as a piece of the vocabulary; merges that
    would make one go.
    """
    spec = json.loads(backend.to_str())
    specials = specials | {token["content"] for token in spec["added_tokens"] if token["special"]}
    secret = secrets.token_hex(16)
    renamed = {token: f"\U0010ffff{secret}{index}" for index, token in enumerate(sorted(specials))}
    for token in spec["added_tokens"]:
        if token["content"] in renamed:
            token.update(content=renamed[token["content"]], special=True)
    model = spec["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {renamed.get(token, token): index for token, index in model["vocab"].items()}
    else:
        model["vocab"] = [[renamed.get(token, token), score] for token, score in model["vocab"]]
    if model.get("unk_token") is not None:
        model["unk_token"] = renamed.get(model["unk_token"], model["unk_token"])
    if "merges" in model:
        pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
        model["merges"] = [pair for pair in pairs if renamed.keys().isdisjoint((*pair, "".join(pair)))]
    spec.update(post_processor=None, truncation=None, padding=None)
    return Tokenizer.from_str(json.dumps(spec))


def find_source(path: str, cls: type, hub: dict[str, Any]) -> type[PreTrainedTokenizerBase] | Path | None:
    """Who loads this folder or Hub id: None: we do, from `tokenizer.json`; a class; or a SentencePiece file to read."""
    from transformers.models.auto.tokenization_auto import (
        TOKENIZER_MAPPING_NAMES,
        get_tokenizer_config,
        tokenizer_class_from_name,
    )

    if Path(path).is_file():
        return None

    def find(name: str) -> str | None:
        return cached_file(path, name, _raise_exceptions_for_missing_entries=False, **hub)

    name = get_tokenizer_config(path, **hub).get("tokenizer_class")
    if name in (cls.__name__, "RecformerTokenizer", "TokenizersBackend", "PreTrainedTokenizerFast"):
        return None
    if name is None and find("config.json"):
        model_type = PreTrainedConfig.get_config_dict(path, **hub)[0].get("model_type", "")
        name = TOKENIZER_MAPPING_NAMES.get(model_type)
    source = tokenizer_class_from_name(name.removesuffix("Fast")) if name else None
    if find("tokenizer.json"):
        return source
    if source is None and find("vocab.json") and find("merges.txt"):
        return tokenizer_class_from_name("RobertaTokenizer")
    if source is None and find("vocab.txt"):
        return tokenizer_class_from_name("BertTokenizer")
    if source is None or source.__name__ == "XLMRobertaTokenizer":
        folder = Path(path) / hub.get("subfolder", "")
        local = sorted(file.name for file in folder.glob("*.model")) if folder.is_dir() else []
        for file in ("sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model", *local):
            if found := find(file):
                return Path(found)
    # A class given no vocabulary would make a tokenizer of special tokens alone.
    if source is None or not any(find(file) for file in source.vocab_files_names.values()):
        raise OSError(
            f"No tokenizer in {path}: expected a tokenizer.json, a vocab.json with merges.txt, a vocab.txt, or a "
            "SentencePiece .model file. Save one there with save_pretrained, or name the folder or Hub id that has it."
        )
    return source


def read_sentencepiece(path: Path) -> Tokenizer:
    """A Rust tokenizer with the segmentation of a SentencePiece Unigram model.

    Read here, because transformers' own reader needs the protobuf package and ignores the word marker that
    SentencePiece puts before a text. Field numbers are those of sentencepiece_model.proto.
    """
    pieces: list[tuple[str, float, int]] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    for field, value in _protobuf_fields(path.read_bytes()):
        if field == 1:
            piece = dict(_protobuf_fields(value))
            pieces.append((piece[1].decode(), struct.unpack("<f", piece[2])[0], piece.get(3, 1)))
        elif field in (2, 3):
            (trainer if field == 2 else normalizer).update(_protobuf_fields(value))
    if not pieces or trainer.get(3, 1) != 1:
        raise ValueError(f"{path} is no SentencePiece Unigram model. Convert it to a tokenizer.json and load that.")

    vocab = [(piece, score) for piece, score, _ in pieces]
    unk_id, user_defined = trainer.get(40, 0), [piece for piece, _, kind in pieces if kind == 4]
    if path.name == "sentencepiece.bpe.model":
        # XLM-R's ids are fairseq's: four special tokens in its order instead of the file's three, <mask> at the end.
        vocab = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")] + vocab[3:] + [("<mask>", 0.0)]
        unk_id = 3
    backend = Tokenizer(models.Unigram(vocab, unk_id=unk_id, byte_fallback=bool(trainer.get(35, 0))))
    steps: list[normalizers.Normalizer] = [normalizers.Precompiled(normalizer[2])] if normalizer.get(2) else []
    if normalizer.get(4, 1):
        steps += [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    scheme = "always" if normalizer.get(3, 1) else "never"
    backend.normalizer = normalizers.Sequence(steps)
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    backend.decoder = decoders.Metaspace(prepend_scheme=scheme)
    backend.add_tokens([AddedToken(token, normalized=False) for token in user_defined])
    backend.add_special_tokens(["<s>", "<pad>", "</s>", vocab[unk_id][0], "<mask>"])
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(token, backend.token_to_id(token)) for token in ("<s>", "</s>")],
    )
    return backend


def _protobuf_fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Fields of one protobuf message: (number, value); an int for a varint, bytes for everything else."""
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(data):
        key = varint()
        wire_type = key & 7
        if wire_type == 0:
            yield key >> 3, varint()
            continue
        if wire_type not in (1, 2, 5):
            raise ValueError(f"This is no SentencePiece model: protobuf wire type {wire_type} at byte {position}.")
        size = {1: 8, 5: 4}.get(wire_type) or varint()
        yield key >> 3, data[position : position + size]
        position += size


__all__ = ["HUB_ARGUMENTS", "find_source", "read_sentencepiece", "without_special_tokens"]
