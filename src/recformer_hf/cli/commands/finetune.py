"""Finetunes a Recformer on one dataset; the result is a recommender that anyone can load.

    # the invented demo shop: a tiny model is pretrained on three domains and finetuned on the fourth, in minutes
    recformer finetune

    # your own dataset (recformer prepare), from a pretrained or warm-started model
    recformer convert text-encoder allenai/longformer-base-4096 warm-recformer
    recformer finetune --model warm-recformer --dataset shop --output_dir finetuned --recipe hybrid-text
    accelerate launch -m recformer_hf.cli finetune --model warm-recformer --dataset shop --output_dir finetuned

Afterwards, the folder contains the recommender, its metrics in both protocols, curves, and a model card.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from transformers import TrainingArguments, set_seed

from ...baselines import Blend, Cooccurrence, LastItemText, Markov, Popularity, TextNeighbours
from ...configuration_recformer import RecformerConfig
from ...data.dataset import SequentialDataset
from ...data.demo import DemoOracle, demo_domains, load_demo_domain
from ...data.opening import open_dataset
from ...data.sequences import Sequences
from ...evaluation.ranking import Ranking, Scorer, protocol_of, rank_split
from ...modeling_recformer import RecformerForPretraining, RecformerForSeqRec
from ...tokenization_recformer import RecformerTokenizer
from ...training import (
    RecformerFinetuningArguments,
    RecformerFinetuningTrainer,
    RecformerPretrainingArguments,
    RecformerPretrainingTrainer,
)
from ..output import say
from ..parser import CommandParser
from ..running import loading, running
from ..training_output import lines_of_test, say_summary, show_lines

COMMON = (
    "model", "dataset", "output_dir", "recipe", "max_token_num", "num_train_epochs", "learning_rate",
    "per_device_train_batch_size", "max_batch_tokens", "bf16", "seed", "exclude_history", "resume_from_checkpoint",
    "report_to", "push_to_hub",
)  # fmt: skip
RESUME = "The same command with --resume_from_checkpoint true continues from the last checkpoint."

DEMO_DOMAIN = "kitchen"
# A tiny model from random weights learns in minutes with large steps; the paper's settings are for base size.
DEMO_MODEL: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.05, "pooler_type": "avg",
    "max_token_num": 256, "max_position_embeddings": 258,
}  # fmt: skip
DEMO_SHARED: dict[str, Any] = {
    "per_device_train_batch_size": 64,
    "warmup_steps": 0.1,
    "weight_decay": 0.01,
    "logging_steps": 25,
}
DEMO_PRETRAINING: dict[str, Any] = {
    **DEMO_SHARED, "num_train_epochs": 4, "learning_rate": 5e-3, "mlm_probability": 0.0, "eval_strategy": "no",
    "freeze_word_embeddings": False,
}  # fmt: skip
DEMO_FINETUNING: dict[str, Any] = {
    **DEMO_SHARED, "output_dir": "demo-recformer", "num_train_epochs": 8, "learning_rate": 1e-3,
    "stage2_num_train_epochs": 2, "stage2_learning_rate": 3e-4, "resume_from_checkpoint": "true",
}  # fmt: skip
DEMO_HYBRID: dict[str, Any] = {"num_train_epochs": 20}
PAGE = "page"
"""Folder of the recommender that `recformer demo` trains, beside that of the whole run, `hybrid`."""


@dataclass
class DataArguments:
    """The model to finetune, and the dataset."""

    model: str | None = field(
        default=None, metadata={"help": "Pretrained or warm-started Recformer: a folder or a Hub id."}
    )
    dataset: str | None = field(
        default=None,
        metadata={"help": "A SequentialDataset: a folder, a Hub id, or demo:NAME of the demo shop."},
    )
    max_token_num: int | None = field(
        default=None,
        metadata={"help": "Tokens per history; the newest items are kept. None: the model's limit."},
    )


def parse(
    command_line: Sequence[str] | None, prog: str = "recformer finetune"
) -> tuple[DataArguments, RecformerFinetuningArguments]:
    parser = CommandParser([DataArguments, RecformerFinetuningArguments], prog, __doc__, COMMON)
    given = parser.given(command_line)  # the defaults depend on what is given, so it is parsed twice
    if given.model is None and given.dataset is None:
        parser.set_defaults(**DEMO_FINETUNING)
    elif given.model is None or given.dataset is None:
        parser.error("--model and --dataset must be given together; without both, the demo shop is used")
    data, args = parser.parse(command_line)
    return data, args


def run(data: DataArguments, args: RecformerFinetuningArguments) -> None:
    if data.model is None:
        demo(args)
    else:
        finetune(data, args)


def finetune(data: DataArguments, args: RecformerFinetuningArguments) -> None:
    limits: dict[str, Any] = {} if data.max_token_num is None else {"max_token_num": data.max_token_num}
    dataset = open_dataset(str(data.dataset))
    with loading(str(data.model)):
        model = RecformerForSeqRec.from_pretrained(data.model, **limits)
        tokenizer = RecformerTokenizer.from_pretrained(str(data.model), **limits)
    trainer = RecformerFinetuningTrainer(model, args, train_dataset=dataset, processing_class=tokenizer)
    show_lines(trainer)
    say_plan(args)
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    metrics = trainer.finish()
    if args.push_to_hub:
        trainer.push_to_hub()
    if trainer.is_world_process_zero():
        say_summary(
            f"Finetuned {data.model} on {data.dataset} by the recipe {args.recipe}.", lines_of_test(metrics),
            str(args.output_dir), "the recommender, its model card README.md, metrics and curves",
            following(args, data.dataset, dataset),
        )  # fmt: skip


def following(args: RecformerFinetuningArguments, dataset: str | None, shop: SequentialDataset) -> list[str]:
    """Commands that use the result."""
    history = shlex.quote(
        json.dumps([str(shop.catalog.ids[row]) for row in (0, len(shop.catalog) - 1)], ensure_ascii=False)
    )
    return [
        f"echo {history} | recformer recommend --model {args.output_dir} --top_k 3",
        f"recformer evaluate --model {args.output_dir} --dataset {dataset} --baselines markov cooccurrence",
    ]


def demo(args: RecformerFinetuningArguments) -> None:
    """Pretrains on three domains of the demo shop, finetunes on the fourth, and prints the results."""
    shop = load_demo_domain(DEMO_DOMAIN, seed=args.seed)
    trainer = demo_trainer(shop, args)
    trainer.encode_items()
    simple: dict[str, Any] = {
        "popularity": Popularity(),
        "last-item text": LastItemText(),
        "text neighbours": TextNeighbours(),
        "Markov": Markov(),
        "co-occurrence": Cooccurrence(),
        "blend of the two": Blend([Cooccurrence(), TextNeighbours()]),
    }
    rankings = {name: rank_test(scorer.fit(shop), shop, args) for name, scorer in simple.items()}
    rankings["Recformer, zero-shot"] = trainer.rank(test_of(shop))
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    rankings["Recformer, paper"] = finetuned = trainer.rank(test_of(shop))
    trainer.finish()
    rankings["Recformer, hybrid"] = rank_hybrid(shop, args)
    rankings["(knows the process)"] = rank_test(DemoOracle.from_dataset(shop), shop, args)
    if trainer.is_world_process_zero():
        print(table(rankings, shop, args))
        print(stories(finetuned, shop))
        say_summary(
            "Finetuned a tiny model on the demo shop, by the recipes paper and hybrid.", [], str(args.output_dir),
            "the recommender, its model card and curves; the hybrid one in its folder hybrid",
            following(args, f"demo:{DEMO_DOMAIN}", shop),
        )  # fmt: skip
    if args.push_to_hub:
        trainer.push_to_hub()


def demo_trainer(shop: SequentialDataset, args: RecformerFinetuningArguments) -> RecformerFinetuningTrainer:
    """A trainer of a domain of the demo shop, for a tiny model that was pretrained on the other domains."""
    pretrained = pretrained_demo(shop, args)
    if args.process_index == 0:
        say(f"Finetuning it on the domain {DEMO_DOMAIN}.")
    return trainer_from(pretrained, shop, args)


def trainer_from(
    folder: Path, shop: SequentialDataset, args: RecformerFinetuningArguments
) -> RecformerFinetuningTrainer:
    """A trainer that starts from the model in a folder, and says what it will do."""
    say_plan(args)
    model = RecformerForSeqRec.from_pretrained(folder)
    tokenizer = RecformerTokenizer.from_pretrained(folder)
    trainer = RecformerFinetuningTrainer(model, args, train_dataset=shop, processing_class=tokenizer)
    show_lines(trainer)
    return trainer


def machine_of(args: TrainingArguments) -> dict[str, Any]:
    """The settings that every part of a demo run has in common: the seed, and what it runs on."""
    names = ("seed", "use_cpu", "bf16", "fp16", "report_to", "disable_tqdm")
    return {name: getattr(args, name) for name in names}


def pretrained_demo(shop: SequentialDataset, args: RecformerFinetuningArguments) -> Path:
    """The folder of a tiny model that is pretrained on the other domains of the demo shop, unless it is there."""
    others = [load_demo_domain(name, seed=args.seed) for name in demo_domains() if name != DEMO_DOMAIN]
    if args.process_index == 0:
        say(f"Pretraining a tiny model on {len(others)} domains of the demo shop.")
    return pretrain_demo(others, shop, args)


def pretrain_demo(
    datasets: list[SequentialDataset], target: SequentialDataset, args: RecformerFinetuningArguments
) -> Path:
    folder = Path(args.output_dir or "", "pretrained")
    set_seed(args.seed)
    items = chain.from_iterable(dataset.catalog for dataset in [*datasets, target])
    tokenizer = RecformerTokenizer.train_from_catalog(items, vocab_size=1000, max_token_num=DEMO_MODEL["max_token_num"])
    trainer = RecformerPretrainingTrainer(
        RecformerForPretraining(RecformerConfig(vocab_size=len(tokenizer), **DEMO_MODEL)),
        RecformerPretrainingArguments(
            output_dir=str(folder), **machine_of(args), **DEMO_PRETRAINING
        ),
        train_datasets=datasets,
        processing_class=tokenizer,
    )  # fmt: skip
    show_lines(trainer)
    trainer.train(resume_from_checkpoint=True)
    return folder


def rank_hybrid(shop: SequentialDataset, args: RecformerFinetuningArguments) -> Ranking:
    """Trains the recipe `hybrid` on the text encoder that the paper's recipe has finetuned, and ranks the test
    split."""
    folder = Path(str(args.output_dir))
    trainer = hybrid_trainer(shop, args, folder, folder / "hybrid")
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    ranking = trainer.rank(test_of(shop))
    trainer.finish()
    return ranking


def hybrid_trainer(
    shop: SequentialDataset, args: RecformerFinetuningArguments, start: Path, folder: Path
) -> RecformerFinetuningTrainer:
    """A trainer of the recipe `hybrid`, with settings for the demo shop.

    Args:
        shop: what it trains on.
        args: whose machine, seed and protocol it takes over.
        start: folder of the model to start from.
        folder: of the result.
    """
    hybrid = RecformerFinetuningArguments(
        output_dir=str(folder), recipe="hybrid", ranking_ties=args.ranking_ties, exclude_history=args.exclude_history,
        logging_steps=args.logging_steps, **machine_of(args), **DEMO_HYBRID,
    )  # fmt: skip
    return trainer_from(start, shop, hybrid)


def train_for_page(folder: str) -> Path:
    """Trains a recommender of the demo shop in about a minute: pretraining, and the recipe `hybrid`.

    Returns:
        its folder. What was trained in `folder` before is not trained again.
    """
    args = RecformerFinetuningArguments(**{**DEMO_FINETUNING, "output_dir": folder})
    shop = load_demo_domain(DEMO_DOMAIN, seed=args.seed)
    trainer = hybrid_trainer(shop, args, pretrained_demo(shop, args), Path(folder, PAGE))
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    trainer.finish()
    return Path(folder, PAGE)


def say_plan(args: RecformerFinetuningArguments) -> None:
    """The plan of a run, on one process."""
    if args.process_index == 0:
        say(args.plan())


def test_of(shop: SequentialDataset) -> Sequences:
    assert shop.test is not None  # every domain of the demo shop has one
    return shop.test


def rank_test(scorer: Scorer, shop: SequentialDataset, args: RecformerFinetuningArguments) -> Ranking:
    """Ranks under the trainer's protocol, so that the rows of the table are comparable."""
    return rank_split(scorer, test_of(shop), exclude_history=args.exclude_history, ties=args.ranking_ties)


