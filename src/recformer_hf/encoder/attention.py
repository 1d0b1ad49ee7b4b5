"""Recformer's attention over a packed row of sequences: a local window plus one global token, `<s>`.

Every token attends to the tokens of its own sequence at a distance of at most half the window, and to `<s>`, the first
token of its sequence, once. `<s>` itself attends to its whole sequence through projections of its own (Longformer,
Beltagy et al. 2020; Recformer, section 2.2.2).

The window has three implementations, chosen by [`select_implementation`]:

- `eager`, below: dense scores with a mask. It defines the result, and is the only one that returns the probabilities.
- `sdpa` (`blocked_window.py`): blocks of half a window against three such blocks of keys, and one `<s>`.
- `flex_attention` (`flex_window.py`): a compiled block-sparse kernel for CUDA.

All three share the attention of `<s>` (`first_token.py`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

from .blocked_window import blocked_window_attention
from .first_token import at_least_float32
from .flex_window import flex_window_attention
from .packing import SequenceLayout


def eager_window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: SequenceLayout,
    num_heads: int,
    half_window: int,
    dropout: float,
) -> tuple[Tensor, Tensor]:
    """Window attention by dense masked scores: the definition, which the other implementations must equal.

    Args:
        query, key, value (`Tensor` `[total_tokens, hidden_size]`): projections of the packed row.
        layout: where the sequences lie.
        num_heads (`int`): heads; they divide `hidden_size`.
        half_window (`int`): tokens seen on each side.
        dropout (`float`): dropout of the probabilities, 0 outside training.

    Returns:
        the attended values `[total_tokens, hidden_size]` and the probabilities
        `[batch, num_heads, max_seqlen, max_seqlen]`, zero where masked; the other implementations return None in place
        of probabilities. The rows of `<s>` are not used: its output comes from [`first_token_attention`].
    """
    q, k, v = (layout.to_padded(x).unflatten(2, (num_heads, -1)).transpose(1, 2) for x in (query, key, value))
    place = torch.arange(layout.max_seqlen, device=layout.device)
    allowed = ((place[:, None] - place).abs() <= half_window) | (place == 0)
    allowed = allowed & layout.padded_mask[:, None, None, :]  # [batch, 1, max_seqlen, max_seqlen]
    scores = at_least_float32(torch.matmul(q, k.transpose(-1, -2))) * q.shape[-1] ** -0.5
    scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    probabilities = torch.softmax(scores, dim=-1).to(q.dtype)
    output = torch.matmul(F.dropout(probabilities, dropout), v)
    return layout.to_packed(output.transpose(1, 2).flatten(2)), probabilities * layout.padded_mask[:, None, :, None]


# This is a separate interface, because a function that is registered under a standard name in transformers' own
# interface would serve every other model of the process.
ALL_ATTENTION_FUNCTIONS = AttentionInterface()
ALL_ATTENTION_FUNCTIONS["eager"] = eager_window_attention
ALL_ATTENTION_FUNCTIONS["sdpa"] = blocked_window_attention
ALL_ATTENTION_FUNCTIONS["flex_attention"] = flex_window_attention
IMPLEMENTATIONS = ("eager", "sdpa", "flex_attention")


def select_implementation(
    requested: str | None,
    device: torch.device,
    dtype: torch.dtype,
    head_dim: int,
    dropout: float,
    output_attentions: bool,
) -> str:
    """Chooses the implementation for a forward pass.

    Args:
        requested: what the user set (`attn_implementation`), or None to choose here.
        device, dtype: those of the weights.
        head_dim (`int`): width of a head.
        dropout (`float`): dropout of the probabilities in this forward pass; 0 outside training.
        output_attentions: whether the probabilities have to be returned.

    Returns:
        `"eager"`, `"sdpa"` or `"flex_attention"`.

    Raises:
        ValueError: if the requested implementation is unknown or cannot be used here; the message says why.
    """
    if requested not in (None, *IMPLEMENTATIONS):
        raise ValueError(f"attn_implementation must be one of {', '.join(IMPLEMENTATIONS)}, got {requested!r}.")
    if output_attentions:
        if requested not in (None, "eager"):
            raise ValueError(
                f"attn_implementation={requested!r} never holds the attention probabilities. For "
                'output_attentions=True, set attn_implementation to "eager" or do not set it.'
            )
        return "eager"
    flex_obstacle = _flex_obstacle(device, dtype, head_dim, dropout)
    if requested == "flex_attention" and flex_obstacle:
        raise ValueError(
            f'attn_implementation="flex_attention" cannot be used: {flex_obstacle}. "sdpa" works everywhere.'
        )
    if requested is None:
        return "sdpa" if flex_obstacle else "flex_attention"
    return requested


def _flex_obstacle(device: torch.device, dtype: torch.dtype, head_dim: int, dropout: float) -> str | None:
    """Why `flex_attention` cannot be used, or None if it can."""
    if device.type != "cuda":
        return f"it needs a CUDA device, and the model is on {device.type}"
    if dropout:
        return f"it has no dropout of attention probabilities; set attention_probs_dropout_prob, now {dropout}, to 0"
    if dtype == torch.float64 or head_dim < 16:
        return f"it supports neither float64 nor heads narrower than 16; these are {dtype} and {head_dim}"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "it needs a GPU of compute capability 8.0 or more"
    return None


__all__ = [
    "ALL_ATTENTION_FUNCTIONS",
    "IMPLEMENTATIONS",
    "eager_window_attention",
    "select_implementation",
]
