"""Finetuning runs in processes of their own: to be killed, or joined by gloo."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import socket
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from transformers import TrainerCallback

from tests.support.disk import wait_for_no_disk
from tests.support.training import evaluations, small_dataset, small_trainer, without_dropout

wait_for_no_disk()  # in children of the forkserver too


def run_in_child(
    folder: str,
    steps_file: str,
    settings: dict[str, Any],
    resume: bool,
    kill_at: int,
    kill_after: float,
    events_file: str,
) -> None:
    """One run. Appends every optimizer step to `steps_file`, writes what it did to files of its folder, and how long
    it took, to `events_file`. It dies before the `kill_at`-th of these, or after `kill_after` seconds; 0: it lives."""
    began = time.perf_counter()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process at once, as SIGKILL does
    signal.setitimer(signal.ITIMER_REAL, kill_after)
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # of loader workers; a forkserver's child inherits its method
    watch = FileEvents(folder, kill_at)
    sys.addaudithook(watch)
    small_trainer(folder, trainer_callbacks=[StepCounter(steps_file)], **settings).train(resume_from_checkpoint=resume)
    signal.setitimer(signal.ITIMER_REAL, 0)
    Path(events_file).write_text(json.dumps({"events": watch.events, "seconds": time.perf_counter() - began}))


class StepCounter(TrainerCallback):
    def __init__(self, path: str) -> None:
        self.path = path

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        with open(self.path, "a") as file:
            file.write(f"{Path(args.output_dir).name} {state.global_step}\n")


class FileEvents:
    """An audit hook: what Python makes, writes, renames and removes below a folder. (Tensors are written by others;
    the next event comes right after them.)"""

    def __init__(self, folder: str, kill_at: int) -> None:
        self.folder = os.path.abspath(folder)
        self.kill_at = kill_at
        self.pid = os.getpid()
        self.events: list[tuple[str, str]] = []
        self.removing = False

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"):
            return
        path = args[0]
        if os.getpid() != self.pid or not isinstance(path, (str, os.PathLike)):
            return
        name = os.fspath(path)
        within = isinstance(name, str) and name.startswith(self.folder + os.sep)
        if event == "shutil.rmtree":
            self.removing = within
        elif event in ("os.remove", "os.rmdir") and not os.path.isabs(name):
            within = self.removing  # rmtree names files within an open folder
        elif event == "open":
            within = within and isinstance(args[2], int) and bool(args[2] & (os.O_WRONLY | os.O_RDWR))
        if not within:
            return
        self.events.append((event, os.path.relpath(name, self.folder) if os.path.isabs(name) else name))
        if len(self.events) == self.kill_at:
            os.kill(self.pid, signal.SIGKILL)


@lru_cache
def forkserver() -> Any:
    """Children that start in milliseconds: the server has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.training_processes"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), before]))
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    return context


