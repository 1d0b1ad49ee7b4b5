"""How many rows a CPU runs."""

from __future__ import annotations

import pytest

from recformer_hf.encoder.cpu.rows import rows_to_run


@pytest.mark.parametrize("by_shape", [False, True])
def test_rows_are_rounded_up_to_few_sizes_and_few_rows(by_shape):
    sizes = {total: rows_to_run(total, by_shape) for total in range(1, 5000)}
    assert all(total <= rows <= total * (1 + 1 / 32) for total, rows in sizes.items())
    assert len({rows for total, rows in sizes.items() if total >= 2048}) <= (70 if by_shape else 100)
    assert sizes[2367] == 2368
    assert sizes[4100] == (4224 if by_shape else 4128)
