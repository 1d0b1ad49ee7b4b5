"""Notes what decides the result of a run when it begins, and refuses to resume it with other settings or data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from ..data.dataset import SequentialDataset
from ..data.sequences import Sequences
from ..heads.head_changes import HEAD_FIELDS
from ..storage.atomic_shared import Processes
from .arguments import RecformerTrainingArguments
from .checkpoints import RUN_FILE, write_json
from .resume import asked_to_resume
from .run_files import expect, read_object

SETTINGS_FILE = "run_settings.json"

_TOKENIZER = ("max_token_num", "max_attr_num", "max_attr_length", "max_item_embeddings")
_MODEL = ("temperature", "mlm_weight", "hidden_dropout_prob", "attention_probs_dropout_prob", *HEAD_FIELDS)


class Run(Protocol):
    """What a trainer says about its run."""

    datasets: list[SequentialDataset]
    dataset_weights: Sequence[float] | None

    @property
    def accelerator(self) -> Processes: ...

    def model_settings(self) -> dict[str, Any]:
        """What of the model and its tokenizer decides the result, as JSON."""
        ...

    def validation_fingerprint(self) -> object:
        """Fingerprint of the data that choose the best weights, as JSON."""
        ...


def check_run(run: Run, args: RecformerTrainingArguments, resume: str | bool | None) -> None:
    """Called on all processes before a run begins or resumes.

    Raises:
        ValueError: if `output_dir` holds a run with other settings or other data.
    """
    settings = settings_of(args, run.datasets, run.dataset_weights) | run.model_settings()
    settings["validation"] = None if args.eval_strategy == "no" else run.validation_fingerprint()
    names_checkpoint = not isinstance(asked_to_resume(resume), bool)
    check_settings(Path(args.output_dir or ""), settings, may_change=names_checkpoint, write=args.should_save)
    run.accelerator.wait_for_everyone()


def recformer_settings(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What of a Recformer and its tokenizer decides the result of a run, as JSON."""
    settings = {name: getattr(tokenizer, name) for name in _TOKENIZER}
    return settings | {name: getattr(config, name) for name in _MODEL}


def settings_of(
    args: RecformerTrainingArguments, datasets: Sequence[SequentialDataset], weights: Sequence[float] | None
) -> dict[str, Any]:
    """What decides the result of a run, as JSON: arguments and training data."""
    return args.deciding_settings() | {
        "datasets": [dataset_fingerprint(dataset) for dataset in datasets],
        "dataset_weights": None if weights is None else list(weights),
    }


def check_settings(folder: Path, settings: dict[str, Any], *, may_change: bool, write: bool) -> None:
    """Refuses to resume a run with other settings, because its result would belong to neither; otherwise notes the
    settings.

    Args:
        folder: folder of the run.
        settings: what decides its result.
        may_change: whether the caller goes back to a named checkpoint, from which on the settings may differ.
        write: whether this process writes the file.

    Raises:
        ValueError: if settings differ; the message names them. A run without a checkpoint may still change.
    """
    path = folder / SETTINGS_FILE
    # Deeper folders do not count: pretraining may be a run of its own, in a folder inside this one.
    traces = (RUN_FILE, "checkpoint-*", "stage-*/checkpoint-*")
    has_begun = any(any(folder.glob(pattern)) for pattern in traces)
    if path.is_file() and not may_change and has_begun:
        before, now = read_object(path), json.loads(json.dumps(settings))
        known = isinstance(before.get("datasets"), list) and all(
            isinstance(each, dict) and "catalog" in each for each in before["datasets"]
        )
        expect(path, before, "datasets", known, "fingerprints of datasets")
        # A setting that an older version did not note yet is not compared.
        changed = [_difference(name, before[name], now.get(name)) for name in before if before[name] != now.get(name)]
        if changed:
            raise ValueError(
                f"{folder} holds a run with other settings: {'; '.join(changed)}. Resume it with the settings that it "
                "began with, name the checkpoint from which on they change (resume_from_checkpoint=PATH), or choose "
                "another output_dir."
            )
    elif write:
        write_json(path, settings)


def _difference(name: str, before: Any, now: Any) -> str:
    if name == "validation":
        return "its validation data differ"
    if name != "datasets":
        return f"{name} was {before!r}, is {now!r}"
    if [dataset["catalog"] for dataset in before] != [dataset["catalog"] for dataset in now]:
        return "it has another catalogue"
    return "its training sequences differ"


def dataset_fingerprint(dataset: SequentialDataset) -> dict[str, str]:
    """Fingerprints of a dataset's catalogue and training sequences."""
    return {"catalog": dataset.catalog.fingerprint, "train": split_fingerprint(dataset.train)}


def split_fingerprint(split: Sequences) -> str:
    """Fingerprint of the sequences and targets of a split, in their order; user ids do not count."""
    digest = hashlib.blake2b(digest_size=16, person=b"RecformerTrain01")
    for array in (split.items, split.offsets, split.targets):
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
