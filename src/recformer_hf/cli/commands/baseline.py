"""Trains neural baselines, and ranks with them as with a Recformer.

    # all of them, simple ones and a Recformer on the invented demo shop, with one table at the end: minutes on a CPU
    recformer baseline

    # one of them on your own dataset (recformer prepare), with its own default settings
    recformer baseline --baseline sasrec --dataset shop --output_dir sasrec

    # other settings: fields of the model's configuration, and any training argument
    ... --settings hidden_size=128 dropout=0.5 loss=gbce --learning_rate 5e-4 --patience 20

    # pretraining on other shops, for baselines that have it; without the users of the dataset
    ... --baseline unisrec --pretraining_datasets games toys --exclude_users --pretraining_epochs 10

Afterwards, the folder contains the model with its catalogue, its metrics on validation and test in both protocols, the
rank of every test user, curves, and a card. `recformer evaluate --model FOLDER` compares it with others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import PartialState

from ...baselines import (
    NEURAL,
    BaselineTrainer,
    BaselineTrainingArguments,
    train_baseline,
)
from ...baselines.shared.model import check_settings
from ...data.dataset import SequentialDataset
from ...data.demo import DemoOracle
from ...data.opening import open_dataset
from ...evaluation import Ranking, Scorer, rank_protocols
from ...evaluation.ranking import RankingProtocol
from ...training import RecformerFinetuningArguments
from ...training.pretraining.zero_shot import without_users
from ..output import say
from ..parser import CommandParser
from ..running import running
from ..training_output import show_lines
from .evaluate import BASELINES
from .finetune import DEMO_DOMAIN, DEMO_FINETUNING, demo_trainer, hybrid_trainer, machine_of

COMMON = (
    "baseline", "dataset", "output_dir", "settings", "num_train_epochs", "learning_rate", "per_device_train_batch_size",
    "patience", "pretraining_datasets", "pretraining_epochs", "exclude_users", "seed", "resume_from_checkpoint",
    "push_to_hub",
)  # fmt: skip
RESUME = "The same command with --resume_from_checkpoint true continues from the last checkpoint."

DEMO_DATASET = f"demo:{DEMO_DOMAIN}"
DEMO: dict[str, Any] = {
    "output_dir": "demo-baselines",
    "num_train_epochs": 30,
    "patience": 5,
    "resume_from_checkpoint": "true",
}
DEMO_SHOP = "demo:"
SIMPLE = ("popularity", "markov", "cooccurrence", "text_neighbours", "blend")
NEED_BASELINE = ("settings", "pretraining_datasets")


@dataclass
class DataArguments:
    """What to train on what. Datasets are folders from prepare_data.py, Hub ids, or demo:NAME of the demo shop."""

    baseline: str | None = field(
        default=None, metadata={"help": f"One of {', '.join(NEURAL)}. None: all, on the demo shop."}
    )
    dataset: str | None = field(default=None, metadata={"help": "The dataset. None: the demo shop."})
    settings: list[str] = field(
        default_factory=list, metadata={"help": "Fields of the model's configuration, each as NAME=VALUE."}
    )
    pretraining_datasets: list[str] = field(
        default_factory=list, metadata={"help": "Datasets to pretrain on first, for a baseline that has pretraining."}
    )
    pretraining_epochs: float | None = field(default=None, metadata={"help": "Epochs of it. None: the baseline's own."})
    exclude_users: bool = field(
        default=False, metadata={"help": "Pretrain without the users of the dataset, by id (strict transfer)."}
    )


def parse(
    command_line: Sequence[str] | None, prog: str = "recformer baseline"
) -> list[tuple[DataArguments, BaselineTrainingArguments]]:
    """The runs: one for each baseline, in a folder of its own if there are several."""
    parser = CommandParser([DataArguments, BaselineTrainingArguments], prog, __doc__, COMMON)
    given = parser.given(command_line)  # the defaults depend on what is given, so it is parsed again
    if given.baseline is not None and given.baseline not in NEURAL:
        parser.error(f"--baseline {given.baseline} is unknown; there are {', '.join(NEURAL)}")
    if given.baseline is None and (instead := [name for name in NEED_BASELINE if getattr(given, name)]):
        parser.error(f"--{instead[0]} needs --baseline: without it, all are trained with their own settings")
    if given.exclude_users and not given.pretraining_datasets:
        parser.error("--exclude_users needs --pretraining_datasets, from which it leaves users out")
    pretrains = given.pretraining_datasets or given.baseline is None or NEURAL[given.baseline].pretrains_first
    if given.pretraining_epochs is not None and not pretrains:
        parser.error(f"--pretraining_epochs needs --pretraining_datasets: {given.baseline} does not pretrain without")
    runs = []
    for name in list(NEURAL) if given.baseline is None else [given.baseline]:
        own = CommandParser([DataArguments, BaselineTrainingArguments], prog, __doc__, COMMON)
        demo = {"dataset": DEMO_DATASET, **DEMO} if given.dataset is None else {}
        own.set_defaults(**{**NEURAL[name].training_defaults, **demo})
        data, args = own.parse(command_line)
        if given.baseline is None:
            data.baseline, args.output_dir = name, str(Path(args.output_dir or "", name))
        runs.append((data, args))
    return runs


def settings_of(name: str, pairs: Sequence[str]) -> dict[str, Any]:
    """`["hidden_size=128", "loss=gbce"]` as fields of a baseline's configuration: values are JSON, otherwise text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        field_name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(
                f"--settings takes NAME=VALUE with a field of {NEURAL[name].config_class.__name__}, got {pair}."
            )
        try:
            found[field_name] = json.loads(value)
        except ValueError:
            found[field_name] = value
    try:
        check_settings(NEURAL[name], None, found)
    except TypeError as error:
        raise ValueError(f"--settings: {error}") from error
    return found


