"""How are items recommended that no training sequence has? The cold-item split of real shops, a tenth of the items.

    python -m benchmarks.cold_items --folders data --text_encoder all-MiniLM-L6-v2 --output_dir outputs/cold-items

`--folders` has one folder for each domain, in the layout of the public replication. A tenth of a domain's items is
drawn and taken out of training and validation (`recformer_hf.data.splits.cold_item`). Every recipe then trains with its
defaults, and test users whose target was taken out, and those whose target was not, are ranked once. The commands are
those of `examples/`, written to `commands.txt`; `cold_items.json` has the figures of docs/results/tables.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.domains import values
from benchmarks.results_tables import PROTOCOLS, TABLES, markdown
from benchmarks.study import EXAMPLES, Study, reports_of
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.preparation import PreparedInteractions
from recformer_hf.data.splits import cold_item

SHARE = 0.1
"""Of the items, that are held out."""

PARTS = ("cold", "in_set")

SIMPLE = {
    "last_item_text": "last-item text (TF-IDF)",
    "text_neighbours": "text neighbours (TF-IDF)",
    "blend": "best blend of simple baselines",
}
RECIPES = {
    "text-only": (
        "text alone: no residuals, no memory",
        ["--recipe", "hybrid", "--item_residuals", "false", "--memory", "false"],
    ),
    "hybrid": ("hybrid (two-level)", ["--recipe", "hybrid"]),
    "hybrid-text": ("hybrid, text encoder trained", ["--recipe", "hybrid-text"]),
}
"""The name in the table, and the options of `examples/finetune.py`."""


def interactions(dataset: SequentialDataset) -> PreparedInteractions:
    """The interactions of a leave-one-out dataset: of a user with a test row, its history and its target."""
    test = dataset.test
    if test is None or test.targets is None:
        raise ValueError("The dataset has no test split, and so not the last item of its users.")
    lengths = np.diff(test.offsets) + 1
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = np.empty(offsets[-1], np.int32)
    last = np.zeros(len(items), bool)
    last[offsets[1:] - 1] = True
    items[last], items[~last] = test.targets, test.items
    # A replication's folder has no times. The places in a user's sequence are the order that is known.
    places = np.arange(len(items)) - np.repeat(offsets[:-1], lengths)
    info = dataset.info | {"order": "of the sequences"}
    return PreparedInteractions(test.user_ids, items, places, offsets, dataset.catalog, info)


def split(study: Study, domain: str) -> dict[str, Path]:
    """The datasets of a domain's cold-item split, by part; they are made once."""
    folders = {part: study.folder / f"data-{domain}-{part}" for part in PARTS}
    if not all((folder / "items.parquet").is_file() for folder in folders.values()):
        parts = cold_item(interactions(SequentialDataset.load(study.dataset(domain))), held_out_share=SHARE)._asdict()
        for part, folder in folders.items():
            parts[part].save_to_disk(folder)
    return folders


def rows_of(study: Study, domain: str, recipes: list[str], options: list[str]) -> dict[str, dict[str, list[Any]]]:
    """NDCG@10 of every row on a domain: by part, the figures and their interval under each protocol."""
    folders = split(study, domain)
    found: dict[str, dict[str, list[Any]]] = {}

    def add(name: str, part: str, folder: Path, scorer: str) -> None:
        reports = reports_of(folder)
        found.setdefault(name, {})[part] = [values(reports[f"{scorer}-{protocol}"]) for protocol in PROTOCOLS]

    for part, dataset in folders.items():
        folder = study.ranked(f"{domain}-{part}-simple", dataset, "--baselines", *SIMPLE)
        for scorer, name in SIMPLE.items():
            add(name, part, folder, scorer)
    for recipe in recipes:
        name, chosen = RECIPES[recipe]
        output = study.folder / f"{domain}-{recipe}"
        run = study.run(
            output.name, "metrics.json", str(EXAMPLES / "finetune.py"), "--model", str(study.warm()),
            "--dataset", str(study.without_test(folders["cold"])), "--output_dir", str(output),
            "--resume_from_checkpoint", "true", *chosen, *options,
        )  # fmt: skip
        for part, dataset in folders.items():
            has_memory = "--memory" not in chosen
            scorers = ["--model", str(run), *(["--without_memory", "true"] if has_memory else [])]
            folder = study.ranked(f"{domain}-{part}-{recipe}", dataset, *scorers)
            if has_memory:
                add(f"{name} without memory", part, folder, "model_without_memory")
            add(name, part, folder, "model")
    return found


def figures_of(domains: dict[str, dict[str, dict[str, list[Any]]]]) -> list[dict[str, Any]]:
    """The rows of the table `cold_items`."""
    table: dict[str, dict[str, Any]] = {}
    for domain, rows in domains.items():
        for name, parts in rows.items():
            table.setdefault(name, {"row": name})[domain] = parts
    return list(table.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", required=True, help="folder with one folder for each domain")
    parser.add_argument("--text_encoder", required=True, help="folder or Hub id of the encoder to start from")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--domains", nargs="+", default=["scientific", "toys", "beauty"])
    parser.add_argument("--recipes", nargs="+", choices=[*RECIPES], default=[*RECIPES])
    parser.add_argument("--max_token_num", type=int, default=128)
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="more options of examples/finetune.py")
    arguments = parser.parse_args()
    study = Study(arguments.output_dir, arguments.folders, arguments.text_encoder, arguments.max_token_num)
    rows = {domain: rows_of(study, domain, arguments.recipes, arguments.options) for domain in arguments.domains}
    figures = figures_of(rows)
    study.write("cold_items.json", figures)
    print("\n".join(markdown(TABLES["cold_items"](figures))))


if __name__ == "__main__":
    main()
