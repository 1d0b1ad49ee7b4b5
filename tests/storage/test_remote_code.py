"""A package's modules become flat files that import each other, and can be saved again from there."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest
from transformers.utils.hub import PushToHubMixin

from recformer_hf import RecformerModel, RecformerTokenizer
from recformer_hf.storage import remote_code
from recformer_hf.storage.remote_code import SavesCode, code_files, write_code

ENTRIES = (*RecformerModel._code_modules, *RecformerTokenizer._code_modules)

PACKAGE = {
    "model.py": "import math\nfrom .rooms.table import rows\n",
    "pipe.py": "from .rooms.inner.words import word\nfrom .model import math\n",
    "alone.py": "answer = 42\n",
    "rooms/__init__.py": "",
    "rooms/table.py": "from ..alone import answer\nfrom .inner.words import (\n    word,\n)\nrows = [word] * answer\n",
    "rooms/inner/__init__.py": "",
    "rooms/inner/words.py": "def word():\n    from ...alone import answer  # where it is needed\n    return answer\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A small package in place of this one."""
    for name, text in PACKAGE.items():
        path = tmp_path / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(remote_code, "_ROOT", tmp_path / "package")
    return tmp_path / "package"


def relative_imports(text: str) -> list[ast.ImportFrom]:
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.level]


class TestCodeFiles:
    def test_names_are_flat_paths(self, package):
        assert set(code_files(["model"])) == {"model.py", "rooms_table.py", "rooms_inner_words.py", "alone.py"}

    def test_imports_are_rewritten_and_nothing_else_is(self, package):
        files = code_files(["model"])
        assert files["rooms_table.py"] == (
            "from .alone import answer\nfrom .rooms_inner_words import (\n    word,\n)\nrows = [word] * answer\n"
        )
        assert files["rooms_inner_words.py"] == (
            "def word():\n    from .alone import answer  # where it is needed\n    return answer\n"
        )
        assert files["alone.py"] == PACKAGE["alone.py"]

    def test_only_what_an_entry_reaches_is_taken(self, package):
        assert set(code_files(["alone"])) == {"alone.py"}
        assert "pipe.py" not in code_files(["model"])

    def test_an_entry_names_every_file_that_it_reaches(self, package):
        """transformers before 5 copies only the files that the loaded one imports itself."""
        text = code_files(["pipe", "alone"])["pipe.py"]
        assert {node.module for node in relative_imports(text)} == {
            "model", "rooms_table", "rooms_inner_words", "alone",
        }  # fmt: skip

    def test_the_first_entry_also_names_the_others(self, package):
        files = code_files(["model", "pipe"])
        assert "pipe" in {node.module for node in relative_imports(files["model.py"])}
        other = code_files(["alone", "model"])
        assert {node.module for node in relative_imports(other["alone.py"])} == {
            "model", "rooms_table", "rooms_inner_words",
        }  # fmt: skip

    def test_naming_a_file_changes_no_name_of_the_entry(self, package):
        added = code_files(["model"])["model.py"].removeprefix("import math\nfrom .rooms_table import rows\n")
        names = [alias.asname for node in ast.parse(added).body for alias in node.names]
        assert names == ["_alone", "_rooms_inner_words"]

    @pytest.mark.parametrize(
        "line",
        ["from . import alone", "from .rooms import table", "from .rooms.inner import words", "from .absent import x"],
    )
    def test_refuses_an_import_that_names_no_module(self, package, line):
        (package / "model.py").write_text(f"import math\n{line}\n")
        with pytest.raises(ValueError, match=r"model\.py, line 2, imports a package.*from \.module import name"):
            code_files(["model"])


class TestThisPackage:
    @pytest.mark.parametrize("entry", ENTRIES)
    def test_every_file_imports_only_files_beside_it(self, entry):
        files = code_files([entry])
        for name, text in files.items():
            for node in relative_imports(text):
                assert node.level == 1, f"{name}, line {node.lineno}"
                assert f"{node.module}.py" in files, f"{name}, line {node.lineno}"

    @pytest.mark.parametrize("entry", ENTRIES)
    def test_an_entry_reaches_everything_by_its_own_imports(self, entry):
        files = code_files([entry])
        named = {f"{node.module}.py" for node in relative_imports(files[f"{entry}.py"])}
        assert named == set(files) - {f"{entry}.py"}

    def test_a_flat_folder_is_saved_again_byte_for_byte(self, tmp_path, monkeypatch):
        write_code(tmp_path / "saved_flat", ENTRIES)
        monkeypatch.syspath_prepend(str(tmp_path))
        flat = importlib.import_module("saved_flat.storage_remote_code")
        assert Path(flat.__file__).parent == tmp_path / "saved_flat"
        assert flat.code_files(ENTRIES) == code_files(ENTRIES)


def test_files_are_written_into_a_new_folder(package, tmp_path):
    write_code(tmp_path / "new" / "folder", ["model"])
    written = {path.name: path.read_text() for path in (tmp_path / "new" / "folder").iterdir()}
    assert written == code_files(["model"])


class Saver(PushToHubMixin):
    """The part of transformers that saves: it notes the auto map that it meets."""

    def save_pretrained(self, save_directory, fail=False):
        self.met = self.auto_map
        if fail:
            raise OSError("No space left on device")


class Saved(SavesCode, Saver):
    _auto_map_entries = {"AutoModel": "model.Model"}
    _code_modules = ("model",)
    auto_map = None

    def _set_auto_map(self, auto_map):
        self.auto_map = auto_map


@pytest.mark.usefixtures("package")
class TestSavesCode:
    def test_without_code_nothing_is_added(self, tmp_path):
        saved = Saved()
        saved.save_pretrained(tmp_path / "out")
        assert saved.met is None
        assert not (tmp_path / "out").exists()

    def test_with_code_the_auto_map_is_there_while_it_saves(self, tmp_path):
        saved = Saved()
        saved.save_pretrained(tmp_path / "out", with_code=True)
        assert saved.met == {"AutoModel": "model.Model"}
        assert saved.auto_map is None
        assert {path.name for path in (tmp_path / "out").iterdir()} == set(code_files(["model"]))

    def test_what_was_loaded_from_code_is_saved_with_code(self, tmp_path):
        saved = Saved()
        saved._auto_class = "AutoModel"
        saved.save_pretrained(tmp_path / "out")
        assert saved.met == {"AutoModel": "model.Model"}
        saved.save_pretrained(tmp_path / "without", with_code=False)
        assert saved.met is None
        assert not (tmp_path / "without").exists()

    def test_an_error_removes_the_auto_map(self, tmp_path):
        saved = Saved()
        with pytest.raises(OSError, match="No space left"):
            saved.save_pretrained(tmp_path / "out", fail=True, with_code=True)
        assert saved.auto_map is None