def child(target: Any, *args: Any) -> int:
    """Runs a function of this module in a child; its exit code, below 0 if a signal ended it."""
    process = forkserver().Process(target=target, args=args)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def run_code(code: str, number: int, *, joined: bool = True) -> None:
    """Runs Python source in processes that gloo joins. They are children of the forkserver, which saves seconds of
    imports.

    Args:
        code: Python source, with the repository's root on its path.
        number: of processes.
        joined: whether they are joined before the code runs. If not, their environment says how to find each other, as
            it does under `accelerate launch --cpu`.

    Raises:
        AssertionError: with the errors of a process that fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        port = None if joined else free_port()
        processes = [
            forkserver().Process(target=_run_code_as_rank, args=(rank, number, folder, code, port))
            for rank in range(number)
        ]
        for process in processes:
            process.start()
        for rank, process in enumerate(processes):
            process.join(120)
            process.kill()
            process.join()
            assert process.exitcode == 0, Path(folder, f"errors-{rank}").read_text()[-2000:]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _run_code_as_rank(rank: int, number: int, folder: str, code: str, port: int | None) -> None:
    errors = os.open(Path(folder, f"errors-{rank}"), os.O_WRONLY | os.O_CREAT)
    os.dup2(errors, 2)
    torch.set_num_threads(1)
    if port is None:
        join_processes(rank, number, f"{folder}/rendezvous")
    else:
        introduce_processes(rank, number)
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    exec(compile(code, "<code of a test>", "exec"), {"__name__": "__main__"})


def join_processes(rank: int, world_size: int, rendezvous: str) -> None:
    """Makes this process one of several that gloo joins; they find each other by a file."""
    introduce_processes(rank, world_size)
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world_size)


def introduce_processes(rank: int, world_size: int) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
    os.environ |= {"LOCAL_WORLD_SIZE": str(world_size), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}


def run_as_rank(rank: int, world_size: int, folder: str, settings: dict[str, Any], fsdp: bool, resume: bool) -> None:
    """One of several processes of a run, joined by gloo; leaves `rank-{rank}.pt` beside the folder."""
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)
    join_processes(rank, world_size, f"{folder}-rendezvous-{resume}")
    if fsdp:
        shard_on_cpu()
    settings = dict(settings)
    recorder = GradientRecorder()
    trainer = small_trainer(
        folder, settings.pop("model", without_dropout)(**settings.pop("config", {})),
        trainer_callbacks=[recorder], **settings,
    )  # fmt: skip
    found: dict[str, Any] = {}
    found["output"] = trainer.train(resume_from_checkpoint=resume).metrics
    found["evaluations"] = evaluations(trainer)
    found["results"] = [(each.checkpoint, each.improved, each.best_metric) for each in trainer.results]
    found["test"] = trainer.predict(small_dataset().test).metrics
    found["gradients"], found["notes"] = recorder.gradients, recorder.notes
    found["losses"] = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    torch.save(found, f"{folder}-rank-{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def shard_on_cpu() -> None:
    """Has accelerate use FSDP on CPUs, which it offers for accelerators only: torch and gloo can do it."""
    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_RESHARD_AFTER_FORWARD": "true"}
    os.environ |= {"FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"}
    begin = PartialState.__init__

    def begin_as_on_accelerators(self: PartialState, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        if self.distributed_type is DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = begin_as_on_accelerators


class GradientRecorder(TrainerCallback):
    """Whole gradients of the first optimizer step, and what kind of model was trained in which stage."""

    def __init__(self) -> None:
        self.gradients: dict[str, torch.Tensor] = {}
        self.notes: list[dict[str, Any]] = []

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None, **kwargs: Any
    ):
        named = dict(model.named_parameters())
        trained = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        self.notes.append(
            {
                "sharded": sorted(name for name, weight in named.items() if hasattr(weight, "device_mesh")),
                "trained": sorted(name for name, weight in named.items() if id(weight) in trained),
                "num_trained": len(trained),
            }
        )

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if not self.gradients:
            for name, weight in model.named_parameters():
                if weight.grad is not None:
                    whole = weight.grad.full_tensor() if hasattr(weight.grad, "full_tensor") else weight.grad
                    self.gradients[name] = whole.clone()


def run_distributed(
    folder: Path, settings: dict[str, Any], *, world_size: int = 2, fsdp: bool = False, resume: bool = False
) -> list[dict[str, Any]]:  # fmt: skip
    """Runs `run_as_rank` on every rank; what each left."""
    processes = [
        forkserver().Process(target=run_as_rank, args=(rank, world_size, str(folder), settings, fsdp, resume))
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    try:
        while any(process.is_alive() for process in processes):
            for process in processes:
                process.join(0.1)
            if any(process.exitcode for process in processes):  # the others would wait for it
                break
    finally:
        for process in processes:
            process.kill()
            process.join()
    assert [process.exitcode for process in processes] == [0] * world_size
    return [torch.load(f"{folder}-rank-{rank}.pt", weights_only=False) for rank in range(world_size)]
