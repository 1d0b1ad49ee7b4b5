"""Small pretraining runs that several test files share, and the runs that two processes are compared by."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from recformer_hf.configuration_recformer import RecformerConfig
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.modeling_recformer import RecformerForPretraining
from recformer_hf.tokenization_recformer import RecformerTokenizer
from recformer_hf.training import RecformerPretrainingArguments, RecformerPretrainingTrainer
from tests.support.training import LIMITS
from tests.support.training_processes import GradientRecorder, forkserver, join_processes, shard_on_cpu


@lru_cache
def domain(name: str, num_users: int = 40, num_items: int = 50) -> SequentialDataset:
    return load_demo_domain(name, num_users=num_users, num_items=num_items)


@lru_cache
def tokenizer() -> RecformerTokenizer:
    items = [item for name in ("garden", "music") for item in domain(name).catalog]
    return RecformerTokenizer.train_from_catalog(items, vocab_size=400, **LIMITS)


def pretraining_model(seed: int = 0, dropout: float = 0.0, **overrides: Any) -> RecformerForPretraining:
    """Two layers of width 32, drawn from the seed, without dropout."""
    settings = {
        "vocab_size": len(tokenizer()), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64, "attention_window": 8, "initializer_range": 0.1, "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout, **LIMITS,
    }  # fmt: skip
    torch.manual_seed(seed)
    return RecformerForPretraining(RecformerConfig(**{**settings, **overrides}))


def pretraining_arguments(output_dir: Path | str, **overrides: Any) -> RecformerPretrainingArguments:
    """Two epochs of five steps of 16 pairs on the CPU."""
    settings = {
        "output_dir": str(output_dir), "num_train_epochs": 2, "per_device_train_batch_size": 16, "learning_rate": 1e-3,
        "use_cpu": True, "report_to": "none", "disable_tqdm": True, "eval_batch_tokens": 4096, "ranking_ks": [10],
        "logging_steps": 1, "freeze_word_embeddings": False, "per_device_eval_batch_size": 8,
    }  # fmt: skip
    return RecformerPretrainingArguments(**{**settings, **overrides})


def pretraining_trainer(output_dir: Path | str, model: Any = None, **overrides: Any) -> RecformerPretrainingTrainer:
    """Trains on garden and music, validates on outdoor; `trainer_*` overrides are the trainer's own."""
    of_trainer = {
        name.removeprefix("trainer_"): overrides.pop(name) for name in list(overrides) if name.startswith("trainer_")
    }
    defaults = {
        "train_datasets": [domain("garden"), domain("music")],
        "eval_dataset": domain("outdoor", 20),
        "processing_class": tokenizer(),
    }
    return RecformerPretrainingTrainer(
        pretraining_model() if model is None and "model_init" not in of_trainer else model,
        pretraining_arguments(output_dir, **overrides),
        **{**defaults, **of_trainer},
    )


def entries(trainer: Any, key: str) -> list[dict[str, Any]]:
    """Log entries of training that have a key."""
    log = getattr(trainer, "log_of_training", trainer.state.log_history)
    return [entry for entry in log if key in entry]


SCENARIOS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cached": {"contrastive_chunk_size": 3},
    "accumulated": {"gradient_accumulation_steps": 2},
    "accumulated chunks": {"gradient_accumulation_steps": 2, "contrastive_chunk_size": 2},
    "contrastive alone": {"mlm_probability": 0.0},
    "checkpointed": {"gradient_checkpointing": True},
    "checkpointed chunks": {"gradient_checkpointing": True, "contrastive_chunk_size": 3},
}
"""What must not depend on the number of processes: 75 sequences in steps of 15, so 8 and 7 on two processes."""


def run_scenario(name: str, folder: Path, batch_size: int) -> dict[str, Any]:
    """Three steps of SGD: gradients of the first, weights after the last, and every number of the log."""
    recorder = GradientRecorder()
    targets = {"kitchen": domain("kitchen", 20)} if name == "plain" else None
    trainer = pretraining_trainer(
        folder / name.replace(" ", "-"), pretraining_model().double(), per_device_train_batch_size=batch_size,
        max_steps=3, optim="sgd", learning_rate=0.1, lr_scheduler_type="constant", max_grad_norm=0.0,
        eval_strategy="steps", eval_steps=3, metric_for_best_model="loss",
        ddp_find_unused_parameters=False,  # every weight that trains gets a gradient, or DDP raises
        trainer_callbacks=[recorder], trainer_zero_shot_datasets=targets,
        trainer_train_datasets=[domain("garden"), domain("music", 35)], **SCENARIOS[name],
    )  # fmt: skip
    trainer.train()
    log = [
        {key: value for key, value in entry.items() if not key.endswith(("_runtime", "per_second", "data_wait"))}
        for entry in trainer.state.log_history
    ]
    return {
        "gradients": recorder.gradients,
        "sharded": recorder.notes[0]["sharded"],
        "weights": load_file(Path(trainer.args.output_dir, "model.safetensors")),
        "log": log,
        "rows": trainer.zero_shot_log.rows,
    }


class TwoProcesses:
    """Scenarios with batches of 8 on two processes, joined by gloo.

    Args:
        folder: where they write; the first one leaves `{name}.pt`.
        names: of the scenarios.
        fsdp: whether to shard the weights.
    """

    def __init__(self, folder: Path, names: list[str], fsdp: bool = False) -> None:
        self.folder, self.names = folder, names
        self.processes = [
            forkserver().Process(target=run_process, args=(rank, 2, str(folder), names, fsdp)) for rank in range(2)
        ]
        for process in self.processes:
            process.start()

    def results(self) -> dict[str, dict[str, Any]]:
        """Waits for them; what each scenario found."""
        try:
            while any(process.is_alive() for process in self.processes):
                for process in self.processes:
                    process.join(0.05)
                if any(process.exitcode for process in self.processes):  # the other would wait for it
                    break
        finally:
            for process in self.processes:
                process.kill()
                process.join()
        assert [process.exitcode for process in self.processes] == [0, 0]
        return {name: torch.load(self.folder / f"{name}.pt") for name in self.names}


def run_process(rank: int, world_size: int, folder: str, names: list[str], fsdp: bool) -> None:
    """One of several processes."""
    torch.set_num_threads(1)
    join_processes(rank, world_size, f"{folder}/rendezvous")
    if fsdp:
        shard_on_cpu()
    for name in names:
        found = run_scenario(name, Path(folder), 16 // world_size)
        if rank == 0:
            torch.save(found, Path(folder, f"{name}.pt"))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
