"""Every check of scans, references and spectra: its limit, its reason, its flag and its prompt.

This is the one list of them. The prompts of `ccnvr run`, the verdicts and the table in
docs/quality.md follow from it.
"""

from __future__ import annotations

from ccnvr.edge.quality import gate, reference_checks
from ccnvr.edge.quality.daylight import PAIRS
from ccnvr.firmware_bridge.frozen import frozen

OK, LABORATORY, RESCAN = "ok", "laboratory", "rescan"
"""The verdicts: the numbers will do, the sample goes to the laboratory, it is scanned again."""


@frozen
class Check:
    """A check, what follows from it, and what the operator is told.

    Attributes:
        flag: the flag of a record; `OC:` stands for any property, and a flag that ends with a colon
            for all that begin so. "" for a check that refuses references, which get no record.
        looks_at: what is compared.
        limit: the threshold, in words.
        why: the reason for the threshold.
        prompt: what the operator is told, or "" if nothing.
        verdict: the verdict on a sample with this flag; OK if the flag alone does not change it.
        short: two or three words for a table, about one property if the flag is.
    """

    flag: str
    looks_at: str
    limit: str
    why: str
    prompt: str = ""
    verdict: str = RESCAN
    short: str = ""

    @property
    def shows_numbers(self) -> bool:
        """Whether a record with this flag has predictions."""
        return bool(self.flag) and not self.flag.startswith("rescan:")


OF_SCANS = (
    Check(
        "rescan:saturated",
        "what the instrument says of its detector",
        "any band",
        "counts at the detector's limit say nothing of the light",
        "the detector was saturated; close the lid, keep sunlight off, or shorten the integration "
        "time, and scan again",
        short="saturated",
    ),
    Check(
        "rescan:too_dark",
        "median reflectance",
        f"below {gate.DARKEST:g}",
        "the darkest soils have about 0.05",
        "hardly any light came back; press the probe onto the soil, check lamp and fibre, and scan "
        "again",
        short="too dark",
    ),
    Check(
        "rescan:not_positive",
        "reflectance of each band",
        "0 or below, or not a number",
        "it has no absorbance; a band without light, or drift of the dark signal",
        "some bands received no light beyond the dark reference; press the probe onto the soil, "
        "check lamp and fibre, and scan again, then take new references if that does not help",
        short="bands without light",
    ),
    Check(
        "rescan:too_bright",
        "reflectance of each band",
        f"above {gate.BRIGHTEST:g} in {gate.BRIGHT_SHARE:.0%} of the bands",
        "no soil is brighter than the panel; single bands may be, by noise",
        "the scan is brighter than any soil; close the lid, keep other light off the sample, and "
        "scan again",
        short="too bright",
    ),
    Check(
        "rescan:white_panel",
        "median difference from the panel's reflectance",
        f"below {gate.LIKE_THE_PANEL:.0%} of it",
        "no soil is so white and so flat",
        "the white panel still lies under the probe; put the soil in its place and scan again",
        short="white panel",
    ),
    Check(
        "rescan:splice_jump",
        "step in absorbance where two detectors meet (1000 and 1830 nm of an ASD)",
        f"above {gate.SPLICE_JUMP:g} and four standard errors",
        "at 1 % of the reflectance OC moves by half of its interval, and nothing else shows it",
        "the detectors do not meet, as when they are not warm or the probe moved; let the "
        "instrument warm up, hold the probe still and flat on the soil, take new references and "
        "scan again",
        short="detectors do not meet",
    ),
    Check(
        "daylight",
        "reflectance at 550, 910 and 1110 nm, against that at 650, 1000 and 1200 nm",
        "above " + ", ".join(f"{limit:g}" for _, _, limit in PAIRS) + " of it",
        "daylight is bluer than a lamp; at most 0.8 % of dry soils are as blue",
        "the spectrum has the colour of daylight; close the lid, keep other light off the sample, "
        "and scan again",
        short="daylight",
    ),
    Check(
        "stray_light",
        "a scan of the sample with the lamp off, where the instrument can take one",
        f"above {gate.MOST_STRAY_LIGHT:g} of reflectance",
        "light beside the lamp's adds to the sample and not to the references",
        "with its lamp off, the instrument still sees light on the sample, or its dark signal has "
        "drifted; close the lid, keep other light off, and scan again, then take new references "
        "if that does not help",
        short="other light",
    ),
    Check(
        "OC:replicates_disagree",
        "standard deviation of the values of a sample's replicates, times 1.64",
        "above half the width of the interval",
        "the sample then varies more than the model errs",
        "the replicates of this sample disagree; mix and flatten it, touch it in every scan, and "
        "scan again",
        short="replicates disagree",
    ),
    Check(
        "rescan:wrong_length",
        "the number of bands",
        "another than the instrument stated",
        "the bands' wavelengths are not known",
        "the scan has another number of bands than the instrument stated; restart the instrument",
        short="wrong number of bands",
    ),
    Check(
        "rescan:damaged_record",
        "the record's checksum, when it is read from the store",
        "any difference",
        "a flipped bit would pass as a number",
        "the record was damaged in the store; scan the sample again",
        short="record damaged",
    ),
)
"""Checks of the scan of a sample."""

