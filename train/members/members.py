"""The members of a model: fitted together, and averaged with or without a network.

Their outputs are standardised properties, as those of a network are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ccnvr.edge.network.kernels import KernelMember
from ccnvr.edge.network.layers import DenseLayer, NetworkArrays, as_float
from ccnvr.edge.network.members import members_alone, with_members
from ccnvr.firmware_bridge.arrays import Array, Float32
from ccnvr.train.members.plsr import LinearMember, fit_plsr
from ccnvr.train.members.process import fit_process
from ccnvr.train.members.projection import Projection
from ccnvr.train.members.soils import MemberSoils
from ccnvr.train.members.support_vectors import fit_support_vectors
from ccnvr.train.network.ccnvr import CCNVR, network_outputs
from ccnvr.train.network.convert import as_torch, to_arrays
from ccnvr.train.network.kernel_member import KernelModule
from ccnvr.train.recipe.settings import MATERN, PLSR, SVR, MemberSettings

Member = LinearMember | KernelMember


@dataclass(frozen=True, eq=False)
class Members:
    """Fitted members by their names: the kind, and the range unless that is the whole grid."""

    fitted: Mapping[str, Member]

    def outputs(self, inputs: Float32) -> dict[str, Array]:
        """Return standardised properties `(n, targets)` by name for `(n, channels, bands)`."""
        return {name: _outputs(member, inputs) for name, member in self.fitted.items()}


def fit_members(settings: MemberSettings, soils: MemberSoils) -> Members:
    """Fit the members that these settings name."""
    fitted: dict[str, Member] = {}
    if PLSR in settings.kinds:
        fitted[PLSR] = fit_plsr(soils, Projection.of(soils.inputs, soils.channels))
    for low, high in settings.ranges_nm or ((-np.inf, np.inf),):
        seen = (soils.wavelengths >= low) & (soils.wavelengths <= high)
        # Of one copy each: among two copies of ten soils every second component would be noise.
        projection = Projection.of(soils.inputs[soils.first], soils.channels, seen)
        named = "" if seen.all() else f" {low:g}-{high:g} nm"
        # The machine reads the components that the process has chosen, kept itself or not.
        process, geometry = fit_process(
            soils, projection, settings.most_soils, settings.most_components, settings.length
        )
        if MATERN in settings.kinds:
            fitted[f"{MATERN}{named}"] = process
        if SVR in settings.kinds:
            fitted[f"{SVR}{named}"] = fit_support_vectors(
                soils, projection, geometry, settings.most_soils
            )
    return Members(fitted)


def mean_of(members: Members, channels: int, bands: int, network: CCNVR | None = None) -> CCNVR:
    """Return the plain mean of all members, and of the network if one is given, as one model.

    Each part is divided by their number, so that the model adds them up. It always has a linear
    path, into which PLSR is folded and which a fine-tuning may change.
    """
    count = len(members.fitted) + (network is not None)
    kernels = [
        _share(member, count)
        for member in members.fitted.values()
        if isinstance(member, KernelMember)
    ]
    linear = next(
        (member for member in members.fitted.values() if isinstance(member, LinearMember)), None
    )
    outputs = len(kernels[0].bias)
    weights = np.zeros((outputs, channels * bands))
    if linear is not None:
        weights = linear.weights / count
        bias = kernels[0].bias + (linear.intercepts / count).astype(np.float32)
        kernels[0] = replace(kernels[0], bias=bias)
    if network is None:
        return as_torch(members_alone(channels, bands, kernels, weights.astype(np.float32)))
    return as_torch(_beside(to_arrays(network), count, weights, kernels))


def _beside(
    network: NetworkArrays, count: int, weights: Array, kernels: list[KernelMember]
) -> NetworkArrays:
    """Return the network's share of the mean, with weights `(outputs, inputs)` and kernels."""
    assert network.output is not None
    if network.standardisation is not None:
        # The linear path reads the standardised input: x = z / factor + mean.
        mean = network.standardisation.mean.ravel().astype(np.float64)
        bias = kernels[0].bias + (weights @ mean).astype(np.float32)
        kernels = [replace(kernels[0], bias=bias), *kernels[1:]]
        weights = weights / network.standardisation.factor.ravel()
    if network.linear is not None:
        weights = weights + as_float(network.linear) / count
    share = np.float32(1.0 / count)
    shared = replace(
        network,
        config=replace(network.config, linear=True),
        output=DenseLayer(as_float(network.output.weight) * share, network.output.bias * share),
        linear=weights.astype(np.float32),
    )
    return with_members(shared, kernels)


def _share(member: KernelMember, count: int) -> KernelMember:
    share = np.float32(1.0 / count)
    return replace(member, weights=member.weights * share, bias=member.bias * share)


def _outputs(member: Member, inputs: Float32) -> Array:
    if isinstance(member, LinearMember):
        return member.predict(inputs.reshape(len(inputs), -1).astype(np.float64))
    return network_outputs(KernelModule.of(member), inputs).astype(np.float64)
