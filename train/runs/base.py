"""The base of a fine-tuning: a bundle or a finished run, as a recipe and a torch calibration."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.bundle import family
from ccnvr.edge.bundle.archive import DEFAULT, Bundle, BundleError, model_file_name
from ccnvr.edge.chemometrics.grid import naming_source
from ccnvr.edge.network.file import unpack
from ccnvr.edge.typed import build
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.libraries.catalogue import LIBRARIES, library_and_part
from ccnvr.train.libraries.own import files as own_files
from ccnvr.train.libraries.own.files import ENDINGS
from ccnvr.train.network.ccnvr import CCNVR, with_outputs
from ccnvr.train.network.convert import as_torch
from ccnvr.train.network.epochs import check_fits
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs import folder as run_folder


@dataclass(frozen=True, eq=False)
class Base:
    """A trained model that can be trained further."""

    source: str
    """What the user named it by: `default:NAME`, a file or a folder."""

    digest: str
    """The sha256 of its manifest or checkpoint."""

    recipe: TrainingRecipe
    """The recipe that it was trained by."""

    calibration: Calibration
    """The network, the targets and the correction."""

    history: dict[str, Any]
    """The soils and the training, from its report or its model card."""

    def check_tunable(self) -> None:
        """Check that there is a network whose layers can be tuned.

        Raises:
            UsageError: the model has kernel members only.
        """
        if self.calibration.network.config.members_only:
            raise UsageError(
                f"{self.source} has kernel members only and no network that could be tuned; "
                "leave out --network yes, and members are fitted to your soils beside it"
            )

    def only(self, properties: Sequence[str]) -> Base:
        """Return the base with the outputs for these properties only."""
        columns = [self.recipe.properties.index(name) for name in properties]
        calibration = dataclasses.replace(
            self.calibration,
            network=with_outputs(self.calibration.network, columns),
            targets=tuple(self.calibration.targets[column] for column in columns),
        )
        return dataclasses.replace(
            self, recipe=self.recipe.only(properties), calibration=calibration
        )


def read_base(source: str, soils: Path | None = None) -> Base:
    """Read a bundle of the default family, a .ccnvr file, or the folder of a finished run.

    Of the whole family, `default`, the best bundle for the bands of the file `soils` is read.

    Raises:
        UsageError: the source is none of these.
        WavelengthError: no bundle of the family serves the bands of `soils`; names the file.
        BundleError: the bundle is damaged, or does not hold what fine-tuning needs.
    """
    path = Path(source)
    if source == DEFAULT and soils is not None:
        with naming_source(soils):
            source = family.choose(own_files.wavelengths(soils)).source
    if bundles.names_default(source) or path.is_file():
        return _of_bundle(bundles.read(source))
    if not path.is_dir():
        raise UsageError(
            f"no model at {source}; give 'default', a .ccnvr file, or the folder of a finished "
            "ccnvr train"
        )
    recipe, calibration, report = run_folder.load(path)
    # A run has no manifest; its checkpoint identifies it just as well.
    digest = hashlib.sha256((path / run_folder.CHECKPOINT).read_bytes()).hexdigest()
    return Base(source, digest, recipe, calibration, _history(report.soils, report.training))


def at_hand(libraries: Iterable[str]) -> tuple[str, ...]:
    """Return those libraries whose files are on this computer; nothing is fetched."""

    def there(name: str) -> bool:
        # A name that ends as a file does is the user's own file and no library.
        if name.endswith(ENDINGS):
            return Path(name).is_file()
        source = LIBRARIES.get(library_and_part(name)[0])
        return source is not None and source.present() is not None

    return tuple(name for name in libraries if there(name))


def _of_bundle(bundle: Bundle) -> Base:
    """Return the base in a bundle.

    Its card holds the recipe and its model file `network` the weights; both must agree with what
    the edge computes with.
    """
    manifest = bundle.manifest
    recipe, network = _recipe_and_network(bundle)
    correction = bundle.correction()
    if (
        # The card is for people and may be edited: the edge computes with the manifest alone.
        recipe.preprocessing != manifest.preprocessing
        or not _describes(recipe, network)
        or (recipe.epo is not None and correction is None)
    ):
        raise BundleError(
            f"the recipe in the card of bundle {bundle.source} is not that of its network, so it "
            "cannot be fine-tuned; give the folder of the run that it was exported from"
        )
    calibration = Calibration(network, manifest.targets, correction)
    return Base(
        bundle.source,
        bundle.digest,
        recipe,
        calibration,
        _history(manifest.card.soils, manifest.card.training),
    )


def _describes(recipe: TrainingRecipe, network: CCNVR) -> bool:
    """Return whether a network is the recipe's, with kernel members or without."""
    try:
        check_fits(network.config, recipe.network_config())
    except ValueError:
        return False
    return True


def _recipe_and_network(bundle: Bundle) -> tuple[TrainingRecipe, CCNVR]:
    manifest = bundle.manifest
    content = bundle.parts.get(model_file_name("fp32", "network"))
    stated = manifest.card.training.get("recipe")
    if content is None or not isinstance(stated, dict):
        missing = (
            "recipe in its card"
            if content is not None
            else (f"part {model_file_name('fp32', 'network')}")
        )
        raise BundleError(
            f"bundle {bundle.source} has no {missing}, so it cannot be fine-tuned; give the folder "
            "of the run that it was exported from, or export it again without --only and --profile"
        )
    # `ccnvr export --targets` may have left some of the recipe's properties out.
    transforms = {target.name: target.transform for target in manifest.targets}
    kept = {**stated, "transforms": transforms}
    if isinstance(defined := stated.get("properties"), dict):
        kept["properties"] = {name: defined[name] for name in transforms if name in defined}
    try:
        recipe = build(TrainingRecipe, kept)
        network = as_torch(unpack(content))
    except (ValueError, RecursionError, UsageError) as error:
        raise BundleError(
            f"bundle {bundle.source} cannot be fine-tuned: {error}; give the folder of the run "
            "that it was exported from"
        ) from error
    return recipe, network


def _history(soils: dict[str, Any], training: dict[str, Any]) -> dict[str, Any]:
    """Return what the card of the fine-tuned model says of its base; it has the recipe itself."""
    return {
        "soils": soils,
        "training": {name: value for name, value in training.items() if name != "recipe"},
    }
