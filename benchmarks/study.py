"""`Study`: a folder of results that commands of `examples/` make, one after another; a result that is there is kept."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from recformer_hf.data.dataset import SequentialDataset

EXAMPLES = Path(__file__).parents[1] / "examples"


class Study:
    """The folder of a study. A step whose result is in the folder is not run again.

    Args:
        folder: the folder; it is made.
        data_folders: has one folder for each domain, in the layout of the public replication.
        text_encoder: folder or Hub id of the encoder that every model starts from.
        max_token_num: tokens of a history.
    """

    def __init__(self, folder: str | Path, data_folders: str, text_encoder: str, max_token_num: int) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data_folders, self.text_encoder, self.max_token_num = data_folders, text_encoder, max_token_num
        self.seconds: dict[str, float] = self.read("seconds.json")
        self.cpu_seconds: dict[str, float] = self.read("cpu_seconds.json")
        """Of all cores together. Unlike `seconds`, they do not grow when other programs run beside it."""

    def run(self, name: str, result: str, *command: str) -> Path:
        """Run a command unless its result exists; `name` is the name of its folder and log."""
        folder = self.folder / name
        if not (folder / result).is_file():
            print(f"[{time.strftime('%H:%M:%S')}] {name}: {shlex.join(command)}", flush=True)
            with open(self.folder / "commands.txt", "a", encoding="utf-8") as file:
                file.write(f"{shlex.join(command)}\n")
            began, used = time.perf_counter(), os.times()
            with open(self.folder / f"{name}.log", "ab") as log:
                done = subprocess.run([sys.executable, *command], stdout=log, stderr=log, check=False)
            if done.returncode:
                raise SystemExit(
                    f"{name} failed; see {self.folder / f'{name}.log'}. The same call again resumes after it."
                )
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
            self.write("seconds.json", self.seconds)
            now = os.times()
            cpu = now.children_user + now.children_system - used.children_user - used.children_system
            self.cpu_seconds[name] = self.cpu_seconds.get(name, 0.0) + cpu
            self.write("cpu_seconds.json", self.cpu_seconds)
        return folder

    def dataset(self, name: str) -> Path:
        """The dataset of a domain."""
        return self.run(
            f"data-{name}", "items.parquet", str(EXAMPLES / "prepare_data.py"), "--source", "replication",
            "--folder", str(Path(self.data_folders, name)), "--output_dir", str(self.folder / f"data-{name}"),
        )  # fmt: skip

    def without_test(self, dataset: Path, folder: Path | None = None) -> Path:
        """A copy to train on and to select models with, so that neither can see the test split; by default beside the
        dataset."""
        folder = dataset.with_name(f"{dataset.name}-without-test") if folder is None else folder
        if not folder.exists():
            whole = SequentialDataset.load(dataset)
            SequentialDataset(whole.catalog, whole.train, whole.validation, None, whole.info).save_to_disk(folder)
        return folder

    def warm(self) -> Path:
        """The text encoder as a Recformer, without any training."""
        return self.run(
            "warm", "model.safetensors", "-m", "recformer_hf.conversion", "text-encoder", self.text_encoder,
            str(self.folder / "warm"), "--max-token-num", str(self.max_token_num),
        )  # fmt: skip

    def finetuned_run(self, name: str, model: Path, dataset: Path, *options: str) -> Path:
        """Finetune a model; an interrupted run is resumed."""
        return self.run(
            name, "metrics.json", str(EXAMPLES / "finetune.py"), "--model", str(model), "--dataset", str(dataset),
            "--output_dir", str(self.folder / name), "--resume_from_checkpoint", "true", *options,
        )  # fmt: skip

    def ranked(self, name: str, dataset: Path, *scorers: str, split: str = "test") -> Path:
        """Rank a split; a row of a table reads the test split once."""
        folder = self.folder / f"{split}-{name}"
        return self.run(
            folder.name, "metrics.json", str(EXAMPLES / "evaluate.py"), "--dataset", str(dataset), "--split", split,
            "--protocol", "both", "--output_dir", str(folder), *scorers,
        )  # fmt: skip

    def read(self, name: str) -> Any:
        """The content of a JSON file of the folder, {} if there is none."""
        path = self.folder / name
        return json.loads(path.read_text("utf-8")) if path.is_file() else {}

    def write(self, name: str, content: Any) -> None:
        """Write a JSON file of the folder."""
        (self.folder / name).write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def domain_parser(description: str | None, domains: Sequence[str]) -> argparse.ArgumentParser:
    """The arguments of a study of Recformers on real domains, `domains` by default."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", required=True, help="folder with one folder for each domain")
    parser.add_argument("--text_encoder", required=True, help="folder or Hub id of the encoder to start from")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--domains", nargs="+", default=list(domains))
    parser.add_argument("--max_token_num", type=int, default=128)
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="more options of examples/finetune.py")
    return parser


def study_of(arguments: argparse.Namespace) -> Study:
    """The study of the arguments of [`domain_parser`]."""
    return Study(arguments.output_dir, arguments.folders, arguments.text_encoder, arguments.max_token_num)


def machine() -> dict[str, Any]:
    """The hardware and the torch version of a measurement."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {"device": device, "threads": torch.get_num_threads(), "torch": torch.__version__}


def reports_of(folder: Path) -> dict[str, Any]:
    """The report of each scorer and protocol that `examples/evaluate.py` wrote."""
    reports: dict[str, Any] = json.loads((folder / "metrics.json").read_text("utf-8"))["rankings"]
    return reports


def validation_ndcg(run: Path) -> float:
    """NDCG@10 on validation of the weights that a run ended with, history kept."""
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    return float(metrics["validation"]["metrics"]["ndcg@10"])