OF_REFERENCES = (
    Check(
        "rescan:no_reference",
        "references of this start of the instrument",
        "missing",
        "lamp and detector may have changed while the power was off",
        "no references belong to this scan; its counts are stored, without numbers",
        short="no references",
    ),
    Check(
        "reference_expired",
        "the age of the references, by a clock that nobody set, and the scans that they served",
        "above `max_age_s` (1,800 s); `max_scans` (any number)",
        "lamps and detectors drift",
        "the references are too old or have served too many scans; put the white panel under the "
        "probe and run ccnvr reference, or start again",
        short="references too old",
    ),
    Check(
        "reference_drift",
        "the detector's temperature, against that of the references",
        "more than `max_drift_c` (3 degrees C) apart",
        "dark signal and sensitivity follow the temperature",
        "the detector's temperature has moved away from that of the references; take new "
        "references",
        short="temperature drifted",
    ),
    Check(
        "restart_possible",
        "trouble of the line with an instrument that does not count its starts",
        "any since the references",
        "the trouble may have been a loss of power",
        "the line was disturbed and this instrument does not count its starts, so it may have lost "
        "its power; check its cable, and take new references",
        short="may have restarted",
    ),
    Check(
        "check_sample",
        "the last scan of the check sample, against the first ones",
        "beyond mean +- 3 standard deviations",
        "what changed the check sample's values changes the others' as well",
        "the check sample was outside its limits; clean the white panel, let the lamp warm up, run "
        "ccnvr reference and scan again",
        short="check sample off",
    ),
    Check(
        "rescan:integration_time_changed",
        "the integration time, against that of the references",
        "any difference",
        "dark signal and light scale with it",
        "the integration time is not that of the references; take new references",
        short="other integration time",
    ),
    Check(
        "",
        "white minus dark of each band that the model reads",
        f"below {gate.LOWEST_SIGNAL:.1%} of saturation",
        "noise would make most of the reflectance",
    ),
    Check(
        "faint_light",
        "white minus dark of the brightest band that the model reads",
        f"below {gate.FAINT_LIGHT:.0%} of saturation",
        "noise then moves the numbers, which a longer integration time would avoid",
        "the white reference is faint, so the numbers are noisy; lengthen the integration time, or "
        "check lamp and fibre, and take new references",
        short="faint light",
    ),
    Check("", "dark and white", "saturated", "as for a sample"),
    Check(
        "",
        "the white's pattern in the dark reference",
        f"above {reference_checks.MOST_LEAK:.0%} of the white's light",
        "the lamp was on",
    ),
    Check(
        "",
        "the white, against the median of the instrument's last five",
        f"level by {reference_checks.LEVEL_LIMIT:.0%}, shape by {reference_checks.SHAPE_LIMIT:.0%}",
        "a dirty panel, a cold lamp or something else than the panel",
    ),
)
"""Checks of references. Those without a flag refuse the references, and the message says why."""

OF_MODELS = (
    Check(
        "",
        "the wavelengths of the instrument or file",
        "they do not cover the model's grid",
        "nothing is extrapolated",
    ),
    Check(
        "out_of_domain:",
        "distances Q and T2 from the training libraries",
        "beyond the bundle's limits, which flag about 4 % of soils like its own",
        "nothing vouches for the numbers; wet soil, paper, a hand or no contact show here",
        "this is unlike every soil that the model knows: it may be wet, or no soil at all, or the "
        "probe may not touch it; dry and flatten the sample, close the lid, remove what else is "
        "under the probe, and do not rely on these numbers",
        LABORATORY,
        short="unlike known soils",
    ),
    Check(
        "OC:outside_training_range",
        "the value",
        "outside the values of the training soils",
        "the model is extrapolating",
        verdict=LABORATORY,
        short="outside known values",
    ),
    Check(
        "OC:noisy",
        "the share of the interval that the spectrum's noise makes",
        "the larger one",
        "another scan would narrow the interval",
        # The interval holds this noise already; it decides whether a wide one is measured again.
        verdict=OK,
        short="noisy",
    ),
    Check(
        "rescan:not_finite",
        "the model's outputs",
        "beyond 100 standard deviations",
        "the network was given what it never saw",
        "the model cannot use this scan; scan again, and check the bundle with ccnvr inspect if "
        "that does not help",
        short="no finite value",
    ),
    Check(
        "read_later",
        "when the scan was read",
        "it had waited in the instrument",
        "`time` is when it was read, not when it was taken",
        verdict=OK,
        short="read later",
    ),
)
"""Checks of what the model can know of a spectrum."""

CHECKS = (*OF_SCANS, *OF_REFERENCES, *OF_MODELS)

# Checks without a flag refuse references or wavelengths, and then there is no record.
_BY_FLAG = {check.flag: check for check in CHECKS if check.flag}

_ANY_OTHER_RESCAN = Check(
    "rescan:",
    "anything else",
    "",
    "",
    "the scan cannot be used; take the references and the scan again",
)


def check_of(flag: str) -> Check | None:
    """Return the check that a record's flag comes from, or None for a flag without one."""
    # In the order of how special a rule is: the flag itself, its beginning, its end.
    if flag in _BY_FLAG:
        return _BY_FLAG[flag]
    kind, _, rest = flag.partition(":")
    # As `out_of_domain:`, which stands for the flags of both distances.
    if f"{kind}:" in _BY_FLAG:
        return _BY_FLAG[f"{kind}:"]
    if kind == "rescan":
        return _ANY_OTHER_RESCAN
    # OC stands for every property, so that `pH:noisy` finds the entry of `OC:noisy`.
    return _BY_FLAG.get(f"OC:{rest}") if rest else None


def property_of(flag: str) -> str | None:
    """Return the property that a flag is about, as `OC` in `OC:noisy`; None for all of them."""
    name, _, rest = flag.partition(":")
    return name if rest and name not in ("rescan", "out_of_domain") else None
