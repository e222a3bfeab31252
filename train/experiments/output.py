"""The output of the experiments: progress, tables and result files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ccnvr.edge.atomic_files import write_atomically

_COLUMNS = ("n", "r2", "r2_low", "r2_high", "rmse", "mae", "bias", "rpiq", "rpd", "p_value")


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Provide a function that shows on standard error what is being computed."""
    with ExitStack() as stack:
        bars: list[Any] = []

        def on_step(what: str) -> None:
            # Only from the first step on, so that an experiment whose results are all in its ledger
            # shows no bar.
            if not bars:
                # In a log file each refresh is a line, so one a minute.
                pause = 1.0 if sys.stderr.isatty() else 60.0
                bars.append(
                    stack.enter_context(tqdm(unit="step", file=sys.stderr, mininterval=pause))
                )
            bars[0].set_description(what, refresh=False)
            bars[0].update()

        yield on_step


def print_table(table: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Print {method: {property: figures}} as aligned text."""
    width = max(16, *(len(method) + 2 for method in table))
    print(f"{'method':<{width}}{'property':<9}" + "".join(f"{name:>9}" for name in _COLUMNS))
    for method, properties in table.items():
        for name, merit in properties.items():
            cells = (
                "-" if merit.get(column) is None else f"{merit[column]:.4g}" for column in _COLUMNS
            )
            print(f"{method:<{width}}{name:<9}" + "".join(f"{cell:>9}" for cell in cells))


def print_losses(result: dict[str, Any]) -> None:
    """Print the loss of R2 of each method, level by level."""
    for part in ("calibration", "test"):
        for level, losses in result[f"{part}_loss"].items():
            print(f"\nR2 lost with noise of {level} on the {part} spectra")
            for method, loss in losses.items():
                print(
                    f"{method:<16}"
                    + "".join(f"{name:>6} {value:7.3f}" for name, value in loss.items())
                )


def print_accuracy(result: dict[str, Any]) -> None:
    """Print the table of an accuracy experiment, and that of each of several libraries."""
    print_table(result["table"])
    if "in units" in result:
        print("\nin units, without the logarithm of " + ", ".join(result["scored after"]))
        print_table(result["in units"])
    if len(result["by library"]) > 1:
        for library, table in result["by library"].items():
            print(f"\n{library}")
            print_table(table)


def print_transfer(result: dict[str, Any]) -> None:
    """Print the tables and learning curves of a transfer experiment."""
    for target, table in result["trained on the source alone"].items():
        print(f"\ntrained without {target}, all of which is predicted")
        print_table({method: {result["property"]: merit} for method, merit in table.items()})
    print("\nR2 by the number of local samples")
    for target, curves in result["learning curves"].items():
        for method, by_size in curves.items():
            cells = "".join(f"{size:>5}: {merit['r2']:6.3f}" for size, merit in by_size.items())
            print(f"{target:<10}{method:<18}{cells}")


def write_result(result: dict[str, Any], path: Path, drawn: bool = False) -> int:
    """Write a result as JSON, print where to, and return the exit code of success.

    `drawn` says that figures were drawn beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as stream:
        stream.write(json.dumps(result, indent=1).encode())
    print(f"\nwrote {path}" + (", and figures beside it" if drawn else ""))
    return 0
