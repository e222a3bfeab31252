"""Pictures of spectra with their predictions: a page for each, and contact sheets for many."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ccnvr.edge.atomic_files import check_folder, make_folder, write_atomically
from ccnvr.edge.batch.predict_files import Predicted
from ccnvr.edge.chemometrics.domain import Domain
from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.chemometrics.targets import Estimate, Target
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.installation import extra_command

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A page takes far longer to draw than to predict, so a folder of thousands would seem to hang.
MOST_PAGES = 100
MOST_SPECTRA = 960
PER_SHEET = 24

_COLUMNS = 4
_SPECTRUM, _RANGE, _INTERVAL, _POINT = "#7a4a21", "#e4e0da", "#9db8a0", "#23572b"
_FLAGGED = "#b3372c"
# About 95 % of the training soils of a library lie within two standard deviations.
_SPREAD = 2.0
# Bands of instruments are spaced unevenly, but seldom by more than a factor of two.
_GAP_STEPS = 3.0


@frozen
class _Spectrum:
    """One spectrum to be drawn, with the model that predicted it."""

    model: ProvedModel
    sample_id: str
    wavelengths_nm: Array
    absorbance: Array
    prediction: Prediction


class Pictures:
    """A collection of predicted spectra, which are drawn into a folder.

    Raises:
        UsageError: matplotlib is not installed, or the folder is a file.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import matplotlib.figure  # noqa: F401 - so that nothing is predicted in vain
        except ImportError:
            raise UsageError(f"--plot needs matplotlib; run: {extra_command('plot')}") from None
        check_folder(folder, "--plot")
        self._folder = folder
        self._spectra: list[_Spectrum] = []
        self._count = 0

    def watch(self, predicted: Predicted) -> None:
        """Keep the spectra of a block, as many as are drawn."""
        self._count += len(predicted.sample_ids)
        for sample_id, spectrum, prediction in zip(
            predicted.sample_ids, predicted.absorbance, predicted.predictions, strict=True
        ):
            if len(self._spectra) == MOST_SPECTRA:
                return
            self._spectra.append(
                # A view would keep the whole block of the table in memory.
                _Spectrum(
                    predicted.model,
                    sample_id,
                    predicted.wavelengths_nm,
                    spectrum.copy(),
                    prediction,
                )
            )

    def draw(self) -> str:
        """Write all pictures; return a sentence that says which.

        Raises:
            UsageError: the folder cannot be made where it is named, or may not be written to.
            CcnvrError: the disk is full, or fails.
        """
        make_folder(self._folder, "--plot")
        pages = {spectrum.model.bundle.digest: _Page(spectrum.model) for spectrum in self._spectra}
        names: set[str] = set()
        for spectrum in self._spectra[:MOST_PAGES]:
            figure = pages[spectrum.model.bundle.digest].draw(spectrum)
            _save(figure, self._folder / f"{_file_name(spectrum.sample_id, names)}.png")
        sheets = 0
        if len(self._spectra) > 1:
            for first in range(0, len(self._spectra), PER_SHEET):
                sheets += 1
                figure = _sheet(self._spectra[first : first + PER_SHEET], pages)
                _save(figure, self._folder / f"contact-sheet-{sheets:02d}.png")
        drawn = min(len(self._spectra), MOST_PAGES)
        said = f"{drawn} spectra are drawn in {self._folder}"
        if sheets:
            said += f", and {len(self._spectra)} on {sheets} contact sheets"
        left_out = self._count - len(self._spectra)
        return said + (f"; the last {left_out} are not drawn" if left_out else "")


class _Page:
    """The drawing of spectra as one model sees them."""

    def __init__(self, model: ProvedModel) -> None:
        manifest = model.bundle.manifest
        self._preprocessing, self._correction = manifest.preprocessing, model.correction
        self._targets = manifest.targets
        self._grid = manifest.preprocessing.grid
        self._usual = None if model.domain is None else _usual(model.domain, self._grid)
        self._bound: Preprocessor | None = None

    def draw(self, spectrum: _Spectrum) -> Figure:
        """Return a page: the spectrum, the model's input, and the predictions."""
        from matplotlib.figure import Figure

        # `Figure` and not pyplot, which keeps every figure and looks for a display.
        figure = Figure(figsize=(10.0, 5.6), layout="constrained")
        places = figure.add_gridspec(1, 5)
        left, right = figure.add_subfigure(places[:3]), figure.add_subfigure(places[3:])
        upper, lower = left.subplots(2, 1, sharex=True)
        self.draw_spectrum(upper, spectrum)
        upper.set(ylabel="absorbance", title=_printable(spectrum.sample_id))
        for number, channel in enumerate(self._input(spectrum), start=1):
            lower.plot(
                *_broken(self._grid.wavelengths(), channel),
                linewidth=0.9,
                label=f"channel {number}",
            )
        lower.set(xlabel="wavelength (nm)", ylabel="model input")
        if len(self._preprocessing.channels) > 1:
            lower.legend(fontsize="x-small")
        rows = right.subplots(len(self._targets), 1, squeeze=False)[:, 0]
        for axes, target in zip(rows, self._targets, strict=True):
            _draw_estimate(axes, target, spectrum.prediction[target.name])
        flags = ", ".join(spectrum.prediction.flags) or "no flags"
        color = _FLAGGED if spectrum.prediction.flags else "black"
        right.suptitle(_wrapped(flags), fontsize="small", color=color)
        return figure

    def short(self, prediction: Prediction) -> str:
        """Return the prediction of the first property in words."""
        target = self._targets[0]
        return f"{target.name} {prediction[target.name].value:.3g} {target.unit}"

    def draw_spectrum(self, axes: Axes, spectrum: _Spectrum) -> None:
        """Draw a spectrum over the usual absorbance of the model's training soils."""
        if self._usual is not None:
            wavelengths, low, high = _broken(*self._usual)
            axes.fill_between(wavelengths, low, high, color=_RANGE, linewidth=0.0)
        line = _broken(spectrum.wavelengths_nm, spectrum.absorbance)
        axes.plot(*line, color=_SPECTRUM, linewidth=1.0)

    def _input(self, spectrum: _Spectrum) -> Array:
        bound = self._bound
        if bound is None or not np.array_equal(bound.wavelengths_nm, spectrum.wavelengths_nm):
            bound = Preprocessor(self._preprocessing, spectrum.wavelengths_nm, self._correction)
            self._bound = bound
        return bound(spectrum.absorbance).astype(np.float64)