def table(rankings: dict[str, Ranking], shop: SequentialDataset, args: RecformerFinetuningArguments) -> str:
    """NDCG@10 and Recall@10 of each ranking, separately for targets seen in training and cold targets."""
    test = test_of(shop)
    cold = ~np.isin(np.asarray(test.targets), shop.train.items)
    lines = [
        f"\n{shop.info['name']}: {len(test):,} test users, {cold.sum()} with a cold target; whole catalogue "
        f"({len(shop.catalog)} items) ranked, history {protocol_of(args.exclude_history)}, ties {args.ranking_ties}. "
        "The shop is invented.\n",
        f"{'':22}   in-set                 cold",
        f"{'':22}   NDCG@10   Recall@10    NDCG@10   Recall@10",
    ]
    for name, ranking in rankings.items():
        parts = [ranking.select(rows).metrics([10]) for rows in (~cold, cold)]
        values = [part[metric] for part in parts for metric in ("ndcg@10", "recall@10")]
        lines.append(f"{name:22}" + "".join(f"{value:10.3f}" if i % 2 == 0 else f"{value:12.3f}  "
                                             for i, value in enumerate(values)))  # fmt: skip
    return "\n".join(lines)


def stories(ranking: Ranking, shop: SequentialDataset, users: tuple[int, ...] = (0, 1, 2)) -> str:
    """For some users: their last choices, their recommendations, and their next choice."""

    def described(item: Any) -> str:
        attributes = shop.catalog[int(item)]
        return f"{attributes['title']} ({attributes['brand']})"

    lines = []
    for user in users:
        _, history, target = test_of(shop)[user]
        best = ranking.recommended[user][:5]
        lines += [f"\nUser {user} chose ..., " + ", ".join(described(item) for item in history[-3:])]
        lines += [f"  {place}. {described(item)}{'  <- chosen next' if item == target else ''}"
                  for place, item in enumerate(best, 1)]  # fmt: skip
        if target not in best:
            lines.append(f"  (chosen next, ranked {ranking.ranks[user]:.0f}: {described(target)})")
    return "\n".join(lines) + "\n"


def main(command_line: Sequence[str] | None = None, prog: str = "recformer finetune") -> None:
    with running(prog, RESUME):
        run(*parse(command_line, prog))
        PartialState().destroy_process_group()  # a process that exits while gloo's threads are running may be aborted
