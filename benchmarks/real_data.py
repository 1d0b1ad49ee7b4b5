"""Real data: zero-shot, finetuned, pretrained on other shops and finetuned, beside simple baselines on the same split.

    python -m benchmarks.real_data --folders data --text_encoder all-MiniLM-L6-v2 --output_dir outputs/real \
        --target scientific --sources games toys beauty                        # a CPU: MiniLM's size, 128 tokens
    python -m benchmarks.real_data ... --text_encoder allenai/longformer-base-4096 --max_token_num 512 \
        --learning_rates 2e-5 5e-5 1e-4 --epochs 40 --stage2_epochs 15 --patience 5 --pretrain_epochs 5 --seeds 0 1 2
    python -m benchmarks.real_data ... --only baselines b                     # some rows; run it again to resume

`--folders` has one folder for each domain, in the layout of the public replication (`meta_data.json`, `train.json`,
...).

Rows: *a* zero-shot without any training, *b* finetuned without pretraining, *c* pretrained on the sources and
zero-shot, *d* pretrained and finetuned. b and d go through the same grid of learning rates. Every choice is made on
validation: training sees a copy of the dataset without a test split, and the test split is read once for each row, with
the chosen run. Users of the target are removed from pretraining. Every command is one of `examples/`, and is written to
`commands.txt`. Beside it are the rankings, `results.json`, `tables.json` (rows as in docs/results/tables.json) and
`results.md` (tables with intervals and paired tests).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.results_tables import PROTOCOLS, TABLES, differences_row, markdown, test_split_row
from benchmarks.study import EXAMPLES, Study, machine, reports_of, validation_ndcg
from recformer_hf.evaluation import Ranking, paired_test

BASELINES = ("popularity", "markov", "last_item_text", "last_item_vectors")


class PretrainingStudy(Study):
    """The rows of this module."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__(arguments.output_dir, arguments.folders, arguments.text_encoder, arguments.max_token_num)
        self.arguments = arguments

    def pretrained(self, sources: list[Path], target: Path) -> Path:
        arguments = self.arguments
        length = (
            ["--max_steps", str(arguments.pretrain_steps)]
            if arguments.pretrain_steps
            else ["--num_train_epochs", str(arguments.pretrain_epochs)]
        )
        return self.run(
            "pretrained", "run.json", str(EXAMPLES / "pretrain.py"), "--model", str(self.warm()),
            "--datasets", *map(str, sources), "--exclude_users_of", str(target),
            "--zero_shot_datasets", f"target={target}", "--zero_shot_max_users", "2000",
            "--output_dir", str(self.folder / "pretrained"), "--resume_from_checkpoint", "true",
            *length, *self.shared(0),
            "--per_device_train_batch_size", str(arguments.pretrain_batch_size),
            "--learning_rate", str(arguments.pretrain_learning_rate),
            "--mlm_probability", str(arguments.mlm_probability), "--mixing", arguments.mixing,
            "--eval_strategy", "steps", "--eval_steps", str(arguments.eval_steps),
            "--save_strategy", "steps", "--save_steps", str(arguments.eval_steps),
        )  # fmt: skip

    def finetuned(self, row: str, start: Path, dataset: Path, rate: float, seed: int) -> Path:
        arguments = self.arguments
        name = f"{row}-{rate}-seed{seed}"
        return self.finetuned_run(
            name, start, dataset, *self.shared(seed), "--learning_rate", str(rate),
            "--per_device_train_batch_size", str(arguments.batch_size),
            "--num_train_epochs", str(arguments.epochs), "--stage2_num_train_epochs", str(arguments.stage2_epochs),
            "--stage1_patience", str(arguments.patience), "--stage2_patience", str(arguments.patience),
        )  # fmt: skip

    def shared(self, seed: int) -> list[str]:
        return [
            "--seed", str(seed), "--bf16", str(not self.arguments.float32), "--warmup_steps", "0.05",
            "--logging_steps", "50",
        ]  # fmt: skip


