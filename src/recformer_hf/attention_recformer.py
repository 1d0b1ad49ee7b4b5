"""Recformer's attention over a packed row of sequences: a local window plus one global token, `<s>`.

Every token attends to the tokens of its own sequence at a distance of at most half the window, and to `<s>`, the first
token of its sequence, once. `<s>` itself attends to its whole sequence through projections of its own (Longformer,
Beltagy et al. 2020; Recformer, section 2.2.2).

The window has three implementations, chosen by [`select_implementation`]:

- `eager`: dense scores with a mask. It defines the result, and is the only one that returns the probabilities.
- `sdpa`: blocks of half a window against three such blocks of keys and one `<s>`.
- `flex_attention`: a compiled block-sparse kernel for CUDA.

[`first_token_attention`] is the attention of `<s>`, the same for all three.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from .dropout_recformer import keep_mask
from .linear_recformer import is_plain_linear
from .packing_recformer import SequenceLayout


class SelfAttention(Protocol):
    """What the functions here need of the self-attention module."""

    num_heads: int
    half_window: int
    query_global: nn.Linear
    key_global: nn.Linear
    value_global: nn.Linear


def at_least_float32(values: Tensor) -> Tensor:
    """float16 and bfloat16 become float32; wider types stay."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class WindowBlocks:
    """The window of a packed row, cut into blocks of half a window.

    A block of queries needs the keys of three blocks: its own and one on either side. One more column holds the `<s>`
    of the sequence that the block's first query belongs to. No other `<s>` can be out of reach: any other sequence
    with a query in the block starts inside the block, at most `half` tokens away. That holds for blocks no longer than
    half the window, hence their size.

    Args:
        layout: where the sequences lie.
        half (`int`): tokens seen on each side.
    """

    def __init__(self, layout: SequenceLayout, half: int) -> None:
        # No sequence reaches further than its length, so short ones get by with smaller blocks.
        self.half = half = min(half, -(-(layout.max_seqlen - 1) // 8) * 8 or 8)
        self.total_tokens = layout.total_tokens
        self.num_blocks = -(-layout.total_tokens // half)
        self.padded_tokens = self.num_blocks * half
        self.width = 3 * half
        device, last = layout.device, layout.total_tokens - 1
        starts = torch.arange(self.num_blocks, device=device)[:, None] * half
        queries = starts + torch.arange(half, device=device)  # [num_blocks, half]
        keys = starts - half + torch.arange(self.width, device=device)  # [num_blocks, width]
        query_sequences = layout.sequence_ids[queries.clamp(max=last)]
        in_row = (keys >= 0) & (keys <= last)
        key_sequences = layout.sequence_ids[keys.clamp(0, last)].masked_fill(~in_row, -1)
        distance = (queries[:, :, None] - keys[:, None, :]).abs()
        near = (query_sequences[:, :, None] == key_sequences[:, None, :]) & (distance <= half)
        far = (query_sequences == query_sequences[:, :1]) & (layout.positions[queries.clamp(max=last)] > half)
        # Queries beyond the row see something finite, so that no softmax is over nothing; their output is cut off.
        near[:, :, 0] |= queries > last
        self.far = far & (queries <= last)
        """Queries whose `<s>` is out of the window, `[num_blocks, half]`."""
        self.allowed = torch.cat([near, self.far[:, :, None]], dim=-1)
        """Who sees whom, `[num_blocks, half, width + 1]`; the last column is `<s>`."""
        self.first_tokens = layout.first_tokens[query_sequences[:, 0]]
        """Row of the `<s>` in the last column, `[num_blocks]`."""
        self._bias: dict[torch.dtype, Tensor] = {}

    @classmethod
    def of(cls, layout: SequenceLayout, half: int) -> WindowBlocks:
        """The blocks of a layout, made once and shared by all layers."""
        key = ("window_blocks", half)
        if key not in layout.cache:
            layout.cache[key] = cls(layout, half)
        return layout.cache[key]

    def bias(self, dtype: torch.dtype) -> Tensor:
        """The mask as something to add to scores, `[num_blocks, 1, half, width + 1]`."""
        if dtype not in self._bias:
            zeros = torch.zeros(self.allowed.shape, dtype=dtype, device=self.allowed.device)
            self._bias[dtype] = zeros.masked_fill_(~self.allowed, torch.finfo(dtype).min)[:, None]
        return self._bias[dtype]

    def split_queries(self, rows: Tensor, num_heads: int) -> Tensor:
        """`[total_tokens, hidden]` -> `[num_blocks, num_heads, half, head_dim]`."""
        if self.padded_tokens != self.total_tokens:
            rows = F.pad(rows, (0, 0, 0, self.padded_tokens - self.total_tokens))
        return rows.view(self.num_blocks, self.half, num_heads, -1).transpose(1, 2)

    def join_queries(self, blocks: Tensor) -> Tensor:
        """`[num_blocks, num_heads, half, head_dim]` -> `[total_tokens, hidden]`."""
        return blocks.transpose(1, 2).reshape(self.padded_tokens, -1)[: self.total_tokens]

    def window_view(self, rows: Tensor, num_heads: int) -> Tensor:
        """`[total_tokens, hidden]` -> overlapping views `[num_blocks, num_heads, width, head_dim]` of one buffer."""
        hidden = rows.shape[1]
        end = self.half + self.total_tokens
        buffer = rows.new_empty(self.padded_tokens + 2 * self.half, hidden)
        buffer[: self.half].zero_()
        buffer[self.half : end] = rows
        buffer[end:].zero_()
        head_dim = hidden // num_heads
        size = (self.num_blocks, num_heads, self.width, head_dim)
        return buffer.as_strided(size, (self.half * hidden, head_dim, hidden, 1))

    def gather_keys(self, rows: Tensor, num_heads: int) -> Tensor:
        """Keys or values of every block and its `<s>`: `[num_blocks, num_heads, width + 1, head_dim]`."""
        window = self.window_view(rows, num_heads)
        gathered = rows.new_empty(*window.shape[:2], self.width + 1, window.shape[3])
        gathered[:, :, : self.width] = window
        gathered[:, :, self.width] = rows[self.first_tokens].view(self.num_blocks, num_heads, -1)
        return gathered

    def scatter_keys(self, gradient: Tensor) -> Tensor:
        """The transpose of [`gather_keys`]: adds up what every block says of a token. Shifted adds, no `index_add`."""
        num_heads, head_dim = gradient.shape[1], gradient.shape[3]
        buffer = gradient.new_zeros(self.num_blocks + 2, self.half, num_heads, head_dim)
        for third in range(3):
            columns = gradient[:, :, third * self.half : (third + 1) * self.half]
            buffer[third : third + self.num_blocks] += columns.transpose(1, 2)
        rows = buffer.view(-1, num_heads * head_dim)[self.half : self.half + self.total_tokens]
        return rows.index_add(0, self.first_tokens, gradient[:, :, self.width].reshape(self.num_blocks, -1))


class _BlockedWindow(torch.autograd.Function):
    """Window attention for training: keeps queries, keys, values and a byte mask, and recomputes the rest."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, blocks: WindowBlocks, heads: int, p: float
    ) -> Tensor:
        probabilities = _block_probabilities(query, key, blocks, heads)
        keep, ctx.scale = keep_mask(probabilities.shape, p, query.device) if p else (None, 1.0)
        ctx.save_for_backward(query, key, value, keep)
        ctx.blocks, ctx.heads = blocks, heads
        if keep is not None:
            probabilities.mul_(keep).mul_(ctx.scale)
        return blocks.join_queries(torch.matmul(probabilities, blocks.gather_keys(value, heads)))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, keep = ctx.saved_tensors
        blocks, heads = ctx.blocks, ctx.heads
        scale = (query.shape[1] // heads) ** -0.5
        output_gradient = blocks.split_queries(gradients[0], heads).contiguous()
        probabilities = _block_probabilities(query, key, blocks, heads)
        # d(dropped probabilities), then through dropout, softmax and the scaled product.
        inner = torch.matmul(output_gradient, blocks.gather_keys(value, heads).transpose(-1, -2))
        dropped = probabilities
        if keep is not None:
            dropped = (probabilities * keep).mul_(ctx.scale)
            inner.mul_(keep).mul_(ctx.scale)
        value_gradient = blocks.scatter_keys(torch.matmul(dropped.transpose(-1, -2), output_gradient))
        inner.mul_(probabilities)
        inner.addcmul_(probabilities, inner.sum(-1, keepdim=True), value=-1).mul_(scale)
        query_gradient = blocks.join_queries(torch.matmul(inner, blocks.gather_keys(key, heads)))
        query_blocks = blocks.split_queries(query, heads).contiguous()
        key_gradient = blocks.scatter_keys(torch.matmul(inner.transpose(-1, -2), query_blocks))
        return query_gradient, key_gradient, value_gradient, None, None, None


def _block_probabilities(query: Tensor, key: Tensor, blocks: WindowBlocks, heads: int) -> Tensor:
    scaled = query * (query.shape[1] // heads) ** -0.5
    scores = torch.matmul(blocks.split_queries(scaled, heads), blocks.gather_keys(key, heads).transpose(-1, -2))
    return torch.softmax(scores.add_(blocks.bias(scores.dtype)), dim=-1)


def _blocked_window_inference(query: Tensor, key: Tensor, value: Tensor, blocks: WindowBlocks, heads: int) -> Tensor:
    query_blocks = blocks.split_queries(query, heads)
    bias = blocks.bias(query.dtype)
    flash = _cpu_flash_attention() if query.device.type == "cpu" else None
    if flash is None:
        keys, values = blocks.gather_keys(key, heads), blocks.gather_keys(value, heads)
        return blocks.join_queries(F.scaled_dot_product_attention(query_blocks, keys, values, attn_mask=bias))
    # The kernel reads overlapping views, so keys and values are not copied three times. Its log-sum-exp lets the <s>
    # outside the window join the softmax afterwards: weight sigmoid(score - lse) against the window's 1 - weight.
    keys, values = blocks.window_view(key, heads), blocks.window_view(value, heads)
    output, lse = flash(query_blocks, keys, values, 0.0, False, attn_mask=bias[..., : blocks.width])
    first_key = key[blocks.first_tokens].view(blocks.num_blocks, heads, -1, 1)
    first_value = value[blocks.first_tokens].view(blocks.num_blocks, heads, 1, -1)
    score = at_least_float32(torch.matmul(query_blocks, first_key).squeeze(-1)) * query_blocks.shape[-1] ** -0.5
    weight = torch.sigmoid(score - lse).masked_fill_(~blocks.far[:, None], 0.0).unsqueeze(-1).to(output.dtype)
    return blocks.join_queries(torch.lerp(output, first_value, weight))


@cache
def _cpu_flash_attention() -> Callable[..., tuple[Tensor, Tensor]] | None:
    """torch's CPU flash kernel that also returns the log-sum-exp: a private operator, used only if it proves itself."""
    try:
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        # Types and places are spelt out: whoever comes first may have other defaults, or autocast on.
        settings: Any = {"dtype": torch.float32, "device": "cpu"}
        query = torch.linspace(-1, 1, 2 * 2 * 4 * 8, **settings).view(2, 2, 4, 8)
        buffer = torch.linspace(1, -1, 8 * 16, **settings).cos()
        keys = buffer.as_strided((2, 2, 6, 8), (2 * 16, 8, 16, 1))
        bias = torch.zeros(2, 1, 4, 7, **settings)
        bias = bias.masked_fill_(torch.arange(7, device="cpu") == 2, torch.finfo(torch.float32).min)[..., :6]
        with torch.autocast("cpu", enabled=False):
            output, lse = kernel(query, keys, keys, 0.0, False, attn_mask=bias)
            scores = query @ keys.transpose(-1, -2) * 8**-0.5 + bias
            expected, expected_lse = scores.softmax(-1) @ keys, scores.logsumexp(-1)
        if torch.allclose(output, expected, atol=1e-5) and torch.allclose(lse, expected_lse, atol=1e-5):
            return kernel
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):
        pass
    return None


def blocked_window_attention(
    module: SelfAttention, query: Tensor, key: Tensor, value: Tensor, layout: SequenceLayout, dropout: float
) -> tuple[Tensor, None]:
    """Window attention in blocks; see [`eager_window_attention`] for arguments and result."""
    blocks = WindowBlocks.of(layout, module.half_window)
    with_gradient = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
    if with_gradient or dropout:
        blocks.bias(query.dtype)  # made here, so that a compiler does not meet its making inside the function
        return _BlockedWindow.apply(query, key, value, blocks, module.num_heads, dropout), None
    return _blocked_window_inference(query, key, value, blocks, module.num_heads), None


def eager_window_attention(
    module: SelfAttention, query: Tensor, key: Tensor, value: Tensor, layout: SequenceLayout, dropout: float
) -> tuple[Tensor, Tensor]:
    """Window attention by dense masked scores: what the other implementations must equal.

    Args:
        module: the self-attention, with `half_window` and `num_heads`.
        query, key, value (`Tensor` `[total_tokens, hidden_size]`): projections of the packed row.
        layout: where the sequences lie.
        dropout (`float`): dropout of the probabilities, 0 outside training.

    Returns:
        the attended values `[total_tokens, hidden_size]` (rows of `<s>` are to be overwritten by
        [`first_token_attention`]) and, from this implementation alone, the probabilities
        `[batch, num_heads, max_seqlen, max_seqlen]`, zero where masked.
    """
    q, k, v = (layout.to_padded(x).unflatten(2, (module.num_heads, -1)).transpose(1, 2) for x in (query, key, value))
    place = torch.arange(layout.max_seqlen, device=layout.device)
    allowed = ((place[:, None] - place).abs() <= module.half_window) | (place == 0)
    allowed = allowed & layout.padded_mask[:, None, None, :]  # [batch, 1, max_seqlen, max_seqlen]
    scores = at_least_float32(torch.matmul(q, k.transpose(-1, -2))) * q.shape[-1] ** -0.5
    scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    probabilities = torch.softmax(scores, dim=-1).to(q.dtype)
    output = torch.matmul(F.dropout(probabilities, dropout), v)
    return layout.to_packed(output.transpose(1, 2).flatten(2)), probabilities * layout.padded_mask[:, None, :, None]


def flex_window_attention(
    module: SelfAttention, query: Tensor, key: Tensor, value: Tensor, layout: SequenceLayout, dropout: float
) -> tuple[Tensor, None]:
    """Window attention by `flex_attention`; see [`eager_window_attention`] for arguments and result."""
    assert dropout == 0, "select_implementation refuses dropout"
    half = module.half_window
    cache_key = ("flex_mask", half)
    if cache_key not in layout.cache:
        layout.cache[cache_key] = _flex_block_mask(layout, half)
    q, k, v = (x.unflatten(1, (module.num_heads, -1)).transpose(0, 1)[None] for x in (query, key, value))
    output = _flex_attention(query.device.type)(q, k, v, block_mask=layout.cache[cache_key])
    return output[0].transpose(0, 1).flatten(1), None


def _flex_block_mask(layout: SequenceLayout, half: int) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    sequence_ids, positions = layout.sequence_ids, layout.positions

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        near = ((query - key).abs() <= half) | (positions[key] == 0)
        return (sequence_ids[query] == sequence_ids[key]) & near

    total = layout.total_tokens
    return create_block_mask(sees, B=None, H=None, Q_LEN=total, KV_LEN=total, device=str(layout.device))


@cache
def _flex_attention(device_type: str) -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    # Uncompiled it materialises all scores, which is of use only to check it where there is no GPU.
    function: Any = flex_attention
    return torch.compile(function, dynamic=True) if device_type == "cuda" else function


def first_token_attention(
    module: SelfAttention, hidden: Tensor, layout: SequenceLayout, dropout: float, return_probabilities: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Attention of every `<s>` to its whole sequence, through `query_global`, `key_global` and `value_global`.

    `<s>` is the only query, so keys and values are never projected for all tokens:
    `q·(W_k x_j + b_k) = (W_kᵀ q)·x_j + q·b_k`, where the last term is the same for all `j` and leaves the softmax
    unchanged, and `Σ p_j (W_v x_j + b_v) = W_v (Σ p_j x_j) + b_v Σ p_j` (the sum is 1 but for dropout).
    Projections that are no plain floating-point `nn.Linear` (LoRA, quantised) are applied as they are.

    Args:
        module: the self-attention.
        hidden (`Tensor` `[total_tokens, hidden_size]`): its input.
        layout: where the sequences lie.
        dropout (`float`): dropout of the probabilities, 0 outside training.
        return_probabilities: whether to return them.

    Returns:
        the output of every `<s>`, `[batch, hidden_size]`, and the probabilities `[batch, num_heads, max_seqlen]`.
    """
    heads = module.num_heads
    query = module.query_global(hidden[layout.first_tokens]).unflatten(1, (heads, -1))  # [batch, heads, head_dim]
    query = query * query.shape[-1] ** -0.5
    if not (is_plain_linear(module.key_global) and is_plain_linear(module.value_global)):
        return _first_token_attention_projected(module, query, hidden, layout, dropout)
    key_weight = module.key_global.weight.unflatten(0, (heads, -1))  # [heads, head_dim, hidden]
    value_weight = module.value_global.weight.unflatten(0, (heads, -1))
    value_bias = module.value_global.bias.unflatten(0, (heads, -1))
    lifted = torch.matmul(query.transpose(0, 1), key_weight).transpose(0, 1)  # [batch, heads, hidden]
    context, mass, probabilities = _attend_sequences(lifted, hidden, layout, dropout, return_probabilities)
    output = torch.matmul(context.transpose(0, 1), value_weight.transpose(1, 2)).transpose(0, 1)
    output = output + (value_bias if mass is None else mass[..., None] * value_bias)
    return output.flatten(1), probabilities


def _attend_sequences(
    lifted: Tensor, hidden: Tensor, layout: SequenceLayout, dropout: float, return_probabilities: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Softmax over each sequence of `lifted` `[batch, heads, hidden]` against its tokens: mean token and its mass."""
    padded_tokens = layout.num_sequences * layout.max_seqlen
    if layout.lengths is not None and padded_tokens > 2 * layout.total_tokens and not return_probabilities:
        # Very uneven lengths: one sequence after the other beats computing on padding.
        contexts, masses = [], []
        for query, tokens in zip(lifted.unbind(0), hidden.split(layout.lengths), strict=True):
            weights = torch.softmax(at_least_float32(torch.matmul(query, tokens.T)), dim=-1)
            weights = F.dropout(weights, dropout)
            masses.append(weights.sum(-1))
            contexts.append(torch.matmul(weights.to(tokens.dtype), tokens))
        return torch.stack(contexts), torch.stack(masses).to(hidden.dtype) if dropout else None, None
    tokens = layout.to_padded(hidden)  # [batch, max_seqlen, hidden]
    scores = at_least_float32(torch.matmul(lifted, tokens.transpose(1, 2)))
    scores = scores.masked_fill(~layout.padded_mask[:, None], torch.finfo(scores.dtype).min)
    probabilities = torch.softmax(scores, dim=-1)
    weights = F.dropout(probabilities, dropout)
    mass = weights.sum(-1).to(hidden.dtype) if dropout else None
    return torch.matmul(weights.to(tokens.dtype), tokens), mass, probabilities if return_probabilities else None


def _first_token_attention_projected(
    module: SelfAttention, query: Tensor, hidden: Tensor, layout: SequenceLayout, dropout: float
) -> tuple[Tensor, Tensor]:
    keys, values = (
        layout.to_padded(projection(hidden)).unflatten(2, (module.num_heads, -1)).transpose(1, 2)
        for projection in (module.key_global, module.value_global)
    )  # [batch, heads, max_seqlen, head_dim]
    scores = at_least_float32(torch.matmul(query[:, :, None], keys.transpose(-1, -2)))
    scores = scores.masked_fill(~layout.padded_mask[:, None, None], torch.finfo(scores.dtype).min)
    probabilities = torch.softmax(scores, dim=-1)
    output = torch.matmul(F.dropout(probabilities, dropout).to(values.dtype), values)
    return output.flatten(1), probabilities.squeeze(2)


# A local interface: registering a function under a standard name in transformers' own would replace it for every other
# model of the process.
ALL_ATTENTION_FUNCTIONS = AttentionInterface()
ALL_ATTENTION_FUNCTIONS["eager"] = eager_window_attention
ALL_ATTENTION_FUNCTIONS["sdpa"] = blocked_window_attention
ALL_ATTENTION_FUNCTIONS["flex_attention"] = flex_window_attention
IMPLEMENTATIONS = ("eager", "sdpa", "flex_attention")


def select_implementation(
    requested: str | None, device: torch.device, dtype: torch.dtype, dropout: float, output_attentions: bool
) -> str:
    """Which implementation a forward takes.

    Args:
        requested: what the user set (`attn_implementation`), or None to choose here.
        device, dtype: of the weights.
        dropout (`float`): dropout of the probabilities in this forward; 0 outside training.
        output_attentions: whether the probabilities are to be returned.

    Returns:
        `"eager"`, `"sdpa"` or `"flex_attention"`.

    Raises:
        ValueError: if what was requested cannot be honoured; the message says why.
    """
    if requested not in (None, *IMPLEMENTATIONS):
        raise ValueError(f"attn_implementation must be one of {', '.join(IMPLEMENTATIONS)}, got {requested!r}.")
    if output_attentions:
        if requested not in (None, "eager"):
            raise ValueError(
                f"attn_implementation={requested!r} never holds the attention probabilities; leave it unset or set "
                '"eager" for output_attentions=True.'
            )
        return "eager"
    flex_refused = None
    if device.type != "cuda":
        flex_refused = f"it needs a CUDA device, and the model is on {device.type}"
    elif dropout:
        flex_refused = (
            f"it has no dropout of attention probabilities; set attention_probs_dropout_prob, now {dropout}, to 0"
        )
    elif torch.cuda.get_device_capability(device) < (8, 0):
        flex_refused = "it needs a GPU of compute capability 8.0 or more"
    if requested == "flex_attention" and flex_refused:
        raise ValueError(
            f'attn_implementation="flex_attention" cannot be used: {flex_refused}. "sdpa" works everywhere.'
        )
    if requested is None:
        return "sdpa" if flex_refused or dtype == torch.float64 else "flex_attention"
    return requested


__all__ = [
    "ALL_ATTENTION_FUNCTIONS",
    "IMPLEMENTATIONS",
    "WindowBlocks",
    "first_token_attention",
    "select_implementation",
]
