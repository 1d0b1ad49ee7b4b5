"""Saving a checkpoint together with the code that runs it, for `trust_remote_code=True`.

transformers loads a checkpoint's code from one flat folder. It follows imports of the form `from .name import x`
between the files of that folder; sub-packages, `from . import x` and `from ..name import x` do not work. So the modules
of this package are written flat: `items/arrow.py` becomes `items_arrow.py`, and every import of it is rewritten.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from transformers.utils.hub import PushToHubMixin

from .write_errors import named_write_errors

# Loaded from a checkpoint, this file is itself called storage_remote_code.py and lies flat beside the others.
_ROOT = Path(__file__).parents[1 if Path(__file__).stem == "remote_code" else 0]

_FROM = re.compile(r"from\s+(\.+)([\w.]+)\s+import")


def code_files(modules: Sequence[str]) -> dict[str, str]:
    """The flat files of some modules of this package and of everything that they import.

    Args:
        modules: names of top-level modules, such as `"modeling_recformer"`: what `auto_map` may name.

    Returns:
        the text of each file by its name, such as `"items_arrow.py"`.
    """
    texts: dict[PurePath, str] = {}
    imports: dict[PurePath, list[PurePath]] = {}
    waiting = [PurePath(f"{module}.py") for module in modules]
    while waiting:
        path = waiting.pop()
        if path not in texts:
            texts[path], imports[path] = _flattened(path)
            waiting += imports[path]
    entries = [PurePath(f"{module}.py") for module in modules]
    for path in entries:
        # Older versions of transformers copy only the files that the loaded one imports itself, so it has to name every
        # file. The first module also names the others, so that whatever was loaded through it alone can be saved with
        # all of the code.
        reached = set(texts) if path == entries[0] else _reached(path, imports)
        further = sorted(reached - {path, *imports[path]})
        lines = [f"from .{_flat_name(other)} import __name__ as _{_flat_name(other)}\n" for other in further]
        if lines:
            texts[path] += "\n# Older transformers copy only the files that this one imports itself.\n" + "".join(lines)
    return {f"{_flat_name(path)}.py": text for path, text in texts.items()}


def write_code(folder: str | Path, modules: Sequence[str]) -> None:
    """Writes the [`code_files`] of some modules into a folder, which is created where needed."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, text in code_files(modules).items():
        (Path(folder) / name).write_text(text, "utf-8")


def _flattened(path: PurePath) -> tuple[str, list[PurePath]]:
    """A module's text with flat imports, and the modules of this package that it imports."""
    text = (_ROOT / path).read_text("utf-8")
    lines, imported = text.splitlines(keepends=True), []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.level:
            target = _module_of(path, node)
            imported.append(target)
            line = node.lineno - 1
            lines[line] = _FROM.sub(f"from .{_flat_name(target)} import", lines[line], count=1)
    return "".join(lines), imported


def _module_of(path: PurePath, node: ast.ImportFrom) -> PurePath:
    """The file that a relative import of a module names."""
    package = path.parent
    for _ in range(node.level - 1):
        package = package.parent
    # `from . import x` at the top has neither a module nor a package whose name could take a suffix.
    target = None if node.module is None else package.joinpath(*node.module.split(".")).with_suffix(".py")
    if target is None or not (_ROOT / target).is_file():
        raise ValueError(
            f"{path}, line {node.lineno}, imports a package. A module that travels with a checkpoint must import from "
            "modules: from .module import name."
        )
    return target


def _reached(start: PurePath, imports: dict[PurePath, list[PurePath]]) -> set[PurePath]:
    """A module and everything that it imports, directly or not."""
    found, waiting = set(), [start]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += imports[path]
    return found


def _flat_name(path: PurePath) -> str:
    return "_".join(path.with_suffix("").parts)


class SavesCode(PushToHubMixin):
    """Adds `with_code` to the `save_pretrained` and `push_to_hub` of a model or a tokenizer."""

    _auto_map_entries: dict[str, Any]
    """What the saved configuration tells the Auto classes."""
    _code_modules: tuple[str, ...]
    """The modules that the saved configuration names."""
    _push_with_code = False

    def _set_auto_map(self, auto_map: dict[str, Any] | None) -> None:
        """Puts the map where saving finds it, or removes it."""
        raise NotImplementedError

    def save_pretrained(self, save_directory: Any, *args: Any, with_code: bool | None = None, **kwargs: Any) -> Any:
        """Saves as transformers does; weights go into safetensors files.

        Args:
            save_directory: the folder; it is created where needed.
            with_code (`bool`): also write the code, so that the folder loads with `trust_remote_code=True` where this
                package is not installed, with every Auto class, whichever head is saved. Pass it for the model and for
                the tokenizer. By default the code is written only if the object itself was loaded from such code.
            args, kwargs: as in transformers.

        Raises:
            NotADirectoryError: if the folder is a file.
            OSError: if it cannot be written; the message names it.
        """
        if with_code is None:
            # transformers sets `_auto_class` on a class that it loaded from code, and would then write the code of that
            # head only.
            with_code = self._push_with_code or getattr(self, "_auto_class", None) is not None
        if Path(save_directory).is_file():  # transformers would log a line and save nothing
            raise NotADirectoryError(f"{save_directory} is a file; save_pretrained writes a folder. Name another path.")
        self._set_auto_map(dict(self._auto_map_entries) if with_code else None)
        try:
            with named_write_errors(save_directory, "It is incomplete: make room and save again."):
                if with_code:
                    write_code(save_directory, self._code_modules)
                return super().save_pretrained(save_directory, *args, **kwargs)  # type: ignore[no-untyped-call]
        finally:
            self._set_auto_map(None)

    def push_to_hub(self, repo_id: str, *, with_code: bool = False, **kwargs: Any) -> Any:
        """Pushes as transformers does; `with_code` as in [`save_pretrained`]."""
        self._push_with_code = with_code
        try:
            return super().push_to_hub(repo_id, **kwargs)
        finally:
            self._push_with_code = False


__all__ = ["SavesCode", "code_files", "write_code"]
