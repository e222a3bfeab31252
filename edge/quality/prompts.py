"""What an operator is told about flags: what is wrong, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable

from ccnvr.edge.quality.checks import check_of


def prompts(flags: Iterable[str]) -> list[str]:
    """Return the sentences for the flags of a record, each once; not every flag has one."""
    return list(prompts_with_words(flags))


def prompts_with_words(flags: Iterable[str]) -> dict[str, str]:
    """Return by sentence the few words that stand for it where it was said in full before."""
    found: dict[str, str] = {}
    for flag in flags:
        check = check_of(flag)
        if check is not None and check.prompt:
            found[check.prompt] = check.short or flag
    return found
