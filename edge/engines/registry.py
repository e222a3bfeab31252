"""The known inference engines, and the choice of an engine and a model file for a bundle.

Engines are named here and not imported: only the module of the chosen engine is imported, and only
that module imports the library. So an installation needs no more than one engine.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection
from importlib.util import find_spec
from typing import Protocol

import numpy as np

from ccnvr.edge.bundle.archive import (
    BundleError,
    is_model_file,
    model_file_name,
    names_default,
)
from ccnvr.edge.network.layout import PROFILES
from ccnvr.edge.versions import installed_version
from ccnvr.firmware_bridge.arrays import Float32
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.firmware_bridge.frozen import frozen

AUTO = "auto"

_LONGEST_MESSAGE = 300


class EngineError(CcnvrError):
    """The error of an engine that refuses a model or fails on it.

    The message is the engine's own, on one line and shortened.
    """

    def __init__(self, what: object) -> None:
        super().__init__((" ".join(str(what).split()) or type(what).__name__)[:_LONGEST_MESSAGE])


class NoModelFile(BundleError, UsageError):
    """The error for a bundle without a file of the engine or the profile that the user named."""


class Session(Protocol):
    """A network opened on an engine."""

    name: str

    def __call__(self, inputs: Float32) -> Float32:
        """Return standardised outputs `(n, targets)` for model input `(n, channels, bands)`.

        Raises:
            EngineError: the engine fails.
        """
        ...


@frozen
class Engine:
    """The description of an inference engine."""

    name: str
    """The name in options and in the configuration."""

    module: str
    """The module of ccnvr that imports the library and has `open_model(bytes) -> Session`."""

    library: str
    """The import name of the library."""

    package: str
    """The distribution of the library on PyPI."""

    model_format: str
    """The format of the model files that the engine reads, one of `archive.MODEL_FORMATS`."""

    install: str = ""
    """The command that installs the library; "" if the extra of the engine's name does."""

    numpy_2_since: tuple[int, int] = (0, 0)
    """The first release that was built for numpy 2; earlier ones crash with it."""

    newest_python: tuple[int, int] | None = None
    """The newest Python for which there is a release, if there will be no others."""

    in_process: bool = True
    """Whether the engine may run in the process of ccnvr.

    tflite-runtime reads model files without bounds checks and may crash on one that has passed its
    trial, so it always gets a process of its own.
    """

    @property
    def runs_here(self) -> bool:
        """Whether the engine can run here, which takes less time than `obstacle` does.

        No engine is imported to find out.
        """
        return find_spec(self.library) is not None and not self._crashes_with_numpy

    @property
    def obstacle(self) -> str | None:
        """The reason why the engine cannot run here and what to do, or None if it can.

        No engine is imported to find out.
        """
        if find_spec(self.library) is None:
            if self.newest_python is not None and sys.version_info[:2] > self.newest_python:
                newest, here = (
                    ".".join(map(str, version))
                    for version in (self.newest_python, sys.version_info[:2])
                )
                return (
                    f"{self.package}, which has no release for Python {here}, only up to "
                    f"{newest}; use the engine litert"
                )
            return f"{self.package}; run: {self._command}"
        if self._crashes_with_numpy:
            return (
                f"numpy 1, but numpy {np.__version__} is installed, with which {self.version} "
                "crashes; run: pip install 'numpy<2'"
            )
        return None

    @property
    def version(self) -> str:
        """The library and its version, such as `onnxruntime 1.32.0`."""
        return f"{self.package} {installed_version(self.package) or 'of unknown version'}"

    @property
    def _crashes_with_numpy(self) -> bool:
        return np.lib.NumpyVersion(np.__version__) >= "2.0.0" and self._release < self.numpy_2_since

    @property
    def _command(self) -> str:
        from ccnvr.firmware_bridge.installation import extra_command  # only for a message

        return self.install or extra_command(self.name)

    @property
    def _release(self) -> tuple[int, int]:
        try:
            # Two parts suffice, and further ones may hold letters, as in 1.19.0rc1.
            major, minor = (installed_version(self.package) or "").split(".")[:2]
            return int(major), int(minor)
        except ValueError:
            # A library without a readable version was built by the user, for the numpy that is
            # installed; yet 98 is below the 99 that stands for "no release works with numpy 2".
            return 98, 0

    def load(self) -> Callable[[bytes], Session]:
        """Import the engine and return the function that opens a model file on it.

        That function raises `EngineError` if the engine refuses the model.

        Raises:
            UsageError: the library is not installed, or does not load.
        """
        self.check()
        try:
            open_model: Callable[[bytes], Session] = importlib.import_module(self.module).open_model
        except ImportError as error:
            raise UsageError(
                f"the engine {self.name} needs {self.package}, which is installed but does not "
                f"load ({error}); run: {self._command}"
            ) from None
        return open_model

    def check(self) -> None:
        """Check that the engine can run here.

        Raises:
            UsageError: it cannot.
        """
        if self.obstacle is not None:
            raise UsageError(f"the engine {self.name} needs {self.obstacle}")


