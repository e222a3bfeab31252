"""Transfer inside ICRAF: models of the world in a country that they have not seen.

Each country is the target in turn. Some of its profiles are drawn as local soils, up to the largest
number; all others are predicted, the same ones whatever the number. Methods are calibrated on the
rest of the world, together with so many local soils. Beside them, some are calibrated on the local
soils alone, and CCNVR, trained on the rest of the world, is fine-tuned on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ccnvr.firmware_bridge.arrays import Integers
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration.splits import WORLD_PROPERTIES, WORLD_SCALES, world_soils
from ccnvr.train.experiments.comparison import Comparison
from ccnvr.train.experiments.ledger import Ledger
from ccnvr.train.experiments.single_network import Pretrained
from ccnvr.train.libraries.soils import Soils, Split
from ccnvr.train.rivals.contender import Choice, Contender, Network, PredictAll
from ccnvr.train.rivals.tuning import Budget

COUNTRIES = ("Kenya", "China", "Indonesia")
"""Those with the most soils."""

SIZES = (10, 30, 100)
"""The numbers of local soils, beside none."""

LAYERS = "all"
"""The layers that are fine-tuned."""


@dataclass(frozen=True)
class Places:
    """The experiment.

    Attributes:
        countries: the countries that are the target in turn.
        sizes: the numbers of local soils.
        contenders: the methods that are calibrated on the world, by name.
        local: those of them that are calibrated on the local soils alone, too.
        network: the CCNVR that is fine-tuned, or None.
        chosen: by method, the configurations to use for the world, where chosen before.
        budget: the budget of each rival's choice.
        ledger: where choices and predictions are kept.
        seed: the seed of the draw of local profiles.
        on_step: called with a description of the next computation.
    """

    countries: tuple[str, ...]
    sizes: tuple[int, ...]
    contenders: dict[str, Contender]
    local: tuple[str, ...]
    network: Network | None
    chosen: dict[str, Choice]
    budget: Budget
    ledger: Ledger
    seed: int = 0
    on_step: Callable[[str], None] = lambda what: None


@dataclass(frozen=True, eq=False)
class Country:
    """The soils of a target."""

    name: str
    world: Soils
    """The soils of all other countries."""

    drawn: Soils
    """The local soils in the order in which they are drawn."""

    rest: Soils
    """The soils that are predicted."""


def run(places: Places) -> dict[str, Any]:
    """Return R2 and the other figures by country, method, number of local soils and property.

    Raises:
        UsageError: a country has too few soils.
    """
    soils = world_soils()
    soils = soils.of([name for name in WORLD_PROPERTIES if name in soils.properties])
    countries = [_country(soils, name, max(places.sizes), places.seed) for name in places.countries]
    found = {country.name: _tables(places, country) for country in countries}
    return {
        "experiment": "places",
        "sizes": [0, *places.sizes],
        "budget": vars(places.budget),
        "scored after": dict(WORLD_SCALES),
        "predicted": {country.name: len(country.rest) for country in countries},
        "countries": found,
        "mean r2": _mean_over_countries(found),
    }


def _country(soils: Soils, name: str, most: int, seed: int) -> Country:
    inside = np.array([label == name for label in soils.labels["country"]])
    world, local = soils.rows(~inside), soils.rows(inside)
    # With all properties, so that each of them can be learnt from a few soils.
    complete = ~np.isnan(local.values).any(axis=1)
    sites = np.array(local.sites or local.sample_ids)
    drawn: list[int] = []
    # Whole profiles are drawn: horizons of one profile are alike, and if some were learnt from and
    # others predicted, the prediction would look too good.
    for site in np.random.default_rng(seed).permutation(np.unique(sites)):
        if len(drawn) < most:
            drawn += np.flatnonzero((sites == site) & complete).tolist()
    # The last profile may exceed the number; its further horizons are then neither learnt nor
    # predicted.
    rows: Integers = np.array(drawn[:most], dtype=np.int64)
    rest = local.rows(~np.isin(sites, sites[rows]))
    if len(rows) < most or len(rest) < most // 4:
        raise UsageError(
            f"{name} has {len(rows)} soils of all properties in profiles to draw and {len(rest)} "
            f"others, too few for {most} local soils; name another country"
        )
    return Country(name, world, local.rows(rows), rest)


def _tables(places: Places, country: Country) -> dict[str, dict[str, dict[str, Any]]]:
    """Return {method: {number of local soils: {property: figures}}}."""
    tables: dict[str, dict[str, dict[str, Any]]] = {}
    for size in (0, *places.sizes):
        # A smaller set is the beginning of a larger one, so that what more soils gain is not the
        # luck of another draw.
        local = country.drawn.rows(np.arange(size))
        both = _joined(country.world, local)
        _add(tables, places, Split(f"{size} local", both, country.rest), country.name, size)
        if not size:
            continue
        # Each local soil counts as one of its own in the choice of a rival.
        alone = replace(local, groups=np.arange(size))
        _add(tables, places, Split(f"{size} alone", alone, country.rest), country.name, size)
    if places.network is not None:
        # Once for each country, because only the fine-tuning depends on the local soils.
        pretrained = Pretrained(places.network, country.world)
        for size in places.sizes:
            tuned = _FineTuned(pretrained, country.drawn.rows(np.arange(size)))
            split = Split(f"{size} fine-tuned", _joined(country.world, tuned.local), country.rest)
            comparison = _comparison(places, split, {tuned.name: tuned}, country.name)
            merits = comparison.table({tuned.name: comparison.predictions(tuned)[""]})
            tables.setdefault(tuned.name, {})[str(size)] = merits[tuned.name]
    return tables


def _add(
    tables: dict[str, dict[str, dict[str, Any]]],
    places: Places,
    split: Split,
    country: str,
    size: int,
) -> None:
    """Add the figures of the methods that are calibrated on a split's training soils."""
    alone = split.name.endswith("alone")
    names = places.local if alone else tuple(places.contenders)
    comparison = _comparison(
        places, split, {name: places.contenders[name] for name in names}, country
    )
    if alone:
        # The given choices were made for the world; a few local soils need their own.
        comparison = replace(comparison, chosen={})
    predicted = {
        name: comparison.predictions(contender)[""]
        for name, contender in comparison.contenders.items()
    }
    for name, merits in comparison.table(predicted).items():
        row = f"{name}, local soils alone" if alone else name
        tables.setdefault(row, {})[str(size)] = merits


