"""Saving a checkpoint together with the code that runs it, for `trust_remote_code=True`."""

from __future__ import annotations

import shutil
from pathlib import Path

from transformers.dynamic_module_utils import get_relative_import_files

AUTO_MAP: dict[str, str | list[str | None]] = {
    "AutoConfig": "configuration_recformer.RecformerConfig",
    "AutoModel": "modeling_recformer.RecformerModel",
    "AutoModelForPreTraining": "modeling_recformer.RecformerForPretraining",
    "AutoModelForSequenceClassification": "modeling_recformer.RecformerForSeqRec",
    "AutoTokenizer": [None, "tokenization_recformer.RecformerTokenizer"],
}
"""What `config.json` tells the Auto classes; the same whichever head is saved."""


def write_code(folder: str | Path) -> None:
    """Copies the modules that `AUTO_MAP` names, and the siblings that they import, into `folder`."""
    here = Path(__file__).parent
    entry_points = [here / "modeling_recformer.py", here / "tokenization_recformer.py"]
    needed = {Path(file) for entry in entry_points for file in (entry, *get_relative_import_files(entry))}
    Path(folder).mkdir(parents=True, exist_ok=True)
    for file in sorted(needed):
        shutil.copyfile(file, Path(folder) / file.name)
