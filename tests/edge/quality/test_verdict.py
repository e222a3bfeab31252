"""Verdicts by tolerance: ok, laboratory or rescan, each with its reason."""

from __future__ import annotations

import math

import pytest

from ccnvr.edge.chemometrics.targets import NEW, Estimate
from ccnvr.edge.quality.checks import CHECKS, LABORATORY, OK, RESCAN, check_of, property_of
from ccnvr.edge.quality.prompts import prompts, prompts_with_words
from ccnvr.edge.quality.rounding import with_uncertainty
from ccnvr.edge.quality.verdict import check_tolerances, judge, larger_half
from ccnvr.edge.quality.words import in_words
from ccnvr.firmware_bridge.errors import UsageError

OC = Estimate(20.0, "g/kg", 17.5, 22.5)
PH = Estimate(6.0, "pH", 5.2, 6.8)


@pytest.mark.parametrize(
    ("flags", "estimates", "tolerances", "verdict", "words"),
    [
        ((), {"OC": OC}, {"OC": 3}, OK, "OC: +-2.5 g/kg is accepted (3)"),
        ((), {"OC": OC}, {"OC": 2.5}, OK, "accepted"),
        ((), {"OC": OC}, {"OC": 2.4}, LABORATORY, "+-2.5 g/kg is more than the accepted 2.4"),
        ((), {"OC": OC, "pH": PH}, {"OC": 3, "pH": 0.5}, LABORATORY, "pH: +-0.8 is more than"),
        (("OC:noisy",), {"OC": OC}, {"OC": 3}, OK, "accepted"),
        (("OC:noisy",), {"OC": OC}, {"OC": 2}, RESCAN, "mostly by noise; average more scans"),
        (("pH:noisy",), {"OC": OC}, {"OC": 2}, LABORATORY, "more than the accepted"),
        (("OC:outside_training_range",), {"OC": OC}, {"OC": 3}, LABORATORY, "outside those of"),
        (("pH:outside_training_range",), {"OC": OC}, {"OC": 3}, OK, "accepted"),
        (("out_of_domain:Q",), {"OC": OC}, {"OC": 3}, LABORATORY, "unlike every soil"),
        (("reference_expired", "out_of_domain:Q"), {"OC": OC}, {"OC": 3}, RESCAN, "too old"),
        (("reference_drift",), {"OC": OC}, {"OC": 3}, RESCAN, "temperature"),
        (("OC:replicates_disagree",), {"OC": OC}, {"OC": 3}, RESCAN, "replicates"),
        (("pH:replicates_disagree",), {"OC": OC}, {"OC": 3}, OK, "accepted"),
        (("rescan:saturated",), {}, {"OC": 3}, RESCAN, "shorten the integration time"),
        (("rescan:something_new",), {}, {"OC": 3}, RESCAN, "cannot be used"),
        (("read_later",), {"OC": OC}, {"OC": 3}, OK, "accepted"),
        ((), {"pH": PH}, {"OC": 3}, LABORATORY, "does not predict it"),
        ((), {"OC": Estimate(9.0, "g/kg", None, None)}, {"OC": 3}, LABORATORY, "no interval"),
        ((), {"OC": Estimate(9.0, "g/kg", math.nan, 9.0)}, {"OC": 3}, LABORATORY, "no end"),
        ((), {"OC": Estimate(9.0, "g/kg", 1, 17, NEW)}, {"OC": 3}, LABORATORY, "does not know"),
    ],
)
def test_the_verdict_and_its_reason(
    flags: tuple[str, ...],
    estimates: dict[str, Estimate],
    tolerances: dict[str, float],
    verdict: str,
    words: str,
) -> None:
    found = judge(estimates, flags, tolerances)
    assert found is not None
    assert (found.sample, words in found.reason) == (verdict, True), found
    assert list(found.properties) == list(tolerances)


def test_without_a_tolerance_there_is_no_verdict() -> None:
    assert judge({"OC": OC}, ("rescan:saturated",), {}) is None


def test_one_property_s_trouble_leaves_the_other_s_verdict() -> None:
    found = judge({"OC": OC, "pH": PH}, (), {"OC": 3, "pH": 0.5})
    assert found is not None
    assert {name: one.verdict for name, one in found.properties.items()} == {
        "OC": OK,
        "pH": LABORATORY,
    }
    whole = judge({}, ("rescan:saturated",), {"OC": 3, "pH": 0.5})
    assert whole is not None and whole.reason.startswith("the detector was saturated")


def test_the_larger_half_counts_of_an_interval_that_is_cut_at_zero() -> None:
    assert larger_half(Estimate(2.0, "g/kg", 0.0, 9.0)) == 7.0


def test_a_tolerance_for_a_property_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="stated for Oc, but bundle b predicts OC, N; correct"):
        check_tolerances({"Oc": 1.0}, ["OC", "N"], "bundle b")


@pytest.mark.parametrize(
    ("value", "half", "expected"),
    [
        (34.0021, 12.25, ("34", "12")),
        (1.083, 1.041, ("1.1", "1.0")),
        (5.617, 0.935, ("5.6", "0.9")),
        (5.617, 0.0961, ("5.62", "0.10")),
        (123.4, 36.0, ("120", "40")),
        (-0.04, 3.0, ("0.0", "3.0")),
        (8.0, None, ("8", "")),
        (8.0, 0.0, ("8.000000", "0.000000")),
    ],
)
def test_numbers_are_rounded_to_what_they_mean(
    value: float, half: float | None, expected: tuple[str, str]
) -> None:
    assert with_uncertainty(value, half) == expected


def test_each_flag_has_one_check_and_each_refusal_a_prompt() -> None:
    flags = [check.flag for check in CHECKS if check.flag]
    assert len(flags) == len(set(flags))
    for check in CHECKS:
        assert check.looks_at and check.limit and check.why
        if check.flag.startswith("rescan:"):
            assert check.prompt and check.verdict == RESCAN and not check.shows_numbers
    domain = check_of("out_of_domain:")
    assert domain is not None
    flags = ["out_of_domain:Q", "out_of_domain:T2", "a"]
    assert prompts(flags) == [domain.prompt]
    assert prompts_with_words(flags) == {domain.prompt: "unlike known soils"}


def test_flags_of_properties_are_known_by_their_end() -> None:
    found = check_of("K_cmol:noisy")
    assert found is not None and found.flag == "OC:noisy"
    assert property_of("K_cmol:noisy") == "K_cmol"
    assert property_of("rescan:too_dark") is None
    assert check_of("nonsense") is None and check_of("OC:nonsense") is None


def test_a_record_in_words_says_ph_once() -> None:
    estimates = {
        "OC": {"value": 12.34, "unit": "g/kg", "low": 8.0, "high": 123.4},
        "pH": {"value": 5.7, "unit": "pH", "low": 4.13, "high": 7.27},
    }
    said = in_words({"predictions": estimates}).splitlines()
    assert said == ["OC 12.3 g/kg (8 to 123)", "pH 5.7 (4.13 to 7.27)"]
