"""Checks of those inputs of a recommender that are rows of its catalogue."""

from __future__ import annotations

from numbers import Integral

from torch import Tensor

from .inputs import check_range, check_tensors


def num_sequences(input_ids: Tensor | None, inputs_embeds: Tensor | None, cu_seqlens: Tensor | None) -> int | None:
    """Sequences of a batch; None if tokens are missing, which the encoder reports."""
    tokens = input_ids if inputs_embeds is None else inputs_embeds
    if tokens is None:
        return None
    return tokens.shape[0] if cu_seqlens is None else len(cu_seqlens) - 1


def check_item_arguments(
    num_items: int,
    batch_size: int | None,
    candidates: Tensor | None,
    labels: Tensor | None,
    num_negatives: int | None,
    negatives: Tensor | None,
    frequencies: Tensor | None = None,
) -> None:
    """Checks the arguments of `RecformerForSeqRec.forward` that are about items, before any work on the histories.

    Args:
        num_items (`int`): size of the catalogue, at least 1.
        batch_size (`int`, *optional*): histories of the batch; None if they are missing, which the encoder reports.
        candidates, labels, num_negatives, negatives, frequencies: as in `RecformerForSeqRec.forward`.

    Raises:
        TypeError: for arguments of another type.
        ValueError: for arguments that exclude each other, wrong shapes, or items outside the catalogue.
    """
    check_tensors(labels=labels, candidates=candidates, negatives=negatives, frequencies=frequencies)
    options = {"candidates": candidates, "num_negatives": num_negatives, "negatives": negatives}
    passed = [name for name, option in options.items() if option is not None]
    if len(passed) > 1:
        raise ValueError(f"Pass at most one of candidates, num_negatives and negatives, got {' and '.join(passed)}.")
    if labels is None and (num_negatives is not None or negatives is not None):
        raise ValueError("Negatives are for the loss only: pass labels with them, or use candidates to score items.")
    if num_negatives is not None and (isinstance(num_negatives, bool) or not isinstance(num_negatives, Integral)):
        raise TypeError(f"num_negatives must be a whole number, got {num_negatives!r}.")
    if num_negatives is not None and (num_negatives < 1 or num_items < 2):
        raise ValueError(
            f"num_negatives must be at least 1 and the catalogue must have at least 2 items, got num_negatives "
            f"{num_negatives} and {num_items} items."
        )
    if frequencies is not None and (negatives is None or negatives.ndim != 1 or len(frequencies) != num_items):
        raise ValueError(
            f"frequencies are for negatives that all histories share, [num_negatives], and have one number for each of "
            f"the {num_items} items; got shape {list(frequencies.shape)}"
            f"{'' if negatives is None else f' with negatives of shape {list(negatives.shape)}'}."
        )
    if labels is not None and labels.ndim != 1:
        raise ValueError(f"labels must be [batch], got shape {list(labels.shape)}.")
    if negatives is not None and negatives.ndim == 1:  # all histories share them, or only the items of the batch
        if len(negatives):
            check_range("negatives", negatives, num_items, "num_items")
        negatives = None
    for name, value in (("candidates", candidates), ("negatives", negatives)):
        if value is not None and (value.ndim != 2 or value.shape[1] == 0):
            shared = " or [num_negatives], the same for all" if name == "negatives" else ""
            raise ValueError(f"{name} must be [batch, num_{name}]{shared}, got shape {list(value.shape)}.")
    for name, value in (("labels", labels), ("candidates", candidates), ("negatives", negatives)):
        if value is not None:
            if batch_size is not None and len(value) != batch_size:
                raise ValueError(f"{name} has {len(value)} rows, but the batch has {batch_size} histories.")
            check_range(name, value, num_items, "num_items")
    # On a CPU only, because reading the answer would make an accelerator wait.
    if candidates is not None and labels is not None and labels.device.type == "cpu":
        absent = ~(candidates == labels[:, None]).any(1)
        if bool(absent.any()):
            row = int(absent.nonzero()[0])
            raise ValueError(f"Row {row}: the label ({int(labels[row])}) is not among the row's candidates.")


__all__ = ["check_item_arguments", "num_sequences"]