def _sheet(spectra: list[_Spectrum], pages: Mapping[str, _Page]) -> Figure:
    """Return a contact sheet of spectra with the first property's prediction."""
    from matplotlib.figure import Figure

    rows = -(-len(spectra) // _COLUMNS)
    figure = Figure(figsize=(11.0, 0.6 + 1.7 * rows), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(spectra) :]:
        axes.set_axis_off()
    for axes, spectrum in zip(panels.flat, spectra, strict=False):
        page = pages[spectrum.model.bundle.digest]
        page.draw_spectrum(axes, spectrum)
        title = f"{_printable(spectrum.sample_id, 18)}  {page.short(spectrum.prediction)}"
        color = _FLAGGED if spectrum.prediction.flags else "black"
        axes.set_title(title, fontsize="x-small", color=color)
        axes.tick_params(labelsize="x-small")
    figure.supxlabel("wavelength (nm); a red title has flags", fontsize="small")
    return figure


def _broken(wavelengths_nm: Array, *curves: Array) -> tuple[Array, ...]:
    """Return wavelengths and curves `(bands,)` with NaN in each gap, where no line is drawn."""
    steps = np.diff(wavelengths_nm)
    gaps = np.flatnonzero(steps > _GAP_STEPS * np.median(steps)) + 1
    return tuple(np.insert(values, gaps, np.nan) for values in (wavelengths_nm, *curves))


def _usual(domain: Domain, grid: Grid) -> tuple[Array, Array, Array]:
    """Return wavelengths, and the lowest and highest usual absorbance of the training soils."""
    spread = np.sqrt(np.sum(domain.loadings[:, 0] ** 2 * domain.variances[:, 0, :, None], axis=1))
    means = domain.means[:, 0]
    return (
        grid.wavelengths()[:: domain.shape.every],
        np.min(means - _SPREAD * spread, axis=0),
        np.max(means + _SPREAD * spread, axis=0),
    )


def _draw_estimate(axes: Axes, target: Target, estimate: Estimate) -> None:
    """Draw a value with its interval over the range of the training soils."""
    axes.axvspan(target.lowest, target.highest, color=_RANGE, linewidth=0.0)
    ends = [target.lowest, target.highest, estimate.value]
    if estimate.low is not None and estimate.high is not None:
        ends += [estimate.low, estimate.high]
        axes.plot(
            [estimate.low, estimate.high], [0, 0], color=_INTERVAL, linewidth=6,
            solid_capstyle="butt",
        )  # fmt: skip
    axes.plot(estimate.value, 0, "o", color=_POINT, markersize=5)
    margin = 0.05 * (max(ends) - min(ends))
    axes.set(ylim=(-1, 1), yticks=[], xlim=(min(ends) - margin, max(ends) + margin))
    unit = "" if target.unit == target.name else f" {target.unit}"
    axes.set_title(f"{target.name} {estimate.value:.3g}{unit}", fontsize="small", loc="left")
    axes.tick_params(labelsize="x-small")
    axes.spines[["left", "top", "right"]].set_visible(False)


def _save(figure: Figure, path: Path) -> None:
    with write_atomically(path) as stream:
        figure.savefig(stream, format="png", dpi=110)


def _file_name(sample_id: str, taken: set[str]) -> str:
    """Return a sample id as a file name that no other sample has, and add it to `taken`."""
    # Ids of soils are free text: a slash would name another folder, and a file's name is bounded.
    base = re.sub(r"[^\w.+-]+", "_", sample_id).strip("._")[:80] or "sample"
    name, number = base, 1
    # Without regard to case: on macOS and on FAT cards, OC_1 and oc_1 are one file.
    while name.lower() in taken or name.startswith("contact-sheet-"):
        number += 1
        name = f"{base}_{number}" if not base.startswith("contact-sheet-") else f"_{base}_{number}"
    taken.add(name.lower())
    return name


def _printable(text: str, most: int = 60) -> str:
    # A dollar sign would begin a formula.
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return (shown if len(shown) <= most else shown[: most - 3] + "...").replace("$", r"\$")


def _wrapped(text: str, width: int = 60) -> str:
    lines: Iterable[str] = re.findall(rf".{{1,{width}}}(?:\s|$)|\S+", text)
    return "\n".join(lines)
