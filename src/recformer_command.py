"""The console command `recformer`.

It runs `recformer_hf/cli/main.py` as a file. An import of it would first import `recformer_hf`, and with that torch and
transformers, which takes seconds that `recformer --help` does not need, and fails in an installation whose fault
`recformer env` is to find.
"""

from __future__ import annotations

from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path


def main() -> None:
    """Runs the command line of this process."""
    package = find_spec("recformer_hf")  # a top-level name is found without being imported
    if package is None or not package.submodule_search_locations:
        raise SystemExit("recformer: the package recformer_hf is not installed beside this command.")
    path = Path(package.submodule_search_locations[0], "cli", "main.py")
    spec = spec_from_file_location("recformer_hf_cli_main", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main()


if __name__ == "__main__":
    main()
