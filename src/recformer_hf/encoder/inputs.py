"""The inputs of a forward pass: checks, and packing into the only form that the encoder knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import NoReturn

import torch
from torch import Tensor

from ..configuration_recformer import RecformerConfig
from .packing import PaddedIndex, SequenceLayout

# What to do about ids that a table does not have.
_HINTS = {
    "vocab_size": " Use the tokenizer that was saved with the model.",
    "max_item_embeddings": " Use the tokenizer that was saved with the model, or set its max_item_embeddings.",
}


@dataclass
class PackedInputs:
    """What the encoder runs on, and how to return to the caller's form.

    Args:
        tokens (`Tensor`): ids `[total_tokens]` or embedded words `[total_tokens, hidden_size]`.
        token_type_ids, item_position_ids, position_ids (`Tensor` `[total_tokens]`): rows of the other embeddings.
        layout: where the sequences lie.
        padded: how the caller's batch was padded; None if it was packed.
    """

    tokens: Tensor
    token_type_ids: Tensor
    item_position_ids: Tensor
    position_ids: Tensor
    layout: SequenceLayout
    padded: PaddedIndex | None

    def pack_alike(self, values: Tensor) -> Tensor:
        """Packs another tensor in the caller's form: `[batch, seq_len]` or `[1, total_tokens]` -> `[total_tokens]`."""
        return values[0] if self.padded is None else self.padded.pack(values)

    def restore(self, packed: Tensor) -> Tensor:
        """`[total_tokens, ...]` -> the caller's form: `[batch, seq_len, ...]` with zeros at padding, or `[1, ...]`."""
        return packed[None] if self.padded is None else self.padded.pad(packed)

    def followed_by_copies(self, tokens: Tensor) -> PackedInputs:
        """The same sequences twice in one row, the second time with other `tokens` `[total_tokens]`."""
        layout = self.layout
        if layout.lengths is None:  # on an accelerator, which must not be waited for
            bounds = torch.cat([layout.cu_seqlens, layout.cu_seqlens[1:] + layout.total_tokens])
        else:
            bounds = torch.tensor([0, *accumulate(layout.lengths * 2)])
        return replace(
            self,
            tokens=torch.cat([self.tokens, tokens]),
            token_type_ids=self.token_type_ids.repeat(2),
            item_position_ids=self.item_position_ids.repeat(2),
            position_ids=self.position_ids.repeat(2),
            layout=SequenceLayout(bounds, 2 * layout.total_tokens, layout.device, layout.max_seqlen),
            padded=None,
        )


def pack_inputs(
    config: RecformerConfig,
    input_ids: Tensor | None,
    token_type_ids: Tensor | None,
    item_position_ids: Tensor | None,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    inputs_embeds: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    max_seqlen: int | None = None,
) -> PackedInputs:
    """Checks the arguments of `RecformerModel.forward` and packs them.

    Raises:
        TypeError: for arguments that are no tensors.
        ValueError: for arguments that contradict each other or the configuration.
        NotImplementedError: if the model is being exported or traced.
    """
    if is_being_exported():
        refuse_export()
    tokens = _checked_tokens(config, input_ids, inputs_embeds)
    shape = tokens.shape[:2]
    _check_alike(
        tokens,
        token_type_ids=token_type_ids,
        item_position_ids=item_position_ids,
        attention_mask=attention_mask,
        position_ids=position_ids,
    )
    padded = None
    check_tensors(cu_seqlens=cu_seqlens)
    if cu_seqlens is None:
        if attention_mask is None and input_ids is not None:
            _check_unpadded(config, input_ids)
        padded = PaddedIndex(tokens.new_ones(shape) if attention_mask is None else attention_mask)
        cu_seqlens = padded.cu_seqlens
    elif shape[0] != 1 or attention_mask is not None:
        raise ValueError(
            "With cu_seqlens the batch is packed: input_ids must be [1, total_tokens] and attention_mask must be None, "
            f"got input_ids {list(shape)} and {'no' if attention_mask is None else 'an'} attention_mask."
        )
    total_tokens = shape[1] if padded is None else padded.rows.numel()
    layout = SequenceLayout(cu_seqlens, total_tokens, tokens.device, max_seqlen)
    zeros = torch.zeros_like(layout.positions)
    # Positions start behind the padding id, as in RoBERTa.
    first_position = config.pad_token_id + 1
    packed = PackedInputs(tokens, zeros, zeros, layout.positions + first_position, layout, padded)
    packed.tokens = packed.pack_alike(tokens)
    if token_type_ids is not None:
        packed.token_type_ids = packed.pack_alike(token_type_ids)
    if item_position_ids is not None:
        packed.item_position_ids = packed.pack_alike(item_position_ids)
    if position_ids is not None:
        packed.position_ids = packed.pack_alike(position_ids)
    _check_values(config, packed, ids_given=input_ids is not None, positions_given=position_ids is not None)
    for name in ("tokens", "token_type_ids", "item_position_ids", "position_ids"):
        setattr(packed, name, _as_rows(getattr(packed, name)))
    return packed


def _as_rows(ids: Tensor) -> Tensor:
    """Ids of a type that an embedding takes: narrower integers are widened, and embedded words stay as they are."""
    return ids if ids.is_floating_point() or ids.dtype in (torch.int32, torch.int64) else ids.long()


