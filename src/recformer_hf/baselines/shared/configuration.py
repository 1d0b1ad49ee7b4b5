"""`BaselineConfig`: the fields that the configurations of all neural baselines share."""

# No `from __future__ import annotations` here: `@strict` checks values against the annotations, and skips strings.

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

SHARED_NEGATIVES = 256
"""Negatives of a batch, where a loss needs some and the configuration names no number."""


@strict
class BaselineConfig(PreTrainedConfig):
    r"""Configuration of a neural baseline. All arguments are keyword-only.

    Args:
        num_items (`int`, defaults to 0): items of the catalogue; set when a model takes one.
        hidden_size (`int`, defaults to 64): width of the vectors of items and histories.
        max_length (`int`, defaults to 50): the newest items of a history that are read.
        dropout (`float`, defaults to 0.2): in [0, 1).
        initializer_range (`float`, defaults to 0.02): standard deviation of initial weights.
        layer_norm_eps (`float`, defaults to 1e-5): epsilon of the layer norms.
        loss (`str`, defaults to `"ce"`): `"ce"` (full cross-entropy), `"sampled_softmax"`, `"bce"`, `"gbce"`,
            `"bpr_max"` or `"top1_max"`, as the functions of `baselines.shared.losses` define them; each model names
            those that it has.
        num_negatives (`int`, *optional*): negatives of each target for `"bce"`, by default 1, which are drawn uniformly
            from the items that its sequence does not have. For other losses, the negatives that a batch shares, by
            default 256.
        negative_power (`float`, defaults to 0.0): shared negatives are drawn in proportion to popularity ^ this power,
            in [0, 1]; 0 draws uniformly.
        batch_negatives (`bool`, defaults to `False`): the targets of a batch are negatives of each other, besides.
        logq_correction (`bool`, defaults to `False`): correct a sampled softmax by how often each negative is expected.
        calibration (`float`, defaults to 0.75): t of `"gbce"`, in [0, 1].
        regularization (`float`, defaults to 1.0): lambda of `"bpr_max"`.
        only_pretrained (`bool`, defaults to `False`): whether the weights are those of pretraining, and `fit` still has
            to train them; set by the training.

    Raises:
        StrictDataclassClassValidationError: if values contradict each other (the message names both).
        StrictDataclassFieldValidationError: if a value has the wrong type.
    """

    keys_to_ignore_at_inference = ["history_vectors"]

    num_items: int = 0
    hidden_size: int = 64
    max_length: int = 50
    dropout: float | int = 0.2
    initializer_range: float | int = 0.02
    layer_norm_eps: float | int = 1e-5
    loss: str = "ce"
    num_negatives: int | None = None
    negative_power: float | int = 0.0
    batch_negatives: bool = False
    logq_correction: bool = False
    calibration: float | int = 0.75
    regularization: float | int = 1.0
    only_pretrained: bool = False

    @property
    def negatives_drawn(self) -> int:
        """Negatives of a target (`"bce"`), or of a batch; 0 for a loss over the whole catalogue."""
        if self.loss == "ce":
            return 0
        if self.num_negatives is None:
            return 1 if self.loss == "bce" else SHARED_NEGATIVES
        return self.num_negatives

    def validate_architecture(self) -> None:
        """Checks the values of the fields and how they fit together; `@strict` calls it at the end of construction."""
        self.check_positive("hidden_size", "max_length", "layer_norm_eps")
        self.check_shares("dropout", below_one=True)
        self.check_shares("negative_power", "calibration")
        for name in ("num_items", "initializer_range", "regularization"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must not be negative or infinite, got {getattr(self, name)}.")
        if self.loss != "ce" and self.negatives_drawn < (0 if self.batch_negatives else 1):
            raise ValueError(
                f"loss={self.loss!r} needs negatives, but num_negatives is {self.num_negatives}. Set at least 1, or "
                "batch_negatives=True."
            )
        super().validate_architecture()  # type: ignore[no-untyped-call]

    def check_positive(self, *names: str) -> None:
        """Raises `ValueError` for fields that are not positive and finite."""
        for name in names:
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}.")

    def check_transformer(self) -> None:
        """Raises `ValueError` for numbers of layers and heads, a width or an activation that fit no transformer."""
        config: Any = self
        inner = getattr(self, "intermediate_size", None)
        self.check_positive("num_layers", "num_heads", *(["intermediate_size"] if inner is not None else []))
        if config.hidden_size % config.num_heads:
            raise ValueError(
                f"hidden_size ({config.hidden_size}) must be a multiple of num_heads ({config.num_heads})."
            )
        activation = getattr(self, "activation", None)
        if activation is not None and activation not in ACT2FN:
            raise ValueError(f"activation {activation!r} is unknown; transformers has {', '.join(sorted(ACT2FN))}.")

    def check_shares(self, *names: str, below_one: bool = False) -> None:
        """Raises `ValueError` for fields outside [0, 1], or [0, 1)."""
        for name in names:
            value: Any = getattr(self, name)
            if not 0 <= value <= 1 or (below_one and value == 1):
                raise ValueError(f"{name} must lie in [0, 1{')' if below_one else ']'}, got {value}.")


__all__ = ["BaselineConfig"]