def train(data: DataArguments, args: BaselineTrainingArguments, dataset: SequentialDataset) -> BaselineTrainer:
    name = str(data.baseline)
    pretraining = [open_dataset(each, seed=args.seed) for each in data.pretraining_datasets]
    if data.exclude_users:
        pretraining = [without_users(each, [dataset]) for each in pretraining]
    epochs = data.pretraining_epochs
    trainer = train_baseline(
        NEURAL[name](**settings_of(name, data.settings)), dataset, args, pretraining_datasets=pretraining,
        pretraining_arguments={} if epochs is None else {"num_train_epochs": epochs},
        resume_from_checkpoint=args.resume_from_checkpoint, on_trainer=show_lines,
    )  # fmt: skip
    trainer.finish()
    if args.push_to_hub:
        trainer.push_to_hub()
    return trainer


def simple_scorers(name: str, dataset: SequentialDataset) -> dict[str, Scorer]:
    """What the neural baselines stand beside in the table: fitted in seconds."""
    fitted: dict[str, Scorer] = {each: BASELINES[each]().fit(dataset) for each in SIMPLE}
    return fitted | ({"(knows the process)": DemoOracle.from_dataset(dataset)} if name.startswith(DEMO_SHOP) else {})


def recformer_demo(
    shop: SequentialDataset, folder: Path, args: BaselineTrainingArguments
) -> dict[str, dict[RankingProtocol, Ranking]]:
    """Trains the Recformers of `recformer finetune` on the demo shop; their rankings of the test split."""
    settings = RecformerFinetuningArguments(**{**DEMO_FINETUNING, **machine_of(args), "output_dir": str(folder)})
    trainer = demo_trainer(shop, settings)
    trainer.train(resume_from_checkpoint=True)
    trainer.finish()
    hybrid = hybrid_trainer(shop, settings, folder, folder / "hybrid")
    hybrid.train(resume_from_checkpoint=True)
    hybrid.finish()
    return {
        name: {protocol: Ranking.load(path / f"test-{protocol}.npz") for protocol in ("kept", "excluded")}
        for name, path in (("recformer, paper", folder), ("recformer, hybrid", folder / "hybrid"))
    }


def table(rows: dict[str, dict[RankingProtocol, Ranking]], notes: dict[str, str]) -> str:
    """NDCG@10 and Recall@10 in both protocols."""
    header = f"{'':20}{'kept: NDCG@10':>14}{'Recall@10':>11}{'excluded: NDCG@10':>19}{'Recall@10':>11}"
    lines = [header]
    for name, rankings in rows.items():
        values = [rankings[protocol].metrics([10]) for protocol in ("kept", "excluded")]
        cells = [f"{found[metric]:.4f}" for found in values for metric in ("ndcg@10", "recall@10")]
        widths = (14, 11, 19, 11)
        line = "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        lines.append(f"{name:20}{line}  {notes.get(name, '')}".rstrip())
    return "\n".join(lines)


def run(runs: Sequence[tuple[DataArguments, BaselineTrainingArguments]]) -> None:
    data, args = runs[0]
    dataset = open_dataset(str(data.dataset), seed=args.seed)
    split = "validation" if dataset.test is None else "test"  # settings are chosen on a dataset without a test split
    ranked_split = dataset.splits.get(split)
    if ranked_split is None:
        found = ", ".join(dataset.splits)
        raise ValueError(f"{data.dataset} has neither a test nor a validation split to rank; it has {found}.")
    rows: dict[str, dict[RankingProtocol, Ranking]] = {}
    notes: dict[str, str] = {}
    for data, args in runs:
        began = time.perf_counter()
        trainer = train(data, args, dataset)
        name = str(data.baseline)
        rows[name] = trainer.rank_protocols(ranked_split)
        parameters = sum(weight.numel() for weight in trainer.model.parameters())
        notes[name] = f"{time.perf_counter() - began:,.0f} s, {parameters:,} parameters, in {args.output_dir}"
    if len(runs) > 1 and data.dataset == DEMO_DATASET:
        began = time.perf_counter()
        folder = Path(args.output_dir or "").with_name("recformer")
        rows |= recformer_demo(dataset, folder, args)
        notes["recformer, hybrid"] = f"{time.perf_counter() - began:,.0f} s for both, in {folder}"
    if args.process_index == 0:
        simple = simple_scorers(str(data.dataset), dataset) if len(runs) > 1 else {}
        ranked = {name: rank_protocols(scorer, ranked_split) for name, scorer in simple.items()}
        print(f"\n{data.dataset}, {split}: {len(ranked_split):,} users, {len(dataset.catalog):,} items")
        print(table(ranked | rows, notes))
        say(f"next:\n  recformer evaluate --model {args.output_dir} --dataset {data.dataset} --protocol both")


def main(command_line: Sequence[str] | None = None, prog: str = "recformer baseline") -> None:
    with running(prog, RESUME):
        run(parse(command_line, prog))
        PartialState().destroy_process_group()  # a process that exits while gloo's threads are running may be aborted
