"""The card of a finished run: `README.md` with metadata that the Hub reads, then a page for people."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tokenizers
import torch
import transformers
from huggingface_hub import ModelCardData

from ..._version import __version__
from ...data.dataset import SequentialDataset
from .card_results import eval_results, test_results, validation_results, zero_shot_results
from .card_text import percent, plain, setting, table
from .card_usage import Example, example_text, loading_encoder, loading_recommender

PAPER = "https://arxiv.org/abs/2305.13731"
INVENTED = (
    "> **Invented data.** No real product, shopper or choice is in {these}. The numbers below say that the code works, "
    "not that the method is good, and the model is of no use but to try things out."
)
# What a table of settings leaves out: where things go and how they are shown, and what the stages' table has.
_NOT_SHOWN = (
    "hub_", "logging_", "save_", "dataloader_", "push_to_hub", "report_to", "output_dir", "run_name", "disable_tqdm",
    "resume_from_checkpoint", "do_", "use_cpu", "log_", "stage1_", "stage2_", "skip_stage", "recipe", "learning_rate",
    "num_train_epochs", "seed", "per_device_train_batch_size", "trackio_", "project",
)  # fmt: skip


@dataclass(frozen=True)
class RunDescription:
    """What a card tells of a run.

    Args:
        name: how to load the model: a repository, or the folder's name.
        title: of the card.
        datasets: what it was trained on; one for a finetuned model.
        metrics: the content of `metrics.json`.
        args: of the training.
        results: [`StageResult`] of each stage; none for a run without stages.
        config: the model's.
        parameters: how many numbers it has.
        pictures: names of the curves' files.
        times: the content of `run_times.json`.
        example: of a finetuned model.
        metadata: `license`, `language`, `tags`, `datasets` (Hub ids) and `base_model`, where known.
    """

    name: str
    title: str
    datasets: Sequence[SequentialDataset]
    metrics: Mapping[str, Any]
    args: Any
    results: Sequence[Any]
    config: Any
    parameters: int
    pictures: Sequence[str] = ()
    times: Mapping[str, Any] = field(default_factory=dict)
    example: Example | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def recommends(self) -> bool:
        """Whether the model has items of its own; else it is to be finetuned."""
        return bool(self.config.num_items)


def model_card(run: RunDescription) -> str:
    """The text of `README.md`."""
    sections = [
        f"---\n{_metadata(run).to_yaml()}\n---",
        f"# {plain(run.title)}",
        _what_it_is(run),
        *_invented(run),
        "## Results",
        *_results(run),
        *(f"![{name.partition('.')[0]}]({name})" for name in run.pictures),
        f"## How to load it\n\n{_loading(run)}",
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
        tags=["recformer", "sequential-recommendation", "recommendation", *known.pop("tags", [])],
        eval_results=eval_results(run.metrics, _name(run.datasets[0]), ids[0] if ids else None) or None,
        **known,
    )


def _results(run: RunDescription) -> list[str]:
    paragraphs = test_results(run.metrics) if "test" in run.metrics else []
    paragraphs += validation_results(run.metrics) + zero_shot_results(run.metrics)
    return paragraphs or ["Not evaluated."]


def _what_it_is(run: RunDescription) -> str:
    base = run.metadata.get("base_model")
    start = f" from [`{base}`](https://huggingface.co/{base})" if base else ""
    names = " and ".join(f"**{plain(_name(dataset))}**" for dataset in run.datasets)
    paper = f"[Recformer]({PAPER}) (Li et al., KDD 2023)"
    if not run.recommends:
        return (
            f"A {paper} pretrained{start} on {names}: it reads items and histories as text and gives their vectors. It "
            "has no items of its own; finetune it, or encode a catalogue and recommend from that as it is."
        )
    return (
        f"A {paper} finetuned{start} on {names}: it reads what a user had, as text, and ranks a catalogue of "
        f"{run.config.num_items:,} items by what comes next. Weights, item vectors, tokenizer and catalogue are here."
    )


def _invented(run: RunDescription) -> list[str]:
    invented = [plain(_name(dataset)) for dataset in run.datasets if dataset.info.get("invented")]
    return [INVENTED.format(these=" or ".join(invented))] if invented else []


def _loading(run: RunDescription) -> str:
    if not run.recommends:
        return loading_encoder(run.name)
    catalog, example = run.datasets[0].catalog, run.example
    return loading_recommender(run.name, [catalog.id_of(row) for row in (example.history if example else [0])])


def _data(run: RunDescription) -> str:
    header = ["", "Users", "Items", "Interactions", "Mean length", "Density", "Cold targets", "Repeated targets"]
    rows = []
    for dataset in run.datasets:
        counts = dataset.statistics
        cells = [f"{counts[name]:,}" for name in ("users", "items", "interactions")]
        cells += [f"{counts['mean_length']:.2f}", f"{counts['density']:.2e}"]
        shares = (counts["share_test_targets_not_in_training"], counts["share_tests_repeating_history"])
        cells += ["no test split" if share is None else percent(share) for share in shares]
        rows.append([plain(_name(dataset)), *cells])
    notes = []
    for dataset in run.datasets:
        source, protocol = (str(dataset.info.get(key, "not stated")).rstrip(".") for key in ("source", "protocol"))
        notes.append(f"- **{plain(_name(dataset))}**. Source: {plain(source, 600)}. Split: {plain(protocol, 1200)}.")
    note = "Cold test targets occur in no training sequence; repeated ones are in their user's history."
    return f"{table(header, rows)}\n\n{note}\n\n" + "\n".join(notes)


def _training(run: RunDescription) -> str:
    config = run.config
    items = f", {config.num_items * config.hidden_size:,} of them item vectors" if run.recommends else ""
    parts = [
        f"{run.parameters:,} parameters{items}; {config.num_hidden_layers} layers of width {config.hidden_size}, "
        f"attention window {config.attention_window}, histories of at most {config.max_item_embeddings - 1} items and "
        f"{config.max_token_num} tokens, temperature {config.temperature}."
    ]
    if run.results:
        parts.append(_stages(run))
    rows = [[f"`{name}`", setting(value)] for name, value in _settings(run).items()]
    parts.append("Settings; others have their defaults.\n\n" + table(["Setting", "Value"], rows))
    if run.times:
        parts.append(
            f"Training took {run.times['train_seconds']:,.0f} s since it was last started, on "
            f"{run.times['processes']} process{'es' * (run.times['processes'] > 1)} ({run.times['device']})."
        )
    return "\n\n".join(parts)


def _stages(run: RunDescription) -> str:
    steps = {result.stage: result.global_step for result in run.results}
    header = ["Stage", "Item matrix", "Frozen", "Learning rate", "Most epochs", "Patience", "Steps taken"]
    rows = [
        [each.number, each.item_matrix, each.freeze, each.learning_rate, each.num_train_epochs, each.patience]
        for each in run.args.stages()
    ]
    return table(header, [[*row, steps.get(row[0], "–")] for row in rows])


def _settings(run: RunDescription) -> dict[str, Any]:
    args = run.args
    users, tokens = args.per_device_train_batch_size, args.max_batch_tokens
    always = {
        "batch": f"{users} users a process" if tokens is None else f"{tokens} tokens a process",
        "processes": args.world_size,
        "seed": args.seed,
    }
    if not run.results:
        always |= {"learning_rate": args.learning_rate, "num_train_epochs": args.num_train_epochs}
    return always | {name: value for name, value in args.settings().items() if not name.startswith(_NOT_SHOWN)}


def _versions() -> str:
    versions = {
        "recformer_hf": __version__, "transformers": transformers.__version__, "torch": torch.__version__,
        "tokenizers": tokenizers.__version__, "Python": platform.python_version(),
    }  # fmt: skip
    return ", ".join(f"{name} {version}" for name, version in versions.items()) + "."


def _name(dataset: SequentialDataset) -> str:
    return str(dataset.info.get("name", "unnamed dataset"))
