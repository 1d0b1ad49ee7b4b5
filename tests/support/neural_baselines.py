"""Small neural baselines and their runs, which the tests of every baseline share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from recformer_hf.baselines import NEURAL, BaselineModel, BaselineTrainer, BaselineTrainingArguments
from recformer_hf.baselines.shared.histories import PackedHistories
from tests.support.training import small_dataset

SMALL: dict[str, dict[str, Any]] = {
    "gru4rec": {"gru_size": 12},
    "sasrec": {"num_layers": 1, "num_heads": 2},
    "bert4rec": {"num_layers": 1, "attention_dropout": 0.0},
    "fdsa": {"num_layers": 1, "min_attribute_items": 2},
    "s3rec": {"num_layers": 1},
    "recguru": {"num_layers": 1, "num_heads": 2},
    "zesrec": {"text_size": 24},
    "unisrec": {"text_size": 24, "num_layers": 1, "num_experts": 3, "gate_noise": 0.0, "expert_dropout": 0.0},
}
"""Settings of a small model of each neural baseline, beside `COMMON`. A new baseline is added here."""

COMMON = {"hidden_size": 16, "dropout": 0.2, "max_length": 6, "initializer_range": 0.3}


def small_baseline(name: str, **settings: Any) -> BaselineModel:
    return NEURAL[name](**{**COMMON, **SMALL[name], **settings})


def with_items(name: str, **settings: Any) -> BaselineModel:
    """A model with the items of `small_dataset` that counts as trained, in evaluation mode."""
    torch.manual_seed(0)
    model = small_baseline(name, **settings)
    model.take_datasets([small_dataset()], pretraining=False)
    model.draw_weights()
    model.is_new = False
    return model.eval()


def small_baseline_arguments(output_dir: Path | str, **overrides: Any) -> BaselineTrainingArguments:
    """Two epochs of six steps on the CPU."""
    settings = {
        "output_dir": str(output_dir), "num_train_epochs": 2, "per_device_train_batch_size": 8, "use_cpu": True,
        "report_to": "none", "disable_tqdm": True, "eval_batch_tokens": 128, "ranking_ks": [10],
    }  # fmt: skip
    return BaselineTrainingArguments(**{**settings, **overrides})


def small_baseline_trainer(
    name: str | BaselineModel | None, output_dir: Path | str, **overrides: Any
) -> BaselineTrainer:
    """A trainer of `small_dataset`; `trainer_*` overrides are the trainer's own, all others its arguments'."""
    of_trainer = {each.removeprefix("trainer_"): overrides.pop(each) for each in list(overrides) if "trainer_" in each}
    return BaselineTrainer(
        small_baseline(name) if isinstance(name, str) else name,
        small_baseline_arguments(output_dir, **overrides),
        **{"train_datasets": [small_dataset()], **of_trainer},
    )


def packed(*histories: list[int]) -> PackedHistories:
    return PackedHistories.of([np.array(history) for history in histories], 1000)
