"""What the pipeline adds to the bare model: one history of 300 tokens against 5,000 items, base size, random weights.

    python -m benchmarks.pipeline_overhead                         # about a minute on two idle cores
    python -m benchmarks.pipeline_overhead --size small            # seconds, to see that it runs

`bare` is the model's forward pass on the tokenized history, and the top ten of its scores. `pipeline` is the call of a
user: from ids to ids, scores and attributes. They take turns. `added` is the pipeline's time over the bare model's in
the same turn, minus 1: its median and quartiles.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import torch
from transformers import pipeline

from benchmarks.measure import checked_load, environment, interleaved_medians, print_table, write_report
from benchmarks.workload import make_workload
from recformer_hf import ItemCatalog, RecformerConfig, RecformerForSeqRec, RecformerTokenizer

TOP_K = 10
SMALL = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 512}


def overhead(num_items: int, num_tokens: int, repeats: int, size: str) -> dict[str, Any]:
    torch.manual_seed(0)
    words = make_workload(2000).items
    items = {
        f"item-{row}": {"title": " ".join(f"word{token}" for token in words[row % len(words)][0][:12])}
        for row in range(num_items)
    }
    tokenizer = RecformerTokenizer.train_from_catalog(items.values(), vocab_size=4000)
    config = RecformerConfig(vocab_size=len(tokenizer), num_items=num_items, **(SMALL if size == "small" else {}))
    model = RecformerForSeqRec(config).eval()
    model.set_item_embeddings(torch.randn(num_items, config.hidden_size), ItemCatalog.from_items(items))
    history, ids = [], list(items)
    while len(tokenizer([items[item_id] for item_id in [*history, ids[0]]])["input_ids"]) <= num_tokens:
        history.append(ids.pop(0))
    batch = tokenizer([items[item_id] for item_id in history], return_tensors="pt")
    recommender = pipeline("sequential-recommendation", model=model, tokenizer=tokenizer, device="cpu")

    def bare() -> Any:
        with torch.no_grad():
            return model(**batch).scores.topk(TOP_K)

    seconds = interleaved_medians({"bare": bare, "pipeline": lambda: recommender(history)}, repeats, warmup=3)
    added = [whole / part - 1 for part, whole in zip(seconds["bare"], seconds["pipeline"], strict=True)]
    low, middle, high = statistics.quantiles(added, n=4)
    return {
        "tokens": batch["input_ids"].shape[1],
        "items": num_items,
        "bare_ms": 1000 * statistics.median(seconds["bare"]),
        "pipeline_ms": 1000 * statistics.median(seconds["pipeline"]),
        "added": middle,
        "added_q1": low,
        "added_q3": high,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--tokens", type=int, default=300, help="the most tokens of the history")
    parser.add_argument("--size", choices=["base", "small"], default="base")
    parser.add_argument("--repeats", type=int, default=51)
    parser.add_argument("--threads", type=int, help="threads of torch (default: all processors)")
    parser.add_argument("--output", help="write everything as JSON")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    report: dict[str, Any] = {"options": vars(options), "environment": environment()}
    report["overhead"] = overhead(options.items, options.tokens, options.repeats, options.size)
    print_table([report["overhead"]])
    report["environment"]["other_load_after"] = checked_load()
    write_report(options.output, report)


if __name__ == "__main__":
    main()
