"""The settings of augmentation, Gaussian processes and members in a training recipe."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ccnvr.edge.typed import OMITTED_IF_EMPTY
from ccnvr.firmware_bridge.arrays import Array


@dataclass(frozen=True)
class Augmentation:
    """Standard deviations of random changes to training spectra; 0 turns a change off.

    All but `input_shift` change absorbance.

    Raises:
        ValueError: a standard deviation is negative, or 1000 and more.
    """

    offset: float = 0.0
    """A constant that is added to the spectrum."""

    slope: float = 0.1
    """A tilt about the middle of the grid; the value is reached at the grid's ends."""

    gain: float = 0.0
    """A factor on the spectrum, as a share of it."""

    shift_nm: float = 0.0
    """A shift of the wavelength scale."""

    broadening_nm: float = 0.0
    """The standard deviation of a Gaussian line shape that the spectrum is convolved with."""

    noise: float = 0.0
    """White noise in each band."""

    input_shift: float = 0.1
    """An offset, a tilt and a relative gain of each channel of the network's input.

    After Bjerrum et al. 2017 (arXiv:1710.01927), who changed spectra in this way.
    """

    def __post_init__(self) -> None:
        # Written as a negated range, so that NaN is refused too.
        if any(not 0.0 <= sd < 1e3 for sd in vars(self).values()):
            raise ValueError(
                "offset, slope and the other changes are standard deviations: from 0 to below 1000"
            )


@dataclass(frozen=True)
class Kernel:
    """A Matérn kernel with nu = 5/2.

    Raises:
        ValueError: a value is out of range.
    """

    length: float
    """The length scale, in units of the median distance between the soils; 0.01 to 100."""

    noise: float
    """The noise variance, in units of the kernel's own variance; 1e-6 to 10."""

    def __post_init__(self) -> None:
        for name, value, lowest, highest in (
            ("length", self.length, 0.01, 100.0),
            ("noise", self.noise, 1e-6, 10.0),
        ):
            if not lowest <= value <= highest:
                raise ValueError(f"{name} = {value} must be from {lowest:g} to {highest:g}")


PLSR, MATERN, SVR = MEMBER_KINDS = ("plsr", "matern", "svr")
"""The kinds of members; all but PLSR compare a spectrum with the training soils."""


@dataclass(frozen=True)
class MemberSettings:
    """The members that are fitted beside the network; the model is their plain mean.

    Raises:
        ValueError: a kind is unknown or missing, or another value is out of range.
    """

    kinds: tuple[str, ...] = MEMBER_KINDS
    """Some of `MEMBER_KINDS`; at least one but PLSR is needed, which carries the constants."""

    network: bool | str = "auto"
    """Whether the network is a member too: true, false, or `auto`.

    With `auto`, it is one if repeated cross-validation finds the mean better with it than without,
    by more than chance; for fewer soils than `FEWEST_FOR_NETWORK` it is not tried.
    """

    repeats: int = 3
    """How often the cross-validation is repeated with other folds, 2 to 20.

    Once is enough if it is settled whether the network is a member.
    """

    most_soils: int = field(default=0, metadata={OMITTED_IF_EMPTY: True})
    """The most spectra of soils that a kernel member compares a spectrum with, at least 10.

    Of more, so many are drawn that are spread over all, and the member learns from all of them what
    to predict from these; 0 compares with all, up to 6,000.
    """

    length: float = field(default=0.0, metadata={OMITTED_IF_EMPTY: True})
    """The length of the process, in median distances between soils; 0 chooses one.

    With a length, soils are compared in `most_components`, and nothing is tried, which takes most
    of a fit's time.
    """

    ranges_nm: tuple[tuple[float, float], ...] = field(
        default=(), metadata={OMITTED_IF_EMPTY: True}
    )
    """The ranges that kernel members see, as pairs of wavelengths in nm.

    For each there is one member of each kind, which sees that part of the network's input alone.
    Without any there is one that sees all of it.
    """

    teach: bool = field(default=False, metadata={OMITTED_IF_EMPTY: True})
    """Whether the network learns from the members' mean too, as from a teacher."""

    most_components: int = 64
    """The most principal components that soils are compared in, 16 to 256.

    Of 16, 32, 64, 128 and 256 those up to it are tried.
    """

    def __post_init__(self) -> None:
        self._check_kinds()
        self._check_numbers()

    def _check_kinds(self) -> None:
        if unknown := [kind for kind in self.kinds if kind not in MEMBER_KINDS]:
            raise ValueError(f"kind {unknown[0]!r} is not one of {', '.join(MEMBER_KINDS)}")
        if len(set(self.kinds)) < len(self.kinds):
            raise ValueError("kinds names one kind twice; name each once")
        if not set(self.kinds) - {PLSR}:
            raise ValueError(f"kinds = {list(self.kinds)} needs {MATERN} or {SVR} too")
        if isinstance(self.network, str) and self.network != "auto":
            raise ValueError(f'network = {self.network!r} is not true, false or "auto"')

    def _check_numbers(self) -> None:
        # A choice needs the spread over repeats.
        fewest = 2 if self.network == "auto" else 1
        if not fewest <= self.repeats <= 20:
            raise ValueError(f"repeats = {self.repeats} is not from {fewest} to 20")
        if self.most_soils and not 10 <= self.most_soils <= 6000:
            raise ValueError(f"most_soils = {self.most_soils} is not 0 or from 10 to 6000")
        if not 0.0 <= self.length <= 100.0:
            raise ValueError(f"length = {self.length} is not from 0 to 100")
        if not 16 <= self.most_components <= 256:
            raise ValueError(f"most_components = {self.most_components} is not from 16 to 256")
        if len(set(self.ranges_nm)) < len(self.ranges_nm) or len(self.ranges_nm) > MOST_RANGES:
            raise ValueError(f"ranges_nm must be different, and at most {MOST_RANGES}")

    def check_ranges(self, wavelengths: Array) -> None:
        """Check that each range holds several of the grid's wavelengths `(bands,)`.

        Raises:
            ValueError: one does not.
        """
        for low, high in self.ranges_nm:
            # Here and not in the checks above, because the settings do not know the grid.
            found = int(np.sum((wavelengths >= low) & (wavelengths <= high)))
            if found < FEWEST_BANDS:
                raise ValueError(
                    f"range [{low:g}, {high:g}] of ranges_nm holds {found} bands of [grid]; at "
                    f"least {FEWEST_BANDS} are needed"
                )


MOST_RANGES = 4
"""The most ranges that kernel members see."""

FEWEST_BANDS = 5
"""The bands that each of these ranges must hold."""


@dataclass(frozen=True)
class PlaceSettings:
    """The cross-validation by places, which gives the intervals for new places.

    A place is a country of a library that states countries, or else a library. Of a model with
    members, the network is left out of it, because it takes most of the time.

    Raises:
        ValueError: the number of folds is out of range.
    """

    folds: int = 5
    """The number of folds that places are divided into, 2 to 20."""

    def __post_init__(self) -> None:
        if not 2 <= self.folds <= 20:
            raise ValueError(f"folds = {self.folds} of [places] must be from 2 to 20")


FEWEST_FOR_NETWORK = 500
"""The soils below which `network = "auto"` leaves the network out untried.

On 460 soils it added nothing to the mean and took most of the time (docs/decisions/0071).
"""
