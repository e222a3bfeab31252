"""Cross-validate CCNVR in a scikit-learn pipeline, on 125 Swedish soils of LimeSoDa.

A parameter that is not given is as in the default bundle's recipe; `epochs` is given here so that
the example ends soon.
"""

import numpy as np
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from ccnvr.edge.spectrum_files import limesoda
from ccnvr.train import CCNVRRegressor

soils = limesoda.load("SL.125")
network = CCNVRRegressor(
    wavelengths=soils.wavelengths_nm, target_transform="log1p", epochs=5, random_state=0
)
to_absorbance = FunctionTransformer(lambda reflectance: -np.log10(reflectance))
model = make_pipeline(to_absorbance, network)
print(cross_val_score(model, soils.reflectance, soils.properties["OC"], cv=3))
