"""What is checked, and what is said, when a checkpoint's weights are loaded or saved."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from transformers.utils.hub import cached_file

from .plain_modules import is_plain_tensor

INDEX_FILE = "model.safetensors.index.json"
"""Names the file of each weight where there are several files."""


HEAD_PARTS = {
    "item_residuals": "item_residuals",
    "projection": "item_projection",
    "history_bias": "history_bias",
    "log_temperature": "learned_temperature",
    "history_transformer": "sequence_head, head_size or head_num_layers",
}
"""Parts of a recommender's scoring head, and the fields of the configuration that decide on them."""


class HeadChange(NamedTuple):
    """Weights that come and go if a checkpoint is loaded into a model with another head.

    Args:
        missing: weights of the model's head that the checkpoint does not have.
        dropped: weights of the checkpoint's head that the model does not have.
    """

    missing: frozenset[str] = frozenset()
    dropped: frozenset[str] = frozenset()

    @classmethod
    def taken_from(cls, info: Any, optional: tuple[str, ...], droppable: tuple[str, ...]) -> HeadChange:
        """Takes them out of transformers' record of a load, so that its report lists faults only.

        Args:
            info: the record, with the sets `missing_keys` and `unexpected_keys`.
            optional: beginnings of names that may be missing.
            droppable: beginnings of names that may be dropped.
        """
        missing = frozenset(name for name in info.missing_keys if name.startswith(optional))
        dropped = frozenset(name for name in info.unexpected_keys if name.startswith(droppable))
        info.missing_keys = set(info.missing_keys) - missing
        info.unexpected_keys = set(info.unexpected_keys) - dropped
        return cls(missing, dropped)

    def note(self, num_items: int) -> str:
        """What changed, as the end of one line; empty if nothing did.

        Args:
            num_items (`int`): items that the checkpoint's configuration names.
        """
        parts = []
        for head in ("lm_head", "item_embeddings", "item_residuals", "scoring_head"):
            if any(name.startswith(head) for name in self.dropped):
                parts.append(f"its {head} {'were' if head.startswith('item') else 'was'} dropped")
        if any(name.startswith("lm_head") for name in self.missing):
            parts.append("lm_head starts with new weights")
        if any(name.startswith(("scoring_head", "item_residuals")) for name in self.missing):
            names = {name.split(".")[name.startswith("scoring_head.")] for name in self.missing}
            fresh = sorted(names & {*HEAD_PARTS})
            parts.append(f"these parts of its scoring head have not been trained: {', '.join(fresh)}")
        if "item_embeddings" in self.missing and num_items:
            parts.append(
                f"it names {num_items} items but holds no item_embeddings, so the catalogue is empty now; fill it with "
                "model.set_item_embeddings(model.encode_items(items, tokenizer))"
            )
        elif "item_embeddings" in self.missing:
            parts.append("there are no items yet")
        return ", ".join(parts)


def first_few(names: Sequence[str], limit: int = 8) -> str:
    if not names:
        return "none"
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def check_names(
    name: Any, kind: str, info: dict[str, Any], optional: tuple[str, ...], droppable: tuple[str, ...], any_shape: bool
) -> None:
    """Checks that a checkpoint's weights are those of the model.

    Args:
        name: folder or Hub id of the checkpoint.
        kind: name of the model's class.
        info: `missing_keys`, `unexpected_keys` and `mismatched_keys`, as transformers found them.
        optional: beginnings of names that may be missing.
        droppable: beginnings of names that the model need not have.
        any_shape: whether other shapes are allowed.

    Raises:
        ValueError: if they are not; the message names the weights.
    """
    missing = sorted(each for each in info["missing_keys"] if not each.startswith(optional))
    unexpected = sorted(each for each in info["unexpected_keys"] if not each.startswith(droppable))
    mismatched = sorted(
        f"{each} is {list(found)}, expected {list(expected)}" for each, found, expected in info["mismatched_keys"]
    )
    if missing or unexpected or (mismatched and not any_shape):
        raise ValueError(
            f"{name} does not hold a {kind}: missing weights {first_few(missing)}; unexpected weights "
            f"{first_few(unexpected)}; other shapes {first_few(mismatched)}."
            f"{_hint(name, [*unexpected, *missing, *mismatched])}"
        )


