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

from recformer_hf.cli.commands.encode import main

if __name__ == "__main__":
    main(prog="encode_items.py")
