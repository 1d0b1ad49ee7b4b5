"""Ranks every item of the catalogue for every user, by a model and by baselines.

    # baselines on the invented demo shop; `oracle` knows the probabilities from which choices are drawn
    recformer evaluate --dataset demo:kitchen --baselines popularity markov last_item_text oracle

    # a finetuned checkpoint on its dataset (folders or Hub ids), with and without the history among the candidates
    recformer evaluate --model finetuned --dataset shop --protocol both --baselines markov --output_dir results

    # zero-shot: the checkpoint has never seen this catalogue, so its texts are encoded first
    recformer evaluate --model pretrained --dataset other-shop --encode_items --baselines last_item_vectors

    # compare with the saved ranking of an earlier run: a paired test over users
    recformer evaluate --model another --dataset shop --compare_with results/model-kept.npz

It writes to `--output_dir`: `metrics.json` (everything in `docs/evaluation.md`, including intervals and breakdowns) and
a ranking `<scorer>-<protocol>.npz` for each scorer and protocol. The scorer `model` is the checkpoint.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from accelerate import Accelerator
from transformers import AutoConfig

from ...baselines import NEURAL, Blend, Cooccurrence, LastItemText, Markov, Popularity, TextNeighbours
from ...data.dataset import SequentialDataset
from ...data.demo import DemoOracle
from ...data.opening import open_dataset
from ...evaluation import Ranking, RecformerScorer, Scorer, paired_test, rank_protocols, ranking_report
from ...evaluation.ranking import RankingProtocol
from ...evaluation.report import comparable
from ...modeling_recformer import RecformerForSeqRec
from ...storage.atomic import atomic_file
from ...tokenization_recformer import RecformerTokenizer
from ..output import say
from ..parser import CommandParser
from ..running import running

COMMON = (
    "dataset", "model", "baselines", "split", "protocol", "encode_items", "ks", "ties", "compare_with", "max_tokens",
    "seed", "output_dir",
)  # fmt: skip

BASELINES: dict[str, Callable[[], Scorer]] = {
    "popularity": Popularity,
    "markov": Markov,
    "last_item_text": LastItemText,
    "cooccurrence": Cooccurrence,
    "text_neighbours": TextNeighbours,
    "blend": lambda: Blend([Cooccurrence(), Cooccurrence(directed=True), TextNeighbours()]),
    **NEURAL,  # trained here with their defaults; recformer baseline keeps what it trains
}
MORE_BASELINES = ("last_item_vectors", "oracle")  # they need the model, and the demo shop's dataset


@dataclass
class EvaluationArguments:
    """What to rank, and how."""

    dataset: str = field(metadata={"help": "A SequentialDataset: a folder, a Hub id, or demo:NAME of the demo shop."})
    model: str | None = field(
        default=None, metadata={"help": "A RecformerForSeqRec or a neural baseline: a folder or a Hub id."}
    )
    baselines: list[str] = field(
        default_factory=list,
        metadata={
            "help": f"Any of {', '.join(BASELINES)}; last_item_vectors (with --model); oracle (demo shop, test split)."
        },
    )
    split: Literal["validation", "test"] = field(default="test", metadata={"help": "The split to rank."})
    encode_items: bool = field(
        default=False, metadata={"help": "Encode the dataset's catalogue with the model first (zero-shot)."}
    )
    without_memory: bool = field(
        default=False, metadata={"help": "Also rank with the model alone, as model_without_memory, if it has a memory."}
    )
    protocol: Literal["kept", "excluded", "both"] | None = field(
        default=None, metadata={"help": "Whether the items of the history are candidates. None: kept."}
    )
    exclude_history: bool = field(default=False, metadata={"help": "The same as --protocol excluded."})
    ties: Literal["average", "optimistic", "pessimistic"] = field(
        default="average", metadata={"help": "Rank of a target among candidates with the same score."}
    )
    ks: list[int] = field(default_factory=lambda: [10, 50], metadata={"help": "Cut-offs of the metrics."})
    compare_with: str | None = field(
        default=None,
        metadata={"help": "Ranking (.npz) of another run, for a paired test of NDCG at the first k."},
    )
    max_tokens: int = field(default=8192, metadata={"help": "Tokens per forward pass of the model."})
    seed: int = field(default=0, metadata={"help": "Seed of the bootstrap and of the demo shop."})
    output_dir: str | None = field(default=None, metadata={"help": "Where to write metrics.json and the rankings."})


def protocols(args: EvaluationArguments) -> list[RankingProtocol]:
    if args.exclude_history and args.protocol == "kept":
        raise ValueError("--exclude_history and --protocol kept contradict each other; give one of them.")
    chosen = args.protocol or ("excluded" if args.exclude_history else "kept")
    return ["kept", "excluded"] if chosen == "both" else [chosen]


def load_model(name: str, args: EvaluationArguments, dataset: SequentialDataset, accelerator: Accelerator) -> Scorer:
    kind = AutoConfig.from_pretrained(name).model_type
    if kind in NEURAL:
        if args.encode_items:
            raise ValueError(f"--encode_items encodes texts with a Recformer, but {name} is a {NEURAL[kind].__name__}.")
        baseline: Scorer = NEURAL[kind].from_pretrained(name).to(accelerator.device).fit(dataset)
        return baseline
    model = RecformerForSeqRec.from_pretrained(name).to(accelerator.device).eval()
    tokenizer = RecformerTokenizer.from_pretrained(name)
    if args.encode_items:
        progress = None if accelerator.is_main_process else False
        model.set_item_embeddings(model.encode_items(dataset.catalog, tokenizer, args.max_tokens, progress))
        model.catalog = dataset.catalog
    check_catalog(model, dataset, args)
    scorer = RecformerScorer(model, tokenizer, dataset.catalog, args.max_tokens, keep_vectors=args.without_memory)
    return scorer.fit(dataset)


def check_catalog(model: Any, dataset: SequentialDataset, args: EvaluationArguments) -> None:
    """Raises `ValueError` unless the rows of the item embeddings are the dataset's items.

    Otherwise every score would silently belong to another item.
    """
    mine, theirs = model.catalog, dataset.catalog
    if mine is not None and mine.fingerprint == theirs.fingerprint:
        return
    if mine is None:
        found = (
            f"it has {model.config.num_items:,} item embeddings and no catalogue beside it that names them "
            "(catalog.save_pretrained(folder) writes one)"
        )
    else:
        rows = mine.rows_of(theirs.ids, unknown="mark")
        shared = int((rows >= 0).sum())
        found = f"it has {len(mine):,} items, and {shared:,} of the dataset's {len(theirs):,} ids are among them"
        if shared == len(mine) == len(theirs):
            same_order = (rows == range(len(theirs))).all()
            found += ", with other texts" if same_order else ", in another order"
    raise ValueError(
        f"{args.model} was not made for the catalogue of {args.dataset}: {found}. Pass --encode_items to encode the "
        "dataset's texts with the model (zero-shot), or evaluate on the dataset that it was finetuned on."
    )


def load_scorers(args: EvaluationArguments, dataset: SequentialDataset, accelerator: Accelerator) -> dict[str, Scorer]:
    known = (*BASELINES, *MORE_BASELINES)
    unknown = [name for name in args.baselines if name not in known]
    if unknown:
        raise ValueError(f"No baseline {', '.join(unknown)}; there are {', '.join(known)}.")
    if args.model is None and not args.baselines:
        raise ValueError("There is nothing to rank with: give --model, --baselines or both.")
    if args.model is None and args.encode_items:
        raise ValueError("--encode_items needs a --model to encode with.")
    if args.model is None and "last_item_vectors" in args.baselines:
        raise ValueError("last_item_vectors compares the item vectors of a --model: give one, or drop this baseline.")
    if "oracle" in args.baselines and args.split != "test":
        raise ValueError("The oracle's scores are of the test choice; drop it for --split validation.")
    scorers: dict[str, Any] = {}
    if args.model is not None:
        scorers["model"] = load_model(args.model, args, dataset, accelerator)
    if args.without_memory:
        if args.model is None or getattr(getattr(scorers["model"], "model", None), "memory", None) is None:
            raise ValueError("--without_memory leaves out the memory of a --model, but there is none.")
        alone = copy.copy(scorers["model"])
        alone.model = copy.copy(alone.model)  # it shares the weights
        alone.model.memory = None
        scorers["model_without_memory"] = alone
    for name in args.baselines:
        if name == "oracle":
            scorers[name] = DemoOracle.from_dataset(dataset)
        elif name == "last_item_vectors":
            scorers[name] = LastItemText(scorers["model"].model.item_embeddings).fit(dataset)
        else:
            scorers[name] = BASELINES[name]().fit(dataset)
    return scorers


def evaluate(args: EvaluationArguments, accelerator: Accelerator) -> tuple[dict[str, Any], dict[str, Ranking]]:
    """The report, and the rankings by scorer and protocol (`markov-kept`)."""
    chosen = protocols(args)
    other = None if args.compare_with is None else Ranking.load(args.compare_with)
    dataset = open_dataset(args.dataset, seed=args.seed)
    if args.split not in dataset.splits:
        raise ValueError(f"{args.dataset} has no {args.split} split; it has {', '.join(dataset.splits)}.")
    split = dataset.splits[args.split]
    rankings = {
        f"{name}-{protocol}": ranking
        for name, scorer in load_scorers(args, dataset, accelerator).items()
        for protocol, ranking in rank_protocols(scorer, split, chosen, ties=args.ties, accelerator=accelerator).items()
    }
    results: dict[str, Any] = {
        "model": args.model, "dataset": args.dataset, "split": args.split, "ties": args.ties, "seed": args.seed,
        "items_encoded_zero_shot": args.encode_items,
        "rankings": {
            name: ranking_report(ranking, dataset, split, ks=args.ks, seed=args.seed)
            for name, ranking in rankings.items()
        },
    }  # fmt: skip
    if other is not None:
        same = {name: ranking for name, ranking in rankings.items() if comparable(ranking, other)}
        if not same:
            raise ValueError(
                f"{args.compare_with} has other targets, or is under another protocol, than this run. Compare runs on "
                "the same dataset and split with the same --protocol."
            )
        metric = f"ndcg@{args.ks[0]}"
        results["compared_with"] = args.compare_with
        results["comparisons"] = {
            name: paired_test(ranking, other, metric, args.seed) for name, ranking in same.items()
        }
    return results, rankings


def table(results: dict[str, Any], ks: list[int]) -> str:
    shown = [f"{name}@{k}" for k in ks for name in ("ndcg", "recall")] + ["mrr"]
    first = shown[0]
    lines = [["scorer", "history", *shown, f"95 % of {first}", f"in-set {first}", f"cold {first}", "coverage@10"]]
    for name, report in results["rankings"].items():
        scorer, _, protocol = name.rpartition("-")
        overall = report["overall"]
        low, high = overall["intervals"][first]
        groups = [report[group].get("metrics", {}).get(first) for group in ("in_set", "cold")]
        lines.append([
            scorer, protocol, *(f"{overall['metrics'][metric]:.4f}" for metric in shown), f"{low:.4f}-{high:.4f}",
            *("-" if value is None else f"{value:.4f}" for value in groups),
            f"{report['recommendations']['catalog_coverage']:.1%}",
        ])  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def show(results: dict[str, Any], args: EvaluationArguments) -> None:
    report = next(iter(results["rankings"].values()))
    print(
        f"{args.dataset}, {args.split}: {report['overall']['users']:,} users, {report['cold']['users']:,} cold targets"
    )
    print(table(results, args.ks))
    for name, test in results.get("comparisons", {}).items():
        print(
            f"{name} minus {args.compare_with}: {test['metric']} {test['difference']:+.4f} "
            f"(95 % {test['low']:+.4f} to {test['high']:+.4f}), p = {test['p_value']:.4f}, {test['users']:,} users"
        )


def save(results: dict[str, Any], rankings: dict[str, Ranking], folder: Path) -> None:
    for name, ranking in rankings.items():
        ranking.save(folder / f"{name}.npz")
    with atomic_file(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    say(f"written to {folder}")


def run(args: EvaluationArguments) -> None:
    accelerator = Accelerator()
    results, rankings = evaluate(args, accelerator)
    if accelerator.is_main_process:
        show(results, args)
        if args.output_dir is not None:
            save(results, rankings, Path(args.output_dir))
    accelerator.end_training()


def main(command_line: Sequence[str] | None = None, prog: str = "recformer evaluate") -> None:
    with running(prog):
        run(*CommandParser([EvaluationArguments], prog, __doc__, COMMON).parse(command_line))
