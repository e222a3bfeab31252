"""Train a network, export it as a bundle, and predict a file with it.

    python examples/train_export_predict.py recipe.toml runs/mine mine.ccnvr soils.csv

train/recipes/own_library_recipe.toml is a recipe to start from.
"""

import sys
from pathlib import Path

from ccnvr.edge import load_bundle, read_spectra
from ccnvr.export import export_run
from ccnvr.train import train

recipe, run, bundle, soils = map(Path, sys.argv[1:])
report = train(recipe, run)
for title, libraries in report.accuracy.items():
    for library, properties in libraries.items():
        for name, figures in properties.items():
            print(f"{title}: {library} {name} R2 {figures['r2']}")

export_run(run, bundle)

model = load_bundle(str(bundle))
for spectra in read_spectra(soils):
    predict = model.bind(spectra.wavelengths_nm)
    for sample_id, absorbance in zip(spectra.sample_ids, spectra.absorbance, strict=True):
        print(sample_id, dict(predict(absorbance).estimates))