def _checked_tokens(config: RecformerConfig, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
    """The ids `[batch, seq_len]` or embedded words `[batch, seq_len, hidden_size]`, whichever was passed."""
    if (input_ids is None) == (inputs_embeds is None):
        raise ValueError("Pass either input_ids or inputs_embeds, and not both.")
    check_tensors(input_ids=input_ids, inputs_embeds=inputs_embeds)
    tokens = input_ids if input_ids is not None else inputs_embeds
    assert tokens is not None
    if input_ids is not None:
        check_integers("input_ids", input_ids)
    if tokens.is_meta:
        raise ValueError("The inputs are on the meta device: they have no numbers, which packing has to read.")
    if tokens.ndim != (2 if input_ids is not None else 3) or tokens.numel() == 0:
        raise ValueError(
            "input_ids must be [batch, seq_len] (inputs_embeds [batch, seq_len, hidden_size]) and not empty, got "
            f"shape {list(tokens.shape)}."
        )
    if inputs_embeds is not None and not inputs_embeds.is_floating_point():
        raise ValueError(f"inputs_embeds must be floating-point numbers, got {inputs_embeds.dtype}.")
    if inputs_embeds is not None and inputs_embeds.shape[2] != config.hidden_size:
        raise ValueError(f"inputs_embeds have width {inputs_embeds.shape[2]}, hidden_size is {config.hidden_size}.")
    return tokens


def check_tensors(**arguments: object) -> None:
    """Raises TypeError for arguments that are neither tensors nor None."""
    for name, value in arguments.items():
        if value is not None and not isinstance(value, Tensor):
            how = (
                "Unpack the batch: model(**batch)."
                if isinstance(value, Mapping)
                else 'The tokenizer returns tensors with padding=True, return_tensors="pt".'
            )
            raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}. {how}")


def is_being_exported() -> bool:
    """Whether torch records the operations of a model instead of running it."""
    # `is_exporting` is new in torch 2.7; before, the export ends in torch's own error.
    exporting = bool(getattr(torch.compiler, "is_exporting", lambda: False)())
    tracing = bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]
    return exporting or tracing or torch.onnx.is_in_onnx_export()


def refuse_export() -> NoReturn:
    """Raises NotImplementedError, for a model that is exported, traced or scripted."""
    raise NotImplementedError(
        "A Recformer cannot be exported, traced or scripted (torch.export, torch.onnx, torch.jit): it packs a batch by "
        "the values of its attention_mask, which a graph does not know. Run it in PyTorch, with torch.compile if need "
        "be, or compute vectors with model.encode_items and export those."
    )


def _check_alike(tokens: Tensor, **others: Tensor | None) -> None:
    """Checks that other inputs have the shape and the device of the tokens."""
    check_tensors(**others)
    shape = tokens.shape[:2]
    for name, value in others.items():
        if value is not None and value.shape != shape:
            raise ValueError(f"{name} has shape {list(value.shape)}, but the tokens are {list(shape)}.")
        if value is not None and value.device != tokens.device:
            raise ValueError(f"{name} is on {value.device}, but the tokens are on {tokens.device}.")


def _check_unpadded(config: RecformerConfig, input_ids: Tensor) -> None:
    """Raises ValueError for a padded batch without its mask, whose padding would be read as words."""
    if input_ids.device.type != "cpu" or torch.compiler.is_compiling():
        return
    if len(input_ids) > 1 and bool((padded := input_ids[:, -1] == config.pad_token_id).any()):
        raise ValueError(
            f"Row {int(padded.nonzero()[0])} of input_ids ends in padding (id {config.pad_token_id}), but there is no "
            "attention_mask. Pass the one that the tokenizer returns."
        )


def _check_values(config: RecformerConfig, packed: PackedInputs, ids_given: bool, positions_given: bool) -> None:
    if ids_given:
        check_range("input_ids", packed.tokens, config.vocab_size, "vocab_size")
    # The ids of an embedding that is switched off are never looked up.
    if config.use_token_type_embeddings:
        check_range("token_type_ids", packed.token_type_ids, config.token_type_size, "token_type_size")
    if config.use_item_position_embeddings:
        check_range("item_position_ids", packed.item_position_ids, config.max_item_embeddings, "max_item_embeddings")
    table = config.max_position_embeddings
    assert table is not None, "set by the configuration's constructor"
    longest = table - config.pad_token_id - 1
    if positions_given:
        check_range("position_ids", packed.position_ids, table, "max_position_embeddings")
    elif packed.layout.max_seqlen > longest:
        raise ValueError(
            f"A sequence has {packed.layout.max_seqlen} tokens, but the position table ends at {longest} "
            f"(max_position_embeddings {table}); truncate to max_token_num ({config.max_token_num})."
        )


def check_integers(name: str, ids: Tensor) -> None:
    """Raises ValueError for other types than integers."""
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise ValueError(f"{name} must be integers, got {ids.dtype}.")


def check_range(name: str, ids: Tensor, size: int, limit: str) -> None:
    """Raises ValueError unless `ids` are integers from 0 to `size - 1`, which `limit` names.

    Values are checked on a CPU only, because reading them would make an accelerator wait.
    """
    check_integers(name, ids)
    if ids.device.type != "cpu" or torch.compiler.is_compiling() or ids.numel() == 0:
        return
    low, high = (int(bound) for bound in torch.aminmax(ids))
    if low < 0 or high >= size:
        raise ValueError(
            f"{name} must lie between 0 and {size - 1} ({limit} is {size}), got {low if low < 0 else high}."
            f"{_HINTS.get(limit, '')}"
        )
