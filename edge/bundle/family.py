"""The family of bundles that comes with ccnvr: one for each range of wavelengths of handhelds.

`default` stands for the family, and `default:NAME` for one of its bundles. Which of them serves an
instrument is decided by the instrument's bands.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from functools import cache

import numpy as np

from ccnvr.edge.bundle.archive import DEFAULT, MANIFEST, MODELS, BundleError
from ccnvr.edge.bundle.manifest import PLACES, Manifest, parse
from ccnvr.edge.chemometrics.grid import (
    WIDEST_GAP_NM,
    WavelengthError,
    check_wavelengths,
    in_vis_nir,
)
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.frozen import frozen


@frozen
class FamilyMember:
    """A bundle of the family, of which the manifest alone is read."""

    name: str
    """Its name in the family, such as `asd`."""

    manifest: Manifest

    @property
    def source(self) -> str:
        """What names the bundle where a bundle is asked for, such as `default:asd`."""
        return f"{DEFAULT}:{self.name}"

    @property
    def instruments(self) -> str:
        """The instruments that it was trained for, in words."""
        return str(self.manifest.card.training.get("instruments", ""))

    @property
    def needs(self) -> str:
        """The wavelengths that an instrument must have, in words."""
        return str(self.manifest.preprocessing.grid)

    @property
    def r2(self) -> dict[str, float]:
        """R2 of each property that it predicts, in places that were held out; {} if unknown.

        It is that of the values as they are learnt, on a logarithm where the target has one.
        """
        # A card may hold anything, also in a bundle that someone put into the installation.
        places = self.manifest.card.training.get(PLACES)
        stated = places.get("r2") if isinstance(places, dict) else None
        found = stated if isinstance(stated, dict) else {}
        names = [target.name for target in self.manifest.targets]
        return {name: found[name] for name in names if isinstance(found.get(name), float)}

    @property
    def score(self) -> float:
        """The sum of R2 over its properties: it prefers more properties and better ones."""
        return sum(self.r2.values())


# The installation does not change while the process runs, so its bundles are read once.
@cache
def members() -> tuple[FamilyMember, ...]:
    """Return the family by name.

    Raises:
        BundleError: a bundle of the installation is damaged.
    """
    return tuple(sorted(_read(), key=lambda member: member.name))


def _read() -> Iterator[FamilyMember]:
    for path in MODELS.glob("*.ccnvr"):
        name = path.stem
        try:
            # The rest is read and verified when the bundle is opened.
            with zipfile.ZipFile(path) as archive:
                yield FamilyMember(name, parse(archive.read(MANIFEST).decode()))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise BundleError(
                f"bundle {DEFAULT}:{name} of this installation is damaged ({error}); install ccnvr "
                "again"
            ) from error


def choose(wavelengths_nm: Array) -> FamilyMember:
    """Return the best member for an instrument: of those whose bands it has, that of best `score`.

    Args:
        wavelengths_nm: the instrument's bands, in nm, increasing.

    Raises:
        WavelengthError: no member serves these bands.
    """
    covered = [member for member in members() if _covers(member, wavelengths_nm)]
    if not covered:
        raise _unserved(wavelengths_nm)
    return max(covered, key=lambda member: member.score)


def _covers(member: FamilyMember, wavelengths_nm: Array) -> bool:
    return _refusal(member, wavelengths_nm) is None


def _refusal(member: FamilyMember, wavelengths_nm: Array) -> WavelengthError | None:
    """Return the error for bands that a member does not serve, or None."""
    try:
        check_wavelengths(wavelengths_nm, member.manifest.preprocessing.grid)
    except WavelengthError as error:
        return error
    return None


def _unserved(wavelengths_nm: Array) -> WavelengthError:
    """Return the error for bands that no member serves."""
    family = members()
    # What is wrong with the wavelengths themselves is the same for all but separate bands.
    continuous = [one for one in family if not one.manifest.preprocessing.grid.wavelengths_nm]
    first = _refusal((continuous or family)[0], wavelengths_nm)
    if first is not None and (len(family) == 1 or not in_vis_nir(wavelengths_nm)):
        return first
    apart = float(np.max(np.diff(wavelengths_nm)))
    return WavelengthError(
        f"no default model serves {wavelengths_nm.size} bands of {wavelengths_nm[0]:.1f}-"
        f"{wavelengths_nm[-1]:.1f} nm, up to {apart:.1f} nm apart (see ccnvr inspect default for "
        f"what each needs; bands may be {WIDEST_GAP_NM:g} nm apart); train a model for these, or "
        "correct the wavelengths"
    )
