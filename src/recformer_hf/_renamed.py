"""Names of an earlier version, which keep working for one release with a DeprecationWarning."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping


def renamed_names(module: str, names: Mapping[str, str]) -> Callable[[str], object]:
    """The `__getattr__` of a module in which some names were renamed.

    Args:
        module: `__name__` of the module.
        names: old name: new name, both in the module.
    """

    def __getattr__(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(
            f"{module}.{name} is now {names[name]}; the next release removes the old name.",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(sys.modules[module], names[name])

    return __getattr__
