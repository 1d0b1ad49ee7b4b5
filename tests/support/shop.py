"""A small shop, and random item vectors, that the tests of recommending share."""

from __future__ import annotations

import torch
import torch.nn.functional as F

ITEMS = {
    f"{colour[0]}{thing[0]}{brand[0]}": {"title": f"{colour} {thing}", "brand": brand}
    for colour in ("red", "green", "blue", "white")
    for thing in ("kettle", "mug", "spade with a spare grip and a very long handle", "tent")
    for brand in ("Acme", "Nordby")
}
MORE = {"n1": {"title": "yellow boat"}, "n2": {"title": "brass lamp", "brand": "Lumen"}}


def vectors(rows: int, width: int = 16, seed: int = 0) -> torch.Tensor:
    """Of lengths from 0.1 to 10: cosine, not product, has to decide."""
    generator = torch.Generator().manual_seed(seed)
    lengths = 10 ** (2 * torch.rand(rows, 1, generator=generator) - 1)
    return torch.randn(rows, width, generator=generator) * lengths


def plain_search(queries, items, top_k, allowed=None):
    """By definition: all cosines, `allowed` bool `[num_queries, num_items]`, sorted."""
    cosines = F.cosine_similarity(queries[:, None].double(), items[None].double(), dim=-1)
    if allowed is not None:
        cosines = cosines.masked_fill(~allowed, -torch.inf)
    return cosines.topk(top_k, dim=1)


def assert_close(ours, theirs):
    """To 1e-6 of unit vectors, in float32."""
    torch.testing.assert_close(F.normalize(ours, dim=-1), F.normalize(theirs, dim=-1), atol=1e-6, rtol=0)
