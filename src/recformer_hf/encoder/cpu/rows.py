"""How many rows of hidden states to run on a CPU."""

from __future__ import annotations


def rows_to_run(num_rows: int, by_shape: bool) -> int:
    """Rounds a number of rows up by at most 1/32, so that fewer distinct sizes occur.

    Args:
        num_rows (`int`): rows that are needed.
        by_shape: whether the kernels are compiled for each shape and kept, which calls for fewer sizes.

    Returns:
        the next multiple of 32, which is a whole block of the usual window, so that no layer has to pad a block; with
        `by_shape`, the next multiple of 128. Fewer than 1,024 rows (4,096 with `by_shape`) are rounded to multiples of
        smaller powers of 2.
    """
    multiple = min(128 if by_shape else 32, 1 << max(num_rows.bit_length() - 6, 0))
    return -(-num_rows // multiple) * multiple


__all__ = ["rows_to_run"]
