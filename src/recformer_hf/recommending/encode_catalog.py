"""Encoding a large catalogue to disk: in blocks, on any number of processes, resumable."""

from __future__ import annotations

import hashlib
import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from transformers.utils import logging

from ..items.catalog import ItemCatalog
from ..storage.atomic import atomic_file
from ..tokenization_recformer import RecformerTokenizer
from ..tokenizing.tokenizer_fingerprint import tokenizer_fingerprint
from .protocols import EncodingModel
from .vectors import encode_items

EMBEDDINGS_FILE = "item_embeddings.npy"
"""float32 `[num_items, hidden_size]`; row i is item i of the catalogue."""
INFO_FILE = "item_embeddings.json"
"""Fingerprints of the model, tokenizer and catalogue that the vectors were made from."""
BLOCKS_FOLDER = "item_embeddings.blocks"
"""Finished blocks, until all of them are finished."""


class CatalogEncoder(EncodingModel, Protocol):
    """A model whose item vectors are written to disk: any Recformer with an encoder `recformer`."""

    @property
    def recformer(self) -> Any: ...


def encode_catalog(
    model: CatalogEncoder,
    tokenizer: RecformerTokenizer,
    catalog: ItemCatalog,
    output_dir: str | os.PathLike[str],
    *,
    max_tokens: int = 8192,
    block_size: int = 16_384,
    progress: bool = True,
    accelerator: Accelerator | None = None,
) -> Path:
    """Writes a catalogue's item vectors to disk, and the catalogue beside them.

    It needs memory for the model, one block of items and the block's vectors (`4 * block_size * hidden_size` bytes; 48
    MiB at base size). Under `accelerate launch`, every process encodes its share of the blocks; the processes must
    share a file system. A block appears whole or not at all, so the same call continues a run that was stopped, on the
    same or another number of processes. Items of equal text have equal vectors within a block; between blocks they may
    differ by rounding.

    Args:
        model: the model, on the device that it should run on.
        tokenizer: its tokenizer.
        catalog: the items, preferably memory-mapped (`ItemCatalog.from_pretrained`).
        output_dir: gets `item_embeddings.npy`, `item_embeddings.json` and `item_catalog.arrow`.
        max_tokens: tokens of one forward pass.
        block_size: number of items in a block.
        progress: show a bar of the blocks, on the main process.
        accelerator: which process this is; created by default.

    Returns:
        the path of `item_embeddings.npy` (`np.load(path, mmap_mode="r")` opens it without reading it).

    Raises:
        ValueError: if the folder holds vectors of another model, tokenizer, catalogue or block size, or there are no
            items.
        OSError: if a file cannot be written (a full disk); finished blocks stay.
    """
    if len(catalog) == 0 or block_size < 1:
        raise ValueError(f"There must be items and a block size of at least 1, got {len(catalog)} and {block_size}.")
    folder, accelerator = Path(output_dir), accelerator or Accelerator()
    info = {
        "num_items": len(catalog),
        "hidden_size": model.config.hidden_size,
        "block_size": block_size,
        "encoder": encoder_fingerprint(model),
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "catalog": catalog.fingerprint,
    }
    result, blocks = folder / EMBEDDINGS_FILE, folder / BLOCKS_FOLDER
    _check_same(folder / INFO_FILE, info)
    accelerator.wait_for_everyone()  # every process checks before one writes
    if not result.is_file():
        if accelerator.is_main_process:
            with atomic_file(folder / INFO_FILE) as temporary:
                temporary.write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
            catalog.save_pretrained(folder)
            blocks.mkdir(exist_ok=True)
        accelerator.wait_for_everyone()
        bounds = [*range(0, len(catalog), block_size), len(catalog)]
        paths = [blocks / f"{start:012}.npy" for start in bounds[:-1]]
        mine = list(zip(paths, pairwise(bounds), strict=True))[accelerator.process_index :: accelerator.num_processes]
        for path, (start, end) in logging.tqdm(
            mine, desc="Encoding blocks", unit="block", disable=not (progress and accelerator.is_main_process)
        ):
            if not path.is_file():  # else an earlier call finished the block
                vectors = encode_items(model, catalog[start:end], tokenizer, max_tokens, False).numpy()
                with atomic_file(path) as temporary, open(temporary, "wb") as file:
                    np.save(file, vectors)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            _join(paths, result, len(catalog), model.config.hidden_size)
            blocks.rmdir()
    accelerator.wait_for_everyone()
    return result


def encoder_fingerprint(model: CatalogEncoder) -> str:
    """32 hexadecimal digits of what decides an item's vector: the encoder's weights and settings (BLAKE2b)."""
    digest = hashlib.blake2b(digest_size=16, person=b"RecformerEncoder")
    settings: dict[str, Any] = model.config.to_dict()
    # These say where a checkpoint is from and what lies beside it, but not how it encodes.
    for name in ("num_items", "_name_or_path", "transformers_version", "architectures", "auto_map", "custom_pipelines"):
        settings.pop(name, None)
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, weight in sorted(model.recformer.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(memoryview(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


def _check_same(path: Path, info: dict[str, Any]) -> None:
    if not path.is_file():
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        before = {}  # a damaged file matches nothing
    different = [name for name, value in info.items() if before.get(name) != value]
    if different:
        raise ValueError(
            f"{path.parent} holds item vectors that were made with another {', '.join(different)}. Name another "
            "folder, or remove this one."
        )


def _join(paths: list[Path], result: Path, num_items: int, width: int) -> None:
    """Joins the blocks, one in memory at a time, and removes them."""
    with atomic_file(result) as temporary, open(temporary, "wb") as file:
        # The header is written by hand: np.save would need all vectors in memory.
        header = {"descr": "<f4", "fortran_order": False, "shape": (num_items, width)}
        np.lib.format.write_array_header_1_0(file, header)
        for path in paths:
            file.write(np.load(path).astype("<f4", copy=False).tobytes())
    for path in paths:
        path.unlink()


__all__ = ["BLOCKS_FOLDER", "EMBEDDINGS_FILE", "INFO_FILE", "encode_catalog", "encoder_fingerprint"]
