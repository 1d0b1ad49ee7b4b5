"""Saving a checkpoint together with the code that runs it, for `trust_remote_code=True`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from transformers.dynamic_module_utils import get_relative_import_files
from transformers.utils import PushToHubMixin


def write_code(folder: str | Path, module: str) -> None:
    """Copies a module of this folder, and the siblings that it imports, into `folder`."""
    entry_point = Path(__file__).parent / f"{module}.py"
    imported = [Path(str(file)) for file in get_relative_import_files(entry_point)]
    Path(folder).mkdir(parents=True, exist_ok=True)
    for file in {entry_point, *imported}:
        shutil.copyfile(file, Path(folder) / file.name)


class SavesCode(PushToHubMixin):
    """`with_code` for models and tokenizers."""

    _auto_map_entries: dict[str, Any]
    """What the saved configuration tells the Auto classes."""
    _code_module: str
    """The module to write."""
    _push_with_code = False

    def _set_auto_map(self, auto_map: dict[str, Any] | None) -> None:
        """Puts the map where saving finds it, or takes it away."""
        raise NotImplementedError

    def save_pretrained(self, save_directory: Any, *args: Any, with_code: bool | None = None, **kwargs: Any) -> Any:
        """Saves as transformers does; weights in safetensors.

        Args:
            save_directory: the folder; made if need be.
            with_code (`bool`): also write the code, so that the folder loads with `trust_remote_code=True` where this
                package is not installed: every Auto class, whichever head is saved. Say it for model and tokenizer. If
                left out: only where the object itself came from such code.
            args, kwargs: those of transformers.
        """
        if with_code is None:
            # transformers marks what it loaded from code with `_auto_class`, and would write that head's code alone.
            with_code = self._push_with_code or getattr(self, "_auto_class", None) is not None
        if with_code:
            write_code(save_directory, self._code_module)
        self._set_auto_map(dict(self._auto_map_entries) if with_code else None)
        try:
            return super().save_pretrained(save_directory, *args, **kwargs)
        finally:
            self._set_auto_map(None)

    def push_to_hub(self, repo_id: str, *, with_code: bool = False, **kwargs: Any) -> Any:
        """Pushes as transformers does; `with_code` as in [`save_pretrained`]."""
        self._push_with_code = with_code
        try:
            return super().push_to_hub(repo_id, **kwargs)
        finally:
            self._push_with_code = False
