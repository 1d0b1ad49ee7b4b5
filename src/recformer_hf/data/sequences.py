"""`Sequences`: the users' sequences of one split as flat arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .arrays import integers, offsets_from_lengths, rows_within, slice_indices

if TYPE_CHECKING:
    import pyarrow as pa


class UserSequence(NamedTuple):
    """One row of a split: `history` is int32 `[length]`, oldest first; `target` is `None` in training."""

    user_id: str
    history: np.ndarray
    target: int | None


@dataclass(frozen=True, eq=False)
class Sequences:
    """Users' sequences of catalogue rows, oldest item first; for validation and test also the item that came next.

    Args:
        user_ids: `pyarrow` string or large_string array `[num_users]`, or a list of `str`.
        items: int32 `[total]`, catalogue rows of all users end to end. Other integer types are converted.
        offsets: int64 `[num_users + 1]`: user `i` has `items[offsets[i] : offsets[i + 1]]`, at least one item.
        targets: int32 `[num_users]`, or `None` for training, which keeps whole sequences.

    Raises:
        ValueError: if the arrays do not fit together, a row is negative, or a user has no items or no id.
        TypeError: if an array does not hold integers, or an id is not text. Decimals and truth values are never cast.
    """

    user_ids: pa.Array
    items: np.ndarray
    offsets: np.ndarray
    targets: np.ndarray | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__  # a frozen dataclass refuses plain assignment
        put(self, "user_ids", text_array(self.user_ids))
        put(self, "items", _integers(self.items, np.int32, "items"))
        put(self, "offsets", _integers(self.offsets, np.int64, "offsets"))
        if self.targets is not None:
            put(self, "targets", _integers(self.targets, np.int32, "targets"))
        rows, offsets = len(self.user_ids), self.offsets
        if len(offsets) != rows + 1 or offsets[0] != 0 or offsets[-1] != len(self.items):
            ends = f"{offsets[0]} to {offsets[-1]}" if len(offsets) else "none"
            raise ValueError(
                f"{len(offsets)} offsets from {ends} do not cut {len(self.items)} items into {rows} sequences: "
                f"expected {rows + 1} from 0 to {len(self.items)}."
            )
        if self.targets is not None and len(self.targets) != rows:
            raise ValueError(f"{len(self.targets)} targets for {rows} users; expected one per user.")
        # Compared rather than subtracted: offsets of a damaged file could overflow a difference.
        empty = np.flatnonzero(offsets[1:] <= offsets[:-1])
        if empty.size:
            users = [self.user_ids[row].as_py() for row in empty[:5].tolist()]
            raise ValueError(f"{empty.size:,} of {rows:,} users have no items, the first: {users}. Drop these users.")
        for name, numbers in (("items", self.items), ("targets", self.targets)):
            if numbers is not None and numbers.size and numbers.min() < 0:
                self._refuse_negative(name, numbers)

    def _refuse_negative(self, name: str, rows: np.ndarray) -> None:
        negative = np.flatnonzero(rows < 0)
        user = negative[0] if name == "targets" else np.searchsorted(self.offsets, negative[0], side="right") - 1
        raise ValueError(
            f"{negative.size:,} of {rows.size:,} {name} are negative, the first: {rows[negative[0]]} of user "
            f'{self.user_ids[int(user)].as_py()!r}. Catalogue rows start at 0; `rows_of(..., unknown="mark")` gives -1 '
            "to ids that the catalogue does not have: remove those items."
        )

    @classmethod
    def from_lists(
        cls, user_ids: Sequence[str], histories: Iterable[Sequence[int]], targets: Sequence[int] | None = None
    ) -> Sequences:
        """Create sequences from one list of catalogue rows per user. Arguments and errors are those of the class."""
        arrays = [integers(history, f"The history of row {row}") for row, history in enumerate(histories)]
        offsets = offsets_from_lengths([len(array) for array in arrays])
        # concatenate refuses an empty list. Unsigned 64-bit rows would make decimals of a mixture.
        items = np.concatenate([np.zeros(0, np.int32), *(_signed(array) for array in arrays)])
        return cls(user_ids, items, offsets, None if targets is None else integers(targets, "targets"))

    def __len__(self) -> int:
        return len(self.user_ids)

    def __getitem__(self, row: int) -> UserSequence:
        """One user; negative rows count from the end. [`~Sequences.history`] is faster if only items are needed.

        Raises:
            IndexError: if there is no such row.
            TypeError: if `row` is not a whole number.
        """
        row = whole_number(row, "A row of a split")
        if not -len(self) <= row < len(self):
            raise IndexError(f"No row {row} in a split of {len(self):,} users.")
        row %= len(self)
        target = None if self.targets is None else int(self.targets[row])
        return UserSequence(self.user_ids[row].as_py(), self.history(row), target)

    def history(self, row: int) -> np.ndarray:
        """Items of one user, int32 `[length]`, oldest first. This is a view: do not write to it."""
        return self.items[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Number of items of each user without the target, int64 `[num_users]`."""
        return np.diff(self.offsets)

    def select(self, rows: ArrayLike) -> Sequences:
        """These users, in this order.

        Args:
            rows (int `[n]`): each in [0, num_users); a row may occur more than once.

        Raises:
            IndexError: for a row outside that range.
            TypeError: if the rows are not integers, for example a mask.
        """
        import pyarrow as pa

        wanted = rows_within(np.atleast_1d(rows), len(self), "Rows", f"a split of {len(self):,} users")
        lengths = self.lengths[wanted]
        items = self.items[slice_indices(self.offsets[wanted], lengths)]
        targets = None if self.targets is None else self.targets[wanted]
        return Sequences(self.user_ids.take(pa.array(wanted)), items, offsets_from_lengths(lengths), targets)

    def __eq__(self, other: object) -> bool:
        """Same users in the same order, with the same items and targets."""
        if not isinstance(other, Sequences) or (self.targets is None) != (other.targets is None):
            return False
        pairs = [(self.items, other.items), (self.offsets, other.offsets)]
        if self.targets is not None and other.targets is not None:
            pairs.append((self.targets, other.targets))
        return all(np.array_equal(mine, theirs) for mine, theirs in pairs) and _same_texts(
            self.user_ids, other.user_ids
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        kind = "whole sequences" if self.targets is None else "histories with targets"
        return f"Sequences({len(self):,} {kind}, {len(self.items):,} items)"


def text_array(texts: pa.Array | pa.ChunkedArray | Sequence[str]) -> pa.Array:
    """The texts as one Arrow array of type string, or large_string where they take more than 2 GiB.

    Args:
        texts: text or whole numbers, which become their digits; Arrow arrays may be dictionary-encoded.

    Raises:
        ValueError: if one is missing.
        TypeError: if one is neither text nor a whole number.
    """
    import pyarrow as pa

    if not isinstance(texts, (pa.Array, pa.ChunkedArray)):
        try:
            texts = pa.array(texts)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise TypeError(f"user ids must be text, all of them ({error}). Turn them into text first.") from error
    if pa.types.is_dictionary(texts.type):
        texts = texts.cast(texts.type.value_type)
    # By name: the oldest pyarrow that `datasets` accepts has no is_string_view().
    if str(texts.type) == "string_view" or pa.types.is_integer(texts.type) or pa.types.is_null(texts.type):
        texts = texts.cast(pa.string())
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        raise TypeError(f"user ids are {texts.type}; expected text or whole numbers. Turn them into text first.")
    if isinstance(texts, pa.ChunkedArray):
        if texts.num_chunks == 1:  # no copy, so that a mapped file stays mapped
            texts = texts.chunk(0)
        else:
            # The 32-bit offsets of a single string array cannot address more than 2 GiB.
            texts = (texts if texts.nbytes < 2**31 else texts.cast(pa.large_string())).combine_chunks()
    if texts.null_count:
        raise ValueError(f"{texts.null_count:,} of {len(texts):,} user ids are missing; expected one for every row.")
    return texts


def whole_number(value: object, name: str) -> int:
    """A Python or numpy integer as `int`.

    Raises:
        TypeError: for anything else. `int` would cut decimals and take truth values.
    """
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; expected a whole number.")


def _same_texts(mine: pa.Array, theirs: pa.Array) -> bool:
    return bool(mine.equals(theirs if mine.type == theirs.type else theirs.cast(mine.type)))


def _integers(values: ArrayLike, dtype: type[np.signedinteger[Any]], name: str) -> np.ndarray:
    """The values as an array `[n]` of this type; not copied if they already are one."""
    array = integers(values, name)
    if array.size and array.dtype != dtype and not np.can_cast(array.dtype, dtype):
        limits = np.iinfo(dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise ValueError(f"{name} go from {array.min()} to {array.max()}; expected {np.dtype(dtype)}.")
    return np.ascontiguousarray(array, dtype=dtype)


def _signed(array: np.ndarray) -> np.ndarray:
    """Small unsigned types are kept; uint64, which has no common integer type with others, is checked for its size."""
    return array if array.dtype != np.uint64 else _integers(array, np.int64, "items")
