"""Import paths of an earlier version, which keep working for one release with a DeprecationWarning."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

MOVED = {
    "alignment_recformer": "encoder.cpu.alignment",
    "atomic_recformer": "storage.atomic",
    "attention_recformer": "encoder.attention",
    "baselines.frequency": "baselines",
    "baselines.text": "baselines.last_item_text",
    "baselines.text_index": "memory.text_index",
    "catalog_arrow_recformer": "items.arrow",
    "catalog_ids_recformer": "items.ids",
    "catalog_recformer": "items.catalog",
    "catalog_sources_recformer": "items.sources",
    "companions_recformer": "recommending.item_store",
    "data.atomic": "storage.atomic",
    "data.readers.common": "data.readers.source",
    "data.split_arrays": "data.splits.arrays",
    "dropout_recformer": "encoder.cpu.dropout",
    "encoder_recformer": "encoder.layers",
    "encoding_recformer": "recommending.vectors",
    "export_recformer": "recommending.export",
    "faiss_recformer": "recommending.faiss_index",
    "histories_recformer": "recommending.histories",
    "inputs_recformer": "encoder.inputs",
    "item_encoding": "recommending.encode_catalog",
    "item_text_recformer": "items.text",
    "linear_recformer": "encoder.kernels",
    "losses_recformer": "encoder.losses",
    "packing_recformer": "encoder.packing",
    "recommendation_recformer": "recommending.recommend",
    "remote_code_recformer": "storage.remote_code",
    "search_recformer": "recommending.search",
    "tokenizer_sources_recformer": "tokenizing.other_models",
    "training.card_results": "training.publishing.card_results",
    "training.card_text": "training.publishing.card_text",
    "training.card_usage": "training.publishing.card_usage",
    "training.contrastive": "training.pretraining.contrastive",
    "training.curves": "training.publishing.curves",
    "training.finetuning_arguments": "training.finetuning.arguments",
    "training.hub_upload": "training.publishing.hub_upload",
    "training.model_card": "training.publishing.model_card",
    "training.pretraining_arguments": "training.pretraining.arguments",
    "training.recipes": "training.finetuning.stages",
    "training.stages": "training.finetuning.stages",
    "training.validation": "training.pretraining.validation",
    "training.zero_shot": "training.pretraining.zero_shot",
}
"""Old name below the package: new name below the package."""


class _MovedModules(MetaPathFinder, Loader):
    """Finds an old path as a module that holds the names of the new one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        return spec_from_loader(fullname, self) if package == __package__ and name in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        new = f"{__package__}.{MOVED[module.__name__.partition('.')[2]]}"
        message = f"{module.__name__} is now {new}. The next release removes the old path."
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        names = {name: value for name, value in vars(importlib.import_module(new)).items() if name[:2] != "__"}
        vars(module).update(names)


def keep_old_paths() -> None:
    """Lets `import` find the paths of `MOVED`, once in a process."""
    if not any(type(finder).__name__ == _MovedModules.__name__ for finder in sys.meta_path):
        sys.meta_path.append(_MovedModules())


def old_module(name: str) -> ModuleType:
    """An old top-level module, which was an attribute of the package without an import of its own.

    Raises:
        AttributeError: if there was no such module.
    """
    if name not in MOVED:
        raise AttributeError(f"module {__package__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__package__}.{name}")
