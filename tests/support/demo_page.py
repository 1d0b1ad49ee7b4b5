"""A shop as the page uses it, whose texts try to be HTML, Markdown and templates."""

from __future__ import annotations

from functools import cache

from recformer_hf import ItemCatalog
from recformer_hf.demo_page.session import Shop
from tests.support.heads import trained
from tests.support.memories import some_memory
from tests.support.shops import CATALOG, shop_tokenizer

HOSTILE = "<img src=x onerror=alert(1)> ${alert(2)} {{value}} 'quoted\" @children"
HOSTILE_ID = "a'b\"<c>"


@cache
def some_shop(head: str = "paper") -> Shop:
    """The kitchen, and an item of hostile texts; the head `"flat"` has a memory too. Tests must not change it."""
    catalog = CATALOG.add(ItemCatalog.from_items({HOSTILE_ID: {"title": HOSTILE, "brand": HOSTILE}}))
    tokenizer = shop_tokenizer()
    model = trained(catalog, tokenizer, head)
    if head == "flat":
        model.memory = some_memory(len(catalog))
    return Shop(model, tokenizer)
