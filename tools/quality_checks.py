"""The table of checks in docs/quality.md, from `edge.quality.checks`.

`python -m tools.quality_checks` writes it; a test compares.
"""

from __future__ import annotations

from pathlib import Path

from ccnvr.edge.quality.checks import OF_MODELS, OF_REFERENCES, OF_SCANS, OK, Check

PAGE = Path(__file__).parents[1] / "docs" / "quality.md"
BEGIN, END = "<!-- made by tools/quality_checks.py -->", "<!-- end -->"
GROUPS = (
    ("The scan", OF_SCANS),
    ("The references", OF_REFERENCES),
    ("What the model can know", OF_MODELS),
)


def table() -> str:
    """Return the tables of all checks as Markdown."""
    parts = []
    for title, checks in GROUPS:
        parts += [
            f"### {title}",
            "",
            "| what is compared | limit | why | flag | numbers | the operator is told | verdict |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *map(_row, checks),
            "",
        ]
    return "\n".join(parts).rstrip()


def _row(check: Check) -> str:
    flag = f"`{check.flag}`" if check.flag else "refused"
    if check.flag.endswith(":"):
        flag = f"`{check.flag}Q`, `{check.flag}T2`"
    numbers = "yes" if check.shows_numbers else "no"
    # What has no flag is refused before there is a record.
    verdict = (check.verdict if check.verdict != OK else "by its interval") if check.flag else "-"
    prompt = check.prompt or "-"
    cells = (check.looks_at, check.limit, check.why, flag, numbers, prompt, verdict)
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Write the tables."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
