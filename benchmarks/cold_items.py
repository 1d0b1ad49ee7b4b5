"""How are items recommended that no training sequence has? The cold-item split of real shops, a tenth of the items.

    python -m benchmarks.cold_items --folders data --text_encoder all-MiniLM-L6-v2 --output_dir outputs/cold-items

`--folders` has one folder for each domain, in the layout of the public replication. A tenth of a domain's items is
drawn and taken out of training and validation (`recformer_hf.data.splits.cold_item`). Every recipe then trains with its
defaults, and test users whose target was taken out, and those whose target was not, are ranked once. The commands are
those of `examples/`, written to `commands.txt`; `cold_items.json` has the figures of docs/results/tables.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import domains
from benchmarks.results_tables import PROTOCOLS, TABLES, markdown
from benchmarks.study import Study, domain_parser, reports_of, study_of
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.preparation import PreparedInteractions
from recformer_hf.data.splits import cold_item

SHARE = 0.1
"""Of the items, that are held out."""

PARTS = ("cold", "in_set")

SIMPLE = ("last_item_text", "text_neighbours", "blend")
RECIPES = ("text-only", "hybrid", "hybrid-text")
"""Rows of `benchmarks.domains`."""


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
        found.setdefault(name, {})[part] = [domains.values(reports[f"{scorer}-{protocol}"]) for protocol in PROTOCOLS]

    for part, dataset in folders.items():
        folder = study.ranked(f"{domain}-{part}-simple", dataset, "--baselines", *SIMPLE)
        for scorer in SIMPLE:
            add(domains.SIMPLE[scorer].strip("*"), part, folder, scorer)
    training = study.without_test(folders["cold"])
    for recipe in recipes:
        shown, chosen = domains.TRAINED[recipe]
        name = shown.strip("*")
        run = study.finetuned_run(f"{domain}-{recipe}", study.warm(), training, *chosen, *options)
        for part, dataset in folders.items():
            has_memory = "--memory" not in chosen
            scorers = ["--model", str(run), *(["--without_memory", "true"] if has_memory else [])]
            folder = study.ranked(f"{domain}-{part}-{recipe}", dataset, *scorers)
            if has_memory:
                add(f"{name} without memory", part, folder, "model_without_memory")
            add(name, part, folder, "model")
    return found


def figures_of(found: dict[str, dict[str, dict[str, list[Any]]]]) -> list[dict[str, Any]]:
    """The rows of the table `cold_items`."""
    table: dict[str, dict[str, Any]] = {}
    for domain, rows in found.items():
        for name, parts in rows.items():
            table.setdefault(name, {"row": name})[domain] = parts
    return list(table.values())


def main() -> None:
    parser = domain_parser(__doc__, ("scientific", "toys", "beauty"))
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=RECIPES)
    arguments = parser.parse_args()
    study = study_of(arguments)
    rows = {domain: rows_of(study, domain, arguments.recipes, arguments.options) for domain in arguments.domains}
    figures = figures_of(rows)
    study.write("cold_items.json", figures)
    print("\n".join(markdown(TABLES["cold_items"](figures))))


if __name__ == "__main__":
    main()
