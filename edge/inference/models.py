"""What a user names as a model: a bundle, or the family of default bundles."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from ccnvr.edge.bundle import family
from ccnvr.edge.bundle.archive import DEFAULT
from ccnvr.edge.engines.registry import AUTO, choose
from ccnvr.edge.inference.predictor import Predictor
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.standard_error import tell
from ccnvr.firmware_bridge.arrays import Array

Tell = Callable[[str], None]


class ModelFamily:
    """The family of default bundles, each of which is opened when an instrument needs it.

    Several threads may use it, each with a predictor of its own.

    Args:
        engine: the engine, as for `ProvedModel`.
        profile: the profile, as for `ProvedModel`.
        tell: is told which bundle was chosen, once for each.

    Raises:
        UsageError: the engine is unknown or not installed, or the profile is not in the bundles.
        BundleError: a bundle of the installation is damaged.
    """

    def __init__(self, engine: str = AUTO, profile: str = AUTO, tell: Tell = tell) -> None:
        # At once, and not only when an instrument answers.
        first = family.members()[0]
        choose(engine, profile, DEFAULT, first.manifest.parts)
        self._engine, self._profile, self._tell = engine, profile, tell
        self._opened: dict[str, ProvedModel] = {}
        self._by_bands: dict[bytes, ProvedModel] = {}
        self._one_at_a_time = threading.Lock()

    def for_wavelengths(self, wavelengths_nm: Array) -> ProvedModel:
        """Return the family's best model for an instrument's bands, in nm, increasing.

        Raises:
            WavelengthError: no model serves these bands.
            BundleError: the bundle is damaged, or fails its self-test.
        """
        key = wavelengths_nm.tobytes()
        with self._one_at_a_time:
            if key not in self._by_bands:
                self._by_bands[key] = self._open(family.choose(wavelengths_nm))
            return self._by_bands[key]

    def bind(self, wavelengths_nm: Array) -> Predictor:
        """Return a predictor for an instrument by its best model; see `for_wavelengths`."""
        return self.for_wavelengths(wavelengths_nm).bind(wavelengths_nm)

    def _open(self, member: family.FamilyMember) -> ProvedModel:
        if member.source not in self._opened:
            model = ProvedModel(member.source, self._engine, self._profile)
            self._opened[member.source] = model
            self._tell(f"model {member.source} ({member.needs}), engine {model.choice}")
        return self._opened[member.source]


Model: TypeAlias = ProvedModel | ModelFamily
"""A model as a user names it; `for_wavelengths` and `bind` serve an instrument."""


def properties_of(model: Model) -> list[str]:
    """Return the properties that a model predicts; of a family, those of any of its bundles."""
    if isinstance(model, ProvedModel):
        return [target.name for target in model.bundle.manifest.targets]
    found = [target.name for one in family.members() for target in one.manifest.targets]
    return list(dict.fromkeys(found))


def load_bundle(
    path: str | Path = DEFAULT, engine: str = AUTO, profile: str = AUTO, tell: Tell = tell
) -> Model:
    """Read a bundle, open it on an engine and run its self-test.

    `load_bundle("default").bind(wavelengths_nm)` gives a predictor for an instrument, by the best
    bundle of the default family for its bands, and says on standard error which one that is.

    Args:
        path: a `.ccnvr` file, `default` for the family, or `default:NAME` for one of its bundles.
        engine: `onnx`, `litert`, `tflite`, `numpy`, or `auto` for the first that is installed.
        profile: `fp32`, `weights`, `int8`, or `auto` for the most precise in the bundle.
        tell: is told in a sentence which bundle of the family was chosen.

    Raises:
        UsageError: there is no such file, or the engine is unknown or not installed.
        BundleError: the bundle is damaged, or its self-test fails on the engine.
    """
    if str(path) == DEFAULT:
        return ModelFamily(engine, profile, tell)
    return ProvedModel(path, engine, profile)