def _comparison(
    places: Places, split: Split, contenders: dict[str, Contender], country: str
) -> Comparison:
    return Comparison(
        library=f"icraf to {country}, draw {places.seed}",
        splits=[split],
        contenders=contenders,
        budget=places.budget,
        seeds=1,
        ledger=places.ledger,
        chosen=places.chosen,
        scales=WORLD_SCALES,
        on_step=places.on_step,
    )


def _joined(world: Soils, local: Soils) -> Soils:
    """Return the soils of the world and the local ones; profiles differ, so groups are counted."""
    assert world.groups is not None and local.groups is not None
    return replace(
        world,
        sample_ids=world.sample_ids + local.sample_ids,
        origin=world.origin + local.origin,
        spectra=np.concatenate([world.spectra, local.spectra]),
        values=np.concatenate([world.values, local.values]),
        sites=[*(world.sites or ()), *(local.sites or ())],
        groups=np.concatenate([world.groups, local.groups]),
    )


class _FineTuned:
    """CCNVR of the world, fine-tuned on local soils: a contender."""

    def __init__(self, pretrained: Pretrained, local: Soils) -> None:
        self.name = f"{pretrained.name}, fine-tuned"
        self.choose = pretrained.choose
        self.local = local
        self._pretrained = pretrained

    def fit(self, choice: Choice, soils: Soils, seed: int) -> PredictAll:
        """See `Contender`."""
        return self._pretrained.adapted(self.local, LAYERS, seed)


def _mean_over_countries(
    found: dict[str, dict[str, dict[str, dict[str, Any]]]],
) -> dict[str, dict[str, float]]:
    """Return {method: {number of local soils: R2}}, the mean over countries and properties."""
    methods = next(iter(found.values()))
    return {
        method: {
            size: round(
                float(
                    np.mean(
                        [
                            merit["r2"]
                            for tables in found.values()
                            for merit in tables[method][size].values()
                        ]
                    )
                ),
                4,
            )
            for size in by_size
        }
        for method, by_size in methods.items()
    }


def table(result: dict[str, Any]) -> str:
    """Return R2 by country, method and number of local soils as aligned text."""
    lines = []
    for country, methods in result["countries"].items():
        properties = list(next(iter(next(iter(methods.values())).values())))
        lines.append(f"\n{country:<34}{'local':>6}" + "".join(f"{name:>8}" for name in properties))
        for method, by_size in methods.items():
            lines += [
                f"{method:<34}{size:>6}" + "".join(f"{merits[name]['r2']:8.3f}" for name in merits)
                for size, merits in by_size.items()
            ]
    lines.append("\nmean R2 over countries and properties, by the number of local soils")
    for method, means in result["mean r2"].items():
        cells = "".join(f"{size:>5}: {value:6.3f}" for size, value in means.items())
        lines.append(f"{method:<34}{cells}")
    return "\n".join(lines)
