"""Item vectors as files that other vector databases read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ..encoder.losses import EPSILON
from ..items.arrow import arrow
from ..storage.atomic import atomic_file

ROWS_AT_ONCE = 16_384
"""How many vectors are copied to the CPU at a time while they are written."""


def write_embeddings(path: str | os.PathLike[str], vectors: Tensor, ids: Sequence[str], normalize: bool) -> None:
    """Writes vectors and ids; see `RecformerForSeqRec.export_embeddings`. A file appears whole or not at all."""
    path = Path(path)

    def chunk(start: int) -> np.ndarray:
        rows = vectors[start : start + ROWS_AT_ONCE]
        return (F.normalize(rows, dim=1, eps=EPSILON) if normalize else rows).cpu().numpy()

    starts = range(0, len(vectors), ROWS_AT_ONCE)
    if path.suffix == ".npy":
        with atomic_file(path) as temporary:
            shape = tuple(vectors.shape)
            with open(temporary, "wb") as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for start in starts:
                    file.write(np.ascontiguousarray(chunk(start), dtype="<f4").tobytes())
        with atomic_file(path.with_suffix(".ids.json")) as temporary:
            temporary.write_text(json.dumps(list(ids), ensure_ascii=False) + "\n", encoding="utf-8")
    elif path.suffix == ".parquet":
        pa, parquet = arrow(), arrow("pyarrow.parquet")
        width = vectors.shape[1]
        schema = pa.schema([("item_id", pa.string()), ("embedding", pa.list_(pa.float32(), width))])
        with atomic_file(path) as temporary, parquet.ParquetWriter(os.fspath(temporary), schema) as writer:
            for start in starts:
                lists = pa.FixedSizeListArray.from_arrays(pa.array(chunk(start).reshape(-1)), width)
                names = pa.array(ids[start : start + ROWS_AT_ONCE], pa.string())
                writer.write_table(pa.Table.from_arrays([names, lists], schema=schema))
    else:
        raise ValueError(f"{path.name} ends in {path.suffix!r}; embeddings are written as .parquet or .npy.")


__all__ = ["write_embeddings"]
