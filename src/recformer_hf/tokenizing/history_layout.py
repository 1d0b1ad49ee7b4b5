"""The layout of a history: `<s>`, then its items, newest first (the paper, section 2.2.1)."""

from __future__ import annotations

from collections.abc import Sequence

from .encoded_items import BOS_TYPE, EncodedItem, EncodedItems


def join_items(
    items: Sequence[EncodedItem] | EncodedItems, bos_token_id: int, max_items: int, max_tokens: int
) -> dict[str, list[int]]:
    """Puts encoded items behind `<s>`, newest first.

    Args:
        items: oldest first, at least one.
        bos_token_id: id of `<s>`.
        max_items: items that are kept, the newest ones.
        max_tokens: tokens that are kept, `<s>` included.

    Returns:
        `input_ids`, `token_type_ids`, `item_position_ids` and `attention_mask`, each `[seq_len]`.

    Raises:
        TypeError: if the items are not encoded.
        ValueError: if there is no item.
    """
    if not isinstance(items, (EncodedItems, Sequence)) or isinstance(items, EncodedItem):
        raise TypeError(_not_encoded(items))
    if len(items) == 0:
        raise ValueError("The history is empty; a history needs at least one item.")
    input_ids, token_type_ids, item_position_ids = [bos_token_id], [BOS_TYPE], [0]
    for position in range(1, min(len(items), max_items) + 1):
        room = max_tokens - len(input_ids)
        if room <= 0:
            break
        item = items[-position]
        if not isinstance(item, EncodedItem):
            raise TypeError(_not_encoded(item))
        ids = item.input_ids[:room].tolist()
        input_ids += ids
        token_type_ids += item.token_type_ids[:room].tolist()
        item_position_ids += [position] * len(ids)
    return {
        "input_ids": input_ids,
        "token_type_ids": token_type_ids,
        "item_position_ids": item_position_ids,
        "attention_mask": [1] * len(input_ids),
    }


def _not_encoded(found: object) -> str:
    return (
        f"encode_history takes encoded items, got {type(found).__name__}. Encode them first: "
        "tokenizer.encode_history(tokenizer.encode_items(items)), or call tokenizer(items)."
    )


__all__ = ["join_items"]
