"""training/resume.py: where a run starts. One that was killed anywhere ends, to the bit, as if it had not been."""

from __future__ import annotations

import json
import random
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import PartialState

from recformer_hf.memory.memory import Memory
from recformer_hf.training.resume import (
    RunFolder,
    asked_to_resume,
    check_best,
    check_optimizer,
    checkpoint_to_resume_from,
)
from tests.support.training import checkpoints_of, contents, weights_of, write_checkpoint
from tests.support.training_processes import child, run_in_child


@pytest.fixture(scope="module")
def accelerator() -> PartialState:
    return PartialState(cpu=True)


@pytest.mark.parametrize(
    ("said", "meant"),
    [(None, False), (False, False), ("false", False), (True, True), ("True", True), ("run/checkpoint-1",) * 2],
)
def test_what_a_command_line_says(said, meant):
    assert asked_to_resume(said) == meant


def test_where_none_can_be_gone_on_from(tmp_path, accelerator):
    assert checkpoint_to_resume_from(tmp_path / "nowhere") is None
    (tmp_path / ".checkpoint-1.partial").mkdir()  # killed before the first one was whole
    assert checkpoint_to_resume_from(tmp_path) is None
    write_checkpoint(tmp_path, accelerator, 2, best=1)
    with pytest.raises(ValueError, match=r"holds checkpoints \(checkpoint-2\), but a run cannot resume from any"):
        checkpoint_to_resume_from(tmp_path)


class TestStart:
    """`RunFolder.start`, of a run whose checkpoints lie in its folder, and of one with parts."""

    @pytest.fixture
    def simple(self, tmp_path, accelerator) -> RunFolder:
        for step in (1, 2, 3):
            write_checkpoint(tmp_path, accelerator, step, best=1)
        (tmp_path / "run.json").write_text("{}")
        return RunFolder(tmp_path, traces=("checkpoint-*",))

    @pytest.fixture
    def parted(self, tmp_path, accelerator) -> RunFolder:
        for part in ("stage-1", "stage-2"):
            for step in (1, 2):
                write_checkpoint(tmp_path / part, accelerator, step)
            (tmp_path / part / "stage.json").write_text("{}")
        return RunFolder(tmp_path, ("stage-1", "stage-2"), traces=("stage-1", "stage-2"), part_file="stage.json")

    def start(self, run: RunFolder, resume, *, done: bool = True, removes: bool = True, check=None) -> bool:
        processes = PartialState(cpu=True)
        return run.start(resume, processes, is_done=lambda checkpoint: done, removes=removes, check=check)

    def test_an_empty_folder_begins_whatever_is_asked(self, tmp_path):
        run = RunFolder(tmp_path / "run", traces=("checkpoint-*",))
        assert [self.start(run, resume) for resume in (None, False, "false", True, "true")] == [False] * 3 + [True] * 2
        assert not run.is_finished

    def test_a_used_folder_is_refused(self, simple):
        assert simple.is_finished
        with pytest.raises(FileExistsError, match=r"holds a finished run \(run.json, checkpoint-1, checkpoint-2\)"):
            self.start(simple, None)
        (simple.path / "run.json").unlink()
        with pytest.raises(
            FileExistsError, match=r"a run that was begun \(checkpoint-1, .*--resume_from_checkpoint true"
        ):
            self.start(simple, False)

    def test_a_named_checkpoint_becomes_the_last_one(self, simple):
        assert self.start(simple, str(simple.path / "checkpoint-2"))
        assert sorted(path.name for path in simple.path.iterdir()) == ["checkpoint-1", "checkpoint-2"]
        assert checkpoint_to_resume_from(simple.path) == simple.path / "checkpoint-2"

    def test_only_one_process_removes(self, simple):
        before = contents(simple.path)
        assert self.start(simple, str(simple.path / "checkpoint-2"), removes=False)
        assert contents(simple.path) == before

    def test_of_parts_the_later_ones_go(self, parted):
        assert self.start(parted, str(parted.path / "stage-1/checkpoint-1"))
        assert sorted(contents(parted.path)) == [
            f"stage-1/checkpoint-1/{name}"
            for name in ("checkpoint_files.json", "model.safetensors", "part/shard", "trainer_state.json")
        ]

    def test_of_parts_the_earlier_ones_stay(self, parted):
        assert self.start(parted, str(parted.path / "stage-2/checkpoint-2"))
        assert (parted.path / "stage-1/stage.json").exists()
        assert not (parted.path / "stage-2/stage.json").exists()

    @pytest.mark.parametrize("name", ["checkpoint-1", "stage-3/checkpoint-1", "stage-1/checkpoint-9"])
    def test_a_checkpoint_elsewhere_is_refused(self, parted, accelerator, name):
        if name != "stage-1/checkpoint-9":
            write_checkpoint(parted.path / Path(name).parent, accelerator)
        before = contents(parted.path)
        expected = (
            r"is not a complete checkpoint of this run: expected .*stage-1/checkpoint-N or .*stage-2/checkpoint-N"
        )
        with pytest.raises(ValueError, match=expected):
            self.start(parted, str(parted.path / name))
        assert contents(parted.path) == before

    def test_what_else_is_refused_before_anything_is_removed(self, simple):
        def refuse(checkpoint: Path) -> None:
            raise ValueError(f"{checkpoint.name} has other items")

        before = contents(simple.path)
        named = str(simple.path / "checkpoint-2")
        with pytest.raises(ValueError, match="checkpoint-2 has other items"):
            self.start(simple, named, check=refuse)
        with pytest.raises(ValueError, match="has no optimizer and schedule"):
            self.start(simple, named, done=False)
        assert contents(simple.path) == before
        shutil.rmtree(simple.path / "checkpoint-1")
        with pytest.raises(ValueError, match="refers to checkpoint-1 as the best one so far"):
            self.start(simple, named)


