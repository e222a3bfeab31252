"""How the experiments tell what they do and what they found."""

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
    """A line that says what is being computed, from the first step on."""
    with ExitStack() as stack:
        bars: list[Any] = []

        def on_step(what: str) -> None:
            if not bars:
                pause = 1.0 if sys.stderr.isatty() else 60.0
                bars.append(
                    stack.enter_context(tqdm(unit="step", file=sys.stderr, mininterval=pause))
                )
            bars[0].set_description(what, refresh=False)
            bars[0].update()

        yield on_step


def print_table(table: dict[str, dict[str, dict[str, Any]]]) -> None:
    """{method: {property: figures}} as aligned text."""
    print(f"{'method':<16}{'property':<9}" + "".join(f"{column:>9}" for column in _COLUMNS))
    for method, properties in table.items():
        for name, merit in properties.items():
            cells = (
                "-" if merit.get(column) is None else f"{merit[column]:.4g}" for column in _COLUMNS
            )
            print(f"{method:<16}{name:<9}" + "".join(f"{cell:>9}" for cell in cells))


def print_losses(result: dict[str, Any]) -> None:
    """What noise cost each method, level by level."""
    for part in ("calibration", "test"):
        for level, losses in result[f"{part}_loss"].items():
            print(f"\nR2 lost with noise of {level} on the {part} spectra")
            for method, loss in losses.items():
                print(
                    f"{method:<16}"
                    + "".join(f"{name:>6} {value:7.3f}" for name, value in loss.items())
                )


def write_result(result: dict[str, Any], path: Path, drawn: bool = False) -> int:
    """Keep a result as JSON and say so; the exit code of success. `drawn`, if its figures were
    drawn.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as stream:
        stream.write(json.dumps(result, indent=1).encode())
    print(f"\nwrote {path}" + (", and figures beside it" if drawn else ""))
    return 0
