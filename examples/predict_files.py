"""Predict the soils of files: python examples/predict_files.py soils.csv scans/"""

import sys

from ccnvr.edge import load_bundle, read_spectra

model = load_bundle("default")
for spectra in read_spectra(*sys.argv[1:]):
    predict = model.bind(spectra.wavelengths_nm)
    for sample_id, absorbance in zip(spectra.sample_ids, spectra.absorbance, strict=True):
        prediction = predict(absorbance)
        print(f"{sample_id}: organic carbon {prediction['OC']}", *prediction.flags)
