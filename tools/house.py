"""Measure the shape of the code: `python -m tools.house` prints a table, `--check` holds limits.

`--root` names another checkout, so that two commits can stand side by side.
"""

from __future__ import annotations

import argparse
import ast
import io
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("edge", "train", "export", "firmware_bridge")
WIDTH = 100

_BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.comprehension,
    ast.match_case,
    ast.Assert,
)
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Shape:
    """The measurements of a checkout; a name stands beside each largest value."""

    modules_in_a_folder: tuple[int, str]
    comment_share: float
    long_lines: float
    repeated_classes: tuple[str, ...]
    parameters: tuple[int, str]
    complexity: tuple[int, str]
    fan_out: tuple[int, str]
    lines_in_a_file: tuple[int, str]
    lines_in_a_function: tuple[int, str]

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield what is measured and its value, as text."""
        yield "modules in a folder, most", _named(self.modules_in_a_folder)
        yield "comment lines, share of code lines", f"{self.comment_share:.1%}"
        yield f"lines above {WIDTH} columns", f"{self.long_lines:.1%}"
        count = len(self.repeated_classes)
        yield "class names defined twice", f"{count} ({', '.join(self.repeated_classes) or '-'})"
        yield "parameters of a function, most", _named(self.parameters)
        yield "cyclomatic complexity, most", _named(self.complexity)
        yield "imports of own modules (fan-out), most", _named(self.fan_out)
        yield "lines in a file, most", _named(self.lines_in_a_file)
        yield "lines in a function, most", _named(self.lines_in_a_function)


LIMITS = {
    "modules_in_a_folder": 12,
    "parameters": 7,
    "complexity": 15,
    "fan_out": 14,
}
EXEMPT = ("train/regressor.py:__init__",)
"""scikit-learn asks that an estimator take each setting as a parameter of its own."""

LEAST_COMMENTS = 0.05
MOST_LONG_LINES = 0.01


def measure(root: Path) -> Shape:
    """Return the measurements of the four packages below `root`."""
    files = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    texts = {str(path.relative_to(root)): path.read_text("utf-8") for path in files}
    # Walked once, because that takes longer than all the rest.
    nodes = {name: list(ast.walk(ast.parse(text))) for name, text in texts.items()}
    folders = Counter(
        str(path.parent.relative_to(root)) for path in files if path.name != "__init__.py"
    )
    lines = [line for text in texts.values() for line in text.splitlines()]
    modules = {f"ccnvr.{name.removesuffix('.py').replace('/', '.')}" for name in texts}
    classes = Counter(
        node.name
        for inside in nodes.values()
        for node in inside
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    functions = [
        (function, f"{name}:{function.name}")
        for name, inside in nodes.items()
        for function in inside
        if isinstance(function, _Function)
    ]
    return Shape(
        max((count, folder) for folder, count in folders.items()),
        sum(map(_comment_lines, texts.values()))
        / sum(_code_lines(text, nodes[name]) for name, text in texts.items()),
        sum(len(line) > WIDTH for line in lines) / len(lines),
        tuple(sorted(name for name, count in classes.items() if count > 1)),
        max((_parameters(function), name) for function, name in functions if name not in EXEMPT),
        max((_complexity(function), name) for function, name in functions),
        max((_fan_out(inside, modules), name) for name, inside in nodes.items()),
        max((len(text.splitlines()), name) for name, text in texts.items()),
        max((_length(function), name) for function, name in functions),
    )


def problems(shape: Shape) -> list[str]:
    """Return a sentence for each limit that the code exceeds."""
    found = [
        f"{name.replace('_', ' ')}: {_named(value)} exceeds {limit}"
        for name, limit in LIMITS.items()
        if (value := getattr(shape, name))[0] > limit
    ]
    if shape.comment_share < LEAST_COMMENTS:
        found.append(f"comments are {shape.comment_share:.1%} of code lines, below 5 %")
    if shape.long_lines > MOST_LONG_LINES:
        found.append(f"{shape.long_lines:.1%} of lines exceed {WIDTH} columns, above 1 %")
    return found


def _named(value: tuple[int, str]) -> str:
    return f"{value[0]} ({value[1]})"


def _comment_lines(text: str) -> int:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return len({token.start[0] for token in tokens if token.type == tokenize.COMMENT})


def _code_lines(text: str, nodes: list[ast.AST]) -> int:
    """Return the number of lines that hold code; docstrings and blank lines do not count."""
    docstrings = {
        line
        for node in nodes
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#") and number not in docstrings
        for number, line in enumerate(text.splitlines(), 1)
    )


def _parameters(function: _Function) -> int:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in named)


def _complexity(function: _Function) -> int:
    """Return 1 and the decisions in a function, those of functions inside it counted there."""
    count, nodes = 1, list(ast.iter_child_nodes(function))
    while nodes:
        node = nodes.pop()
        if isinstance(node, _Function):
            continue
        count += isinstance(node, _BRANCHES)
        count += len(node.values) - 1 if isinstance(node, ast.BoolOp) else 0
        count += len(node.ifs) if isinstance(node, ast.comprehension) else 0
        nodes += ast.iter_child_nodes(node)
    return count


def _fan_out(nodes: list[ast.AST], modules: set[str]) -> int:
    """Return how many of the toolkit's own `modules` a module imports, wherever it does."""
    imported = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ccnvr."):
            module = str(node.module)
            # `from ccnvr.edge.bundle import archive` names a module, the rest name its members.
            within = {f"{module}.{alias.name}" for alias in node.names}
            imported |= {name if name in modules else module for name in within}
    return len(imported)


def _length(function: _Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def main() -> int:
    """Print the table, or check the limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: this one)")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a limit is exceeded")
    arguments = parser.parse_args()
    shape = measure(arguments.root)
    found = problems(shape) if arguments.check else []
    for sentence in found:
        print(sentence, file=sys.stderr)
    if not arguments.check:
        for what, value in shape.rows():
            print(f"| {what} | {value} |")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
