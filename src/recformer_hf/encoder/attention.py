"""Recformer's attention over a packed row of sequences: a local window plus one global token, `<s>`.

Every token attends to the tokens of its own sequence at a distance of at most half the window, and to `<s>`, the first
token of its sequence, once. `<s>` itself attends to its whole sequence through projections of its own (Longformer,
Beltagy et al. 2020; Recformer, section 2.2.2).

The window has three implementations, chosen by [`select_implementation`]:

- `eager`: dense scores with a mask. It defines the result, and is the only one that returns the probabilities.
- `sdpa`: blocks of half a window against three such blocks of keys, and one `<s>`.
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

from .cpu_dropout import keep_mask, kept
from .cpu_linear import apply_linear, is_plain_linear
from .packing import SequenceLayout


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

    A block of queries needs the keys of three blocks: its own and one on either side. The `<s>` of the sequence that
    the block's first query belongs to may be out of reach; no other `<s>` can be: any other sequence with a query in
    the block starts inside the block, near enough to be in the window. That holds for blocks no longer than half the
    window (two tokens, where that is one), hence their size.

    Args:
        layout: where the sequences lie.
        half (`int`): tokens seen on each side.
        num_rows (`int`): rows of hidden states; those beyond the tokens belong to no sequence.
    """

    def __init__(self, layout: SequenceLayout, half: int, num_rows: int) -> None:
        # No sequence reaches further than its length, so short ones get by with smaller blocks.
        reach = min(half, -(-(layout.max_seqlen - 1) // 8) * 8 or 8)
        self.block = block = max(reach, 2)
        self.num_rows = num_rows
        self.num_blocks = -(-num_rows // block)
        self.padded_rows = self.num_blocks * block
        self.width = 3 * block
        device, last = layout.device, layout.total_tokens - 1
        starts = torch.arange(self.num_blocks, device=device)[:, None] * block
        queries = starts + torch.arange(block, device=device)  # [num_blocks, block]
        keys = starts - block + torch.arange(self.width, device=device)  # [num_blocks, width]
        query_sequences = layout.sequence_ids[queries.clamp(max=last)]
        in_row = (keys >= 0) & (keys <= last)
        key_sequences = layout.sequence_ids[keys.clamp(0, last)].masked_fill(~in_row, -1)
        distance = (queries[:, :, None] - keys[:, None, :]).abs()
        self.near = (query_sequences[:, :, None] == key_sequences[:, None, :]) & (distance <= reach)
        """Who sees whom in the window, `[num_blocks, block, width]`."""
        # Queries beyond the row see something finite, so that no softmax is over nothing; their output is cut off.
        self.near[:, :, 0] |= queries > last
        far = (query_sequences == query_sequences[:, :1]) & (layout.positions[queries.clamp(max=last)] > reach)
        self.far = far & (queries <= last)
        """Queries whose `<s>` is out of the window, `[num_blocks, block]`."""
        self.first_tokens = layout.first_tokens[query_sequences[:, 0]]
        """Row of the `<s>` that they see, `[num_blocks]`."""
        self._bias: dict[torch.dtype, Tensor] = {}

    @classmethod
    def of(cls, layout: SequenceLayout, half: int, num_rows: int) -> WindowBlocks:
        """The blocks of a layout, made once and shared by all layers."""
        key = ("window_blocks", half, num_rows)
        if key not in layout.cache:
            layout.cache[key] = cls(layout, half, num_rows)
        return layout.cache[key]

    def bias(self, dtype: torch.dtype) -> Tensor:
        """The window's mask as something to add to scores, `[num_blocks, block, width]`."""
        if dtype not in self._bias:
            zeros = torch.zeros(self.near.shape, dtype=dtype, device=self.near.device)
            self._bias[dtype] = zeros.masked_fill_(~self.near, torch.finfo(dtype).min)
        return self._bias[dtype]

    def split_queries(self, rows: Tensor, num_heads: int) -> Tensor:
        """`[num_rows, hidden]` -> a view `[num_heads, num_blocks, block, head_dim]`."""
        if self.padded_rows != self.num_rows:
            rows = F.pad(rows, (0, 0, 0, self.padded_rows - self.num_rows))
        return rows.view(self.num_blocks, self.block, num_heads, -1).permute(2, 0, 1, 3)

    def join_queries(self, blocks: Tensor) -> Tensor:
        """`[num_heads, num_blocks, block, head_dim]` -> `[num_rows, hidden]`."""
        return blocks.permute(1, 2, 0, 3).reshape(self.padded_rows, -1)[: self.num_rows]

    def window_view(self, rows: Tensor, num_heads: int) -> Tensor:
        """`[num_rows, hidden]` -> overlapping views `[num_heads, num_blocks, width, head_dim]` of one buffer."""
        hidden = rows.shape[1]
        end = self.block + self.num_rows
        buffer = rows.new_empty(self.padded_rows + 2 * self.block, hidden)
        buffer[: self.block].zero_()
        buffer[self.block : end] = rows
        buffer[end:].zero_()
        head_dim = hidden // num_heads
        size = (num_heads, self.num_blocks, self.width, head_dim)
        return buffer.as_strided(size, (head_dim, self.block * hidden, hidden, 1))

    def windows_by_head(self, rows: Tensor, num_heads: int) -> Tensor:
        """As [`window_view`], one head after the other: what batched products take as they are.

        Out of the row a window holds tokens of another head, or zeros; nobody sees them.
        """
        head_dim = rows.shape[1] // num_heads
        buffer = rows.new_empty(num_heads * self.padded_rows + 2 * self.block, head_dim)
        buffer[: self.block].zero_()
        buffer[-self.block :].zero_()
        inside = buffer[self.block : -self.block].view(num_heads, self.padded_rows, head_dim)
        inside[:, : self.num_rows] = rows.view(self.num_rows, num_heads, head_dim).transpose(0, 1)
        inside[:, self.num_rows :].zero_()
        size = (num_heads, self.num_blocks, self.width, head_dim)
        windows = buffer.as_strided(size, (self.padded_rows * head_dim, self.block * head_dim, head_dim, 1))
        # oneDNN, which has the 16-bit products, would copy them too, and transposed ones slowly.
        return windows if rows.element_size() > 2 else windows.contiguous()

    def first_of(self, rows: Tensor, num_heads: int) -> Tensor:
        """`[num_rows, hidden]` -> what the `<s>` of each block has there, `[num_heads, num_blocks, 1, head_dim]`."""
        return rows[self.first_tokens].view(self.num_blocks, 1, num_heads, -1).permute(2, 0, 1, 3)

    def add_windows(self, window: Tensor, first: Tensor) -> Tensor:
        """The transpose of [`window_view`] and [`first_of`]: adds up what every block says of a token.

        Args:
            window (`Tensor` `[num_heads, num_blocks, width, head_dim]`): of the tokens in the windows.
            first (`Tensor` `[num_heads, num_blocks, 1, head_dim]`): of each block's `<s>`.

        Returns:
            `[num_rows, hidden]`.
        """
        before, own, after = window.unflatten(2, (3, self.block)).unbind(2)
        total = own.contiguous()
        total[:, 1:] += after[:, :-1]  # shifted adds, no `index_add` of windows
        total[:, :-1] += before[:, 1:]
        rows = self.join_queries(total)
        return rows.index_add_(0, self.first_tokens, first.permute(1, 2, 0, 3).reshape(self.num_blocks, -1))

    def probabilities(self, queries: Tensor, keys: Tensor, first_keys: Tensor) -> tuple[Tensor, Tensor]:
        """Softmax over the window and the `<s>` out of it.

        Args:
            queries (`Tensor` `[num_heads, num_blocks, block, head_dim]`): scaled.
            keys (`Tensor` `[num_heads, num_blocks, width, head_dim]`): of the windows.
            first_keys (`Tensor` `[num_heads, num_blocks, 1, head_dim]`): of the `<s>`.

        Returns:
            the probabilities of the window `[num_heads, num_blocks, block, width]` and of the `<s>` out of it
            `[num_heads, num_blocks, block, 1]`; together they sum to 1.
        """
        scores = torch.matmul(queries, keys.transpose(-1, -2)).add_(self.bias(queries.dtype))
        far = torch.matmul(queries, first_keys.transpose(-1, -2))
        far = far.masked_fill_(~self.far[:, :, None], torch.finfo(far.dtype).min)
        # No column more for the <s>: it borrows one that its query does not see, for a round width makes the products
        # faster. With blocks of 4 rows, keys 0 to 11 stand around queries 4 to 7: query 4 sees keys 0 to 8, and all but
        # the last query leave key 11 unseen. Query 7 sees 3 to 11 and borrows key 0.
        _copy_borrowed(scores, far)
        near = torch.softmax(scores, dim=-1).to(scores.dtype)  # autocast on CUDA gives float32
        return near, _take_borrowed(near)


def _copy_borrowed(scores: Tensor, far: Tensor) -> None:
    scores[:, :, :-1, -1:] = far[:, :, :-1]
    scores[:, :, -1:, :1] = far[:, :, -1:]


def _take_borrowed(probabilities: Tensor) -> Tensor:
    """The borrowed columns; they are set to 0."""
    places = probabilities[:, :, :-1, -1:], probabilities[:, :, -1:, :1]
    far = torch.cat(places, dim=2)
    for place in places:
        place.zero_()
    return far


class _BlockedWindow(torch.autograd.Function):
    """Window attention for training.

    Of the probabilities `P` and the dropout mask `K` it keeps `P - 2 P∘K`: what is positive there was dropped.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, blocks: WindowBlocks, heads: int, p: float
    ) -> Tensor:
        queries = blocks.split_queries(query * _scale(query, heads), heads)
        near, far = blocks.probabilities(queries, blocks.windows_by_head(key, heads), blocks.first_of(key, heads))
        kept_near, kept_far, factor = near, far, 1.0
        if p:
            (near_mask, factor), (far_mask, _) = (keep_mask(each.shape, p, each.device) for each in (near, far))
            kept_near, kept_far = kept(near, near_mask), kept(far, far_mask)
        output = torch.matmul(kept_near, blocks.windows_by_head(value, heads))
        output.addcmul_(kept_far, blocks.first_of(value, heads))
        output = blocks.join_queries(output).mul_(factor)
        signed = near.sub(kept_near, alpha=2), far.sub(kept_far, alpha=2)
        ctx.save_for_backward(query, key, value, output, *signed)
        ctx.blocks, ctx.heads, ctx.factor = blocks, heads, factor
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, output, near, far = ctx.saved_tensors
        blocks, heads = ctx.blocks, ctx.heads
        # Σ_j P_j dL/dP_j, which the softmax takes off, is the product of the output with its gradient.
        gradient = gradients[0]
        mean = blocks.split_queries(gradient * output, heads).sum(-1, keepdim=True)
        given = blocks.split_queries(gradient * ctx.factor, heads).contiguous()
        window, first = blocks.windows_by_head(value, heads), blocks.first_of(value, heads)
        kept_near, kept_far = near.clamp(max=0), far.clamp(max=0)  # both negated, and so is all that follows
        value_gradient = blocks.add_windows(
            torch.matmul(kept_near.transpose(-1, -2), given), torch.matmul(kept_far.transpose(-1, -2), given)
        )
        near_gradient = torch.matmul(given, window.transpose(-1, -2)).mul_(kept_near).addcmul_(near.abs(), mean)
        far_gradient = torch.matmul(given, first.transpose(-1, -2)).mul_(kept_far).addcmul_(far.abs(), mean)
        window, first = blocks.windows_by_head(key, heads), blocks.first_of(key, heads)
        query_gradient = torch.matmul(near_gradient, window).addcmul_(far_gradient, first)
        queries = blocks.split_queries(query * _scale(query, heads), heads).contiguous()
        key_gradient = blocks.add_windows(
            torch.matmul(near_gradient.transpose(-1, -2), queries),
            torch.matmul(far_gradient.transpose(-1, -2), queries),
        )
        query_gradient = blocks.join_queries(query_gradient).mul_(-_scale(query, heads))
        return query_gradient, key_gradient.neg_(), value_gradient.neg_(), None, None, None


def _scale(query: Tensor, heads: int) -> float:
    return (query.shape[1] // heads) ** -0.5


def _blocked_window_inference(query: Tensor, key: Tensor, value: Tensor, blocks: WindowBlocks, heads: int) -> Tensor:
    first_keys, first_values = blocks.first_of(key, heads), blocks.first_of(value, heads)
    flash = _cpu_flash_attention() if query.device.type == "cpu" else None
    if flash is None:
        queries = blocks.split_queries(query * _scale(query, heads), heads)
        near, far = blocks.probabilities(queries, blocks.windows_by_head(key, heads), first_keys)
        output = torch.matmul(near, blocks.windows_by_head(value, heads))
        return blocks.join_queries(output.addcmul_(far, first_values))
    # The kernel reads overlapping views, so keys and values are not copied three times; all heads of a block lie
    # together. Its log-sum-exp lets the <s> outside the window join the softmax afterwards: weight
    # sigmoid(score - lse) against the window's 1 - weight.
    keys, values = blocks.window_view(key, heads), blocks.window_view(value, heads)
    queries, keys, values, first_keys, first_values = (
        each.transpose(0, 1) for each in (blocks.split_queries(query, heads), keys, values, first_keys, first_values)
    )
    output, lse = flash(queries, keys, values, 0.0, False, attn_mask=blocks.bias(query.dtype)[:, None])
    score = at_least_float32(torch.matmul(queries, first_keys.transpose(-1, -2)).squeeze(-1)) * _scale(query, heads)
    weight = torch.sigmoid(score - lse).masked_fill_(~blocks.far[:, None], 0.0).unsqueeze(-1).to(output.dtype)
    return blocks.join_queries(torch.lerp(output, first_values, weight).transpose(0, 1))


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
    blocks = WindowBlocks.of(layout, module.half_window, len(query))
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


FLEX_BLOCK = 128
"""Tokens of a block of `flex_attention`'s masks, its own default."""


def _flex_block_mask(layout: SequenceLayout, half: int) -> Any:
    """Which blocks of keys each block of queries needs, and within those who sees whom.

    Told from where the sequences begin, so nothing of `total_tokens` squared is made and no device waited for, as
    `create_block_mask` would: 8,192 tokens took 1 GB there and 6 MB here.
    """
    from torch.nn.attention.flex_attention import BlockMask

    sequence_ids, positions, total = layout.sequence_ids, layout.positions, layout.total_tokens

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        near = ((query - key).abs() <= half) | (positions[key] == 0)
        return (sequence_ids[query] == sequence_ids[key]) & near

    blocks = torch.arange(-(-total // FLEX_BLOCK), device=layout.device)
    starts = blocks * FLEX_BLOCK
    # Of sequences that begin before the block, that of its first query alone reaches into it; any other <s> is in it.
    first = layout.first_tokens[sequence_ids[starts]]
    lowest = torch.maximum(first, starts - half) // FLEX_BLOCK
    highest = (starts + FLEX_BLOCK - 1 + half).clamp(max=total - 1) // FLEX_BLOCK
    needed = (blocks >= lowest[:, None]) & (blocks <= highest[:, None]) | (blocks == (first // FLEX_BLOCK)[:, None])
    counts = needed.sum(1, dtype=torch.int32)
    indices = needed.int().argsort(dim=1, descending=True, stable=True).int()
    return BlockMask.from_kv_blocks(
        counts[None, None], indices[None, None], BLOCK_SIZE=FLEX_BLOCK, mask_mod=sees, seq_lengths=(total, total)
    )


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
    query = apply_linear(module.query_global, hidden[layout.first_tokens])
    query = query.unflatten(1, (heads, -1))  # [batch, heads, head_dim]
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
        # Rows beyond the tokens are split off with them: the gradient of a slice would be one more copy of all rows.
        beyond = len(hidden) - layout.total_tokens
        sequences = hidden.split([*layout.lengths, beyond] if beyond else layout.lengths)
        for query, tokens in zip(lifted.unbind(0), sequences[: layout.num_sequences], strict=True):
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
        layout.to_padded(apply_linear(projection, hidden)).unflatten(2, (module.num_heads, -1)).transpose(1, 2)
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
    requested: str | None,
    device: torch.device,
    dtype: torch.dtype,
    head_dim: int,
    dropout: float,
    output_attentions: bool,
) -> str:
    """Which implementation a forward takes.

    Args:
        requested: what the user set (`attn_implementation`), or None to choose here.
        device, dtype: of the weights.
        head_dim (`int`): width of a head.
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
    elif dtype == torch.float64 or head_dim < 16:
        flex_refused = f"it takes no float64 and no heads narrower than 16; these are {dtype} and {head_dim}"
    elif torch.cuda.get_device_capability(device) < (8, 0):
        flex_refused = "it needs a GPU of compute capability 8.0 or more"
    if requested == "flex_attention" and flex_refused:
        raise ValueError(
            f'attn_implementation="flex_attention" cannot be used: {flex_refused}. "sdpa" works everywhere.'
        )
    if requested is None:
        return "sdpa" if flex_refused else "flex_attention"
    return requested


__all__ = [
    "ALL_ATTENTION_FUNCTIONS",
    "IMPLEMENTATIONS",
    "WindowBlocks",
    "first_token_attention",
    "select_implementation",
]
