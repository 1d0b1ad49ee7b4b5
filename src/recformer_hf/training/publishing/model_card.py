"""The model card of a finished run: `README.md`, with metadata for the Hub and then text for readers."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import tokenizers
import torch
import transformers
from huggingface_hub import ModelCardData

from ..._version import __version__
from ...data.dataset import SequentialDataset
from ..arguments import RecformerTrainingArguments
from .card_results import eval_results, test_results, validation_results, zero_shot_results
from .card_text import percent, plain, setting, table
from .card_usage import Example, example_text

INVENTED = (
    "> **Invented data.** There is no real product, shopper or choice in {these}. The numbers below show that the code "
    "works, not that the method is good. The model is only useful for trying things out."
)
# Settings that the table leaves out: where files go, how progress is shown, and what the table of stages has.
_NOT_SHOWN = (
    "hub_", "logging_", "save_", "dataloader_", "push_to_hub", "report_to", "output_dir", "run_name", "disable_tqdm",
    "resume_from_checkpoint", "do_", "use_cpu", "log_", "stage1_", "stage2_", "skip_stage", "recipe", "learning_rate",
    "num_train_epochs", "seed", "per_device_train_batch_size", "trackio_", "project",
)  # fmt: skip


# Finetuning stands above this room, so the card declares what it reads of a run in stages.
class FinishedStage(Protocol):
    """Result of a finished stage."""

    @property
    def stage(self) -> int:
        """Number of the stage, from 1."""

    @property
    def checkpoint(self) -> str:
        """Name of the checkpoint with the resulting weights: `checkpoint-{step}`."""

    @property
    def improved(self) -> bool:
        """Whether the stage is better than all stages before it."""

    @property
    def global_step(self) -> int:
        """Optimizer steps of the stage."""


class StageSettings(Protocol):
    """Settings of a stage, as the card's table shows them."""

    @property
    def number(self) -> int:
        """Number of the stage, from 1."""

    @property
    def item_matrix(self) -> object:
        """How the item matrix is obtained."""

    @property
    def freeze(self) -> object:
        """Which weights are frozen."""

    @property
    def learning_rate(self) -> float:
        """Peak learning rate."""

    @property
    def num_train_epochs(self) -> float:
        """Most epochs."""

    @property
    def patience(self) -> int:
        """Evaluations without a better metric after which the stage ends."""


@runtime_checkable
class HasStages(Protocol):
    """Arguments of a run in stages."""

    recipe: str

    def stages(self) -> Sequence[StageSettings]:
        """Settings of each stage that is run."""


class CardTexts(Protocol):
    """What a card says of one kind of model."""

    tags: Sequence[str]

    def introduction(self, run: RunDescription) -> str:
        """What the model is, and what it was trained on."""

    def loading(self, run: RunDescription) -> str:
        """How to load it."""

    def architecture(self, run: RunDescription) -> str:
        """Its size and its main settings, in a sentence."""


@dataclass(frozen=True)
class RunDescription:
    """What a card tells about a run.

    Args:
        name: what to load the model by: the id of a repository, or the name of the folder.
        title: title of the card.
        datasets: what the model was trained on; a single dataset for a finetuned model.
        metrics: content of `metrics.json`.
        args: training arguments.
        results: result of each stage; empty for a run without stages.
        config: the model's configuration, with `num_items`.
        parameters: number of parameters, item vectors included.
        texts: what depends on the kind of model.
        pictures: file names of the curves.
        times: content of `run_times.json`.
        example: recommendations of a finetuned model.
        metadata: `license`, `language`, `tags`, `datasets` (Hub ids) and `base_model`, if known.
    """

    name: str
    title: str
    datasets: Sequence[SequentialDataset]
    metrics: Mapping[str, Any]
    args: RecformerTrainingArguments
    results: Sequence[FinishedStage]
    config: Any
    parameters: int
    texts: CardTexts
    pictures: Sequence[str] = ()
    times: Mapping[str, Any] = field(default_factory=dict)
    example: Example | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def recommends(self) -> bool:
        """Whether the model has items of its own; if not, it is an encoder to finetune."""
        return bool(self.config.num_items)


def model_card(run: RunDescription) -> str:
    """The text of `README.md`."""
    sections = [
        # The Hub reads metadata only from the very beginning of the file.
        f"---\n{_metadata(run).to_yaml()}\n---",
        f"# {plain(run.title)}",
        run.texts.introduction(run),
        *_invented(run),
        "## Results",
        *_results(run),
        *(f"![{name.partition('.')[0]}]({name})" for name in run.pictures),
        f"## How to load it\n\n{run.texts.loading(run)}",
        *([f"## Example\n\n{example_text(run.example)}"] if run.example else []),
        f"## Data\n\n{_data(run)}",
        f"## Training\n\n{_training(run)}",
        f"## Versions\n\n{_versions()}",
    ]
    return "\n\n".join(sections) + "\n"


