"""Train neural baselines, and rank with them as with a Recformer.

    # all of them and the simple ones on the invented demo shop, with one table at the end: minutes on a CPU
    python examples/train_baseline.py

    # one of them on your own dataset (examples/prepare_data.py creates it), with its own default settings
    python examples/train_baseline.py --baseline sasrec --dataset shop --output_dir sasrec

    # other settings: fields of the model's configuration, and any training argument
    ... --settings hidden_size=128 dropout=0.5 loss=gbce --learning_rate 5e-4 --patience 20

    # pretraining on other shops, for baselines that have it; without the users of the dataset
    ... --baseline unisrec --pretraining_datasets games toys --exclude_users --pretraining_epochs 10

    # several processes; resume an interrupted run; upload the result
    accelerate launch --num_processes 2 examples/train_baseline.py ...
    ... --resume_from_checkpoint true
    ... --push_to_hub true

Afterwards, the folder contains the model with its catalogue, its metrics on validation and test in both protocols, the
rank of every test user, curves, and a card. `examples/evaluate.py --model FOLDER` compares it with others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from transformers import HfArgumentParser

from recformer_hf.baselines import (
    NEURAL,
    BaselineTrainingArguments,
)

DEMO_DATASET = "demo:kitchen"
DEMO: dict[str, Any] = {"output_dir": "demo-baselines", "num_train_epochs": 30, "patience": 5}
# A caller who says what to train, or how, does not want to train everything on the demo shop.
NEED_DATASET = ("settings", "pretraining_datasets")


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


def parse(command_line: list[str] | None) -> tuple[DataArguments, BaselineTrainingArguments]:
    parser = HfArgumentParser([DataArguments, BaselineTrainingArguments], description=__doc__.split("\n", 1)[0])
    given, _ = parser.parse_known_args(command_line)  # the defaults depend on what is given, so it is parsed twice
    if given.baseline is not None and given.baseline not in NEURAL:
        parser.error(f"--baseline {given.baseline} is unknown; there are {', '.join(NEURAL)}")
    if given.baseline is None and (instead := [name for name in NEED_DATASET if getattr(given, name)]):
        parser.error(f"--{instead[0]} needs --baseline: without it, all baselines are trained with their defaults")
    if given.baseline is not None:
        parser.set_defaults(**NEURAL[given.baseline].training_defaults)
    if given.dataset is None:
        parser.set_defaults(dataset=DEMO_DATASET, **DEMO)
    data, args = parser.parse_args_into_dataclasses(command_line)
    return data, args
