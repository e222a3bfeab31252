"""Hold the recipe to start from against PLSR, a Gaussian process and SVR on small libraries.

    python -m tools.small_libraries CV.98 SL.125 UL.120 SC.93 SSP.460 soils/geeves.csv

Each library is a name of LimeSoDa's or a user's file. All methods see the same five folds, repeated
three times. It prints the mean R2 of each, and paired tests against the best rival; rivals choose
their settings by inner cross-validation, as users of scikit-learn would.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sklearn.cross_decomposition import PLSRegression
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVR
from torch import nn

from ccnvr.edge.chemometrics.preprocess import snv
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.calibration.folds import fold_of
from ccnvr.train.members.choice import is_better, skill
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.recipe import recipe_file
from ccnvr.train.runs import own_recipe
from ccnvr.train.runs.member_folds import fit_mean
from ccnvr.train.runs.run_data import RunData, load_data

RECIPE = Path(own_recipe.__file__).parents[1] / "recipes" / "own_library_recipe.toml"
MODEL = "ccnvr train"

_COMPONENTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24)


def _rivals(bands: int, soils: int) -> dict[str, Any]:
    components = {"n_components": [n for n in _COMPONENTS if n < min(25, soils // 4, bands)]}
    machine = make_pipeline(
        FunctionTransformer(snv), StandardScaler(), SVR(epsilon=0.05, max_iter=200_000)
    )
    gammas = [scale / bands for scale in (0.01, 0.1, 1.0)]
    kernel = ConstantKernel() * RBF(np.sqrt(bands)) + WhiteKernel(0.1)
    return {
        "PLSR": GridSearchCV(PLSRegression(scale=False), components, cv=5),
        "GP": make_pipeline(
            FunctionTransformer(snv), StandardScaler(), GaussianProcessRegressor(kernel)
        ),
        "SVR": GridSearchCV(machine, {"svr__C": [1.0, 10.0, 100.0], "svr__gamma": gammas}, cv=5),
    }


def _rival_predictions(data: RunData, folds: Integers) -> dict[str, Array]:
    spectra, found = data.soils.spectra, dict[str, Array]()
    for column, values in enumerate(data.soils.values.T):
        for fold in np.unique(folds):
            rows, held_out = (folds != fold) & ~np.isnan(values), folds == fold
            mean, spread = values[rows].mean(), values[rows].std()
            for name, rival in _rivals(spectra.shape[1], int(rows.sum())).items():
                rival.fit(spectra[rows], (values[rows] - mean) / spread)
                into = found.setdefault(name, np.empty_like(data.soils.values))
                into[held_out, column] = np.ravel(rival.predict(spectra[held_out])) * spread + mean
    return found


def _file(name: str, folder: Path) -> Path:
    """Return the file of a library, written as a user's if it is one of LimeSoDa's."""
    if Path(name).exists():
        return Path(name).resolve()
    soils = limesoda.load(name)
    lines = [",".join(["sample_id", *soils.properties, *map(str, soils.wavelengths_nm)])]
    for number, spectrum in enumerate(soils.reflectance):
        values = [repr(float(values[number])) for values in soils.properties.values()]
        lines.append(",".join([str(number), *values, *map(str, spectrum.round(6))]))
    (folder / f"{name}.csv").write_text("\n".join(lines))
    return folder / f"{name}.csv"


def _compare(name: str) -> None:
    with TemporaryDirectory() as folder:
        path = _file(name, Path(folder))
        text = RECIPE.read_text().replace("my-soils.csv", str(path))
        recipe = recipe_file.parse(own_recipe.complete(text), RECIPE)
        data = load_data(recipe)
    started = time.process_time()

    def network(
        rows: Integers, part: str, offset: int, teachers: tuple[nn.Module, ...]
    ) -> Calibration:
        context = Fitting(recipe, recipe.fit.seed * 1000 + offset, teachers=teachers)
        return fitting.fit(context, data.soils.spectra[rows], data.soils.values[rows])

    nothing: Callable[[], Any] = lambda: None  # noqa: E731
    mean = fit_mean(recipe, data, network, nothing)
    seconds = time.process_time() - started
    assert recipe.members is not None
    scores: dict[str, list[Array]] = {}
    for repeat in range(recipe.members.repeats):
        folds = fold_of(data.soils, recipe.folds, recipe.fit.seed + repeat)
        answers = {MODEL: mean.predicted[mean.chosen][repeat], **_rival_predictions(data, folds)}
        for method, predicted in answers.items():
            scores.setdefault(method, []).append(skill(data.soils.values, predicted, folds))
    joined = {method: np.concatenate(parts) for method, parts in scores.items()}
    cells = [f"{joined[method].mean():.3f}" for method in joined]
    behind = [
        method
        for method in joined
        if method != MODEL and is_better(joined[method], joined[MODEL], recipe.folds)
    ]
    rivals = np.mean([joined[method].mean() for method in joined if method != MODEL])
    kind = "with" if mean.with_network else "without"
    print(
        f"| {path.stem} | {' | '.join(cells)} | {rivals:.3f} | {', '.join(behind) or '-'} "
        f"| {kind} | {seconds:.0f} |",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("libraries", nargs="+", metavar="LIBRARY")
    libraries = parser.parse_args().libraries
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"| library | {MODEL} | PLSR | GP | SVR | mean of these | behind | network | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in libraries:
        _compare(name)


if __name__ == "__main__":
    main()
