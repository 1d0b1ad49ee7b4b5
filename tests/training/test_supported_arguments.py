"""training/supported_arguments.py: every setting of transformers is supported or refused, and the docs say which."""

from __future__ import annotations

import copy
import importlib.util
import inspect
from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest
import torch
from transformers import SchedulerType, Trainer, TrainingArguments

from recformer_hf.training.arguments import RecformerTrainingArguments
from recformer_hf.training.supported_arguments import (
    REFUSED,
    REFUSED_IN_FINETUNING,
    REFUSED_IN_PRETRAINING,
    REFUSED_IN_STAGES,
    REFUSED_TRAINER_ARGUMENTS,
    SUPPORTED,
    TRAINER_ARGUMENTS,
    check_fields,
    check_trainer_arguments,
)
from tests.support.pretraining import pretraining_arguments, pretraining_trainer
from tests.support.training import small_arguments, small_trainer

DOCS = Path(__file__).parents[2] / "docs/training.md"

WRONG = {
    "average_tokens_across_devices": False,
    "label_smoothing_factor": 0.1,
    "bf16_full_eval": True,
    "fp16_full_eval": True,
    "use_liger_kernel": True,
    "liger_kernel_config": {"rope": True},
    "use_cache": True,
    "neftune_noise_alpha": 5.0,
    "auto_find_batch_size": True,
    "logging_nan_inf_filter": True,
    "prediction_loss_only": True,
    "eval_do_concat_batches": False,
    "eval_use_gather_object": True,
    "eval_accumulation_steps": 4,
    "include_for_metrics": ["loss"],
    "batch_eval_metrics": True,
    "save_on_each_node": True,
    "enable_jit_checkpoint": True,
    "hub_strategy": "checkpoint",
    "hub_always_push": True,
    "ignore_data_skip": True,
    "parallelism_config": object(),
    "dataloader_drop_last": True,
    "dataloader_in_order": False,
    "remove_unused_columns": True,
    "label_names": ["labels"],
    "train_sampling_strategy": "group_by_length",
    "length_column_name": "size",
    "deepspeed": {"zero_optimization": {"stage": 1}},
}
"""A value of each field that is refused."""

