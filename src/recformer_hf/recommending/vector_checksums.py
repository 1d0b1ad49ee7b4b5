"""Checksums that tell whether item vectors are still those that a search index was built from."""

from __future__ import annotations

import zlib

from torch import Tensor

SLICE_BYTES = 64 << 20
"""Bytes of the vectors that one checksum covers, and that one [`VectorChecksums.match`] reads: about 10 ms."""


class VectorChecksums:
    """CRC-32 checksums of slices of item vectors.

    A tensor counts the changes that torch makes to it, but a write through `.data` or a numpy view is not counted, so
    the content is compared too. One comparison reads one slice. Catalogues of up to 64 MiB (43,000 vectors of width
    384) are one slice; in a larger one a change that torch did not count is found after at most as many comparisons as
    there are slices.

    Args:
        vectors (`Tensor`, float32 `[num_items, hidden_size]`): the vectors.
    """

    def __init__(self, vectors: Tensor) -> None:
        self._shape, self._device = tuple(vectors.shape), vectors.device
        self._rows = max(1, SLICE_BYTES // max(1, 4 * vectors.shape[1]))
        self._seen = counted_changes(vectors)
        self._next = 0
        self.values = [self._checksum(vectors, i) for i in range(-(-len(vectors) // self._rows))]
        """One checksum per slice."""

    def match(self, vectors: Tensor) -> bool:
        """Whether the vectors are unchanged and have not moved.

        All slices are compared if torch counted a change, else the next one.
        """
        if tuple(vectors.shape) != self._shape or vectors.device != self._device:
            return False  # a copy that an index made does not move to another device with the model
        if not self.values:
            return True
        seen = counted_changes(vectors)
        if seen != self._seen:
            self._seen = seen
            return all(self._checksum(vectors, i) == value for i, value in enumerate(self.values))
        i, self._next = self._next, (self._next + 1) % len(self.values)
        return self._checksum(vectors, i) == self.values[i]

    def _checksum(self, vectors: Tensor, i: int) -> int:
        rows = vectors.detach()[i * self._rows : (i + 1) * self._rows]
        return zlib.crc32(rows.cpu().contiguous().numpy().astype("<f4", copy=False).data)


def counted_changes(vectors: Tensor) -> tuple[int, int]:
    """What torch changes when a tensor is written to, or gets other memory."""
    return vectors.data_ptr(), 0 if vectors.is_inference() else vectors._version


__all__ = ["VectorChecksums", "counted_changes"]
