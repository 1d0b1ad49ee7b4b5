"""training/arguments.py: settings of both trainers."""

from __future__ import annotations

import pytest
import torch
from transformers.utils import is_torch_bf16_gpu_available

from recformer_hf.training import RecformerFinetuningArguments
from recformer_hf.training.arguments import launched_on_cpus
from tests.support.pretraining import pretraining_arguments
from tests.support.training import small_arguments


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ranking_ks": [0]}, "at least 1"),
        ({"max_steps": 0}, "max_steps must be at least 1, or -1 .* num_train_epochs=0 saves"),
        ({"num_train_epochs": -1}, "num_train_epochs must be a number of at least 0, got -1"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size must be at least 1"),
        ({"max_batch_tokens": 0}, "max_batch_tokens must be at least 1"),
        ({"save_total_limit": 0}, "save_total_limit must be at least 1, or None to keep all checkpoints, got 0"),
        ({"bf16_full_eval": True}, "bf16_full_eval=True is not supported: .* Set bf16 instead"),
        ({"fp16_full_eval": True}, "fp16_full_eval=True is not supported: .* Set fp16 instead"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor=0.1 is not supported: the losses do not smooth"),
    ],
)
def test_what_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        small_arguments("run", **wrong)


def test_a_folder_must_be_named():
    with pytest.raises(ValueError, match="--output_dir"):
        RecformerFinetuningArguments()


def test_bfloat16_without_an_accelerator_is_that_of_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    args = RecformerFinetuningArguments(output_dir=str(tmp_path), bf16=True)
    assert args.use_cpu
    assert args.device.type == "cpu"
    assert not RecformerFinetuningArguments(output_dir=str(tmp_path)).use_cpu  # where nothing asks for it


@pytest.mark.skipif(is_torch_bf16_gpu_available(), reason="the accelerator has bfloat16")
def test_an_accelerator_without_bfloat16_is_not_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    with pytest.raises(ValueError, match="doesn't support bf16"):
        RecformerFinetuningArguments(output_dir=str(tmp_path), bf16=True)


@pytest.mark.parametrize(("terminal", "asked", "hidden"), [
    (True, None, False), (False, None, True), (False, False, False), (True, True, True),
])  # fmt: skip
def test_bars_are_for_terminals(tmp_path, monkeypatch, terminal, asked, hidden):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    monkeypatch.setattr("recformer_hf.training.arguments.is_in_notebook", lambda: False)
    assert small_arguments(tmp_path, disable_tqdm=asked).disable_tqdm == hidden


def test_what_decides_a_run_is_not_how_it_is_logged(tmp_path):
    settings = small_arguments(tmp_path, weight_decay=0.1).deciding_settings()
    assert settings["weight_decay"] == 0.1
    assert settings["users_of_a_step"] == 8
    assert settings["tokens_of_a_step"] is None
    assert settings["recipe"] == "paper"
    assert not {"logging_steps", "save_steps", "output_dir", "report_to"} & settings.keys()
    by_tokens = small_arguments(tmp_path, max_batch_tokens=256, gradient_accumulation_steps=3).deciding_settings()
    assert (by_tokens["users_of_a_step"], by_tokens["tokens_of_a_step"]) == (None, 768)


def test_negatives_of_a_batch_decide_pretraining(tmp_path):
    args = pretraining_arguments(tmp_path, gradient_accumulation_steps=2, per_device_eval_batch_size=4)
    settings = args.deciding_settings()
    assert (settings["batch_over_processes"], settings["users_of_a_step"]) == (16, 32)
    assert settings["per_device_eval_batch_size"] == 4


def test_numbers_that_yaml_reads_as_text(tmp_path):
    args = small_arguments(tmp_path, learning_rate="5e-5", num_train_epochs="3")
    assert (args.learning_rate, args.num_train_epochs) == (5e-5, 3.0)


@pytest.mark.parametrize(
    ("world_size", "accelerator", "expected"),
    [("2", False, True), ("2", True, False), ("1", False, False), (None, False, False)],
)
def test_processes_of_a_launcher_on_cpus(monkeypatch, world_size, accelerator, expected):
    """Without `use_cpu`, transformers would not join them."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if world_size is not None:
        monkeypatch.setenv("WORLD_SIZE", world_size)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator)
    assert launched_on_cpus() is expected
