"""Does pretraining help where the shops follow the same rules? The demo shop, finetuned with and without it.

    python -m benchmarks.experiments.demo_pretraining --seeds 0 1 2 --output_dir demo-pretraining --output demo.json

The other domains of the demo shop sell other products under the same rules of who buys what next. So this is the
control for docs/results.md, where pretraining on real shops does not help: the same code, with something to carry over.
Model, tokenizer, settings and the pretrained rows are those of `recformer finetune` without arguments. The other rows
start from random weights; one of them trains for several times the epochs, to tell whether only steps were missing.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from transformers import set_seed

from benchmarks.measure import difference_text, report_rows
from recformer_hf import RecformerConfig, RecformerForSeqRec, RecformerTokenizer
from recformer_hf.cli.commands import finetune
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.demo import demo_domains, load_demo_domain
from recformer_hf.evaluation import Ranking, paired_test
from recformer_hf.training import RecformerFinetuningTrainer


def finetuned(
    model: RecformerForSeqRec, tokenizer: RecformerTokenizer, shop: SequentialDataset, folder: Path, options: list[str]
) -> Ranking:
    """Finetune with the demo's settings and rank the shop's test users."""
    _, args = finetune.parse(["--output_dir", str(folder), *options])
    trainer = RecformerFinetuningTrainer(model, args, train_dataset=shop, processing_class=tokenizer)
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    return trainer.rank(shop.test)


def rows_of(seed: int, times: int, folder: Path) -> list[dict[str, Any]]:
    shop = load_demo_domain(finetune.DEMO_DOMAIN, seed=seed)
    others = [load_demo_domain(name, seed=seed) for name in demo_domains() if name != finetune.DEMO_DOMAIN]
    _, args = finetune.parse(["--seed", str(seed), "--output_dir", str(folder)])
    pretrained = finetune.pretrain_demo(others, shop, args)
    tokenizer = RecformerTokenizer.from_pretrained(pretrained)

    def random_weights() -> RecformerForSeqRec:
        set_seed(seed)
        return RecformerForSeqRec(RecformerConfig.from_pretrained(pretrained))

    epochs = [str(times * finetune.DEMO_FINETUNING[name]) for name in ("num_train_epochs", "stage2_num_train_epochs")]
    longer = ["--num_train_epochs", epochs[0], "--stage2_num_train_epochs", epochs[1]]
    starts: dict[str, tuple[RecformerForSeqRec, list[str]]] = {
        "pretrained": (RecformerForSeqRec.from_pretrained(pretrained), []),
        "random": (random_weights(), []),
        f"random, {times} times the epochs": (random_weights(), longer),
    }
    cold = ~np.isin(shop.test.targets, shop.train.items)
    rankings: dict[str, Ranking] = {}
    rows = []
    for number, (name, (model, options)) in enumerate(starts.items()):
        options = ["--seed", str(seed), *options]
        rankings[name] = ranking = finetuned(model, tokenizer, shop, folder / f"finetuned-{number}", options)
        row = {"seed": seed, "start": name}
        for group, chosen in (("in-set", ~cold), ("cold", cold)):
            row[group] = f"{ranking.select(chosen).metrics([10])['ndcg@10']:.3f}"
        if name != "pretrained":
            test = paired_test(rankings["pretrained"], ranking)
            row["pretrained minus this"] = difference_text(test, digits=3)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--times", type=int, default=3, help="epochs of the third row, as a multiple of the demo's")
    parser.add_argument("--output_dir", required=True, type=Path)
    parser.add_argument("--output", help="JSON file of the rows")
    arguments = parser.parse_args()
    report_rows(
        arguments,
        arguments.seeds,
        lambda seed: rows_of(seed, arguments.times, arguments.output_dir / f"seed-{seed}"),
    )


if __name__ == "__main__":
    main()
