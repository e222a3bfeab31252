"""Write docs/cli.md from the argument parsers: `python -m tools.cli_reference`.

`--check` writes nothing and ends with 1 if the file is not current. All extras must be installed,
because the parsers of the training commands come from modules that need them.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from ccnvr.edge.cli import COMMANDS, build_parser

TARGET = Path(__file__).parents[1] / "docs" / "cli.md"

HEAD = """\
# Command-line reference

Generated from the argument parsers by `make generate`; change those, not this page.

Every command prints results to standard output and messages to standard error, one sentence a
line. Exit codes: 0 done, 1 failed, 2 wrong use. `ccnvr COMMAND --help` shows what stands here,
`ccnvr --version` prints the version.
"""


def render(names: list[str]) -> str:
    """Return the reference of these commands as Markdown."""
    lines = [HEAD, "| command | does | installed by |", "|---|---|---|"]
    for name in names:
        command = COMMANDS[name]
        lines.append(f"| [{name}](#ccnvr-{name}) | {command.summary} | `ccnvr[{command.extra}]` |")
    for name in names:
        lines += ["", f"## ccnvr {name}", "", *_section(build_parser(name), COMMANDS[name].example)]
    return "\n".join(lines) + "\n"


def _section(parser: argparse.ArgumentParser, example: str) -> Iterator[str]:
    yield from _paragraphs(parser.description or "")
    yield from ("", f"    {example}")
    yield from _arguments(parser)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from ("", f"### {parser.prog} {name}", "")
                yield from _paragraphs(inner.description or _help_of(action, name))
                yield from _arguments(inner)


def _help_of(action: argparse._SubParsersAction[argparse.ArgumentParser], name: str) -> str:
    return next((str(one.help) for one in action._choices_actions if one.dest == name), "")


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        if number:
            yield ""
        # One line a paragraph: how a docstring is wrapped is no matter of the page.
        yield " ".join(paragraph.split())


def _arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    actions = [
        action
        for action in parser._actions
        if action.help is not argparse.SUPPRESS
        and not isinstance(action, argparse._HelpAction | argparse._SubParsersAction)
    ]
    if actions:
        yield from ("", "| argument | meaning |", "|---|---|")
    for action in actions:
        yield f"| {_name(action)} | {_meaning(parser, action)} |"


def _name(action: argparse.Action) -> str:
    """Return an argument as it is typed, such as `--spectra N`."""
    if action.option_strings:
        value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
        # Choices are listed with the meaning, where there is room.
        return ", ".join(f"`{option}{value}`" for option in action.option_strings)
    many = {"*": " ...", "+": " ..."}.get(str(action.nargs), "")
    name = str(action.metavar or action.dest).upper()
    return f"`[{name}{many}]`" if action.nargs in ("?", "*") else f"`{name}{many}`"


def _meaning(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Return the help of an argument, its choices, and whether an option must be given."""
    # The formatter's own expansion: help texts may contain %(default)s and %%.
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    if action.choices:
        text += f"; one of {', '.join(f'`{choice}`' for choice in action.choices)}"
    if action.option_strings and action.required:
        text += " (required)"
    return text.replace("|", "\\|").replace("\n", " ")


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` compare it."""
    text = render(list(COMMANDS))
    if arguments == ["--check"]:
        if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text:
            return 0
        print("docs/cli.md is not current; run make generate", file=sys.stderr)
        return 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
