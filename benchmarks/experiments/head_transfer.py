"""Does a two-level head learn from other shops how a history is read?

    python -m benchmarks.experiments.head_transfer --model warm --target scientific --sources games toys beauty \
        --output_dir head-transfer

The sources are joined into one shop, without the users of the target. The recipe `hybrid` trains there, without
residuals and memory, which belong to single items. What remains is the map of item vectors, the history bias, the
temperature and the layers that read histories. The head is compared with a new one on the target's validation split:
as it is (zero-shot), and as the start of the recipe `hybrid`, with several seeds. Nothing reads the test split.

`--target` and `--sources` are folders of `examples/prepare_data.py`, `--model` is a text encoder as a Recformer
(`python -m recformer_hf.conversion text-encoder`). The output folder has `head_transfer.json`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.domains import TEXT_ONLY
from benchmarks.experiments.rounds import joined
from benchmarks.results_tables import PROTOCOLS, interval_of
from benchmarks.study import Study, reports_of
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.evaluation import Ranking, paired_test
from recformer_hf.training.pretraining.zero_shot import without_users

TRANSFERABLE = ("--recipe", "hybrid", *TEXT_ONLY)


def pretrained(study: Study, model: Path, target: Path, sources: list[str], options: list[str]) -> Path:
    """The model with a head that the sources trained."""
    folder = study.folder / "data-sources"
    if not folder.exists():
        excluded = [SequentialDataset.load(target)]
        shops = {Path(name).name: without_users(SequentialDataset.load(name), excluded) for name in sources}
        joined(shops, 1)[0].save_to_disk(folder)
    return study.finetuned_run("pretrained", model, folder, *TRANSFERABLE, *options)


def comparison(before: list[Path], after: list[Path], scorer: str) -> dict[str, Any]:
    """NDCG@10 of each seed from both starts, the paired test of each seed, and the mean difference, by protocol."""
    figures: dict[str, Any] = {}
    for protocol in PROTOCOLS:
        name = f"{scorer}-{protocol}"
        for start, folders in (("new", before), ("pretrained", after)):
            figures.setdefault(start, {})[protocol] = [
                round(reports_of(folder)[name]["overall"]["metrics"]["ndcg@10"], 4) for folder in folders
            ]
        tests = [
            paired_test(Ranking.load(new / f"{name}.npz"), Ranking.load(old / f"{name}.npz"))
            for new, old in zip(after, before, strict=True)
        ]
        figures.setdefault("differences", {})[protocol] = [interval_of(test) for test in tests]
        figures.setdefault("mean difference", {})[protocol] = round(
            float(np.mean([test["difference"] for test in tests])), 4
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, help="folder of the Recformer to start from")
    parser.add_argument("--target", required=True, type=Path)
    parser.add_argument("--sources", required=True, nargs="+")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="more options of examples/finetune.py")
    arguments = parser.parse_args()
    study = Study(arguments.output_dir, "", "", 0)
    start = pretrained(study, arguments.model, arguments.target, arguments.sources, arguments.options)
    dataset = study.without_test(arguments.target, study.folder / "data-target")
    zero_shot = [
        study.ranked(f"zero-shot-{name}", dataset, "--model", str(model), "--encode_items", split="validation")
        for name, model in (("new", arguments.model), ("pretrained", start))
    ]
    trained: dict[str, list[Path]] = {"new": [], "pretrained": []}
    for seed in arguments.seeds:
        for name, model in (("new", arguments.model), ("pretrained", start)):
            options = ["--recipe", "hybrid", "--seed", str(seed), *arguments.options]
            run = study.finetuned_run(f"{name}-{seed}", model, dataset, *options)
            scorer = ["--model", str(run), "--without_memory", "true"]
            trained[name].append(study.ranked(run.name, dataset, *scorer, split="validation"))
    figures = {
        "zero-shot": comparison(zero_shot[:1], zero_shot[1:], "model"),
        "without memory": comparison(trained["new"], trained["pretrained"], "model_without_memory"),
        "with memory": comparison(trained["new"], trained["pretrained"], "model"),
        "seconds": study.seconds,
    }
    study.write("head_transfer.json", figures)
    for name in ("zero-shot", "without memory", "with memory"):
        print(name, figures[name])


if __name__ == "__main__":
    main()
