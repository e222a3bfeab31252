"""What an operator is told about a flag: what is wrong, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable

_PROMPTS = {
    "rescan:saturated": "the detector was saturated; close the lid, keep sunlight off, or shorten "
    "the integration time, and scan again",
    "rescan:too_dark": "hardly any light came back; press the probe onto the soil, check lamp and "
    "fibre, and scan again",
    "rescan:too_bright": "the scan is brighter than any soil; close the lid, keep other light off "
    "the sample, and scan again",
    "rescan:white_panel": "the white panel still lies under the probe; put the soil in its place "
    "and scan again",
    "rescan:not_positive": "some bands received no light beyond the dark reference; press the "
    "probe onto the soil, check lamp and fibre, and scan again, then take new references if that "
    "does not help",
    "rescan:no_reference": "no references belong to this scan; its counts are stored, without "
    "numbers",
    "rescan:integration_time_changed": "the integration time is not that of the references; take "
    "new references",
    "rescan:wrong_length": "the scan has another number of bands than the instrument stated; "
    "restart the instrument",
    "out_of_domain": "this is unlike every soil that the model knows: it may be wet, or no soil at "
    "all, or the probe may not touch it; dry and flatten the sample, close the lid, remove what "
    "else is under the probe, and do not rely on these numbers",
    "reference_expired": "the references are too old; put the white panel under the probe and "
    "start again",
    "reference_drift": "the detector's temperature has moved away from that of the references; "
    "take new references",
    "restart_possible": "the line was disturbed and this instrument does not count its starts, so "
    "it may have lost its power; check its cable, and take new references",
}

_OTHER_RESCAN = "the scan cannot be used; take the references and the scan again"


def prompts(flags: Iterable[str]) -> list[str]:
    """Return the sentences for the flags of a record, each once; not every flag has one."""
    found: dict[str, None] = {}
    for flag in flags:
        kind = "out_of_domain" if flag.startswith("out_of_domain:") else flag
        if kind in _PROMPTS:
            found[_PROMPTS[kind]] = None
        elif kind.startswith("rescan:"):
            found[_OTHER_RESCAN] = None
    return list(found)
