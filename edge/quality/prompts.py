"""What an operator is told about flags: what is wrong, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable

from ccnvr.edge.quality.checks import check_of


def prompts(flags: Iterable[str]) -> list[str]:
    """Return the sentences for the flags of a record, each once; not every flag has one."""
    found: dict[str, None] = {}
    for flag in flags:
        check = check_of(flag)
        if check is not None and check.prompt:
            found[check.prompt] = None
    return list(found)