def test_a_checkpoint_needs_its_best_one_and_an_optimizer(tmp_path, accelerator):
    path = write_checkpoint(tmp_path, accelerator, 2, best=1)
    with pytest.raises(ValueError, match="checkpoint-1 as the best one"):
        check_best(path)
    write_checkpoint(tmp_path, accelerator, 1, best=1)
    check_best(path)
    with pytest.raises(ValueError, match="save_only_model=True"):
        check_optimizer(path)
    for name in ("optimizer.pt", "scheduler.pt"):
        (path / name).touch()
    check_optimizer(path)


# Runs that are killed

# Three steps an epoch, two batches a step; a checkpoint every two steps, and whenever the metric is better.
SETTINGS = {
    "per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "dataloader_num_workers": 2,
    "save_strategy": "steps", "save_steps": 2, "save_total_limit": 1, "num_train_epochs": 2, "warmup_steps": 2,
    "num_negatives": 7, "learning_rate": 3e-3, "stage2_learning_rate": 1e-3,
}  # fmt: skip
TOTAL_STEPS = 12
STAGES = ("stage-1", "stage-2")


@dataclass
class Run:
    """What a run left behind.

    Args:
        folder: its `output_dir`.
        steps: every optimizer step that was taken, again if it was taken again.
        events: what it did to files below its folder: what, and where.
        seconds: how long it took.
    """

    folder: Path
    steps: list[str]
    events: list[tuple[str, str]]
    seconds: float

    @property
    def evaluations(self) -> list[dict]:
        timing = ("_runtime", "_per_second")
        return [
            {name: value for name, value in entry.items() if not name.endswith(timing)}
            for stage in STAGES
            for entry in json.loads((self.folder / stage / "stage.json").read_text())["log_history"]
            if "eval_loss" in entry
        ]


def start(folder: Path, *, resume: bool = False, kill_at: int = 0, kill_after: float = 0.0) -> int:
    files = [str(folder.with_name(f"{folder.name}-{name}")) for name in ("steps", "events")]
    return child(run_in_child, str(folder), files[0], SETTINGS, resume, kill_at, kill_after, files[1])


def read(folder: Path) -> Run:
    steps, record = (folder.with_name(f"{folder.name}-{name}") for name in ("steps", "events"))
    found = json.loads(record.read_text()) if record.exists() else {"events": [], "seconds": 0.0}
    lines = steps.read_text().splitlines() if steps.exists() else []
    return Run(folder, lines, [tuple(each) for each in found["events"]], found["seconds"])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert start(folder) == 0
    run = read(folder)
    assert len(run.steps) == TOTAL_STEPS
    assert len(run.evaluations) == 4
    return run


def assert_goes_on(undisturbed: Run, folder: Path, kill_at: int) -> None:
    where = f"killed before event {kill_at}: {undisturbed.events[kill_at - 1]}"
    assert start(folder, kill_at=kill_at) == -signal.SIGKILL, where
    assert start(folder, resume=True) == 0, where
    assert_same(undisturbed, folder, where)


def assert_same(undisturbed: Run, folder: Path, where: str, stops: int = 1) -> None:
    run = read(folder)
    assert weights_of(folder) == weights_of(undisturbed.folder), where
    assert run.evaluations == undisturbed.evaluations, where
    assert 0 <= len(run.steps) - TOTAL_STEPS <= stops * SETTINGS["save_steps"], where
    for stage in STAGES:
        assert len(checkpoints_of(folder / stage)) == 1, where
    shutil.rmtree(folder)


