"""Cross-validate CCNVR in a scikit-learn pipeline, on 125 Swedish soils.

The first step averages groups of four bands, as a coarser instrument would. A parameter that is not
given is as in the default bundle's recipe; with few epochs and no teachers the example ends soon.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from ccnvr.train import CCNVRRegressor, load_library


def average(bands: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of groups of four bands `(n, bands / 4)`."""
    means: NDArray[np.float64] = bands.reshape(len(bands), -1, 4).mean(axis=2)
    return means


soils = load_library("SL.125")  # absorbance on one grid, with laboratory values
(wavelengths,) = average(soils.grid.wavelengths()[None])
network = CCNVRRegressor(wavelengths=wavelengths, epochs=30, teachers=0, random_state=0)
model = make_pipeline(FunctionTransformer(average), network)
folds = KFold(3, shuffle=True, random_state=0)
print(cross_val_score(model, soils.spectra, soils.column("OC"), cv=folds))  # R2 of each fold
