"""What a recipe says of augmentation and of Gaussian processes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Augmentation:
    """Standard deviations of the random changes; 0 turns one off.

    Of absorbance: `offset`; `slope`, a tilt by so much from the middle of the grid to its ends;
    `gain`, a share; `shift_nm`, of
    the wavelengths; `broadening_nm`, the width (sd) of a Gaussian line shape; `noise`, white, per
    band. Of the network's input: `input_shift` adds an offset and a tilt to each channel and scales
    it, after Bjerrum et al. 2017 (arXiv:1710.01927), who did so to spectra.
    """

    offset: float = 0.0
    slope: float = 0.1
    gain: float = 0.0
    shift_nm: float = 0.0
    broadening_nm: float = 0.0
    noise: float = 0.0
    input_shift: float = 0.1

    def __post_init__(self) -> None:
        if any(not 0.0 <= sd < 1e3 for sd in vars(self).values()):
            raise ValueError(
                "offset, slope and the other changes are standard deviations: from 0 to below 1000"
            )


@dataclass(frozen=True)
class Kernel:
    """Matérn's with nu = 5/2. `length` is in units of the median distance between the soils,
    `noise` a variance in units of the kernel's own.
    """

    length: float
    noise: float

    def __post_init__(self) -> None:
        if not 0.01 <= self.length <= 100.0 or not 1e-6 <= self.noise <= 10.0:
            raise ValueError(
                f"length {self.length} is not from 0.01 to 100, or noise {self.noise} not from "
                "1e-6 to 10"
            )