POINTS = {
    "a checkpoint is half written": ("open", "stage-1/.checkpoint-4.partial/trainer_state.json"),
    "an older checkpoint is half removed": ("os.remove", "optimizer.pt"),
    "stage 1 is over and does not know": ("os.rename", "stage-1/.stage.json"),
    "a checkpoint of stage 2 is about to get its name": ("os.rename", "stage-2/.checkpoint-2.partial"),
}


@pytest.mark.parametrize("point", POINTS)
def test_killed_when(undisturbed, tmp_path, point):
    event, name = POINTS[point]
    numbers = [
        number for number, each in enumerate(undisturbed.events, 1) if each[0] == event and each[1].startswith(name)
    ]
    assert_goes_on(undisturbed, tmp_path / "run", numbers[0])


HYBRID = {
    "recipe": "hybrid-text", "num_train_epochs": 1, "min_steps": 0, "save_strategy": "steps", "save_steps": 2,
    "save_total_limit": 1, "per_device_train_batch_size": 8, "dataloader_num_workers": 2,
}  # fmt: skip
HYBRID_POINTS = {
    "the text encoder's best weights are known": ("os.rename", "stage-1/.stage.json"),
    "the head has its last checkpoint": ("open", "stage-2/.stage.json"),
    "the memory is half written": ("os.rename", ".result.partial/.memory.safetensors"),
    "weights are there, and the memory is not": ("os.rename", ".result.partial/memory.safetensors"),
}


def start_hybrid(folder: Path, *, resume: bool = False, kill_at: int = 0) -> int:
    files = [str(folder.with_name(f"{folder.name}-{name}")) for name in ("steps", "events")]
    return child(run_in_child, str(folder), files[0], HYBRID, resume, kill_at, 0.0, files[1])


@pytest.fixture(scope="module")
def undisturbed_hybrid(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("hybrid") / "run"
    assert start_hybrid(folder) == 0
    return read(folder)


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(point, marks=[pytest.mark.slow] if "half" in point or "last" in point else [])
        for point in HYBRID_POINTS
    ],
)
def test_a_model_with_head_and_memory_is_killed_when(undisturbed_hybrid, tmp_path, point):
    event, name = HYBRID_POINTS[point]
    numbers = [
        number
        for number, (what, where) in enumerate(undisturbed_hybrid.events, 1)
        if what == event and where.startswith(name)
    ]
    assert start_hybrid(tmp_path / "run", kill_at=numbers[0]) == -signal.SIGKILL
    assert start_hybrid(tmp_path / "run", resume=True) == 0
    assert weights_of(tmp_path / "run") == weights_of(undisturbed_hybrid.folder)
    found, expected = (Memory.from_pretrained(folder) for folder in (tmp_path / "run", undisturbed_hybrid.folder))
    assert repr(found) == repr(expected)
    assert torch.equal(found.scores([np.arange(9)]), expected.scores([np.arange(9)]))
    assert read(tmp_path / "run").evaluations == undisturbed_hybrid.evaluations


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_every_file_of_a_stage(undisturbed, tmp_path, stage):
    """Its last two checkpoints, what is removed for them, and the record of the stage."""
    numbers = [number for number, (_, name) in enumerate(undisturbed.events, 1) if name.startswith(stage)]
    for kill_at in range(max(numbers[0], numbers[-1] - 80), numbers[-1] + 1):
        assert_goes_on(undisturbed, tmp_path / f"run-{kill_at}", kill_at)


@pytest.mark.slow
def test_killed_at_every_file_of_the_result(undisturbed, tmp_path):
    last = max(number for number, (_, name) in enumerate(undisturbed.events, 1) if name.startswith("stage-2"))
    for kill_at in range(last + 1, len(undisturbed.events) + 1):
        assert_goes_on(undisturbed, tmp_path / f"run-{kill_at}", kill_at)


@pytest.mark.slow
def test_killed_at_any_moment(undisturbed, tmp_path):
    moments, killed = random.Random(0), 0
    while killed < 20:
        folder, moment = tmp_path / f"run-{killed}", moments.uniform(0.05, 0.9) * undisturbed.seconds
        if start(folder, kill_after=moment) == 0:  # it was faster this time
            shutil.rmtree(folder)
            folder.with_name(f"{folder.name}-steps").unlink()
            continue
        assert start(folder, resume=True) == 0, moment
        assert_same(undisturbed, folder, f"killed after {moment} s")
        killed += 1


@pytest.mark.slow
def test_killed_again_and_again(undisturbed, tmp_path):
    """A little later every time, until it gets through."""
    folder, stops = tmp_path / "run", 0
    while start(folder, resume=True, kill_after=(0.3 + 0.05 * stops) * undisturbed.seconds) != 0:
        stops += 1
    assert stops > 0
    assert_same(undisturbed, folder, f"killed {stops} times", stops)