def _metadata(run: RunDescription) -> ModelCardData:
    known = {key: value for key, value in run.metadata.items() if value}
    ids = known.get("datasets")
    return ModelCardData(
        library_name="transformers",
        model_name=run.title,
        tags=[*run.texts.tags, "sequential-recommendation", "recommendation", *known.pop("tags", [])],
        eval_results=eval_results(run.metrics, dataset_name(run.datasets[0]), ids[0] if ids else None) or None,
        **known,
    )


def _results(run: RunDescription) -> list[str]:
    paragraphs = test_results(run.metrics) if "test" in run.metrics else []
    paragraphs += validation_results(run.metrics) + zero_shot_results(run.metrics)
    return paragraphs or ["Not evaluated."]


def _invented(run: RunDescription) -> list[str]:
    invented = [plain(dataset_name(dataset)) for dataset in run.datasets if dataset.info.get("invented")]
    return [INVENTED.format(these=" or ".join(invented))] if invented else []


def _data(run: RunDescription) -> str:
    header = ["", "Users", "Items", "Interactions", "Mean length", "Density", "Cold targets", "Repeated targets"]
    rows = []
    for dataset in run.datasets:
        counts = dataset.statistics
        cells = [f"{counts[name]:,}" for name in ("users", "items", "interactions")]
        cells += [f"{counts['mean_length']:.2f}", f"{counts['density']:.2e}"]
        shares = (counts["share_test_targets_not_in_training"], counts["share_tests_repeating_history"])
        cells += ["no test split" if share is None else percent(share) for share in shares]
        rows.append([plain(dataset_name(dataset)), *cells])
    notes = []
    for dataset in run.datasets:
        source, protocol = (str(dataset.info.get(key, "not stated")).rstrip(".") for key in ("source", "protocol"))
        notes.append(
            f"- **{plain(dataset_name(dataset))}**. Source: {plain(source, 600)}. Split: {plain(protocol, 1200)}."
        )
    note = "Cold test targets occur in no training sequence; repeated targets are in their user's history."
    return f"{table(header, rows)}\n\n{note}\n\n" + "\n".join(notes)


def _training(run: RunDescription) -> str:
    parts = [run.texts.architecture(run)]
    if run.results and isinstance(run.args, HasStages):
        parts.append(_stages(run.args.stages(), run.results))
    rows = [[f"`{name}`", setting(value)] for name, value in _settings(run).items()]
    parts.append("Settings that are not listed have their defaults.\n\n" + table(["Setting", "Value"], rows))
    if run.times:
        parts.append(
            f"Training took {run.times['train_seconds']:,.0f} s, counted from its last start, on "
            f"{run.times['processes']} process{'es' * (run.times['processes'] > 1)} ({run.times['device']})."
        )
    return "\n\n".join(parts)


def _stages(settings: Sequence[StageSettings], results: Sequence[FinishedStage]) -> str:
    steps = {result.stage: result.global_step for result in results}
    header = ["Stage", "Item matrix", "Frozen", "Learning rate", "Most epochs", "Patience", "Steps taken"]
    rows = [
        [each.number, each.item_matrix, each.freeze, each.learning_rate, each.num_train_epochs, each.patience]
        for each in settings
    ]
    return table(header, [[*row, steps.get(each.number, "–")] for each, row in zip(settings, rows, strict=True)])


def _settings(run: RunDescription) -> dict[str, Any]:
    args = run.args
    users, tokens = args.per_device_train_batch_size, args.max_batch_tokens
    always = {
        "batch": f"{users} users per process" if tokens is None else f"{tokens} tokens per process",
        "processes": args.world_size,
        "seed": args.seed,
    }
    if isinstance(args, HasStages):
        always |= {"recipe": args.recipe}
    if not run.results:
        always |= {"learning_rate": args.learning_rate, "num_train_epochs": args.num_train_epochs}
    return always | {name: value for name, value in args.settings().items() if not name.startswith(_NOT_SHOWN)}


def _versions() -> str:
    versions = {
        "recformer_hf": __version__, "transformers": transformers.__version__, "torch": torch.__version__,
        "tokenizers": tokenizers.__version__, "Python": platform.python_version(),
    }  # fmt: skip
    return ", ".join(f"{name} {version}" for name, version in versions.items()) + "."


def dataset_name(dataset: SequentialDataset) -> str:
    """The name that a dataset gives itself."""
    return str(dataset.info.get("name", "unnamed dataset"))