def _hint(name: Any, wrong: list[str]) -> str:
    """What to do about wrong weights."""
    if wrong and all(each.startswith(("scoring_head.", "item_residuals")) for each in wrong):
        parts = {each.split()[0].removeprefix("scoring_head.").split(".")[0] for each in wrong}
        fields = ", ".join(sorted({HEAD_PARTS.get(part, part) for part in parts}))
        return (
            f" The configuration describes another head ({fields}). Load the model with its own configuration, and "
            "change its head then: model.set_head(...)."
        )
    if name is not None and Path(name).is_dir() and not (Path(name) / "config.json").is_file():
        return f" {name} has no config.json, so the default configuration was used; put the checkpoint's own there."
    return " A checkpoint of another model or of the public replication is read by recformer_hf.conversion."


@contextmanager
def readable_checkpoint(name: Any, subfolder: str = "") -> Iterator[None]:
    """Names the damaged file if a checkpoint cannot be loaded in the block.

    Args:
        name: folder or Hub id of the checkpoint.
        subfolder: where its files are.

    Raises:
        ValueError: if a file cannot be read.
        OSError: if the name is that of a file. Other errors stay as they are.
    """
    try:
        _check_index(Path(str(name), subfolder))
        yield
    except (SafetensorError, OSError, KeyError, AttributeError, TypeError, ValueError) as error:
        if name is not None and Path(name).is_file():
            raise OSError(f"{name} is a file; from_pretrained takes the folder that holds it.") from error
        damaged = [] if name is None else _damaged_files(str(name), subfolder)
        if not damaged:
            raise
        raise ValueError(
            f"The checkpoint {name} cannot be loaded: {'; '.join(damaged)}. It was not copied, downloaded or written "
            "to its end; copy or download it again."
        ) from error


def _check_index(folder: Path) -> None:
    """Raises ValueError if a local folder's index is damaged, or names files elsewhere, which would be read."""
    index = folder / INDEX_FILE
    if index.is_file() and not (folder / "model.safetensors").is_file() and (problem := _problem_of(index)):
        raise ValueError(problem)  # the caller names the file


def _damaged_files(name: str, subfolder: str) -> list[str]:
    """The files of a checkpoint that cannot be read, and why. Read again, because the error does not name the file."""
    folder = Path(name, subfolder)
    if not Path(name).is_dir():
        config = cached_file(
            name, "config.json", subfolder=subfolder, local_files_only=True,
            _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False,
            _raise_exceptions_for_gated_repo=False,
        )  # fmt: skip
        if config is None:
            return []
        folder = Path(config).parent
    damaged = []
    for path in sorted([*folder.glob("*.safetensors"), *(folder / each for each in ("config.json", INDEX_FILE))]):
        if path.exists() and (problem := _problem_of(path)):
            damaged.append(f"{path} is damaged ({problem})")
    return damaged


