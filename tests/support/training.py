"""Small shops, models and runs that the tests of training share."""

from __future__ import annotations

import gc
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import TrainerCallback

from recformer_hf.configuration_recformer import RecformerConfig
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.modeling_recformer import RecformerForSeqRec
from recformer_hf.storage.atomic_shared import SIZES_FILE, Processes, staged_folder
from recformer_hf.tokenization_recformer import RecformerTokenizer
from recformer_hf.training import RecformerFinetuningArguments, RecformerFinetuningTrainer
from recformer_hf.training.checkpoints import STATE_FILE, is_complete, load_state

gc.freeze()  # transformers collects garbage at the start of every run: spare it what imports made
EVERY_TWO_STEPS = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": None}
LIMITS = {"max_attr_length": 8, "max_item_embeddings": 9, "max_token_num": 64}


@lru_cache
def small_dataset(num_users: int = 48, num_items: int = 60) -> SequentialDataset:
    return load_demo_domain("kitchen", num_users=num_users, num_items=num_items)


@lru_cache
def small_tokenizer() -> RecformerTokenizer:
    return RecformerTokenizer.train_from_catalog(small_dataset().catalog, vocab_size=400, **LIMITS)


def small_model(seed: int = 0, **overrides: Any) -> RecformerForSeqRec:
    """Two layers of width 32, drawn anew from the seed."""
    settings = {
        "vocab_size": len(small_tokenizer()), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64, "attention_window": 8, "initializer_range": 0.1, **LIMITS,
    }  # fmt: skip
    torch.manual_seed(seed)
    return RecformerForSeqRec(RecformerConfig(**{**settings, **overrides}))


def without_dropout(**overrides: Any) -> RecformerForSeqRec:
    return small_model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **overrides)


def small_arguments(output_dir: Path | str, **overrides: Any) -> RecformerFinetuningArguments:
    """Two stages of two epochs of six steps on the CPU, where evaluating takes no time."""
    settings = {
        "output_dir": str(output_dir), "num_train_epochs": 2, "per_device_train_batch_size": 8, "learning_rate": 1e-3,
        "use_cpu": True, "report_to": "none", "disable_tqdm": True, "eval_batch_tokens": 4096, "ranking_ks": [10],
    }  # fmt: skip
    return RecformerFinetuningArguments(**{**settings, **overrides})


def small_trainer(output_dir: Path | str, model: Any = None, **overrides: Any) -> RecformerFinetuningTrainer:
    """A trainer of `small_dataset`; `trainer_*` overrides are the trainer's own, all others its arguments'."""
    of_trainer = {
        name.removeprefix("trainer_"): overrides.pop(name) for name in list(overrides) if name.startswith("trainer_")
    }
    return RecformerFinetuningTrainer(
        small_model() if model is None and "model_init" not in of_trainer else model,
        small_arguments(output_dir, **overrides),
        **{"train_dataset": small_dataset(), "processing_class": small_tokenizer(), **of_trainer},
    )


def weights_of(folder: Path | str) -> str:
    """SHA-256 of a folder's `model.safetensors`: weights and item matrix, bit for bit."""
    return hashlib.sha256(Path(folder, "model.safetensors").read_bytes()).hexdigest()


def checkpoints_of(stage: Path) -> list[str]:
    """Names of a stage's complete checkpoints; beside them nothing may lie but what the stage itself writes."""
    names = sorted(path.name for path in stage.iterdir() if path.name not in ("stage.json", "runs"))
    assert all(is_complete(stage / name) for name in names), names
    return sorted(names, key=lambda name: int(name.removeprefix("checkpoint-")))


def evaluations(run: RecformerFinetuningTrainer | Path) -> list[tuple[int, float, float]]:
    """(step, loss, NDCG@10) of every evaluation, of a trainer or of a checkpoint's state."""
    history = load_state(run).log_history if isinstance(run, Path) else run.state.log_history
    return [(each["step"], each["eval_loss"], each["eval_ndcg@10"]) for each in history if "eval_loss" in each]


def state_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same_state(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# Checkpoints that somebody damages, and runs that somebody interrupts


def write_checkpoint(folder: Path, processes: Processes, step: int = 1, best: int | None = None) -> Path:
    path = folder / f"checkpoint-{step}"
    with staged_folder(path, processes) as staging:
        save_file({"weight": torch.ones(100)}, staging / "model.safetensors")
        (staging / "part").mkdir()
        (staging / "part/shard").write_bytes(b"shard")
        (staging / STATE_FILE).write_text(json.dumps({"global_step": step, "best_global_step": best}))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def list_sizes(checkpoint: Path) -> None:
    """Makes a checkpoint that was changed a complete one."""
    (checkpoint / SIZES_FILE).unlink()
    sizes = {name: len(content) for name, content in contents(checkpoint).items()}
    (checkpoint / SIZES_FILE).write_text(json.dumps(sizes))


def remove_optimizer(checkpoint: Path) -> None:
    """Leaves what `save_only_model` leaves."""
    for name in ("optimizer.pt", "scheduler.pt"):
        (checkpoint / name).unlink()
    list_sizes(checkpoint)


class StopAt(TrainerCallback):
    """Stops a run as a person's Ctrl-C does, at the beginning of a step of a stage."""

    def __init__(self, stage: int, step: int) -> None:
        self.stage, self.step = stage, step

    def on_step_begin(self, args, state, control, **kwargs):
        if args.output_dir.endswith(f"stage-{self.stage}") and state.global_step == self.step:
            raise KeyboardInterrupt


def interrupted(folder: Path, stage: int, step: int, **settings) -> None:
    with pytest.raises(KeyboardInterrupt):
        small_trainer(folder, trainer_callbacks=[StopAt(stage, step)], **settings).train()


class Recorder(TrainerCallback):
    """Keeps the model's state at the first step of every epoch, at the end of every stage, and the first gradients."""

    def __init__(self) -> None:
        self.epochs: list[list[dict]] = []
        self.stage_ends: list[dict] = []
        self.matrices: list[list[torch.Tensor]] = []
        self.gradients: dict[str, torch.Tensor] = {}
        self.decay: list[dict[str, float]] = []

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        self.epochs.append([])
        self.matrices.append([])
        decay_of = {id(weight): group["weight_decay"] for group in optimizer.param_groups for weight in group["params"]}
        self.decay.append(
            {name: decay_of[id(weight)] for name, weight in model.named_parameters() if id(weight) in decay_of}
        )

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        if state.global_step in (0, round(state.epoch or 0) * 6):
            self.epochs[-1].append(state_of(model))
        self.matrices[-1].append(model.item_embeddings.detach().clone())

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if not self.gradients:
            self.gradients = {
                name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None
            }

    def on_train_end(self, args, state, control, model=None, **kwargs):
        self.stage_ends.append(state_of(model))
