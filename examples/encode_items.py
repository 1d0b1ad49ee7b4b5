"""Item vectors of a whole catalogue on disk, for a recommender or for another vector database.

    # from a catalogue (JSON lines, JSON, CSV, parquet; a dataset; demo:kitchen) to item_embeddings.npy
    python examples/encode_items.py --model pretrained --catalog items.jsonl --id_column sku --output_dir vectors

    # on several processes; if it is stopped, the same command continues where it was
    accelerate launch --num_processes 4 examples/encode_items.py --model pretrained --catalog items.parquet \\
        --output_dir vectors

    # as parquet too, and as a recommender that `pipeline("sequential-recommendation", ...)` loads
    python examples/encode_items.py --model pretrained --catalog demo:garden --output_dir vectors --parquet \\
        --save_model shop

Memory holds the model and one block of items at a time (with `--save_model`, also all vectors once).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import HfArgumentParser

from recformer_hf import ItemCatalog, RecformerForSeqRec, RecformerTokenizer
from recformer_hf.data.opening import open_dataset
from recformer_hf.items.catalog import CATALOG_FILE
from recformer_hf.recommending.encode_catalog import encode_catalog
from recformer_hf.recommending.export import write_embeddings


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
    dtype: str = field(
        default="float32", metadata={"help": "dtype of the weights: float32, bfloat16, float16 or auto."}
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
    options = {"id_column": arguments.id_column, "attributes": arguments.attributes}
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


def main(arguments: list[str] | None = None) -> None:
    (options,) = HfArgumentParser(
        [EncodingArguments], description=__doc__.split("\n", 1)[0]
    ).parse_args_into_dataclasses(arguments)
    accelerator = Accelerator()
    try:
        if not Path(options.model).is_dir():
            validate_repo_id(options.model)
        catalog = open_catalog(options)
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
    except HFValidationError:
        sys.exit(f"encode_items.py: --model {options.model} is neither a local folder nor a valid Hub id.")
    except (ValueError, OSError) as error:
        sys.exit(f"encode_items.py: {' '.join(str(error).split())}")
    print(f"{len(vectors):,} vectors of width {vectors.shape[1]} in {path}")


if __name__ == "__main__":
    main()
