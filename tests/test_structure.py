"""The rules of the source tree: what stands where, what may import what, and how long files and functions may be."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "recformer_hf"
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))

# From the bottom to the top: a room imports from rooms above it in this list, and from itself.
LAYERS = (
    "storage", "configuration_recformer", "encoder", "heads", "items", "tokenizing", "tokenization_recformer", "memory",
    "recommending", "modeling_recformer", "pipeline_recformer", "data", "evaluation", "training", "baselines",
    "conversion", "explaining", "serving", "demo_page", "cli",
)  # fmt: skip
# Inside training, the trainer of both tasks knows none of the two.
TASKS = ("training/finetuning", "training/pretraining")

# Tests of several modules together.
WHOLE = {
    "test_checkpoints.py", "test_golden.py", "test_gpu.py", "test_structure.py", "data/readers/test_fuzz_readers.py",
}  # fmt: skip


@cache
def imports_of(module: Path) -> frozenset[Path]:
    """The modules of this package that a module imports, in functions and for type checking too."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / module).read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            package = module.parent
            for _ in range(node.level - 1):
                package = package.parent
            target = package.joinpath(*(node.module or "").split("."))
            names = [target / alias.name for alias in node.names]
            candidates = [
                target.with_suffix(".py"),
                *(name.with_suffix(".py") for name in names),
                target / "__init__.py",
            ]
            found |= {path for path in candidates if (PACKAGE / path).is_file()}
    return frozenset(found)


def layer_of(module: Path) -> int:
    return LAYERS.index(module.with_suffix("").parts[0])


def is_inside(module: Path) -> bool:
    """Whether a module stands in a layer: not `__init__.py` at the top, which sees everything."""
    return module.with_suffix("").parts[0] in LAYERS


def test_every_module_stands_in_a_layer():
    assert {module.name for module in MODULES if not is_inside(module)} == {
        "__init__.py", "_moved.py", "_renamed.py", "_version.py",
    }  # fmt: skip


@pytest.mark.parametrize("module", [m for m in MODULES if is_inside(m)], ids=str)
def test_imports_run_downwards(module):
    above = [path for path in imports_of(module) if is_inside(path) and layer_of(path) > layer_of(module)]
    assert not above
    if not str(module).startswith(TASKS) and module != Path("training/__init__.py"):
        assert not [
            path for path in imports_of(module) if str(path).startswith(TASKS) and layer_of(module) <= layer_of(path)
        ]


def test_no_module_imports_itself_through_others():
    def visit(module: Path, path: tuple[Path, ...]) -> None:
        assert module not in path, " -> ".join(map(str, (*path[path.index(module) :], module)))
        if module not in done:
            for other in sorted(imports_of(module)):
                visit(other, (*path, module))
            done.add(module)

    done: set[Path] = set()
    for module in MODULES:
        visit(module, ())


def test_what_travels_with_a_checkpoint_imports_modules_alone():
    """[`code_files`] refuses anything else; it also follows the imports to the last one."""
    from recformer_hf.storage.remote_code import code_files

    files = code_files(["modeling_recformer", "pipeline_recformer", "tokenization_recformer"])
    assert {"configuration_recformer.py", "encoder_layers.py", "items_catalog.py", "recommending_search.py"} <= set(
        files
    )
    for name, text in files.items():
        levels = {node.level for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
        assert levels <= {0, 1}, name


def test_one_test_file_a_module():
    modules = {module for module in MODULES if module.name not in ("__init__.py", "__main__.py", "_version.py")}
    expected = {module.parent / f"test_{module.name.lstrip('_')}" for module in modules}
    tests = {
        path.relative_to(ROOT / "tests")
        for path in (ROOT / "tests").rglob("test_*.py")
        if path.relative_to(ROOT / "tests").parts[0] not in ("benchmarks", "examples", "support")
    }
    mains = {module.parent / "test_main.py" for module in MODULES if module.name == "__main__.py"}
    assert expected - tests == set(), "modules without a test file"
    assert tests - expected - mains - {Path(name) for name in WHOLE} == set(), "test files without a module"


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_files_and_functions_are_short(module):
    text = (PACKAGE / module).read_text("utf-8")
    assert len(text.splitlines()) <= 600
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not [f"{function.name}: {code_lines(function)}" for function in functions if code_lines(function) > 70]