WORKS = [
    {"include_num_input_tokens_seen": "all", "skip_memory_metrics": False, "logging_first_step": True},
    {"full_determinism": True, "debug": "underflow_overflow"},
    {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": False}},
    {"optim": "adafactor", "lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-5}},
    {"lr_scheduler_type": "reduce_lr_on_plateau", "torch_empty_cache_steps": 1, "eval_delay": 1},
    {"accelerator_config": {"gradient_accumulation_kwargs": {"num_steps": 2}}, "logging_strategy": "no"},
    {"dataloader_num_workers": 1, "dataloader_multiprocessing_context": "fork", "dataloader_prefetch_factor": 2},
]


def settings_of_transformers() -> set[str]:
    return {each.name for each in fields(TrainingArguments)}


def known(settings: dict[str, object]) -> dict[str, object]:
    """Without what the installed transformers does not have yet."""
    return {name: value for name, value in settings.items() if name in settings_of_transformers()}


def test_every_setting_is_in_the_table():
    assert settings_of_transformers() <= SUPPORTED.keys() | REFUSED.keys()
    assert not SUPPORTED.keys() & REFUSED.keys()
    arguments = inspect.signature(Trainer.__init__).parameters.keys() - {"self"}
    assert arguments == TRAINER_ARGUMENTS.keys() | REFUSED_TRAINER_ARGUMENTS.keys()


def test_each_refused_value_is_tried_here():
    assert WRONG.keys() == REFUSED.keys()


@pytest.mark.parametrize("name", sorted(WRONG))
def test_what_would_have_no_effect_is_refused(tmp_path, name):
    if name not in settings_of_transformers():
        pytest.skip("not a setting of this transformers")
    for arguments in (small_arguments, pretraining_arguments):
        with pytest.raises(ValueError, match=f"^{name}=.* is not supported: "):
            arguments(tmp_path, **{name: WRONG[name]})


def test_what_is_set_afterwards_is_refused_by_the_trainer(tmp_path, monkeypatch):
    def changed(output_dir, **settings):
        args = small_arguments(output_dir, **settings)
        args.auto_find_batch_size = True
        return args

    monkeypatch.setattr("tests.support.training.small_arguments", changed)
    with pytest.raises(ValueError, match=r"auto_find_batch_size=True is not supported: .*max_batch_tokens"):
        small_trainer(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_one_trainer_alone_refuses(tmp_path):
    assert pretraining_arguments(tmp_path, per_device_eval_batch_size=32).per_device_eval_batch_size == 32
    with pytest.raises(ValueError, match=r"per_device_eval_batch_size=32 is not supported: .*eval_batch_tokens"):
        small_arguments(tmp_path, per_device_eval_batch_size=32)


@pytest.mark.parametrize("optim", ["lomo", "adalomo", "galore_adamw_layerwise"])
def test_an_optimizer_that_steps_in_the_backward_pass(tmp_path, optim):
    with pytest.raises(ValueError, match=f"optim='{optim}' is not supported"):
        small_arguments(tmp_path, optim=optim)


@pytest.mark.parametrize("trainer", [small_trainer, pretraining_trainer])
@pytest.mark.parametrize("settings", WORKS, ids=lambda settings: next(iter(settings)))
def test_what_is_supported_trains(tmp_path, trainer, settings):
    shared = {"max_steps": 1, "eval_strategy": "steps", "eval_steps": 1, "skip_stage1": True}
    if trainer is pretraining_trainer:
        del shared["skip_stage1"]
    made = trainer(tmp_path / "run", **shared, **copy.deepcopy(known(settings)))
    try:
        made.train()
    finally:
        torch.use_deterministic_algorithms(False)
    log = made.state.log_history
    assert made.state.global_step == 1 or "eval_delay" in settings
    if "skip_memory_metrics" in settings:
        assert any("num_input_tokens_seen" in entry for entry in log)
        assert any(name.endswith("mem_cpu_alloc_delta") for entry in log for name in entry)
    if "accelerator_config" in settings:
        assert made.args.gradient_accumulation_steps == 2


class TestBeforeAnyWork:
    def test_a_schedule_without_its_settings(self, tmp_path):
        with pytest.raises(ValueError, match=r"'warmup_stable_decay' cannot be made .*num_decay_steps"):
            small_trainer(tmp_path, lr_scheduler_type="warmup_stable_decay")

    @pytest.mark.parametrize("schedule", ["reduce_lr_on_plateau", "greedy"])
    def test_a_schedule_that_follows_what_is_not_measured(self, tmp_path, schedule):
        if schedule not in {each.value for each in SchedulerType}:
            pytest.skip("not a schedule of this transformers")
        with pytest.raises(ValueError, match=r"follows a metric|requires an eval strategy"):
            small_trainer(tmp_path, lr_scheduler_type=schedule, eval_strategy="no")

    def test_an_optimizer_that_is_not_installed(self, tmp_path):
        if importlib.util.find_spec("galore_torch"):
            pytest.skip("the optimizer is installed")
        with pytest.raises(ImportError, match="galore_torch"):
            small_trainer(tmp_path, optim="galore_adamw", optim_target_modules=["query"])


class TestTrainerArguments:
    @pytest.mark.parametrize(
        "given", [{"data_collator": list}, {"compute_loss_func": max}, {"preprocess_logits_for_metrics": max}]
    )
    def test_what_would_have_no_effect(self, tmp_path, given):
        ((name, value),) = given.items()
        for trainer in (small_trainer, pretraining_trainer):
            with pytest.raises(ValueError, match=f"^{name} is not supported: "):
                trainer(tmp_path, **{f"trainer_{name}": value})

    def test_a_training_dataset_instead_of_several(self, tmp_path):
        with pytest.raises(ValueError, match=r"train_datasets=\[dataset\]"):
            pretraining_trainer(tmp_path, trainer_train_dataset=[1])

    def test_what_is_no_argument(self):
        with pytest.raises(TypeError, match="processing_class, as in transformers since version 5"):
            check_trainer_arguments({"tokenizer": 1}, {})
        with pytest.raises(TypeError, match="no argument 'compute_metric'"):
            check_trainer_arguments({"compute_metric": 1}, {})

    def test_none_is_as_good_as_nothing(self):
        given = {"data_collator": None, "optimizers": (None, None), "compute_metrics": None}
        check_trainer_arguments(given, {**REFUSED_IN_STAGES, **REFUSED_IN_PRETRAINING})


def test_a_setting_that_a_later_transformers_may_have_is_named(tmp_path, monkeypatch, caplog):
    @dataclass
    class Later(TrainingArguments):
        new_switch: bool = field(default=False)

    monkeypatch.setattr("recformer_hf.training.supported_arguments.TrainingArguments", Later)
    warned: list[str] = []
    monkeypatch.setattr("recformer_hf.training.supported_arguments.logger.warning_once", warned.append)
    args = small_arguments(tmp_path)
    args.new_switch = False
    check_fields(args)
    assert warned == []
    args.new_switch = True
    check_fields(args)
    assert warned == ["new_switch is a setting of transformers that this version of recformer_hf is not tested with."]


def test_defaults_are_accepted(tmp_path):
    args = RecformerTrainingArguments(output_dir=str(tmp_path))
    for name, refusal in REFUSED.items():
        if name in settings_of_transformers():
            value = getattr(args, name)
            assert getattr(value, "value", value) in refusal.accepts, name


def documented() -> list[str]:
    """The lines of docs/training.md that this module's tables give."""
    plain = ", ".join(f"`{name}`" for name, remark in SUPPORTED.items() if not remark)
    lines = [f"Without a difference: {plain}."]
    lines += [f"| `{name}` | {remark} |" for name, remark in SUPPORTED.items() if remark]
    for name, refusal in {**REFUSED, **REFUSED_IN_FINETUNING}.items():
        accepted = " or ".join(f"`{value}`" for value in dict.fromkeys(map(str, refusal.accepts)) if value != "0.0")
        lines.append(f"| `{name}` | {accepted} | {refusal.reason} |")
    lines += [f"| `{name}` | {remark} |" for name, remark in TRAINER_ARGUMENTS.items() if remark]
    lines += [f"| `{name}` | not supported: {reason} |" for name, reason in REFUSED_TRAINER_ARGUMENTS.items()]
    return lines


def test_the_docs_have_the_same_tables():
    text = DOCS.read_text("utf-8").splitlines()
    assert [line for line in documented() if line not in text] == []
