"""training/sharding.py: two processes, joined by gloo on the CPU, give what one gives with batches twice as large."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import FullyShardedDataParallelPlugin
from safetensors.torch import load_file

from recformer_hf.modeling_recformer import RecformerForSeqRec
from recformer_hf.training.sharding import set_up_fsdp
from tests.support.training import evaluations, small_dataset, small_model, small_trainer, weights_of, without_dropout
from tests.support.training_processes import GradientRecorder, run_distributed

FSDP2 = pytest.param(
    True, id="FSDP2",
    marks=pytest.mark.skipif(
        not hasattr(FullyShardedDataParallelPlugin, "fsdp_version"), reason="accelerate is older than FSDP2"
    ),
)  # fmt: skip
DDP = pytest.param(False, id="DDP")
pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")

# 48 users in 5 steps of 9 or 10: the processes' shares differ by a user.
# Adam makes whole steps of gradients that are nothing but rounding (a key bias has no others) unless epsilon is large.
SETTINGS: dict[str, Any] = {
    "num_train_epochs": 1, "max_grad_norm": 0.0, "logging_steps": 1, "learning_rate": 1e-3, "adam_epsilon": 1e-5,
}  # fmt: skip
NO_HEAD_DROPOUT = {"head_dropout": 0.0, "residual_dropout": 0.0}
WIDE, NARROW = {"per_device_train_batch_size": 10}, {"per_device_train_batch_size": 5}


def run_alone(folder: Path, config: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    """The same on one process: what `run_distributed` gives, and the weights."""
    recorder = GradientRecorder()
    trainer = small_trainer(
        folder, without_dropout(**(config or {})), trainer_callbacks=[recorder], **{**SETTINGS, **WIDE, **settings}
    )
    trainer.train()
    return {
        "evaluations": evaluations(trainer),
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "gradients": recorder.gradients,
        "notes": recorder.notes,
        "test": trainer.predict(small_dataset().test).metrics,
        "weights": load_file(folder / "model.safetensors"),
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[str, Any]:
    return run_alone(tmp_path_factory.mktemp("alone") / "run")


def assert_same_run(ranks: list[dict[str, Any]], folder: Path, alone: dict[str, Any]) -> None:
    assert ranks[0]["evaluations"] == ranks[1]["evaluations"]  # ranked together, known to both
    assert ranks[0]["results"] == ranks[1]["results"]
    torch.testing.assert_close(ranks[0]["losses"], alone["losses"], rtol=1e-5, atol=0)
    torch.testing.assert_close(ranks[0]["evaluations"], alone["evaluations"], rtol=1e-4, atol=1e-6)
    assert ranks[0]["test"]["test_ndcg@10"] == pytest.approx(alone["test"]["test_ndcg@10"], abs=1e-4)
    scale = max(gradient.abs().max() for gradient in alone["gradients"].values())
    for rank in ranks:
        assert rank["gradients"].keys() == alone["gradients"].keys()
        for name, gradient in rank["gradients"].items():
            torch.testing.assert_close(gradient, alone["gradients"][name], rtol=0, atol=float(2e-5 * scale), msg=name)
        assert [each["trained"] for each in rank["notes"]] == [each["trained"] for each in alone["notes"]]
    weights = load_file(folder / "model.safetensors")
    assert weights.keys() == alone["weights"].keys()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, alone["weights"][name], rtol=0, atol=2e-5, msg=name)


@pytest.mark.parametrize("fsdp", [DDP, FSDP2])
def test_two_processes_are_one(tmp_path, alone, fsdp):
    folder = tmp_path / "run"
    ranks = run_distributed(folder, {**SETTINGS, **NARROW}, fsdp=fsdp)
    assert_same_run(ranks, folder, alone)
    everything = sorted(load_file(folder / "model.safetensors"))
    for note in ranks[0]["notes"]:
        assert note["sharded"] == ([name for name in everything if name != "item_embeddings"] if fsdp else [])
        assert note["num_trained"] == len(note["trained"])
    model, config = RecformerForSeqRec.from_pretrained(folder), json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["RecformerForSeqRec"]
    assert len(model.item_embeddings) == len(small_dataset().catalog)


def test_two_processes_train_a_two_level_head_as_one_does(tmp_path):
    """The loss is a mean over targets, of which the processes have different numbers."""
    settings = {"recipe": "hybrid", "config": NO_HEAD_DROPOUT}
    expected = run_alone(tmp_path / "alone", **settings)
    ranks = run_distributed(tmp_path / "run", {**SETTINGS, **NARROW, **settings})
    assert_same_run(ranks, tmp_path / "run", expected)


def test_two_processes_train_a_text_encoder_under_a_two_level_head(tmp_path):
    """Each process compares its targets with the items of its own batch, so one process alone does something else."""
    settings = {"recipe": "hybrid", "skip_stage1": False, "stage1_freeze": "none", "min_steps": 0}
    ranks = run_distributed(tmp_path / "run", {**SETTINGS, **NARROW, **settings})
    assert ranks[0]["evaluations"] == ranks[1]["evaluations"]
    assert any(name.startswith("recformer.") for name in ranks[0]["gradients"])
    for name, gradient in ranks[0]["gradients"].items():
        assert torch.equal(gradient, ranks[1]["gradients"][name]), name


def test_two_processes_train_a_flat_head_that_learns_as_one_does(tmp_path):
    settings = {"recipe": "hybrid-flat", "learning_rate": 1e-3, "config": NO_HEAD_DROPOUT}
    expected = run_alone(tmp_path / "alone", **settings)
    ranks = run_distributed(tmp_path / "run", {**SETTINGS, **NARROW, **settings})
    assert_same_run(ranks, tmp_path / "run", expected)


VARIANTS: dict[str, dict[str, Any]] = {
    "gradient checkpointing": {"gradient_checkpointing": True},
    "gradient checkpointing and accumulation": {
        "gradient_checkpointing": True, "gradient_accumulation_steps": 2, "wide": 8, "narrow": 4
    },
    "accumulation": {"gradient_accumulation_steps": 2, "wide": 8, "narrow": 4},
    "sampled softmax": {"num_negatives": 9},
    "embeddings frozen, then not": {"recipe": "lecture"},
    "item matrix re-encoded, then trained": {"stage2_item_matrix": "trainable"},
    "item matrix trained": {"recipe": "ablation-4"},
    "average pooling": {"config": {"pooler_type": "avg"}},
    "batches by tokens": {"max_batch_tokens": 400, "wide_tokens": 800},
    "history excluded": {"exclude_history": True},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [DDP, FSDP2])
@pytest.mark.parametrize("variant", VARIANTS)
def test_with(tmp_path, variant, fsdp):
    settings = dict(VARIANTS[variant])
    wide = {"per_device_train_batch_size": settings.pop("wide", 10)}
    narrow = {"per_device_train_batch_size": settings.pop("narrow", 5)}
    if "wide_tokens" in settings:
        wide["max_batch_tokens"] = settings.pop("wide_tokens")
        narrow["max_batch_tokens"] = settings.pop("max_batch_tokens")
    expected = run_alone(tmp_path / "alone", **{**settings, **wide})
    ranks = run_distributed(tmp_path / "run", {**SETTINGS, **settings, **narrow}, fsdp=fsdp)
    assert_same_run(ranks, tmp_path / "run", expected)


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [DDP, FSDP2])
@pytest.mark.parametrize("stage", [1, 2])
def test_a_run_of_two_processes_resumes_where_it_was(tmp_path, stage, fsdp):
    """In the middle of an epoch, with dropout, whose state every process keeps for itself."""
    settings = {**SETTINGS, **NARROW, "num_train_epochs": 2, "model": small_model}
    settings |= {"save_strategy": "steps", "save_steps": 3, "save_total_limit": None}
    folder = tmp_path / "run"
    whole = run_distributed(folder, settings, fsdp=fsdp)
    weights = weights_of(folder)
    (folder / "run.json").unlink()
    (folder / f"stage-{stage}/stage.json").unlink()
    if stage == 1:
        shutil.rmtree(folder / "stage-2")
    checkpoints = sorted(folder.glob(f"stage-{stage}/checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for checkpoint in checkpoints:
        if int(checkpoint.name.split("-")[1]) > 6:
            shutil.rmtree(checkpoint)
    again = run_distributed(folder, settings, fsdp=fsdp, resume=True)
    assert again[0]["evaluations"] == whole[0]["evaluations"]
    assert weights_of(folder) == weights


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        ({"fsdp_version": 1, "cpu_ram_efficient_loading": False}, "fsdp_version: 2"),
        ({"fsdp_version": 2, "cpu_ram_efficient_loading": True}, "fsdp_cpu_ram_efficient_loading: false"),
    ],
)
def test_settings_of_fsdp_that_cannot_work_are_refused(plugin, message):
    accelerator = SimpleNamespace(state=SimpleNamespace(fsdp_plugin=SimpleNamespace(**plugin)))
    with pytest.raises(ValueError, match=message):
        set_up_fsdp(accelerator)
