"""The model files of a bundle: a network of one profile, written in one format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ccnvr.edge.bundle.archive import model_file_name
from ccnvr.edge.network.file import pack
from ccnvr.edge.network.layers import NetworkArrays
from ccnvr.export.onnx.writer import to_onnx
from ccnvr.export.tflite.writer import to_tflite

WRITERS: dict[str, Callable[[NetworkArrays], bytes]] = {
    "network": pack,
    "onnx": to_onnx,
    "tflite": to_tflite,
}
"""The writer of each format in `archive.MODEL_FORMATS`."""


@dataclass(frozen=True)
class ModelFile:
    """A network of one `profile`, as the bytes of a file in one `format`."""

    profile: str
    format: str
    content: bytes

    @property
    def name(self) -> str:
        """Its name in a bundle."""
        return model_file_name(self.profile, self.format)


def write_models(
    networks: Mapping[str, NetworkArrays], profiles: Iterable[str], formats: Iterable[str]
) -> list[ModelFile]:
    """Return a model file for each of the profiles in each of the formats.

    Args:
        networks: the network of each profile, at least of those in `profiles`.
        profiles: some of `layers.PROFILES`.
        formats: some of `archive.MODEL_FORMATS`.
    """
    # Read once, because an iterator would be used up after the first profile.
    wanted = tuple(formats)
    return [
        ModelFile(profile, name, WRITERS[name](networks[profile]))
        for profile in profiles
        for name in wanted
    ]
