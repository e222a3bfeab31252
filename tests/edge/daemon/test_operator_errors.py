"""An operator's errors: each has its prompt, and no wrong number is without a flag."""

from __future__ import annotations

import pytest

from ccnvr.edge.quality.checks import OK
from ccnvr.firmware_bridge.instrument import ScanKind
from tests.support.operator_errors import (
    ERRORS,
    Field,
    OperatorError,
    row,
    wrong_and_accepted,
    wrong_without_a_flag,
)
from tools.operator_errors import BEGIN, END, PAGE


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory, four_soils: str) -> Field:
    """The field of the day before, where everything was right."""
    folder = tmp_path_factory.mktemp("field")
    (folder / "soils.csv").write_text(four_soils)
    return Field(folder, folder / "soils.csv")


def test_a_right_day_has_numbers_and_no_prompt(field: Field) -> None:
    assert field.right.said == []
    assert len(field.right.unflagged()) == len(field.right.records) > 0
    assert {record["verdict"]["sample"] for record in field.right.records} == {OK}


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.name)
def test_an_error_has_its_prompt_and_no_wrong_number_without_a_flag(
    field: Field, error: OperatorError
) -> None:
    outcome = field.play(error)
    assert error.prompt in "\n".join(outcome.said), outcome.said
    assert wrong_without_a_flag(outcome, field.right) == []
    assert wrong_and_accepted(outcome, field.right) == []
    # The published table is what happens.
    assert row(error, outcome) in PAGE.read_text()


def test_the_published_table_has_no_other_rows() -> None:
    table = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert len(rows) == len(ERRORS) + 2


def test_a_mended_white_is_taken_and_the_work_goes_on(field: Field) -> None:
    asked = iter(range(100))

    def first_on_soil(kind, soil):  # type: ignore[no-untyped-def]
        right = ERRORS[0].light(kind, soil)
        return 0.99 if kind is ScanKind.WHITE and next(asked) else right

    outcome = field.play(OperatorError("mended", first_on_soil, ""))
    assert [said for said in outcome.said if "not the white panel" in said] == outcome.said
    assert len(outcome.said) == 1
    assert [len(record["flags"]) for record in outcome.records] == [0] * len(outcome.records)
