"""`ItemAttributes`: the attributes of a catalogue's items, as words of their fields."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...data.arrays import offsets_from_lengths
from ...items.catalog import ItemCatalog

TITLE = "title"
_WORD = re.compile(r"\w\w+")


@dataclass(frozen=True, eq=False)
class ItemAttributes:
    """Attributes of items end to end: item `i` has `ids[offsets[i] : offsets[i + 1]]`, in ascending order.

    Args:
        names: of the attributes, such as `"category: nails"`, sorted.
        ids: int64 `[total]`, numbers of attributes; each at most once an item.
        offsets: int64 `[num_items + 1]`.
    """

    names: list[str]
    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, catalog: ItemCatalog, fields: Sequence[str] | None = None, min_items: int = 5) -> ItemAttributes:
        """The words of some fields. A word is lower-cased, has two or more characters, and counts for its field alone.

        Words of all items, such as the name of a shop, distinguish nothing and are left out, as are rare ones.

        Args:
            catalog: the items.
            fields: names of fields; by default all but the title, or the title if there is nothing else.
            min_items: items that must have a word.

        Raises:
            ValueError: for a field that no item has.
        """
        known = catalog.attribute_names
        unknown = [field for field in fields or () if field not in known]
        if unknown:
            raise ValueError(
                f"Items have no {' and no '.join(map(repr, unknown))}; their fields are {', '.join(known)}. Set "
                "attribute_fields to some of these."
            )
        chosen = list(fields) if fields is not None else [name for name in known if name != TITLE] or list(known)
        words = [
            {f"{field}: {word}" for field in chosen for word in _WORD.findall(item.get(field, "").lower())}
            for item in catalog
        ]
        counts = Counter(word for each in words for word in each)
        names = sorted(word for word, count in counts.items() if min_items <= count < len(words))
        numbers = {name: number for number, name in enumerate(names)}
        found = [sorted(numbers[word] for word in each if word in numbers) for each in words]
        ids = np.array([number for each in found for number in each], np.int64)
        return cls(names, ids, offsets_from_lengths([len(each) for each in found]))


__all__ = ["ItemAttributes"]
