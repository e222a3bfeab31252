"""Public names that are imported when they are first used (PEP 562)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping


def lazy_names(
    package: str, modules: Mapping[str, str], extra: str | None = None
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` for a package that imports its public names lazily.

    `modules` maps each public name to the module that defines it. A name is imported when it is
    first used and then kept in the package, so later uses cost nothing. `extra` is the extra of
    ccnvr that brings the libraries that these modules need.
    """

    def get(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            module = importlib.import_module(modules[name])
        except ModuleNotFoundError as error:
            if extra is None or (error.name or "").startswith("ccnvr"):
                raise
            from ccnvr.firmware_bridge.installation import extra_command  # only for this message

            raise ModuleNotFoundError(
                f"{package}.{name} needs {error.name}; run: {extra_command(extra)}",
                name=error.name,
            ) from error
        value: object = getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get, names
