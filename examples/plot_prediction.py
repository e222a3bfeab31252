"""Plot the spectrum of a soil beside its predictions and their 90 % intervals.

    python examples/plot_prediction.py soils.csv prediction.svg

It plots the first spectrum of the file. matplotlib comes with the extra `train`.
"""

import sys

import matplotlib.pyplot as plt

from ccnvr.edge import load_bundle, read_spectra

source, picture = sys.argv[1:]
spectra = next(read_spectra(source))
absorbance = spectra.absorbance[0]
prediction = load_bundle("default").bind(spectra.wavelengths_nm)(absorbance)

figure, axes = plt.subplot_mosaic(
    [["spectrum", name] for name in prediction.estimates],
    figsize=(9, 3.6),
    width_ratios=[1.4, 1],
    layout="constrained",
)
spectrum = axes["spectrum"]
spectrum.plot(spectra.wavelengths_nm, absorbance, color="#7a4a21")
spectrum.set(xlabel="wavelength (nm)", ylabel="absorbance", title=spectra.sample_ids[0])
for name, estimate in prediction.estimates.items():
    row, low, high = axes[name], estimate.low, estimate.high
    assert low is not None and high is not None  # the default bundle has intervals
    row.plot([low, high], [0, 0], color="#9db8a0", linewidth=6, solid_capstyle="butt")
    row.plot(estimate.value, 0, "o", color="#23572b")
    row.set(xlim=(0, 1.15 * high), ylim=(-1, 1), yticks=[])
    unit = "" if estimate.unit == name else f" ({estimate.unit})"
    row.set_ylabel(f"{name}{unit}", rotation=0, ha="right", va="center")
    row.spines[["left", "top", "right"]].set_visible(False)
figure.savefig(picture)
