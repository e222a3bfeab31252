"""Which inference engines there are, and which of them runs a bundle on which of its artefacts.

Engines are named, not imported: only the module of the chosen one is, and it is the one that
imports the library.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Protocol

import numpy as np

from ccnvr.edge.bundle.archive import Bundle, BundleError, model_file_name
from ccnvr.edge.network.layout import PROFILES
from ccnvr.firmware_bridge.arrays import Float32
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError

AUTO = "auto"

_LONGEST_MESSAGE = 300


class EngineError(CcnvrError):
    """An engine refuses a model, or fails on it; the message is what the engine says, on one line
    and not without end.
    """

    def __init__(self, what: object) -> None:
        super().__init__((" ".join(str(what).split()) or type(what).__name__)[:_LONGEST_MESSAGE])


class Session(Protocol):
    """An inference engine with a network in it."""

    name: str

    def __call__(self, inputs: Float32) -> Float32:
        """Model input `(n, channels, bands)` -> standardised outputs `(n, targets)`."""
        ...


@dataclass(frozen=True)
class Engine:
    """How to come by an engine. `module` has `open_model(bytes) -> Session` and imports `library`
    as it is imported itself.

    `package` is the library's distribution, `install` the command that brings it, `artefact` the
    kind of model that it reads. Releases before `numpy_2_since` were built for numpy 1. One that is
    not run `in_process` has no bounds checks when it reads a model, may crash on one that its trial
    got away with, and so always has a process of its own.
    """

    name: str
    module: str
    library: str
    package: str
    install: str
    model_format: str
    numpy_2_since: tuple[int, int] = (0, 0)
    newest_python: tuple[int, int] | None = None
    in_process: bool = True

    @property
    def obstacle(self) -> str | None:
        """Why it cannot run here, and what to do; None where it can. Nothing is imported."""
        if find_spec(self.library) is None:
            if self.newest_python is not None and sys.version_info[:2] > self.newest_python:
                newest, here = (
                    ".".join(map(str, version))
                    for version in (self.newest_python, sys.version_info[:2])
                )
                return (
                    f"{self.package}, which has no release for Python {here}, the last is for "
                    f"{newest}; use the backend litert"
                )
            return f"{self.package}; run: {self.install}"
        if np.lib.NumpyVersion(np.__version__) >= "2.0.0" and self._release < self.numpy_2_since:
            return (
                f"numpy 1, and numpy {np.__version__} is here, with which {self.version} "
                "crashes; run: pip install 'numpy<2'"
            )
        return None

    @property
    def version(self) -> str:
        """The library and its version, as `onnxruntime 1.32.0`."""
        try:
            return f"{self.package} {version(self.package)}"
        except PackageNotFoundError:
            return f"{self.package} of unknown version"

    @property
    def _release(self) -> tuple[int, int]:
        try:
            major, minor = version(self.package).split(".")[:2]
            return int(major), int(minor)
        except (PackageNotFoundError, ValueError):
            return 98, 0  # a build of one's own is for the NumPy that is here

    def load(self) -> Callable[[bytes], Session]:
        """Import the engine; gives what turns a model's bytes into a backend, or raises
        `EngineError`.

        Raises:
            UsageError: the library is not installed, or does not load; the message says how to
                install it.
        """
        self.check()
        try:
            open_model: Callable[[bytes], Session] = importlib.import_module(self.module).open_model
        except ImportError as error:
            raise UsageError(
                f"the backend {self.name} needs {self.package}, which is here but does not load "
                f"({error}); run: {self.install}"
            ) from None
        return open_model

    def check(self) -> None:
        """Refuse to go on without the library."""
        if self.obstacle is not None:
            raise UsageError(f"the backend {self.name} needs {self.obstacle}")


ENGINES = {
    engine.name: engine
    for engine in (
        Engine(
            "onnx",
            "ccnvr.edge.engines.onnx",
            "onnxruntime",
            "onnxruntime",
            "pip install 'ccnvr[onnx]'",
            "onnx",
            numpy_2_since=(1, 19),
        ),
        Engine(
            "litert",
            "ccnvr.edge.engines.litert",
            "ai_edge_litert",
            "ai-edge-litert",
            "pip install 'ccnvr[litert]'",
            "tflite",
        ),
        Engine(
            "tflite",
            "ccnvr.edge.engines.tflite",
            "tflite_runtime",
            "tflite-runtime",
            "pip install 'tflite-runtime>=2.14' 'numpy<2'",
            "tflite",
            numpy_2_since=(99, 0),  # none was
            newest_python=(3, 11),
            in_process=False,
        ),
        Engine(
            "numpy",
            "ccnvr.edge.engines.numpy_reference",
            "numpy",
            "numpy",
            "pip install ccnvr",
            "network",
        ),
    )
}
"""In the order in which `auto` takes them: onnxruntime answers int8 as the oracle does, LiteRT
nearly so; NumPy is slower.
"""


@dataclass(frozen=True)
class Choice:
    """An engine and the artefact of the bundle that it loads."""

    engine: Engine
    profile: str

    @property
    def model_file(self) -> str:
        """The bundle's file."""
        return model_file_name(self.profile, self.engine.model_format)

    def __str__(self) -> str:
        return f"{self.engine.name} ({self.engine.version}), profile {self.profile}"


def choose(backend: str, profile: str, bundle: Bundle) -> Choice:
    """The engine and artefact that a configuration names; `auto` takes the first that is installed,
    and the exactest artefact.

    Raises:
        UsageError: no such backend or profile, or it is not installed.
        BundleError: the bundle has no such artefact.
    """
    if backend not in (AUTO, *ENGINES):
        raise UsageError(f"backend {backend!r} is not one of {AUTO}, {', '.join(ENGINES)}")
    if profile not in (AUTO, *PROFILES):
        raise UsageError(f"profile {profile!r} is not one of {AUTO}, {', '.join(PROFILES)}")
    if backend == AUTO:
        engines = [engine for engine in ENGINES.values() if engine.obstacle is None]
    else:
        engines = [ENGINES[backend]]
        engines[0].check()
    choices = [
        Choice(engine, name)
        for engine in engines
        for name in (PROFILES if profile == AUTO else (profile,))
    ]
    for choice in choices:
        if choice.model_file in bundle.parts:
            return choice
    there = ", ".join(name for name in bundle.parts if name.startswith("model.")) or "no model"
    raise BundleError(
        f"bundle {bundle.source} has {there} and not "
        f"{' or '.join(choice.model_file for choice in choices)}; export it with "
        "that part, or choose another backend or profile"
    )