ENGINES = {
    engine.name: engine
    for engine in (
        Engine(
            "onnx",
            "ccnvr.edge.engines.onnx",
            "onnxruntime",
            "onnxruntime",
            "onnx",
            numpy_2_since=(1, 19),
        ),
        Engine(
            "litert",
            "ccnvr.edge.engines.litert",
            "ai_edge_litert",
            "ai-edge-litert",
            "tflite",
        ),
        Engine(
            "tflite",
            "ccnvr.edge.engines.tflite",
            "tflite_runtime",
            "tflite-runtime",
            "tflite",
            install="pip install 'tflite-runtime>=2.14' 'numpy<2'",
            numpy_2_since=(99, 0),  # no release works with numpy 2
            newest_python=(3, 11),
            in_process=False,
        ),
        Engine(
            "numpy",
            "ccnvr.edge.engines.numpy_reference",
            "numpy",
            "numpy",
            "network",
            install="pip install ccnvr",
        ),
    )
}
"""The engines by name, in the order in which `auto` tries them.

onnxruntime computes int8 exactly as the NumPy oracle does, LiteRT nearly so; NumPy is the slowest.
"""


@frozen
class Choice:
    """An engine, and the profile of the model file that it loads from a bundle."""

    engine: Engine
    profile: str

    @property
    def model_file(self) -> str:
        """The name of the model file in the bundle."""
        return model_file_name(self.profile, self.engine.model_format)

    def __str__(self) -> str:
        return f"{self.engine.name} ({self.engine.version}), profile {self.profile}"


def choose(engine: str, profile: str, source: str, names: Collection[str]) -> Choice:
    """Return the engine and profile that a configuration names.

    `auto` takes the first engine that is installed and has a model file in the bundle, and the most
    precise profile.

    Args:
        engine: one of `ENGINES`, or `auto`.
        profile: one of `PROFILES`, or `auto`.
        source: the bundle as the user named it.
        names: the names of its files.

    Raises:
        UsageError: the engine or the profile is unknown, or the engine is not installed.
        NoModelFile: the bundle has no file of the engine or the profile that is named.
        BundleError: it has none for any engine that is installed.
    """
    if engine not in (AUTO, *ENGINES):
        raise UsageError(f"engine {engine!r} is not one of {AUTO}, {', '.join(ENGINES)}")
    if profile not in (AUTO, *PROFILES):
        raise UsageError(f"profile {profile!r} is not one of {AUTO}, {', '.join(PROFILES)}")
    if engine == AUTO:
        candidates = [one for one in ENGINES.values() if one.runs_here]
    else:
        candidates = [ENGINES[engine]]
        candidates[0].check()
    # Engine by engine, and the profiles of each from exact to rounded (decision 0027).
    choices = [
        Choice(candidate, name)
        for candidate in candidates
        for name in (PROFILES if profile == AUTO else (profile,))
    ]
    for choice in choices:
        if choice.model_file in names:
            return choice
    error = BundleError if engine == profile == AUTO else NoModelFile
    raise error(_no_model_file(source, names, choices))


def _no_model_file(source: str, names: Collection[str], choices: list[Choice]) -> str:
    """Return what a bundle has instead of the model files of `choices`, and what to do."""
    found = ", ".join(filter(is_model_file, names)) or "no model file"
    wanted = " or ".join(choice.model_file for choice in choices)
    way_out = "export it with that model file, or choose another engine or profile"
    # Nobody can export these again, since their soils are not part of an installation.
    if names_default(source):
        formats = {engine.model_format for engine in ENGINES.values()}
        stored = [
            profile
            for profile in PROFILES
            if any(model_file_name(profile, one) in names for one in formats)
        ]
        way_out = (
            f"the default models have profile {' and '.join(stored)} only, so leave the profile "
            "out, or name a bundle that you exported"
        )
    return f"bundle {source} has {found} and not {wanted}; {way_out}"