def rows_of(study: PretrainingStudy) -> dict[str, tuple[Path, str]]:
    """Run all steps that are missing. Returns the folder of rankings and the name of the scorer for each row."""
    arguments = study.arguments
    target = study.dataset(arguments.target)
    warm = study.warm()
    rows: dict[str, tuple[Path, str]] = {}
    if "baselines" in arguments.only:
        folder = study.ranked(
            "baselines", target, "--model", str(warm), "--encode_items", "true", "--baselines", *BASELINES
        )
        rows |= {name: (folder, name) for name in BASELINES}
        rows["a"] = (folder, "model")  # both use the same encoding of the items
    starts = {"b": warm}
    if {"c", "d"} & set(arguments.only):
        pretrained = study.pretrained([study.dataset(name) for name in arguments.sources], target)
        starts["d"] = pretrained
        if "c" in arguments.only:
            folder = study.ranked("c", target, "--model", str(pretrained), "--encode_items", "true")
            rows["c"] = (folder, "model")
    training = study.without_test(target)
    for row, start in starts.items():
        if row not in arguments.only:
            continue
        first = arguments.seeds[0]
        grid = {rate: study.finetuned(row, start, training, rate, first) for rate in arguments.learning_rates}
        best = max(grid, key=lambda rate: validation_ndcg(grid[rate]))
        for seed in arguments.seeds:
            run = study.finetuned(row, start, training, best, seed)
            rows[f"{row}, seed {seed}"] = (study.ranked(f"{row}-seed{seed}", target, "--model", str(run)), "model")
    return rows


def figures_of(rows: dict[str, tuple[Path, str]]) -> dict[str, list[dict[str, Any]]]:
    """The figures of both tables, from the folder of rankings and the name of the scorer for each row."""
    test_split, differences = [], []
    rankings: dict[str, dict[str, Ranking]] = {}
    for row, (folder, scorer) in rows.items():
        reports = reports_of(folder)
        test_split.append(test_split_row(row, {protocol: reports[f"{scorer}-{protocol}"] for protocol in PROTOCOLS}))
        rankings[row] = {protocol: Ranking.load(folder / f"{scorer}-{protocol}.npz") for protocol in PROTOCOLS}
    for one, other in pairs(list(rows)):
        tests = {protocol: paired_test(rankings[one][protocol], rankings[other][protocol]) for protocol in PROTOCOLS}
        differences.append(differences_row(f"{one} minus {other}", tests))
    return {"test_split": test_split, "differences": differences}


def pairs(rows: list[str]) -> list[tuple[str, str]]:
    """The rows to compare: d with b of the same seed, both with every baseline, c with a."""
    found = [(f"d{row[1:]}", row) for row in rows if row.startswith("b,") and f"d{row[1:]}" in rows]
    trained = [row for row in rows if row[:2] in ("b,", "d,")]
    found += [(row, name) for row in trained for name in BASELINES if name in rows]
    return found + ([("c", "a")] if {"a", "c"} <= set(rows) else [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", required=True, help="folder with one folder for each domain")
    parser.add_argument("--text_encoder", required=True, help="folder or Hub id of the encoder to start from")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--target", default="scientific")
    parser.add_argument("--sources", nargs="+", default=["games", "toys", "beauty"])
    parser.add_argument("--only", nargs="+", choices=["baselines", "b", "c", "d"], default=["baselines", "b", "c", "d"],
                        help="rows to run; baselines includes row a")  # fmt: skip
    parser.add_argument("--max_token_num", type=int, default=128)
    parser.add_argument("--float32", action="store_true", help="train in float32, not in bfloat16 autocast")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--learning_rates", nargs="+", type=float, default=[1e-4], help="the grid for b and d")
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--stage2_epochs", type=float, default=2)
    parser.add_argument("--patience", type=int, default=2)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="the first one searches the grid")
    parser.add_argument("--pretrain_steps", type=int, help="instead of --pretrain_epochs")
    parser.add_argument("--pretrain_epochs", type=float, default=1)
    parser.add_argument("--pretrain_batch_size", type=int, default=64)
    parser.add_argument("--pretrain_learning_rate", type=float, default=1e-4)
    parser.add_argument("--mlm_probability", type=float, default=0.15, help="0 for contrastive learning alone")
    parser.add_argument(
        "--mixing", default="steps", choices=["sequences", "steps"], help="steps takes negatives from one shop"
    )
    parser.add_argument("--eval_steps", type=int, default=200, help="steps between zero-shot evaluations")
    study = PretrainingStudy(parser.parse_args())
    rows = rows_of(study)
    figures = figures_of(rows)
    text = "\n\n".join("\n".join(markdown(TABLES[name](figures[name]))) for name in figures) + "\n"
    (study.folder / "results.md").write_text(text, "utf-8")
    study.write("tables.json", figures)
    study.write("results.json", {
        "settings": vars(study.arguments), "seconds": study.seconds, **machine(),
        "rows": {row: reports_of(folder) for row, (folder, _) in rows.items()},
    })  # fmt: skip
    print(text)


if __name__ == "__main__":
    main()