def _problem_of(path: Path) -> str | None:
    """Why a file of a checkpoint cannot be read, or None if it can."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt"):
                return None
        content = json.loads(path.read_text("utf-8"))
    except (SafetensorError, OSError, ValueError) as error:
        return f"{path.stat().st_size:,} bytes; {error}"
    if not isinstance(content, dict):
        return f"a JSON {type(content).__name__} instead of an object"
    if path.name == INDEX_FILE:
        return _problem_of_index(path.parent, content.get("weight_map"))
    return None


def _problem_of_index(folder: Path, weight_map: object) -> str | None:
    if not isinstance(weight_map, dict):
        return "it has no weight_map"
    for name, file in weight_map.items():
        if not isinstance(file, str) or Path(file).name != file:
            return f"the file of {name} is {file!r}, which is no name of a file in this folder"
        if not (folder / file).is_file():
            return f"{file}, which has {name}, is missing"
    return None


def check_numbers(name: Any, model: nn.Module) -> None:
    """Checks that loaded weights are finite. Quantised and offloaded weights are not read.

    Raises:
        ValueError: if they are not; the message names the weights.
    """
    # The extremes of a tensor with a NaN are NaN. In contrast to `isfinite`, no tensor of its size is made.
    not_finite = [
        weight_name
        for weight_name, weight in model.named_parameters()
        if weight_name != "item_embeddings"  # checked with the catalogue, which names the item
        and is_plain_tensor(weight)
        and weight.numel()
        and not bool(torch.isfinite(torch.stack(torch.aminmax(weight.detach()))).all())
    ]
    if not_finite:
        raise ValueError(
            f"{name} holds NaN or infinite values in {first_few(not_finite)}: its training diverged, or the file is "
            "damaged. Load an earlier checkpoint."
        )


def remove_older_weights(folder: Path, variant: str | None = None) -> None:
    """Removes the weights of a model that was saved before in other files than this one.

    transformers removes the files of an older model that was saved in several, but no others. It reads a single file
    first, so that it would load the older model.

    Args:
        folder: where a model was just saved.
        variant: the variant that it was saved as.
    """
    stem = "model" if variant is None else f"model.{variant}"
    whole = folder / f"{stem}.safetensors"
    index = folder / (INDEX_FILE if variant is None else f"model.safetensors.index.{variant}.json")
    if any(folder.glob(f"{stem}-*-of-*.safetensors")):
        whole.unlink(missing_ok=True)
    elif whole.is_file():
        index.unlink(missing_ok=True)


def check_savable(model: nn.Module, root_weights: Sequence[str] = ()) -> None:
    """Checks, before anything is written, that transformers can write a model's weights.

    Args:
        model: the model to save.
        root_weights: names of weights that belong to no sub-module, which torchao's file format has no place for.

    Raises:
        ValueError: if weights are quantised or offloaded in a way that transformers cannot save.
    """
    weights = dict(model.named_parameters())
    if getattr(model, "hf_device_map", None) is None and (meta := [name for name in weights if weights[name].is_meta]):
        raise ValueError(
            f"The weights {first_few(meta, 3)} are on the meta device, so there are no numbers to save. Save the model "
            "before it is offloaded, or offload it by from_pretrained(..., device_map=...)."
        )
    wrapped = {
        name: type(weight).__name__
        for name, weight in weights.items()
        if is_traceable_wrapper_subclass(weight) and type(weight).__name__ != "DTensor"  # transformers gathers these
    }
    if wrapped and (getattr(model, "hf_quantizer", None) is None or root_weights):
        example = next(iter(wrapped))
        raise ValueError(
            f"{len(wrapped)} weights are quantised ({example} is a {wrapped[example]}), and save_pretrained cannot "
            "write them. Save the model before quantising it and quantise it again after loading "
            "(from_pretrained(..., quantization_config=...), or torchao's quantize_), or use "
            "torch.save(model.state_dict(), path)."
        )


def check_loadable(model: Any) -> None:
    """Checks, before anything is written, that a model of the same class and configuration takes a model's weights.

    Args:
        model: the model to save.

    Raises:
        ValueError: if weights have other names (PEFT, `torch.compile` and parametrizations change them) or shapes (the
            configuration was changed by hand); the message names them.
    """
    try:
        with torch.device("meta"):
            fresh = type(model)(model.config)
    except TypeError:  # a caller's subclass that takes more than a configuration
        return
    expected, found = _shapes(fresh), _shapes(model)
    if expected == found:
        return
    more, fewer = sorted(found.keys() - expected.keys()), sorted(expected.keys() - found.keys())
    other = [name for name in sorted(found.keys() & expected.keys()) if found[name] != expected[name]]
    shapes = [f"{name} is {found[name]}, expected {expected[name]}" for name in other]
    raise ValueError(
        f"from_pretrained could not load this model: unknown weights {first_few(more, 3)}; missing weights "
        f"{first_few(fewer, 3)}; other shapes {first_few(shapes, 3)}. Undo what wrapped its modules (PEFT: "
        "merge_and_unload; torch.compile: use model.compile(), which wraps none) or changed its configuration. Or keep "
        "the numbers alone: torch.save(model.state_dict(), path)."
    )


def _shapes(model: nn.Module) -> dict[str, list[int]]:
    return {name: list(weight.shape) for name, weight in model.named_parameters(remove_duplicate=False)}


__all__ = [
    "HeadChange",
    "check_loadable",
    "check_names",
    "check_numbers",
    "check_savable",
    "first_few",
    "readable_checkpoint",
    "remove_older_weights",
]
