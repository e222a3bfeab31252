"""docs/quality.md lists the checks as the code has them."""

from __future__ import annotations

import re

from ccnvr.edge.quality.checks import CHECKS
from tools.quality_checks import PAGE, table


def test_the_page_has_the_table_of_the_code() -> None:
    assert table() in PAGE.read_text()


def test_every_flag_of_the_predictions_page_has_a_check() -> None:
    known = {check.flag for check in CHECKS}
    section = (PAGE.parent / "predictions.md").read_text().partition("## Flags")[2]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    named = set(re.findall(r"`([\w:]+)`", "".join(row.split("|")[1] for row in rows)))
    assert len(named) > 10
    for flag in named:
        end = flag.partition(":")[2]
        assert flag in known or f"OC:{end}" in known or flag.startswith("out_of_domain:"), flag
