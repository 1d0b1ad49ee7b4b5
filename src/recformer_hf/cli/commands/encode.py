"""Computes the vectors of a whole catalogue's items, for a recommender or for another vector database.

    # from a catalogue (JSON lines, JSON, CSV, parquet; a dataset; demo:kitchen) to item_embeddings.npy
    recformer encode --model pretrained --catalog items.jsonl --id_column sku --output_dir vectors

    # as parquet too, and as a recommender that `recformer recommend` and the pipeline load
    recformer encode --model pretrained --catalog demo:garden --output_dir vectors --parquet --save_model shop

    # on several processes; if it is stopped, the same command continues where it was
    accelerate launch --num_processes 4 -m recformer_hf.cli encode --model pretrained --catalog items.parquet ...

Memory holds the model and one block of items at a time (with `--save_model`, also all vectors once).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator

from ...data.opening import open_dataset
from ...items.catalog import CATALOG_FILE, ItemCatalog
from ...modeling_recformer import RecformerForSeqRec
from ...recommending.encode_catalog import encode_catalog
from ...recommending.export import write_embeddings
from ...tokenization_recformer import RecformerTokenizer
from ..output import say
from ..parser import CommandParser
from ..running import loading, running

COMMON = (
    "model", "catalog", "output_dir", "id_column", "attributes", "save_model", "parquet", "normalize", "dtype",
    "max_tokens", "block_size",
)  # fmt: skip
RESUME = "The same command continues where it was."


@dataclass
class EncodingArguments:
    """The checkpoint, the catalogue and the output."""

    model: str = field(metadata={"help": "A checkpoint with its tokenizer: a folder or a Hub id."})
    catalog: str = field(
        metadata={
            "help": "A .jsonl, .json, .csv, .tsv (also .gz) or .parquet file; a folder or Hub id of a catalogue or "
            "of a SequentialDataset; or a domain of the demo shop, such as demo:kitchen."
        }
    )
    output_dir: str = field(metadata={"help": "Folder for item_embeddings.npy and item_catalog.arrow."})
    id_column: str = field(default="item_id", metadata={"help": "Column or key of the item id in a file."})
    attributes: list[str] | None = field(
        default=None,
        metadata={"help": "Attributes that make up an item's text, in order. Default: all."},
    )
    max_tokens: int = field(default=8192, metadata={"help": "Tokens of one forward pass."})
    block_size: int = field(
        default=16_384, metadata={"help": "Items per block. A stopped run loses at most one block."}
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = field(
        default="float32", metadata={"help": "dtype of the weights."}
    )
    parquet: bool = field(default=False, metadata={"help": "Also write item_embeddings.parquet, with the ids."})
    normalize: bool = field(default=False, metadata={"help": "Scale every vector in the parquet file to length 1."})
    save_model: str | None = field(
        default=None, metadata={"help": "Folder to save a recommender of this catalogue in."}
    )


def open_catalog(arguments: EncodingArguments) -> ItemCatalog:
    name = arguments.catalog
    path = Path(name)
    kind = path.with_suffix("").suffix if path.suffix in (".gz", ".bz2", ".xz", ".zst", ".zip") else path.suffix
    options: dict[str, Any] = {"id_column": arguments.id_column, "attributes": arguments.attributes}
    if kind in (".jsonl", ".ndjson"):
        return ItemCatalog.from_jsonl(name, **options)
    if kind == ".json":
        return ItemCatalog.from_json(name, **options)
    if kind in (".csv", ".tsv"):
        return ItemCatalog.from_csv(name, delimiter="\t" if kind == ".tsv" else ",", **options)
    if kind == ".parquet":
        return ItemCatalog.from_parquet(name, **options)
    if (Path(name) / CATALOG_FILE).is_file():
        return ItemCatalog.from_pretrained(name)
    return open_dataset(name).catalog


def run(options: EncodingArguments) -> None:
    accelerator = Accelerator()
    catalog = open_catalog(options)
    with loading(options.model):
        tokenizer = RecformerTokenizer.from_pretrained(options.model)
        model = RecformerForSeqRec.from_pretrained(options.model, dtype=options.dtype).to(accelerator.device).eval()
    path = encode_catalog(
        model,
        tokenizer,
        catalog,
        options.output_dir,
        max_tokens=options.max_tokens,
        block_size=options.block_size,
        accelerator=accelerator,
    )
    accelerator.end_training()
    if not accelerator.is_main_process:
        return
    vectors = torch.from_numpy(np.load(path, mmap_mode="c"))
    if options.parquet:
        write_embeddings(path.with_suffix(".parquet"), vectors, catalog.ids, options.normalize)
    if options.save_model is not None:
        model.set_item_embeddings(vectors, catalog)
        model.save_pretrained(options.save_model)
        tokenizer.save_pretrained(options.save_model)
    say(f"{len(vectors):,} vectors of width {vectors.shape[1]} in {path}")
    if options.save_model is not None:
        say(f"next:\n  recformer recommend --model {options.save_model} --histories histories.jsonl")


def main(command_line: Sequence[str] | None = None, prog: str = "recformer encode") -> None:
    with running(prog, RESUME):
        run(*CommandParser([EncodingArguments], prog, __doc__, COMMON).parse(command_line))
