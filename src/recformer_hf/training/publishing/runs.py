"""What a finished run leaves in `output_dir`.

| file | |
|---|---|
| `model.safetensors`, `config.json`, `tokenizer*.json`, `item_catalog.arrow` | saved by `train()` |
| `metrics.json` | validation and test, both protocols; no times, no paths: the same run gives the same bytes |
| `test-kept.npz`, `test-excluded.npz` | rank and top 10 of every test user ([`Ranking.load`]) |
| `run_times.json` | what differs from run to run: seconds, processes, device |
| `loss.png`, `metrics.png` | curves, if matplotlib is installed |
| `README.md` | the model card |
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ...data.dataset import SequentialDataset
from ...data.sequences import Sequences
from ...evaluation.ranking import Ranking, RankingProtocol
from ...evaluation.report import ranking_report
from ...items.catalog import ItemCatalog
from ...storage.atomic import atomic_file
from ..arguments import RecformerTrainingArguments
from ..run_files import read_object
from .card_usage import Example, choose_example
from .curves import LOSS_CURVES, METRIC_CURVES, save_curves
from .hub_upload import PushesRuns
from .model_card import CardTexts, FinishedStage, RunDescription, dataset_name, model_card
from .recformer_card import RecformerTexts

METRICS_FILE = "metrics.json"
TIMES_FILE = "run_times.json"
CARD_FILE = "README.md"


class PublishesRuns(PushesRuns):
    """A `Trainer` with [`~PublishesRuns.finish`] and a model card, which pushes only finished files.

    A trainer built on it overrides `pictures`, `extra_metrics` and `validation_dataset` to add results of its own.
    """

    args: RecformerTrainingArguments
    catalog: ItemCatalog | None
    datasets: list[SequentialDataset]
    pictures: tuple[str, ...] = (LOSS_CURVES, METRIC_CURVES)
    """Names of the pictures that the card shows, in this order, if they are in `output_dir`."""
    card_texts: CardTexts = RecformerTexts()
    """What the card says of the model."""
    results: Sequence[FinishedStage] = ()
    """Results of the finished stages, if the run has stages."""
    validation_sample: dict[str, int] | None = None
    """How many `users` validation takes, and `of` how many; `None` if it takes all."""

    _example: Example | None = None

    def rank_protocols(self, split: Sequences) -> dict[RankingProtocol, Ranking]:
        """Ranks a split with the history kept and excluded. A trainer that has a catalogue implements this."""
        raise NotImplementedError

    def extra_metrics(self) -> dict[str, Any]:
        """What `metrics.json` holds besides validation and test, as JSON; by default nothing."""
        return {}

    @property
    def validation_dataset(self) -> SequentialDataset | None:
        """The dataset to validate on, if it is not one of those that are trained on."""
        return None

    @property
    def chosen(self) -> tuple[int, int] | None:
        """Stage (1 for a run without stages) and step of the resulting weights; `None` if nothing chose them."""
        improved = [result for result in self.results if result.improved]
        if improved:
            return improved[-1].stage, int(improved[-1].checkpoint.rpartition("-")[2])
        return (1, self.state.best_global_step) if self.state.best_global_step else None

    def finish(self, test: Sequences | None = None) -> dict[str, Any]:
        """Evaluates the finished model and writes metrics, rankings, curves and card beside it.

        Call it on all processes, after `train()`.

        Args:
            test: the split to test on; by default the dataset's own. Without a test split, only validation metrics are
                written.

        Returns:
            The content of `metrics.json`.

        Raises:
            RuntimeError: before `train()`.
            ValueError: if `test` is not a split with targets.
        """
        self.refuse_untrained("finish")
        began = time.perf_counter()
        folder = Path(self.args.output_dir or "")
        metrics = self._validation_metrics() | self.extra_metrics()
        dataset = self.datasets[0]
        if self.catalog is None:
            test = None
        elif test is None:
            test = dataset.test
        # All processes rank together; the result is the same on each of them, and only the main process writes it.
        rankings = {} if test is None else self.rank_protocols(test)
        if test is not None:
            metrics["test"] = {
                f"history_{history}": ranking_report(ranking, dataset, test, ks=self.args.ranking_ks)
                for history, ranking in rankings.items()
            }
        if self.is_world_process_zero():
            for history, ranking in rankings.items():
                ranking.save(folder / f"test-{history}.npz")
            _write(folder / METRICS_FILE, _json(metrics))
            _write(folder / TIMES_FILE, _json(self._times(time.perf_counter() - began)))
            if test is not None:
                self._example = choose_example(dataset, test, rankings["excluded"])
            save_curves(self.state.log_history, folder, best=self.chosen, metric=self.args.metric_for_best_model)
            self.create_model_card()
        return metrics

    def _validation_metrics(self) -> dict[str, Any]:
        metrics: dict[str, Any] = {
            "datasets": [dataset_name(dataset) for dataset in self.datasets],
            "ties": self.args.ranking_ties,
            "seed": self.args.seed,
        }
        # Read from the log: a run that was resumed or opened again has not evaluated these weights itself.
        values: dict[str, float] = {}
        for entry in self.state.log_history:
            if (entry.get("stage", 1), entry["step"]) == self.chosen:
                values |= {name[len("eval_") :]: value for name, value in entry.items() if _is_metric(name, value)}
        if values and self.chosen is not None:
            stage, step = self.chosen
            domain = self.validation_dataset
            metrics["validation"] = {
                **({} if domain is None else {"dataset": domain.info.get("name")}),
                **({"stage": stage} if self.results else {}),
                "step": step,
                "chosen_by": self.args.metric_for_best_model,
                **({} if self.catalog is None else {"exclude_history": self.args.exclude_history}),
                **({} if self.validation_sample is None else {"sample": self.validation_sample}),
                # A log read from a file has its names in another order, and the same run must give the same bytes.
                "metrics": dict(sorted(values.items())),
            }
        return metrics

    def _times(self, seconds: float) -> dict[str, Any]:
        device = self.args.device
        return {
            "train_seconds": sum(entry.get("train_runtime", 0.0) for entry in self.state.log_history),
            "evaluation_seconds": round(seconds, 3),
            "processes": self.args.world_size,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        }

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """Writes `README.md` from the files in `output_dir`.

        Args:
            language: language of the items' text, such as `"en"`.
            license: licence of the model; by default that of its datasets, if they all name the same one.
            tags: further tags, besides the card's own.
            model_name: the title; by default the name of the repository or the folder.
            finetuned_from: Hub id of the model that training started from; by default the one in its configuration.
            dataset: Hub ids of the datasets.
            tasks, dataset_tags, dataset_args: ignored; they keep the signature that `Trainer` calls.
        """
        if not self.is_world_process_zero():
            return
        folder = Path(self.args.output_dir or "")
        model = self.accelerator.unwrap_model(self.model)
        licenses = {each.info.get("license") for each in self.datasets}
        base = str(finetuned_from or getattr(model.config, "_name_or_path", None) or "")
        run = RunDescription(
            name=self.hub_model_id or folder.resolve().name,
            title=model_name or (self.hub_model_id or folder.resolve().name).rpartition("/")[2],
            datasets=self.datasets,
            metrics=_read(folder / METRICS_FILE),
            args=self.args,
            results=self.results,
            config=model.config,
            texts=self.card_texts,
            parameters=_count_parameters(folder),
            pictures=[name for name in self.pictures if (folder / name).is_file()],
            times=_read(folder / TIMES_FILE),
            example=self._example,
            metadata={
                "license": license or (licenses.pop() if len(licenses) == 1 else None),
                "language": language,
                "tags": [tags] if isinstance(tags, str) else list(tags or []),
                "datasets": [dataset] if isinstance(dataset, str) else dataset,
                # A path would tell a reader nothing, and reveal something about the machine.
                "base_model": None if os.path.exists(base) or os.path.isabs(base) else base,
            },
        )
        _write(folder / CARD_FILE, model_card(run))


def _is_metric(name: str, value: object) -> bool:
    return name.startswith("eval_") and isinstance(value, float) and not name.endswith(("_runtime", "_per_second"))


def _count_parameters(folder: Path) -> int:
    """Counts from the headers of the saved files: in memory, the weights may be sharded over processes."""
    total = 0
    for path in folder.glob("model*.safetensors"):
        with safe_open(path, "pt") as file:
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return total


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text, "utf-8")


def _read(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}
