"""Reading a SentencePiece Unigram `.model` file.

transformers' own reader needs the protobuf package and ignores the word marker that SentencePiece puts before a text.
Field numbers are those of sentencepiece_model.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

_UNIGRAM = 1  # TrainerSpec.ModelType
_USER_DEFINED = 4  # SentencePiece.Type

# Only the fields that are read: trainer_spec and normalizer_spec by number.
_Spec = dict[int, Any]


class _Model(NamedTuple):
    pieces: list[tuple[str, float, int]]  # text, score, type
    trainer: _Spec
    normalizer: _Spec


def read_sentencepiece(path: Path) -> Tokenizer:
    """A Rust tokenizer with the segmentation of a SentencePiece Unigram model.

    A file named `sentencepiece.bpe.model` gets XLM-R's ids. Any other keeps its own ids, and the special tokens that it
    lacks are appended.

    Raises:
        ValueError: if the file is not a SentencePiece Unigram model.
    """
    pieces, trainer, normalizer = _read(path)
    vocab = [(piece, score) for piece, score, _ in pieces]
    unk_id = trainer.get(40, 0)
    if path.name == "sentencepiece.bpe.model":
        # XLM-R's ids are fairseq's: four special tokens in its order instead of the file's three, and <mask> at the
        # end.
        vocab = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")] + vocab[3:] + [("<mask>", 0.0)]
        unk_id = 3
    backend = Tokenizer(models.Unigram(vocab, unk_id=unk_id, byte_fallback=bool(trainer.get(35, 0))))
    backend.normalizer = _normalizer(normalizer)
    scheme = "always" if normalizer.get(3, 1) else "never"
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    backend.decoder = decoders.Metaspace(prepend_scheme=scheme)
    user_defined = [piece for piece, _, kind in pieces if kind == _USER_DEFINED]
    backend.add_tokens([AddedToken(token, normalized=False) for token in user_defined])
    backend.add_special_tokens(["<s>", "<pad>", "</s>", vocab[unk_id][0], "<mask>"])
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(token, backend.token_to_id(token)) for token in ("<s>", "</s>")],
    )
    return backend


def _read(path: Path) -> _Model:
    pieces: list[tuple[str, float, int]] = []
    trainer: _Spec = {}
    normalizer: _Spec = {}
    for field, value in _protobuf_fields(path.read_bytes()):
        if field == 1:
            piece = dict(_protobuf_fields(value))
            pieces.append((piece[1].decode(), struct.unpack("<f", piece[2])[0], piece.get(3, 1)))
        elif field == 2:
            trainer.update(_protobuf_fields(value))
        elif field == 3:
            normalizer.update(_protobuf_fields(value))
    if not pieces or trainer.get(3, _UNIGRAM) != _UNIGRAM:
        raise ValueError(
            f"{path} is not a SentencePiece Unigram model. Convert it to a tokenizer.json and load that file."
        )
    return _Model(pieces, trainer, normalizer)


def _normalizer(spec: _Spec) -> normalizers.Normalizer:
    """SentencePiece's normalization: its table of characters, then single spaces and none at the ends."""
    steps: list[normalizers.Normalizer] = [normalizers.Precompiled(spec[2])] if spec.get(2) else []
    if spec.get(4, 1):
        steps += [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    return normalizers.Sequence(steps)


def _protobuf_fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Fields of one protobuf message: (number, value); an int for a varint, bytes for everything else."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        wire_type = key & 7
        if wire_type == 0:
            value, position = _varint(data, position)
            yield key >> 3, value
            continue
        if wire_type not in (1, 2, 5):
            raise ValueError(f"This is not a SentencePiece model: protobuf wire type {wire_type} at byte {position}.")
        if wire_type == 2:
            size, position = _varint(data, position)
        else:
            size = 8 if wire_type == 1 else 4
        yield key >> 3, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The variable-length integer at a position, and the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position


__all__ = ["read_sentencepiece"]
